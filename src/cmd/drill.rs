//! `pgassay drill`: one drill now.

use std::path::PathBuf;

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::Output,
    doctor::machine,
    format::Format,
    job_args::{self, ArchiveArgs, OverrideArgs},
};
use crate::{
    drill::{
        CheckOutcome, Code, Error,
        report::CheckReport,
        verdict::{self, Evidence},
    },
    report::plan::{self as view, PlanView},
    runner::{self, DrillRequest, PlanOutcome},
    telemetry::progress_bar,
};

const HELP: &str = help!(
    "Restores a backup into a cluster of its own, examines it and removes it."
    ""
    "What to restore is said by a job file, or by `--s3-url` and `--server`. The report goes to"
    "stdout; its verdict is the exit status: 0 pass, 1 fail, 3 breach, 4 inconclusive."
);

const EXAMPLES: &str = "\
Examples:
  pgassay drill orders.yaml --plan          what would be restored, and why; fetches nothing
  pgassay drill orders.yaml
  pgassay drill orders.yaml --target-time 2026-11-22T04:00:00Z --output json
  pgassay drill orders.yaml --output junit > drill.xml
  pgassay drill --s3-url s3://backups/postgres --server orders --rto 4h --rpo 15m";

/// Restore a backup, examine it, say how long it took and what would be lost
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES)]
pub(super) struct DrillArgs {
    /// A job file, as `pgassay init` writes it
    pub job: Option<PathBuf>,
    /// Show what would be restored, how much that is and why; fetch and restore nothing
    #[arg(long)]
    pub plan: bool,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Format,
    /// Makes random choices the same again; a report names its seed
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// This is the job's first drill: `rowFloor` has none to compare with, and lets it pass
    #[arg(long)]
    pub first: bool,
    #[command(flatten)]
    pub overrides: OverrideArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

pub(super) async fn run(args: DrillArgs, context: &Context) -> Outcome {
    let plan_as = if args.plan { Some(args.output.plain("a plan")?) } else { None };
    let mut job = job_args::job(args.job.as_deref(), &args.archive, &args.overrides)?;
    if args.first {
        let message = "`--first` is for the check `rowFloor`, which the job does not have";
        let error = || Error::new(Code::JobInvalid, message).hint("Leave `--first` out.");
        job.row_floor_mut().ok_or_else(error)?.first = true;
    }
    let console = &context.console;
    let request = DrillRequest {
        job,
        seed: args.seed,
        beginning: None,
        progress: progress_bar::for_stderr(console.is_quiet(), console.stderr_color()),
        cancel: context.cancel.clone(),
        helper: None,
    };
    if let Some(output) = plan_as {
        return plan(&request, output, context).await;
    }
    let report = Box::pin(runner::drill(request)).await?;
    console.data(&args.output.drill(&report, console.style())?)?;
    Ok(report.verdict.exit_code())
}

/// Prints the plan. The exit status is what the drill's would be at least: 1 where the listing alone
/// shows that the backup is not good.
async fn plan(request: &DrillRequest, output: Output, context: &Context) -> Outcome {
    let outcome = runner::plan_only(request).await?;
    let view = PlanView {
        job: &request.job,
        outcome: match &outcome {
            PlanOutcome::Planned(plan) => Ok(plan),
            PlanOutcome::Refused(refusal) => Err(refusal),
        },
        free_disk: machine::free_disk(request.job.sandbox.work_dir.as_deref()),
    };
    match output {
        Output::Human => context.console.data(&view::render(&view, context.console.style()))?,
        Output::Json => context.console.json(&view::json(&view))?,
    }
    let findings = match outcome {
        PlanOutcome::Planned(plan) => plan.findings,
        PlanOutcome::Refused(refusal) => refusal.findings,
    };
    let said = if findings.is_empty() {
        CheckOutcome::Passed(String::new())
    } else {
        CheckOutcome::Failed(findings)
    };
    let checks = [CheckReport::new("plan", said, 0.0)];
    let evidence =
        Evidence { checks: &checks, errored: false, rto_exceeded: false, rpo_exceeded: false };
    Ok(verdict::fold(evidence).exit_code())
}
