//! `pgassay sweep`: removes sandboxes that no live drill owns.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{
    Context, Outcome,
    cli::help,
    console::{EXIT_INCONCLUSIVE, Output},
};
use crate::{
    drill::{Code, Error},
    engine::native::{
        place,
        sweep::{Fate, sweep},
    },
};

const HELP: &str = help!(
    "Removes restored clusters that a killed drill left behind, and kept ones whose time is over."
    "What a running drill owns is never touched."
);

/// Remove what killed drills left behind
#[derive(Debug, Args)]
#[command(help_template = HELP)]
pub(super) struct SweepArgs {
    /// Folder below which drills worked [default: every folder that drills use by default]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// How to print the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
}

pub(super) async fn run(args: SweepArgs, context: &Context) -> Outcome {
    if let Some(named) = &args.work_dir
        && !named.is_dir()
    {
        return Err(Error::new(
            Code::WorkDirectory,
            format!("there is no folder `{}`", named.display()),
        )
        .hint("Name the folder that drills work in with `--work-dir`, or leave it out.")
        .into());
    }
    let (mut entries, mut text, mut failed) = (Vec::new(), String::new(), false);
    for parent in place::parents(args.work_dir.as_deref()) {
        for swept in sweep(&parent, Timestamp::now(), args.dry_run).await {
            let (fate, more) = match &swept.fate {
                Fate::Live => ("live", String::new()),
                Fate::Kept(until) => ("kept", format!(" until {until}")),
                Fate::Removed => ("removed", String::new()),
                Fate::Leaked => ("leaked", String::new()),
                Fate::Failed(why) => ("failed", format!(": {why}")),
            };
            failed |= fate == "failed";
            let job = swept.record.map(|record| record.job);
            let of = job.as_ref().map_or_else(String::new, |job| format!(" of job `{job}`"));
            let _ = writeln!(text, "{fate:7}  {}{of}{more}", swept.path.display());
            entries.push(json!({
                "path": swept.path.display().to_string(),
                "fate": fate,
                "job": job,
                "detail": more.trim_start_matches([':', ' ']),
            }));
        }
    }
    match args.output {
        Output::Human if entries.is_empty() => context.console.talk("nothing is left behind"),
        Output::Human => context.console.data(&text)?,
        Output::Json => context.console.json(&json!({ "sandboxes": entries }))?,
    }
    Ok(if failed { EXIT_INCONCLUSIVE } else { 0 })
}
