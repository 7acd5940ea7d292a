//! `pgassay check`: is a job file right? Looks at nothing but the files.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Context, Outcome,
    cli::help,
    console::{EXIT_USAGE, Failure, Output, usage},
    job_args,
};
use crate::drill::Job;

const HELP: &str = help!(
    "Checks job files: every unknown field, missing value and wrong unit at once, each with its"
    "line and what to write instead. Touches nothing but the files."
);

const EXAMPLES: &str = "\
Examples:
  pgassay check orders.yaml
  pgassay check jobs/*.yaml --output json";

/// Check job files without touching the network
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Job files; several must not share a name
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<PathBuf>,
    /// How to print the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
}

/// Every file is looked at, also after a bad one. With JSON, stdout has one entry for each file.
pub(super) fn run(args: &CheckArgs, context: &Context) -> Outcome {
    let console = &context.console;
    let mut files: Vec<(String, Result<Job, Failure>)> = Vec::new();
    for path in &args.jobs {
        let file = path.display().to_string();
        let mut job = job_args::read(path);
        if let Ok(valid) = &job {
            let same = |other: &&(String, Result<Job, Failure>)| {
                other.1.as_ref().is_ok_and(|other| other.name == valid.name)
            };
            if let Some((other, _)) = files.iter().find(same) {
                job = Err(usage(
                    format!("`{file}` and `{other}` both name their job `{}`", valid.name),
                    "Give each job a name of its own: metrics and locks tell them apart by it.",
                ));
            }
        }
        files.push((file, job));
    }
    let mut entries = Vec::new();
    for (file, job) in &files {
        match job {
            Ok(job) if args.output == Output::Human => {
                console.data(&format!("{file}: ok, {}\n", describe(job)))?;
            }
            Ok(job) => entries.push(json!({"file": file, "valid": true, "name": job.name})),
            Err(failure) => {
                console.error(failure);
                let mut entry = failure.json();
                entry["file"] = json!(file);
                entry["valid"] = json!(false);
                entries.push(entry);
            }
        }
    }
    if args.output == Output::Json {
        console.json(&json!({ "jobs": entries }))?;
    }
    Ok(if files.iter().all(|(_, job)| job.is_ok()) { 0 } else { EXIT_USAGE })
}

/// A job in one line.
fn describe(job: &Job) -> String {
    let store = &job.archive.store;
    let slash = if store.prefix.is_empty() { "" } else { "/" };
    format!(
        "job `{}` restores `{}` from `s3://{}{slash}{}`",
        job.name, job.archive.server, store.bucket, store.prefix
    )
}
