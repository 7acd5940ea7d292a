//! One drill from job to report.

pub mod survey;

use tokio_util::sync::CancellationToken;

use crate::{
    drill::{Code, DrillPlan, DrillReport, Error, Job, plan::PlanRefusal},
    telemetry::Progress,
};

/// A drill to run.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    pub job: Job,
    /// The same seed gives the same choices; `None` draws one.
    pub seed: Option<u64>,
    pub progress: Progress,
    /// Ends the drill; the sandbox is removed all the same.
    pub cancel: CancellationToken,
}

/// What planning alone says.
#[derive(Debug)]
pub enum PlanOutcome {
    Planned(Box<DrillPlan>),
    Refused(PlanRefusal),
}

/// Runs one drill. Whatever the archive, the store or the machine do ends in a report.
///
/// # Errors
/// Only where there is nothing to report on: errors of [`crate::drill::error::ErrorKind::Usage`].
pub async fn drill(request: DrillRequest) -> Result<DrillReport, Error> {
    let _ = request;
    Err(Error::new(Code::Bug, "not yet"))
}

/// Plans without fetching anything but the catalog.
///
/// # Errors
/// Whatever keeps the catalog from being read.
pub async fn plan_only(request: &DrillRequest) -> Result<PlanOutcome, Error> {
    let _ = request;
    Err(Error::new(Code::Bug, "not yet"))
}
