//! The planned WAL on its way into the spool, as those see it who wait for it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Spooled,
    reach::{Course, LogEnd, Needs, Reach},
};
use crate::{
    drill::{Code, Error, stage::Volume},
    pg::{SegmentNumber, SegmentSize, wal::scan::WalSummary},
};

/// Bytes of WAL that are fetched behind the backup's end while its files are still being written: those
/// are waited for first.
const BEFORE_THE_BASE: u64 = 64 << 20;
/// Bytes of WAL that are kept ready ahead of replay: more would take the processors away from it.
const AHEAD: u64 = 512 << 20;

/// WAL on its way. Dropping it ends it.
#[derive(Debug)]
pub struct ComingWal {
    task: Task,
    reach: watch::Receiver<Reach>,
    pace: Pace,
    /// What a stage has been told of.
    told: Volume,
}

#[derive(Debug)]
enum Task {
    Flying(AbortOnDropHandle<Result<Spooled, Error>>),
    Landed(Arc<Spooled>),
    /// It failed, and the error was told; or all was there before.
    Over,
}

/// How far the spool may go, as replay sees it.
#[derive(Clone, Debug)]
pub struct Pace {
    limit: Arc<watch::Sender<u64>>,
    size: SegmentSize,
}

impl Pace {
    /// Replay has come to this segment.
    pub fn at(&self, number: SegmentNumber) {
        self.up_to(number.0 + segments(AHEAD, self.size));
    }

    /// Nobody is to be waited for.
    pub fn unlimited(&self) {
        self.up_to(u64::MAX);
    }

    fn up_to(&self, limit: u64) {
        self.limit.send_if_modified(|now| {
            let more = limit > *now;
            *now = limit.max(*now);
            more
        });
    }
}

/// At least two: a record may cross from one into the next.
fn segments(bytes: u64, size: SegmentSize) -> u64 {
    (bytes / size.bytes()).max(2)
}

/// Makes the two ends of WAL that begins with segment `first`.
pub fn course(first: SegmentNumber, size: SegmentSize) -> (Course, watch::Receiver<Reach>, Pace) {
    let (told, reach) = watch::channel(Reach::nothing());
    let (moved, limit) = watch::channel(first.0 + segments(BEFORE_THE_BASE, size));
    (Course { reach: told, limit }, reach, Pace { limit: Arc::new(moved), size })
}

impl ComingWal {
    /// WAL that `task` fills the spool with.
    #[must_use]
    pub const fn new(
        task: AbortOnDropHandle<Result<Spooled, Error>>,
        reach: watch::Receiver<Reach>,
        pace: Pace,
    ) -> Self {
        Self { task: Task::Flying(task), reach, pace, told: Volume::NOTHING }
    }

    /// WAL that an earlier run has spooled and read: up to `last`, and it needs this much.
    #[must_use]
    pub fn there(needs: Needs, last: Option<SegmentNumber>, size: SegmentSize) -> Self {
        let (course, reach, pace) = course(SegmentNumber(0), size);
        course.tell(|reach| {
            reach.needs = Arc::new(needs);
            reach.end = Some(LogEnd { last });
        });
        Self { task: Task::Over, reach, pace, told: Volume::NOTHING }
    }

    /// How far it is.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach.borrow().clone()
    }

    /// What has come since this was asked before: that of the stage that ends now.
    pub fn moved(&mut self) -> Volume {
        let now = self.reach.borrow().volume;
        let moved = now.since(self.told);
        self.told = now;
        moved
    }

    /// For those who wait for a segment.
    #[must_use]
    pub fn watched(&self) -> (watch::Receiver<Reach>, Pace) {
        (self.reach.clone(), self.pace.clone())
    }

    /// Whether nothing more will come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.task, Task::Flying(_))
    }

    /// What was spooled, once all is.
    #[must_use]
    pub const fn spooled(&self) -> Option<&Arc<Spooled>> {
        match &self.task {
            Task::Landed(spooled) => Some(spooled),
            Task::Flying(_) | Task::Over => None,
        }
    }

    /// Waits until all is spooled. May be broken off and asked again.
    ///
    /// # Errors
    /// What ended it, once.
    pub async fn landed(&mut self) -> Result<(), Error> {
        let Task::Flying(task) = &mut self.task else { return Ok(()) };
        let ended = task.await.unwrap_or_else(|error| {
            Err(Error::new(Code::Bug, format!("filling the spool ended: {error}")))
        });
        let (now, told) = match ended {
            Ok(spooled) => (Task::Landed(Arc::new(spooled)), Ok(())),
            Err(error) => (Task::Over, Err(error)),
        };
        self.task = now;
        told
    }

    /// Waits for all of it, held up by nothing.
    ///
    /// # Errors
    /// What ended it.
    pub async fn rest(&mut self) -> Result<(), Error> {
        self.pace.unlimited();
        self.landed().await
    }

    /// As [`Self::rest`], and gives it.
    ///
    /// # Errors
    /// What ended it.
    pub async fn all(&mut self) -> Result<Arc<Spooled>, Error> {
        self.rest().await?;
        self.spooled().cloned().ok_or_else(|| Error::new(Code::Bug, "the spool was filled before"))
    }

    /// Waits until the end of the backup has come, and gives what had been read then; `None` where all
    /// had to be read first, or failed.
    pub async fn consistent(&mut self) -> Option<Arc<WalSummary>> {
        let reach = self.reach.wait_for(|reach| reach.consistent.is_some() || reach.end.is_some());
        let reach = reach.await.ok()?;
        if reach.end.is_some() { None } else { reach.consistent.clone() }
    }
}
