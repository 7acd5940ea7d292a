//! `pgassay verify`: every byte of an archive read, nothing restored.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::Output,
    job_args::{self, ArchiveArgs, OverrideArgs, PointArgs},
    ledger_file::LedgerFile,
};
use crate::{
    config::flags::size,
    drill::verify_report::Scope,
    report::verify as view,
    store,
    telemetry::progress_bar,
    verify::{self, Sparing, VerifyOptions, ledger::Budget},
};

const HELP: &str = help!(
    "Reads every byte of an archive, without PostgreSQL and without a disk."
    ""
    "Every tar is decoded and read to its last block, every page's checksum is computed (a page torn"
    "by being copied is told from a damaged one by the WAL), `pg_control` and `backup_label` are held"
    "against `backup.info`, and of the WAL of every timeline every page header and the CRC of every"
    "record is checked. For each backup it says how far a recovery gets, to the last commit."
    "With `--recovery-point` only what the job's own recovery point needs is read."
    "With `--ledger` it remembers what was good and reads that again only when it has changed, or when"
    "its turn has come: each day a seventh of it, all of it within a week. `pgassay drill` never"
    "trusts a ledger."
);

const AFTER: &str = "\
Examples:
  pgassay verify orders.yaml
  pgassay verify orders.yaml --recovery-point --target-time 2026-11-22T04:00:00Z
  pgassay verify orders.yaml --ledger /var/lib/pgassay/orders.ledger --max-bytes 500GiB
  pgassay verify --s3-url s3://backups/postgres --server orders --output json

Exit status:
  0  pass: all that was read is good
  1  fail: a backup or WAL that a recovery reads is damaged, or the latest backup lacks something
  4  inconclusive: the store failed, the budget left something unread, or something cannot be told
     from here

Damage in WAL that no backup needs, and what is missing for older backups only, is listed under
`Attention` and changes no exit status. What only a real recovery shows is for `pgassay drill`.
Memory stays below 128 MiB with WAL segments of up to 64 MiB, however large the archive is; of
larger segments one is held at a time.";

/// Read every byte of an archive: tars, pages, WAL records; restores nothing
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct VerifyArgs {
    /// A job file, as `pgassay init` writes it
    pub job: Option<PathBuf>,
    /// Read only what the recovery point needs: one backup, and the WAL up to the target
    #[arg(long)]
    pub recovery_point: bool,
    /// `latest`, `random` or a backup's id
    #[arg(long, value_name = "CHOICE", requires = "recovery_point")]
    pub backup: Option<String>,
    /// Recover to this time, with its UTC offset, such as 2026-11-22T04:00:00Z
    #[arg(long, value_name = "TIME", group = "point", requires = "recovery_point")]
    pub target_time: Option<String>,
    /// Recover to this position in the WAL, such as 16/B374D848
    #[arg(long, value_name = "LSN", group = "point", requires = "recovery_point")]
    pub target_lsn: Option<String>,
    /// Recover to the first consistent point only
    #[arg(long, group = "point", requires = "recovery_point")]
    pub target_immediate: bool,
    /// Remember in this file what was good, and trust it while it is unchanged
    #[arg(long, value_name = "FILE", conflicts_with = "recovery_point")]
    pub ledger: Option<PathBuf>,
    /// Read no more than this, such as 500GiB; the next run goes on where this one ends
    #[arg(long, value_name = "SIZE", requires = "ledger", value_parser = size)]
    pub max_bytes: Option<u64>,
    /// Read no more objects than this
    #[arg(long, value_name = "NUMBER", requires = "ledger")]
    pub max_requests: Option<u64>,
    /// Read no longer than this
    #[arg(long, value_name = "NUMBER", requires = "ledger")]
    pub max_minutes: Option<u32>,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    /// Makes random choices the same again
    #[arg(long, value_name = "NUMBER", requires = "recovery_point")]
    pub seed: Option<u64>,
    /// Name of the job in the report
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

pub(super) async fn run(args: VerifyArgs, context: &Context) -> Outcome {
    let overrides = OverrideArgs {
        name: args.name.clone(),
        point: PointArgs {
            backup: args.backup.clone(),
            target_time: args.target_time.clone(),
            target_lsn: args.target_lsn.clone(),
            target_immediate: args.target_immediate,
            ..PointArgs::default()
        },
        ..OverrideArgs::default()
    };
    let job = job_args::job(args.job.as_deref(), &args.archive, &overrides)?;
    let console = &context.console;
    let ledger = match &args.ledger {
        Some(path) => Some(LedgerFile::open(path, &job.archive, console)?),
        None => None,
    };
    let progress = progress_bar::for_stderr(console.is_quiet(), console.stderr_color());
    let store = store::open(&job).await?;
    let report = if let Some(mut file) = ledger {
        let time = args.max_minutes.map(|minutes| Duration::from_mins(minutes.into()));
        let budget = Budget { bytes: args.max_bytes, requests: args.max_requests, time };
        let mut sparing = Sparing { ledger: &mut file.ledger, budget };
        let read = verify::verify_sparing(&store, &job, &mut sparing, &progress, &context.cancel);
        let report = Box::pin(read).await;
        // What was read is known also where the run broke off; and a verdict stands without it.
        if let Err(error) = file.save() {
            console.error(&error.into());
        }
        report?
    } else {
        let scope = if args.recovery_point { Scope::RecoveryPoint } else { Scope::Archive };
        let options = VerifyOptions { scope, seed: args.seed.unwrap_or_else(rand::random) };
        Box::pin(verify::verify(&store, &job, options, &progress, &context.cancel)).await?
    };
    console.data(&match args.output {
        Output::Human => view::render(&report, console.style()),
        Output::Json => view::json(&report),
    })?;
    Ok(report.verdict.exit_code())
}
