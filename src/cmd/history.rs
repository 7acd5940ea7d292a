//! `pgassay history`: past drills, and the removal of old reports.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{
    Context, Outcome,
    cli::help,
    console::{Output, usage},
    store_args::{Sources, StoreArgs},
};
use crate::{
    config::flags::{Span, SpanFlags},
    drill::Verdict,
    report::{
        history as view,
        kept::Wanted,
        prune::{self, Policy},
    },
};

const HELP: &str = help!(
    "Lists past drills from kept reports, the newest first."
    ""
    "What a report says in short is remembered in a file of this user, so that a long history is"
    "read once only. With `--prune` old reports are removed instead: those that `--older-than` and"
    "`--keep` both let go. The newest pass of a job, its newest sound drill, the newest one that"
    "counted rows (`rowFloor` compares with it) and reports that cannot be read and might be one"
    "of these are never removed."
);

const AFTER: &str = "\
Examples:
  pgassay history orders.yaml
  pgassay history --store s3://drill-reports/all --since 30d --verdict fail --verdict inconclusive
  pgassay history --jobs jobs/ --job orders-nightly --limit 5 --output json
  pgassay history orders.yaml --prune --older-than 400d --keep 30 --dry-run";

/// List past drills from kept reports; remove old reports
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct HistoryArgs {
    /// Job files whose `report.store` is read, for these jobs
    #[arg(value_name = "JOB")]
    pub files: Vec<PathBuf>,
    /// Only drills of the job of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub job: Vec<String>,
    /// Only drills that ended so: `pass`, `breach`, `fail` or `inconclusive`; may be given several times
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub verdict: Vec<Verdict>,
    /// From this time on: `30d` ago, a date, or a time with its UTC offset
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Most drills to list
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
    /// How to print the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    #[command(flatten)]
    pub prune: PruneArgs,
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// Flags that remove reports.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Removing reports")]
pub(super) struct PruneArgs {
    /// Remove old reports; needs `--older-than`, `--keep` or both
    #[arg(long, conflicts_with_all = ["verdict", "since", "until", "limit"])]
    pub prune: bool,
    /// Only reports older than that, such as `400d`
    #[arg(long, value_name = "DURATION", requires = "prune")]
    pub older_than: Option<String>,
    /// Never one of the newest so many of its job
    #[arg(long, value_name = "NUMBER", requires = "prune")]
    pub keep: Option<usize>,
    /// Only say what would be removed
    #[arg(long, requires = "prune")]
    pub dry_run: bool,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
    known.ok_or_else(|| "it is none of `pass`, `breach`, `fail` and `inconclusive`".to_owned())
}

pub(super) async fn run(args: HistoryArgs, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let flags = SpanFlags {
        since: args.since.clone(),
        until: args.until.clone(),
        older_than: args.prune.older_than.clone(),
    };
    let span = flags.read(now)?;
    if args.prune.prune {
        let policy = Policy { older_than: span.older_than, keep: args.prune.keep };
        if policy == Policy::default() || policy.keep == Some(0) {
            return Err(usage(
                "`--prune` is not told what to leave",
                "Add `--older-than 400d`, `--keep 30` or both; `--keep` is at least 1.",
            ));
        }
        let sources = args.stores.open(&args.files, &context.console).await?;
        return prune(&args, policy, &sources, now, context).await;
    }
    let sources = args.stores.open(&args.files, &context.console).await?;
    let told = list(&args, span, &sources).await?;
    let console = &context.console;
    match args.output {
        Output::Human if told.is_empty() => console.talk("no such drill is kept"),
        Output::Human => console.data(&view::render(&told, console.style()))?,
        Output::Json => console.json(&view::json(&told))?,
    }
    Ok(0)
}

async fn list(
    args: &HistoryArgs,
    span: Span,
    sources: &Sources,
) -> Result<Vec<crate::report::past::Told>, crate::drill::Error> {
    // The verdict is no part of a name: what has another one takes no place of the limit.
    let limit = args.verdict.is_empty().then_some(args.limit);
    let wanted =
        Wanted { jobs: args.job.clone(), since: span.since, until: span.until, each: None, limit };
    let mut told = sources.read(&wanted, &args.verdict).await?;
    told.truncate(args.limit);
    Ok(told)
}

async fn prune(
    args: &HistoryArgs,
    policy: Policy,
    sources: &Sources,
    now: Timestamp,
    context: &Context,
) -> Outcome {
    let mut plans = Vec::new();
    for source in &sources.stores {
        let Some(jobs) = source.of(&args.job) else { continue };
        let planned = prune::plan(&source.reader, &jobs, policy, now).await?;
        if !args.prune.dry_run {
            prune::carry_out(&source.reader, &planned).await?;
        }
        plans.extend(planned);
    }
    let console = &context.console;
    match args.output {
        Output::Human => {
            console.data(&view::pruned(&plans, args.prune.dry_run, console.style()))?;
        }
        Output::Json => console.json(&view::pruned_json(&plans, args.prune.dry_run))?,
    }
    Ok(0)
}
