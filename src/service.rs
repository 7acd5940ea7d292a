//! `pgassay serve`: every job of a folder on its schedule, for as long as it runs.
//!
//! The agenda (`schedule`) decides, the runner drills, and what must outlive a kill is in a folder of
//! state: a drill that was killed is reported when the service is back, and its slot is not lost.

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{
    board::{Declined, Desk, NextSlot, Ordered, Shown, ShownDrill, ShownJob},
    folder::BrokenFile,
    state::RunningDrill,
};
pub use crate::schedule::agenda::Budgets;

use jiff::Timestamp;

use crate::drill::Error;

mod backups;
mod board;
mod folder;
mod running;
mod state;
mod work;

/// How often the folder of jobs is looked at, and the clock, which may have been set.
const LOOK: Duration = Duration::from_secs(5);

/// How often archives are asked for new backups, for jobs that drill after each one.
const ASK: Duration = Duration::from_mins(1);

/// How long drills may take to be torn down when the grace period is over.
const TEARDOWN: Duration = Duration::from_mins(2);

/// What a service is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of job files.
    pub jobs: PathBuf,
    /// Folder of the service's own state.
    pub state: PathBuf,
    /// Over all drills.
    pub budgets: Budgets,
    /// Drills that run when it is stopped may take so long to end by themselves.
    pub grace: Duration,
    /// Spreads the beginnings of drills over their windows.
    pub seed: u64,
    /// Another build of this program serves sandboxes as their helper: for callers that are not `pgassay`.
    pub helper: Option<PathBuf>,
}

/// What went wrong beside the work: it goes on.
fn warn(error: &Error) {
    let hint = error.hint.as_deref().unwrap_or_default();
    tracing::warn!(code = error.code.as_str(), hint, "{error}");
}

/// A service that has started: it holds its folders, and no drill has begun.
#[derive(Debug)]
pub struct Service(work::Work);

/// Starts one; the desk is for whoever looks at it.
///
/// # Errors
/// What keeps it from starting: the folders of jobs and of state.
pub fn start(settings: Settings) -> Result<(Service, Desk), Error> {
    let (board, desk) = board::board(Timestamp::now());
    let work = work::Work::start(settings, board)?;
    Ok((Service(work), desk))
}

impl Service {
    /// Runs until `cancel`, then ends or tears down what runs.
    pub async fn run(mut self, cancel: &CancellationToken) {
        self.0.go_on(cancel).await;
        self.0.stop().await;
    }
}
