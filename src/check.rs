//! Checks: named examinations of a recovered cluster that yield findings.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    drill::{CheckOutcome, DrillPlan, Job, expectation::Promise, reached::Reached},
    engine::ClusterAccess,
    telemetry::Progress,
};

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
    pub job: std::sync::Arc<Job>,
    pub plan: std::sync::Arc<DrillPlan>,
    pub promise: Option<Promise>,
    pub reached: Reached,
    pub cluster: ClusterAccess,
    pub progress: Progress,
    pub cancel: CancellationToken,
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
