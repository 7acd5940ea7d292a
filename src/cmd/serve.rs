//! `pgassay serve`: every job of a folder on its schedule.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, usage},
    job_args::{absolute, base_directory},
};
use crate::{
    config::flags::{BudgetFlags, ServiceFlags},
    service::{self, Settings},
};

const HELP: &str = help!(
    "Drills every job of a folder on its schedule, for as long as it runs."
    ""
    "Jobs say when: `schedule` and `timeZone`, `after: backup`, and `start` for a window, a deadline, what"
    "becomes of missed slots and of slots during a drill, and a priority. The folder is looked at every few"
    "seconds: jobs that are added, changed or removed count from then on, and a broken file stops nobody."
    "Reports go where each job says; `pgassay history` lists them."
    ""
    "When it is stopped, drills that run have the grace period to end, and are torn down then. When it was"
    "killed, the next start reports what was running as inconclusive, and slots that have come since are made"
    "up for as their jobs say."
);

const AFTER: &str = "\
Examples:
  pgassay serve --jobs /etc/pgassay/jobs
  pgassay serve --jobs jobs/ --max-drills 4 --max-disk 2TiB --max-bandwidth 400MiB/s --grace 10m";

/// Drill every job of a folder on its schedule
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct ServeArgs {
    /// Folder with job files, `*.yaml`
    #[arg(long, value_name = "DIR")]
    pub jobs: PathBuf,
    /// Folder for what must outlive a kill [default: `STATE_DIRECTORY`, else pgassay in `XDG_STATE_HOME`,
    /// else ~/.local/state/pgassay]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Drills that run may take so long to end when the service is stopped
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub grace: String,
    /// Spreads drills over their windows, the same after a restart
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub budgets: BudgetArgs,
}

/// Flags that bound all drills together.
#[expect(clippy::struct_field_names, reason = "they are the flags' names")]
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "All drills together")]
pub(super) struct BudgetArgs {
    /// Most drills at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_drills: u32,
    /// Most disk, by the `sandbox.diskBudget` of each; a job without one counts for none
    #[arg(long, value_name = "BYTES")]
    pub max_disk: Option<String>,
    /// Most memory, by the `sandbox.memory` of each
    #[arg(long, value_name = "BYTES")]
    pub max_memory: Option<String>,
    /// Most bandwidth, by the `limits.bandwidth` of each; a job without one counts for none
    #[arg(long, value_name = "RATE")]
    pub max_bandwidth: Option<String>,
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Outcome {
    let flags = ServiceFlags {
        grace: args.grace.clone(),
        budgets: BudgetFlags {
            disk: args.budgets.max_disk.clone(),
            memory: args.budgets.max_memory.clone(),
            bandwidth: args.budgets.max_bandwidth.clone(),
        },
    };
    let spec = flags.read()?;
    let settings = Settings {
        jobs: absolute(Some(&args.jobs))?.unwrap_or_default(),
        state: state(args.state.as_deref())?,
        budgets: service::Budgets {
            drills: std::num::NonZeroU32::new(args.budgets.max_drills)
                .unwrap_or(std::num::NonZeroU32::MIN),
            disk: spec.disk,
            memory: spec.memory,
            bandwidth: spec.bandwidth,
        },
        grace: spec.grace,
        seed: args.seed,
        helper: None,
    };
    service::serve(settings, context.cancel.clone()).await?;
    Ok(0)
}

fn state(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if given.is_some() {
        return Ok(absolute(given)?.unwrap_or_default());
    }
    base_directory("STATE_DIRECTORY")
        .or_else(|| Some(base_directory("XDG_STATE_HOME")?.join("pgassay")))
        .or_else(|| Some(base_directory("HOME")?.join(".local/state/pgassay")))
        .ok_or_else(|| {
            usage(
                "there is no folder for the state of the service: `HOME` is not set",
                "Name one with `--state DIR`.",
            )
        })
}
