//! The read tier: every byte of an archive streamed once, decoded and examined, without PostgreSQL
//! and without a disk.
//!
//! Memory is that of the WAL index, a MiB for each of two parts of a tar on their way, and decoded WAL
//! segments: three, of larger ones what fits into 64 MiB, and one at least.

mod archive;
mod base;
mod beginning;
mod confirm;
mod feed;
mod labels;
pub mod ledger;
mod lost;
mod moved;
mod pages;
mod point;
mod reach;
mod sparing;
mod tally;
#[cfg(test)]
mod testing;
mod wal;
mod wal_plan;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use jiff::Timestamp;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::tally::Tally;
use crate::{
    drill::{
        Code, DrillPlan, Error, Job, VerifyReport,
        plan::{self, PlanRefusal},
        stage::{Stage, StageEnd},
        verify_report::Scope,
    },
    restore::wal::Spares,
    store::SharedStore,
    survey::survey,
    telemetry::{Progress, progress::ProgressEvent},
};

pub use self::{point::PointRead, sparing::Sparing};

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    pub scope: Scope,
    /// For choices of the plan; only [`Scope::RecoveryPoint`] makes one.
    pub seed: u64,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { scope: Scope::Archive, seed: 0 }
    }
}

/// Reads the archive of `job`, or what its recovery point needs, and says what is good. Damage is
/// data; so is what the store or the machine did while objects were read (`errors`: inconclusive).
///
/// # Errors
/// Where there is nothing to report on: the archive could not be listed, the job names what does not
/// exist, or the caller cancelled.
pub async fn verify(
    store: &SharedStore,
    job: &Job,
    options: VerifyOptions,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    Box::pin(read(store, job, options, None, progress, cancel)).await
}

/// As [`verify`] of all of the archive, but without what the ledger knows to be good, and no more than
/// the budget allows. What was found good is in the ledger afterwards, also after an error.
///
/// # Errors
/// As [`verify`].
pub async fn verify_sparing(
    store: &SharedStore,
    job: &Job,
    sparing: &mut Sparing<'_>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    Box::pin(read(store, job, VerifyOptions::default(), Some(sparing), progress, cancel)).await
}

async fn read(
    store: &SharedStore,
    job: &Job,
    options: VerifyOptions,
    sparing: Option<&mut Sparing<'_>>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    let started_at = Timestamp::now();
    let clock = Instant::now();
    let catalog = survey(store, &job.archive, progress, cancel).await?;
    let mut tally = Tally::default();
    let own_cancel = cancel.child_token();
    let time = sparing.as_ref().and_then(|sparing| sparing.budget.time);
    // Dropped at the end, which stops it.
    let _deadline = time.map(|time| {
        let (cancel, over) = (own_cancel.clone(), clock + time);
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep_until(over.into()).await;
            cancel.cancel();
        }))
    });
    let bytes = AtomicU64::new(0);
    let spares = Spares::default();
    let cancelled = &own_cancel;
    let reading =
        Reading { store, progress, cancel: cancelled, caller: cancel, clock, bytes, spares };
    match options.scope {
        Scope::Archive => {
            archive::read(&reading, job, &catalog, started_at, sparing, &mut tally).await?;
        }
        Scope::RecoveryPoint => match plan::plan(job, &catalog, started_at, options.seed) {
            Ok(plan) => point::report(&reading, &plan, &mut tally).await?,
            Err(PlanRefusal { findings, .. }) => {
                for finding in findings {
                    tally.catalog(finding);
                }
            }
        },
    }
    tally.volume.bytes = reading.bytes.load(Ordering::Relaxed);
    tally.volume.seconds = clock.elapsed().as_secs_f64();
    Ok(tally.report(job, options.scope, started_at, Timestamp::now()))
}

/// Reads what a plan needs; for a drill that goes no deeper.
///
/// # Errors
/// As [`verify`].
pub async fn read_plan(
    store: &SharedStore,
    plan: &DrillPlan,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<PointRead, Error> {
    let (clock, bytes) = (Instant::now(), AtomicU64::new(0));
    let spares = Spares::default();
    let reading = Reading { store, progress, cancel, caller: cancel, clock, bytes, spares };
    point::read_point(&reading, plan).await
}

/// What every reader here works with.
#[derive(Debug)]
struct Reading<'a> {
    store: &'a SharedStore,
    progress: &'a Progress,
    /// Of this run: also ends it when its time is over.
    cancel: &'a CancellationToken,
    caller: &'a CancellationToken,
    /// When the run began.
    clock: Instant,
    /// Taken from the store so far.
    bytes: AtomicU64,
    /// For the pieces of segments, from one pass over the WAL to the next.
    spares: Spares,
}

impl Reading<'_> {
    fn fetched(&self, bytes: u64) {
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.emit(ProgressEvent::Fetched { bytes: sum });
    }

    /// Whether the run's time is over, and nobody has cancelled it.
    fn is_late(&self) -> bool {
        self.cancel.is_cancelled() && !self.caller.is_cancelled()
    }

    fn begin(&self, total_bytes: u64) -> Instant {
        let total_bytes = Some(total_bytes);
        self.progress.emit(ProgressEvent::StageStarted { stage: Stage::Fetch, total_bytes });
        Instant::now()
    }

    fn end(&self, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        let (stage, end) = (Stage::Fetch, StageEnd::Done);
        self.progress.emit(ProgressEvent::StageFinished { stage, seconds, end });
    }
}

fn interrupted() -> Error {
    Error::new(Code::Interrupted, "stopped while the archive was read")
}
