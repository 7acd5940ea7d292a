//! What the API says and the pages show: one description for both.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

mod archive;
mod drill;
mod job;

pub use self::{
    archive::ArchiveView,
    drill::{BeatView, CauseView, CheckView, DrillView, MeasureView, RunningView, StageView},
    job::{JobView, overdue},
};

/// What is wrong where something is: the answer to a request that failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorView {
    pub error: ErrorBody,
}

/// A code that stays, a sentence, and what to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

/// Everything at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobsView {
    pub at: Timestamp,
    /// Drills begin no more.
    pub stopping: bool,
    /// By name.
    pub jobs: Vec<JobView>,
    /// Files of the folder that hold no job.
    pub broken_files: Vec<BrokenFileView>,
    /// Since when every store of reports has been listed; null until that was done for the first time.
    pub history_read_at: Option<Timestamp>,
    /// Why reports of some jobs are not known.
    pub history_problems: Vec<String>,
}

/// A file that holds no job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BrokenFileView {
    pub file: String,
    pub problem: String,
    /// Its job goes on as it was before.
    pub goes_on: bool,
}

impl JobsView {
    /// Whether everything that there is to know is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.history_read_at.is_some()
            && self.history_problems.is_empty()
            && self.broken_files.is_empty()
    }

    /// Jobs that need somebody: overdue, not passed the last time, or not known.
    #[must_use]
    pub fn attention_count(&self) -> usize {
        self.jobs.iter().filter(|job| job.needs_attention()).count()
    }
}
