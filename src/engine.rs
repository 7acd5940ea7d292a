//! Engines restore a recovery point into a sandbox.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    drill::{
        DrillPlan, Error, Finding, Job, expectation::Promise, plan::PlanRefusal, reached::Reached,
        report::SandboxReport, stage::StageLog,
    },
    pg::{Major, conf::Preloads, relation_file::RelationFile},
    store::SharedStore,
    telemetry::Progress,
};

pub mod native;
pub mod postgres_install;

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct EngineContext {
    pub job: Arc<Job>,
    pub plan: Arc<DrillPlan>,
    pub store: SharedStore,
    /// UUIDv7 of the drill: part of the sandbox's name and of its lease.
    pub drill_id: String,
    pub progress: Progress,
    /// Ends every stage; teardown runs all the same.
    pub cancel: CancellationToken,
}

/// How a restore went. Whatever happened, the sandbox is in `sandbox` and must be torn down.
#[derive(Debug)]
pub struct Restored {
    pub end: RestoreEnd,
    /// What the archive's bytes showed on the way, also when recovery went on.
    pub findings: Vec<Finding>,
    /// What the records of the planned range promise, once they have been read.
    pub promise: Option<Promise>,
    pub stages: StageLog,
    pub notes: Vec<String>,
    /// Relations in the making when the backup ended, with bad pages that replay may leave as they
    /// are: nothing refers to them.
    pub unfinished: Vec<RelationFile>,
    /// The libraries that production's configuration loads, by the backup's files.
    pub preloads: Preloads,
    /// `None` only where the sandbox could not even be made.
    pub sandbox: Option<Box<dyn Sandbox>>,
}

/// Where a restore ended.
#[derive(Debug)]
pub enum RestoreEnd {
    /// The cluster is open for reading and writing.
    Ready { reached: Reached, cluster: ClusterAccess },
    /// The backup is not good; `findings` say why.
    Damaged,
    /// The target cannot be reached, known once the WAL was read.
    Refused(PlanRefusal),
    /// Could not tell.
    Errored(Error),
}

/// How checks reach the recovered cluster.
#[derive(Clone, Debug)]
pub struct ClusterAccess {
    pub major: Major,
    /// Folder of the server's Unix socket; may be longer than a socket address takes.
    pub socket_dir: PathBuf,
    pub port: u16,
    /// A superuser made for this drill.
    pub user: String,
    pub password: Redacted,
    pub data_dir: PathBuf,
    /// `server_version_num`.
    pub version_num: u32,
}

/// A secret that prints as stars.
#[derive(Clone)]
pub struct Redacted(pub String);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// An ephemeral cluster and everything that it owns.
#[async_trait]
pub trait Sandbox: Send + std::fmt::Debug {
    /// Stops the server cleanly so that its files can be examined at rest; later connections fail.
    async fn stop_server(&mut self) -> Result<(), Error>;

    /// Ends what runs and removes everything, or keeps the files until the lease's end where the job
    /// says so and the drill failed. Says what was left behind. Never panics, may be called once.
    async fn teardown(self: Box<Self>, failed: bool) -> SandboxReport;
}

/// Who restores.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Restores, recovers and promotes. Cancelling the context's token makes it return soon with
    /// `Errored(Interrupted)`; the sandbox is still to be torn down by the caller.
    async fn restore(&self, context: EngineContext) -> Restored;
}
