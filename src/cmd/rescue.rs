//! `pgassay rescue`: a backup restored for good.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, Output, usage},
    job_args::{self, ArchiveArgs, OverrideArgs, PointArgs},
};
use crate::{
    drill::{FailureClass, job::BackupChoice},
    report::{
        plan::{self as view, PlanView},
        rescue as report,
    },
    runner::{
        PlanOutcome,
        rescue::{self, RescueRequest},
    },
    telemetry::progress_bar,
};

const HELP: &str = help!(
    "Restores a backup for good, into a folder that you start PostgreSQL from: for the night in which"
    "production is gone."
    ""
    "Base backup and WAL are verified to the last byte, PostgreSQL recovers them without a network and"
    "with archiving off, and is stopped again. Then DIR is what production's data directory was, with"
    "its own configuration, roles and passwords. The report says up to where the data is there, what is"
    "missing, and what to do next, in order. The archive is only ever read."
    ""
    "DIR must not exist, or be empty. Until the cluster is whole everything lies in DIR.pgassay-rescue:"
    "whatever breaks a rescue off, the same command goes on from there."
);

const EXAMPLES: &str = "\
Examples:
  pgassay rescue orders.yaml /srv/pg/main --plan     which backup, which WAL, how much disk
  pgassay rescue orders.yaml /srv/pg/main
  pgassay rescue orders.yaml /srv/pg/main --target-time 2026-11-22T03:59:00Z
  pgassay rescue /srv/pg/main --s3-url s3://backups/postgres --server orders

Exit status:
  0  the cluster is in DIR, with all that the archive holds up to the target
  1  something is missing or damaged: the report says what; DIR may hold what could be had
  2  the command line, the job or DIR is wrong
  4  the machine, the store or a tool failed, or could not tell; the same command goes on
  130, 143  stopped by a signal; the same command goes on";

/// Restore a backup for good, into a folder to start PostgreSQL from
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES, allow_missing_positional = true)]
pub(super) struct RescueArgs {
    /// A job file, as `pgassay init` writes it
    pub job: Option<PathBuf>,
    /// The data directory to be
    #[arg(required = true)]
    pub dir: PathBuf,
    /// Show what would be restored, how much that is and why; do nothing
    #[arg(long)]
    pub plan: bool,
    /// Go on with a damaged base backup, and leave its damage in the cluster
    #[arg(long)]
    pub accept_damage: bool,
    /// Remove what an interrupted rescue into DIR has left, and begin again
    #[arg(long)]
    pub anew: bool,
    /// Put a tablespace there, on DIR's file system; without it into DIR.tablespaces
    #[arg(long, value_name = "OID=FOLDER")]
    pub tablespace: Vec<String>,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    #[command(flatten)]
    pub point: PointArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

pub(super) async fn run(args: RescueArgs, context: &Context) -> Outcome {
    let overrides = OverrideArgs { point: args.point.clone(), ..OverrideArgs::default() };
    let job = job_args::job(args.job.as_deref(), &args.archive, &overrides)?;
    if args.point.backup.is_some()
        && !matches!(job.recovery_point.backup, BackupChoice::Latest | BackupChoice::Id(_))
    {
        return Err(usage(
            "`--backup` of a rescue is `latest` or a backup's id",
            "The other choices are there to drill another backup each time.",
        ));
    }
    let console = &context.console;
    let request = RescueRequest {
        job,
        dir: job_args::absolute(Some(&args.dir))?.unwrap_or_default(),
        tablespaces: tablespaces(&args.tablespace)?,
        accept_damage: args.accept_damage,
        anew: args.anew,
        seed: None,
        progress: progress_bar::for_stderr(console.is_quiet(), console.stderr_color()),
        cancel: context.cancel.clone(),
        helper: None,
    };
    if args.plan {
        return plan(&request, args.output, context).await;
    }
    let report = Box::pin(rescue::rescue(request)).await?;
    console.data(&match args.output {
        Output::Human => report::render(&report, console.style()),
        Output::Json => report::json(&report),
    })?;
    Ok(report.exit_code())
}

/// Prints the plan. The exit status is what the rescue's would be at least.
async fn plan(request: &RescueRequest, output: Output, context: &Context) -> Outcome {
    let planned = rescue::plan_only(request).await?;
    let view = PlanView {
        job: &request.job,
        outcome: match &planned.outcome {
            PlanOutcome::Planned(plan) => Ok(plan),
            PlanOutcome::Refused(refusal) => Err(refusal),
        },
        free_disk: planned.free_disk,
    };
    match output {
        Output::Human => context.console.data(&view::render(&view, context.console.style()))?,
        Output::Json => context.console.json(&view::json(&view))?,
    }
    let findings = match planned.outcome {
        PlanOutcome::Planned(plan) => plan.findings,
        PlanOutcome::Refused(refusal) => refusal.findings,
    };
    let mut classes = findings.iter().map(|finding| finding.class);
    Ok(match findings.as_slice() {
        [] => 0,
        _ if classes.all(FailureClass::is_environment) => super::console::EXIT_INCONCLUSIVE,
        _ => 1,
    })
}

/// `OID=FOLDER`.
fn tablespaces(given: &[String]) -> Result<BTreeMap<u32, PathBuf>, Failure> {
    let mut places = BTreeMap::new();
    for text in given {
        let wrong = || {
            usage(
                format!("`--tablespace {text}` is not `OID=FOLDER`"),
                "Name the tablespace by its OID, which `backup.info` has.",
            )
        };
        let (oid, folder) = text.split_once('=').ok_or_else(wrong)?;
        let oid: u32 = oid.parse().map_err(|_| wrong())?;
        if folder.is_empty() {
            return Err(wrong());
        }
        let folder = job_args::absolute(Some(folder.as_ref()))?.unwrap_or_default();
        if places.insert(oid, folder).is_some() {
            return Err(usage(
                format!("`--tablespace` names {oid} twice"),
                "Name one folder for each.",
            ));
        }
    }
    Ok(places)
}
