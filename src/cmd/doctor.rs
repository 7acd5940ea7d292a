//! `pgassay doctor`: what this machine lacks for a drill, and whether the archive can be reached.

mod archive;
pub(super) mod machine;

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    Context, Outcome,
    cli::help,
    console::{EXIT_INCONCLUSIVE, EXIT_USAGE, Output},
    job_args::{self, ArchiveArgs, OverrideArgs},
};
use crate::{
    config::flags::default_sandbox,
    drill::{Code, Error, error::ErrorKind, format::printable},
};

const HELP: &str = help!(
    "Looks at what a drill needs: PostgreSQL, an unprivileged user, room on a disk, a network"
    "namespace; and with a job, whether its archive can be reached and read. Changes nothing."
);

const EXAMPLES: &str = "\
Examples:
  pgassay doctor
  pgassay doctor orders.yaml
  pgassay doctor --s3-url s3://backups/postgres --server orders --output json

Exit status: 0 nothing is missing, 2 the job or what it names is wrong, 4 something is missing";

/// Say what this machine lacks for a drill
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// A job file, to look at its archive too
    pub job: Option<PathBuf>,
    /// How to print the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    /// Folder below which the restored cluster would live
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    /// A drill works, with a restriction.
    Warn,
    /// A drill cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Probe {
    name: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The error's code, where one was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip)]
    usage: bool,
}

impl Probe {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), hint: None, code: None, usage: false }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What an error says is missing.
    fn failed(name: &'static str, error: &Error) -> Self {
        Self {
            name,
            status: Status::Missing,
            detail: error.message.clone(),
            hint: error.hint.clone(),
            code: Some(error.code.as_str()),
            usage: error.code.kind() == ErrorKind::Usage,
        }
    }
}

pub(super) async fn run(args: DoctorArgs, context: &Context) -> Outcome {
    let wants_archive = args.job.is_some() || !args.archive.is_empty();
    let overrides = OverrideArgs { work_dir: args.work_dir.clone(), ..OverrideArgs::default() };
    let job = if wants_archive {
        Some(job_args::job(args.job.as_deref(), &args.archive, &overrides)?)
    } else {
        None
    };
    let mut sandbox = job.as_ref().map_or_else(default_sandbox, |job| job.sandbox.clone());
    if args.work_dir.is_some() {
        sandbox.work_dir.clone_from(&args.work_dir);
    }
    let mut probes = machine::probe(&sandbox).await;
    if let Some(job) = &job {
        let look = archive::probe(job);
        let Some(found) = context.cancel.run_until_cancelled(Box::pin(look)).await else {
            return Err(Error::new(Code::Interrupted, "stopped while looking around").into());
        };
        probes.extend(found);
    }
    let missing = |probe: &&Probe| probe.status == Status::Missing;
    let ready = !probes.iter().any(|probe| missing(&probe));
    match args.output {
        Output::Human => context.console.data(&render(&probes, context.console.style().color))?,
        Output::Json => context.console.json(&json!({ "ready": ready, "probes": probes }))?,
    }
    Ok(match (ready, probes.iter().filter(missing).any(|probe| probe.usage)) {
        (true, _) => 0,
        (false, true) => EXIT_USAGE,
        (false, false) => EXIT_INCONCLUSIVE,
    })
}

/// One line for each probe, the hint below it.
fn render(probes: &[Probe], color: bool) -> String {
    let width = probes.iter().map(|probe| probe.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for probe in probes {
        let (word, code) = match probe.status {
            Status::Ok => ("ok", "32"),
            Status::Warn => ("warn", "33"),
            Status::Missing => ("missing", "31"),
        };
        let word = format!("{word:7}");
        let word = if color { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word };
        let _ = writeln!(text, "{word}  {:width$}  {}", probe.name, printable(&probe.detail));
        if let Some(hint) = &probe.hint {
            let _ = writeln!(text, "{:7}  {:width$}  hint: {}", "", "", printable(hint));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_status_name_detail_and_hint() {
        let error = Error::new(Code::AccessDenied, "the store refuses").hint("Give it the right.");
        let probes = [
            Probe::ok("postgresql", "PostgreSQL 15.18"),
            Probe::new("network", Status::Warn, "x"),
            Probe::failed("bucket", &error),
        ];
        insta::assert_snapshot!(render(&probes, false));
    }
}
