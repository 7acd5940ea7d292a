//! The native engine: our own download, an installed PostgreSQL, a sandbox on this machine.
//!
//! The WAL is read once, before PostgreSQL sees it: every record's CRC is checked and the end of
//! replay is known to the byte, so that what recovery reaches can be held against it. The restore
//! time ends when the promoted server is open for writing; the first query itself needs a role, which
//! only [`mend`] makes, so that the caller runs and counts it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineContext, RestoreEnd, Restored};
use crate::{
    drill::{Code, Error, FailureClass, Finding, expectation::Promise},
    pg::{conf::Preloads, relation_file::RelationFile},
};

mod activity;
mod classify;
mod config;
mod confirm;
pub mod exec;
mod fetch;
mod flow;
pub mod identity;
mod judge;
pub mod lease;
mod log;
mod mend;
mod outcome;
mod pages;
pub mod place;
mod processes;
mod recover;
pub mod rescue;
mod room;
mod sandbox;
mod server;
mod spool;
mod stages;
pub mod sweep;
mod tree;
mod wal_server;

use activity::Activity;
use rescue::Keeping;
use sandbox::{Cluster, Hold, NativeSandbox};
use stages::StageClock;

/// Restores on this machine with an installed PostgreSQL.
#[derive(Clone, Debug, Default)]
pub struct NativeEngine {
    program: Option<PathBuf>,
}

impl NativeEngine {
    /// The running program serves as the sandbox's helper.
    #[must_use]
    pub const fn new() -> Self {
        Self { program: None }
    }

    /// Another build of this program serves as the helper: for callers that are not `pgassay`, such
    /// as tests.
    #[must_use]
    pub const fn with_program(program: PathBuf) -> Self {
        Self { program: Some(program) }
    }
}

/// A drill on its way: what survives when a stage is broken off.
#[derive(Debug)]
struct Run {
    context: EngineContext,
    program: PathBuf,
    cancel: CancellationToken,
    activity: Arc<Activity>,
    stages: StageClock,
    findings: Vec<Finding>,
    /// What base or WAL alone has proven while the other one is still fetched. It stands however that
    /// ends.
    proven: Arc<Mutex<Vec<Finding>>>,
    promise: Option<Promise>,
    notes: Vec<String>,
    unfinished: Vec<RelationFile>,
    preloads: Preloads,
    cluster: Option<Cluster>,
    /// Of a sandbox.
    hold: Option<Hold>,
    /// Of a rescue.
    keeping: Option<Keeping>,
}

impl Run {
    /// Nothing has begun. `program` serves as the helper; without one the running program does.
    fn new(context: EngineContext, program: Option<&Path>) -> Self {
        let activity = Arc::new(Activity::new());
        Self {
            stages: StageClock::new(context.progress.clone(), Arc::clone(&activity)),
            program: program.unwrap_or(Path::new("/proc/self/exe")).to_path_buf(),
            cancel: context.cancel.child_token(),
            activity,
            findings: Vec::new(),
            proven: Arc::default(),
            promise: None,
            notes: Vec::new(),
            unfinished: Vec::new(),
            preloads: Preloads::default(),
            cluster: None,
            hold: None,
            keeping: None,
            context,
        }
    }

    /// A deadline's error with the stage that went over it.
    fn named(&self, error: Error) -> Error {
        match self.stages.current() {
            Some(stage) if error.code == Code::DeadlineExceeded => {
                error.context(format!("stage {}", stage.name()))
            }
            _ => error,
        }
    }
}

#[async_trait]
impl Engine for NativeEngine {
    async fn restore(&self, context: EngineContext) -> Restored {
        let mut run = Run::new(context, self.program.as_deref());
        let (cancel, activity) = (run.cancel.clone(), Arc::clone(&run.activity));
        let limits = &run.context.job.limits;
        let (total, no_progress) = (limits.total, limits.no_progress);
        let interrupted = run.context.cancel.clone();
        let work = supervised(interrupted, total, (&activity, no_progress), run.flow());
        let ended = Box::pin(work).await;
        // Whatever still fetches ends here.
        cancel.cancel();
        let end = ended.unwrap_or_else(|error| RestoreEnd::Errored(run.named(error)));
        let proven = run.take_proven();
        run.findings.extend(proven);
        let Run { stages, findings, promise, notes, unfinished, preloads, cluster, hold, .. } = run;
        let sandbox = cluster.zip(hold).map(|(cluster, hold)| NativeSandbox { cluster, hold });
        Restored {
            end,
            findings,
            promise,
            stages: stages.finish(),
            notes,
            unfinished,
            preloads,
            sandbox: sandbox.map(|sandbox| Box::new(sandbox) as Box<dyn super::Sandbox>),
        }
    }
}

/// Does the work, until somebody stops it, the time is over or nothing moves.
async fn supervised<T>(
    interrupted: CancellationToken,
    total: Option<Duration>,
    (activity, no_progress): (&Activity, Duration),
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(spool::interrupted()),
        () = deadline(total) => Err(Error::new(
            Code::DeadlineExceeded,
            format!("the drill took longer than {} seconds", total.unwrap_or_default().as_secs()),
        )
        .class(FailureClass::InfraError)
        .hint("Raise `limits.total`, or look at which stage took so long.")),
        idle = watch(activity, no_progress) => Err(Error::new(
            Code::DeadlineExceeded,
            format!("nothing has moved for {} seconds", idle.as_secs()),
        )
        .class(FailureClass::NoProgress)
        .hint("Look at the stage that was running, or raise `limits.noProgress`.")),
        ended = work => ended,
    }
}

async fn deadline(total: Option<Duration>) {
    match total {
        Some(total) => tokio::time::sleep(total).await,
        None => std::future::pending().await,
    }
}

/// Ends when nothing has moved for `limit`, with that time.
async fn watch(activity: &Activity, limit: Duration) -> Duration {
    let step = (limit / 10).clamp(Duration::from_millis(50), Duration::from_secs(5));
    let begun = Instant::now();
    loop {
        tokio::time::sleep(step).await;
        let idle = activity.idle().min(begun.elapsed());
        if idle >= limit {
            return idle;
        }
    }
}
