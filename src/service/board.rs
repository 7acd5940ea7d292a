//! What others see of a service that runs, and what they may ask of it. Neither keeps it from its work:
//! it shows a picture of itself whenever something has changed, and takes orders between two turns.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{folder::BrokenFile, state::RunningDrill};
use crate::{
    drill::{DrillReport, Job},
    schedule::agenda::{NotAsked, Wait},
    telemetry::live::Live,
};

/// Reports of drills that have ended and that a slow reader has not taken yet; older ones are in the
/// stores all the same.
const MOST_ENDED: usize = 64;

/// The service at one time.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Of the last turn of its loop, which comes every few seconds.
    pub at: Timestamp,
    /// By name.
    pub jobs: Vec<ShownJob>,
    /// Files of the folder that hold no job.
    pub broken: Vec<BrokenFile>,
    /// The oldest first.
    pub running: Vec<ShownDrill>,
    /// No drill begins any more.
    pub stopping: bool,
}

/// One job of the folder.
#[derive(Clone, Debug)]
pub struct ShownJob {
    pub job: Arc<Job>,
    /// When the service first saw it.
    pub since: Timestamp,
    pub next: Option<NextSlot>,
    /// A drill that has come and not begun.
    pub waiting: Option<Wait>,
}

/// What comes next by a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextSlot {
    pub slot: Timestamp,
    /// When in the window of its slot the drill is to begin.
    pub start: Timestamp,
}

/// A drill that runs.
#[derive(Clone, Debug)]
pub struct ShownDrill {
    pub drill: RunningDrill,
    pub live: Arc<Live>,
}

impl Shown {
    /// The job of this name.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&ShownJob> {
        let found = self.jobs.binary_search_by(|job| job.job.name.as_str().cmp(name));
        found.ok().map(|index| &self.jobs[index])
    }

    /// The drill of this id that runs.
    #[must_use]
    pub fn drill(&self, id: &str) -> Option<&ShownDrill> {
        self.running.iter().find(|shown| shown.drill.drill_id == id)
    }

    /// The drill of a job that runs.
    #[must_use]
    pub fn running(&self, job: &str) -> Option<&ShownDrill> {
        self.running.iter().find(|shown| shown.drill.job == job)
    }
}

/// What became of an order to drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It runs: its id.
    Begun(String),
    /// It waits for room.
    Waits,
}

/// Why there will be no drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    NotAsked(NotAsked),
    /// The service is being stopped.
    Stopping,
}

/// One end of it: for whoever looks and asks. Clones are the same.
#[derive(Clone, Debug)]
pub struct Desk {
    shown: watch::Receiver<Arc<Shown>>,
    orders: mpsc::Sender<Order>,
    ended: broadcast::Sender<Arc<DrillReport>>,
}

/// Somebody wants a drill now.
#[derive(Debug)]
pub struct Order {
    pub job: String,
    pub answer: oneshot::Sender<Result<Ordered, Declined>>,
}

/// The service's end.
#[derive(Debug)]
pub struct Board {
    shown: watch::Sender<Arc<Shown>>,
    pub orders: mpsc::Receiver<Order>,
    ended: broadcast::Sender<Arc<DrillReport>>,
}

/// Both ends, before anything is shown.
#[must_use]
pub fn board(now: Timestamp) -> (Board, Desk) {
    let nothing = Shown { at: now, jobs: vec![], broken: vec![], running: vec![], stopping: false };
    let (shown, seen) = watch::channel(Arc::new(nothing));
    let (order, orders) = mpsc::channel(16);
    let (ended, _) = broadcast::channel(MOST_ENDED);
    let desk = Desk { shown: seen, orders: order, ended: ended.clone() };
    (Board { shown, orders, ended }, desk)
}

impl Board {
    /// From now on it looks like this.
    pub fn show(&self, shown: Shown) {
        self.shown.send_replace(Arc::new(shown));
    }

    /// A drill has ended.
    pub fn ended(&self, report: DrillReport) {
        // Nobody may be listening.
        let _ = self.ended.send(Arc::new(report));
    }
}

impl Desk {
    /// The newest picture.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.borrow())
    }

    /// Waits for a picture of another time; `false` once the service is gone.
    pub async fn changed(&mut self) -> bool {
        self.shown.changed().await.is_ok()
    }

    /// Reports of drills that end from now on.
    #[must_use]
    pub fn reports(&self) -> broadcast::Receiver<Arc<DrillReport>> {
        self.ended.subscribe()
    }

    /// Asks for a drill of a job, now or as soon as there is room.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn drill(&self, job: &str) -> Result<Ordered, Declined> {
        let (answer, answered) = oneshot::channel();
        let order = Order { job: job.to_owned(), answer };
        self.orders.send(order).await.map_err(|_| Declined::Stopping)?;
        answered.await.unwrap_or(Err(Declined::Stopping))
    }
}
