//! `pgassay catalog`: what an archive holds, by its listing.

use std::path::PathBuf;

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::Output,
    job_args::{self, ArchiveArgs, OverrideArgs},
};
use crate::{report::catalog as view, runner, store, telemetry::progress_bar};

const HELP: &str = help!(
    "Lists an archive once and says of every backup how far it restores, and what is in the way."
    ""
    "Reads the listing, `backup.info` and the history files, no base backup and no WAL: damage"
    "inside of objects is for `pgassay verify` and `pgassay drill`. What is judged is what a"
    "restore of the latest backup to the newest WAL would do, whatever the job's recovery point."
);

const AFTER: &str = "\
Examples:
  pgassay catalog orders.yaml
  pgassay catalog orders.yaml --output json
  pgassay catalog --s3-url s3://backups/postgres --server orders --rpo 15m

Exit status:
  0  pass: by the listing the latest backup restores to the newest WAL
  1  fail: it does not, or nothing can be restored; `Findings` says why
  3  breach: the newest WAL that a recovery reaches is older than the RPO objective
  4  inconclusive: the store failed, or something cannot be told from here

What is wrong with older backups only, such as a gap that a newer backup lies behind, is listed under
`Attention` and leaves the status at 0: a restore on a bad day takes the latest one. To be told of it
by a drill, set `recoveryPoint.backup: retentionEdge` or `worstCase` in a job.";

/// List backups, how far each restores, gaps and stray timelines; reads no data
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct CatalogArgs {
    /// A job file, as `pgassay init` writes it
    pub job: Option<PathBuf>,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    /// Most that may be lost, such as `15m`: instead of what the job says
    #[arg(long, value_name = "DURATION")]
    pub rpo: Option<String>,
    /// Name of the job in the report
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

pub(super) async fn run(args: CatalogArgs, context: &Context) -> Outcome {
    let overrides =
        OverrideArgs { rpo: args.rpo.clone(), name: args.name.clone(), ..OverrideArgs::default() };
    let job = job_args::job(args.job.as_deref(), &args.archive, &overrides)?;
    let console = &context.console;
    let progress = progress_bar::for_stderr(console.is_quiet(), console.stderr_color());
    let store = store::open(&job).await?;
    let report = runner::catalog::examine(&store, &job, &progress, &context.cancel).await?;
    console.data(&match args.output {
        Output::Human => view::render(&report, console.style()),
        Output::Json => view::json(&report),
    })?;
    Ok(report.verdict.exit_code())
}
