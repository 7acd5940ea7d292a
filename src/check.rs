//! Checks: named examinations of a recovered cluster that yield findings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    drill::{
        CheckOutcome, Job,
        expectation::Promise,
        job::{CheckSpec, Depth},
        reached::Reached,
        report::{CheckReport, CheckStatus},
        row_floor::KnownFloor,
    },
    engine::{ClusterAccess, Redacted},
    pg::{conf::Preloads, relation_file::RelationFile},
    telemetry::{Progress, progress::ProgressEvent},
};

pub mod amcheck;
pub mod checksums;
pub mod connection;
mod databases;
pub mod extensions;
pub mod failure;
pub mod files;
pub mod foreign_keys;
pub mod heartbeat;
pub mod index_entries;
pub mod index_pages;
pub mod login_roles;
pub mod reached;
pub mod read_all;
pub mod row_floor;
pub mod sequences;
pub mod sql;
mod workers;

pub use connection::{databases, first_write};

/// When a check may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// While the server answers queries.
    Running,
    /// After a clean stop, on the files.
    Stopped,
}

/// What checks look at.
#[derive(Clone, Debug)]
pub struct CheckContext {
    pub promise: Option<Promise>,
    pub reached: Reached,
    pub cluster: ClusterAccess,
    pub progress: Progress,
    pub cancel: CancellationToken,
    /// The drill's: the same seed gives the same samples.
    pub seed: u64,
    /// What an earlier drill of the job counted.
    pub floor: KnownFloor,
    /// Passwords of roles that are to log in, by name.
    pub passwords: BTreeMap<String, Redacted>,
    /// The libraries that production's configuration loads.
    pub preloads: Preloads,
    /// Values that checks saw and that others judge.
    pub observations: Observations,
}

/// A shared record of what checks saw: a handle, so that clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Observations(Arc<Mutex<Observed>>);

/// What checks saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Time of the newest heartbeat row: the RPO is judged by it.
    pub heartbeat: Option<Timestamp>,
    /// What the check `readAll` read, ordered by database and name.
    pub tables: Vec<TableRead>,
    /// Indexes to read at rest, where the catalogs were read.
    pub indexes: Option<Arc<files::IndexList>>,
    /// It read every table to its end.
    pub all_read: bool,
    /// Relations that were in the making when the backup ended: nothing refers to them, and their
    /// pages may be bad.
    pub unfinished: BTreeSet<RelationFile>,
}

/// One table as `readAll` read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableRead {
    pub database: String,
    pub schema: String,
    pub table: String,
    pub rows: u64,
    /// Bytes of the rows as text.
    pub bytes: u64,
    /// A table of a user that recovery does not empty: its count means something to the next drill.
    pub lasting: bool,
    /// Schema and name of the partitioned table that it is a part of, at the top.
    pub part_of: Option<String>,
    /// Schema and name of the table at the top that it inherits from (`INHERITS`), where it does.
    pub child_of: Option<String>,
}

impl Observations {
    /// With what the restore left behind.
    #[must_use]
    pub fn after(unfinished: impl IntoIterator<Item = RelationFile>) -> Self {
        let observations = Self::default();
        observations.lock().unfinished.extend(unfinished);
        observations
    }

    /// A copy of what was seen so far.
    #[must_use]
    pub fn snapshot(&self) -> Observed {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A named examination.
#[async_trait]
pub trait Check: Send + Sync {
    /// The stable name, such as `amcheck`; for SQL assertions `sql:` and the job's name for it.
    fn name(&self) -> String;

    /// When it may run.
    fn phase(&self) -> Phase;

    /// Looks, and returns all findings.
    async fn run(&self, context: &CheckContext) -> CheckOutcome;
}

/// The checks of a job, in the order in which they run: what its depth implies and what it adds.
#[must_use]
pub fn registry(job: &Job) -> Vec<Box<dyn Check>> {
    let mut checks: Vec<Box<dyn Check>> = Vec::new();
    if job.depth >= Depth::Restore {
        checks.push(Box::new(reached::ReachedCheck));
        if let Some(heartbeat) = &job.objectives.heartbeat {
            checks.push(Box::new(heartbeat::HeartbeatCheck(heartbeat.clone())));
        }
        for spec in &job.checks {
            match spec {
                CheckSpec::Sql(spec) => checks.push(Box::new(sql::SqlAssertion(spec.clone()))),
                CheckSpec::LoginRoles(roles) => {
                    checks.push(Box::new(login_roles::LoginRoles(roles.clone())));
                }
                // In its place below.
                CheckSpec::RowFloor(_) | CheckSpec::Extensions(_) | CheckSpec::ForeignKeys(_) => {}
            }
        }
    }
    if job.depth >= Depth::Deep {
        checks.push(Box::new(files::RelationFiles));
        let may_be_missing = job.extensions_that_may_be_missing();
        checks.push(Box::new(extensions::Extensions(may_be_missing)));
        checks.push(Box::new(read_all::ReadAll::default()));
        if let Some(floor) = job.row_floor() {
            checks.push(Box::new(row_floor::RowFloorCheck(floor.clone())));
        }
        checks.push(Box::new(sequences::Sequences));
        checks.push(Box::new(foreign_keys::ForeignKeys::new(job.excepted_foreign_keys())));
        checks.push(Box::new(amcheck::Amcheck));
        checks.push(Box::new(checksums::Checksums));
        checks.push(Box::new(index_pages::IndexPages));
        let memory = job.sandbox.memory;
        checks.push(Box::new(index_entries::IndexEntries { memory }));
    }
    checks
}

/// Runs the checks of one phase, one after the other, and tells when each begins and ends. Once the
/// context is cancelled the checks that are left report themselves as interrupted.
pub async fn run_all(
    checks: &[Box<dyn Check>],
    context: &CheckContext,
    phase: Phase,
) -> Vec<CheckReport> {
    let mut reports = Vec::new();
    for check in checks.iter().filter(|check| check.phase() == phase) {
        let name = check.name();
        let begun = Instant::now();
        context.progress.emit(ProgressEvent::CheckStarted { name: name.clone() });
        let outcome = if context.cancel.is_cancelled() {
            CheckOutcome::Errored(failure::interrupted())
        } else {
            check.run(context).await
        };
        let report = CheckReport::new(name.clone(), outcome, begun.elapsed().as_secs_f64());
        context.progress.emit(ProgressEvent::CheckFinished {
            name,
            status: status_word(report.status),
            seconds: report.seconds,
        });
        reports.push(report);
    }
    reports
}

const fn status_word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Passed => "passed",
        CheckStatus::Failed => "failed",
        CheckStatus::Skipped => "skipped",
        CheckStatus::Errored => "errored",
    }
}
