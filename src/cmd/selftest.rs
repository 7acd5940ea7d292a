//! `pgassay selftest`: damages shown over an archive, and which tier catches each.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use futures_util::FutureExt as _;
use serde_json::json;

use super::{
    Context, Outcome,
    cli::help,
    console::Output,
    job_args::{self, ArchiveArgs, OverrideArgs},
};
use crate::{
    demo::story::{self, Plot},
    drill::{Job, selftest::Tier},
    report, runner,
    selftest::{self, SelftestRequest, damages},
    store::{self, SharedStore},
};

const HELP: &str = help!(
    "Shows an archive damaged in every way that is known, and proves that each damage is caught."
    ""
    "The damages exist in memory only: the archive is read and never written. Each has the cheapest"
    "tier that can tell: `catalog` (the listing), `read` (every byte) or `restore` (a drill). It is"
    "caught if that tier names its class and the damaged object, and nothing from there on passes."
    "The sound archive must pass, also in every other compression. Without a job the archive is one"
    "that is made on the spot. Exit status: 0 if all were caught, 1 if not."
    ""
    "Tars of more than 128 MiB, and more than 192 MiB of WAL, are not rewritten in memory: damages that"
    "need that are said to be too large, and count as neither caught nor missed."
);

const EXAMPLES: &str = "\
Examples:
  pgassay selftest                          on an archive that is made on the spot
  pgassay selftest orders.yaml              on an archive of yours
  pgassay selftest --only wal_middle_missing --output json
  pgassay selftest --list";

/// Prove that damage is caught: an archive, damaged in every way that is known
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES)]
pub(super) struct SelftestArgs {
    /// A job file, as `pgassay init` writes it; without one: an archive made on the spot
    pub job: Option<PathBuf>,
    /// Use an archive made on the spot
    #[arg(long, conflicts_with = "job")]
    pub demo: bool,
    /// Only this damage; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Name the damages with what each does, and end
    #[arg(long)]
    pub list: bool,
    /// Ask these tiers about every damage, not only up to the cheapest that can tell
    #[arg(long, value_name = "TIERS", value_delimiter = ',')]
    pub tiers: Vec<TierName>,
    /// The same number damages the same bytes
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub seed: u64,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    /// Folder below which restored clusters live while they are needed
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
}

// Comments on the values would make clap print every option on three lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TierName {
    Catalog,
    Read,
    Restore,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Self {
        match name {
            TierName::Catalog => Self::Catalog,
            TierName::Read => Self::Read,
            TierName::Restore => Self::Restore,
        }
    }
}

pub(super) async fn run(args: SelftestArgs, context: &Context) -> Outcome {
    if args.list {
        return list(&args, context);
    }
    // A name that does not exist is said before an archive is made.
    selftest::chosen(&args.only)?;
    let console = &context.console;
    let say = |line: String| console.talk(&line);
    let (job, _stage) = if let Some(file) = &args.job {
        let overrides = OverrideArgs { work_dir: args.work_dir.clone(), ..OverrideArgs::default() };
        (job_args::job(Some(file), &ArchiveArgs::default(), &overrides)?, None)
    } else {
        let stage = story::set_up(Plot::Rich, &say, &context.cancel).boxed().await?;
        (Job { checks: Vec::new(), ..stage.job.clone() }, Some(stage))
    };
    let store: SharedStore = store::open(&job).await?;
    let mut tiers: Vec<Tier> = args.tiers.iter().map(|tier| (*tier).into()).collect();
    tiers.sort_unstable();
    tiers.dedup();
    let request = SelftestRequest {
        job,
        store: Arc::clone(&store),
        tiers: (!tiers.is_empty()).then_some(tiers),
        only: args.only,
        seed: args.seed,
        cancel: context.cancel.clone(),
    };
    let report = selftest::run(&request, &say).boxed().await?;
    runner::deliver_selftest(&request.job, &report).await;
    match args.output {
        Output::Human => console.data(&report::selftest::render(&report, console.style()))?,
        Output::Json => console.json(&report::selftest::json(&report))?,
    }
    Ok(u8::from(!report.is_good()))
}

fn list(args: &SelftestArgs, context: &Context) -> Outcome {
    let all = damages::all();
    match args.output {
        Output::Human => {
            let width = all.iter().map(|damage| damage.name.len()).max().unwrap_or(0);
            let line = |d: &selftest::damage::Damage| {
                format!("{:width$}  {:7}  {}\n", d.name, d.tier.name(), d.what)
            };
            context.console.data(&all.iter().map(line).collect::<String>())?;
        }
        Output::Json => {
            let damages: Vec<_> = all
                .iter()
                .map(|d| {
                    json!({
                        "name": d.name, "what": d.what, "classes": d.classes,
                        "verdict": d.verdict, "tier": d.tier,
                    })
                })
                .collect();
            context.console.json(&json!({ "schema_version": 1, "damages": damages }))?;
        }
    }
    Ok(0)
}
