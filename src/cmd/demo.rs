//! `pgassay demo`: a whole drill on this machine.

use clap::Args;

use super::{Context, Outcome, console::Output};
use crate::{
    demo::story::{self, Plot},
    report,
    runner::{self, DrillRequest},
    telemetry::progress_bar,
};

const LONG: &str = "\
Makes a small cluster, lets the real barman-cloud archive it to an S3 server inside this process, loses
the cluster, and drills the archive. Nothing is left behind.

Needs a PostgreSQL server of major 14 to 18 and barman-cloud; `make demo` installs both.";

/// Try a whole drill on this machine, with an archive made on the spot
#[derive(Debug, Args)]
#[command(long_about = LONG)]
pub(super) struct DemoArgs {
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
}

pub(super) async fn run(args: DemoArgs, context: &Context) -> Outcome {
    let console = &context.console;
    let say = |line: String| console.talk(&line);
    let stage = story::set_up(Plot::Short, &say, &context.cancel).await?;
    say("drilling what is left: the archive".into());
    let request = DrillRequest {
        job: stage.job.clone(),
        seed: None,
        beginning: None,
        progress: progress_bar::for_stderr(console.is_quiet(), console.stderr_color()),
        cancel: context.cancel.clone(),
        helper: None,
    };
    let report = Box::pin(runner::drill(request)).await?;
    drop(stage);
    console.data(&match args.output {
        Output::Human => report::terminal::render(&report, console.style()),
        Output::Json => report::json::render(&report),
    })?;
    Ok(report.verdict.exit_code())
}
