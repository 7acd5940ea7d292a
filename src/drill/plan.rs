//! The plan: which backup, which WAL, how many bytes, and what the drill must reach. Made before a
//! byte is fetched.

use jiff::Timestamp;

use super::{
    expectation::Expectation,
    finding::Finding,
    job::{Job, Target},
};
use crate::{
    archive::{Backup, Catalog, ObjectRef},
    pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId},
};

/// Everything the engine needs; nothing in it depends on the machine.
#[derive(Clone, Debug)]
pub struct DrillPlan {
    pub backup: Backup,
    /// One sentence: why this backup.
    pub why: String,
    pub major: Major,
    pub segment_size: SegmentSize,
    pub system_id: u64,
    pub target: Target,
    pub exclusive: bool,
    /// The timeline that recovery follows and its ancestors.
    pub history: TimelineHistory,
    /// Every history file of the listing, to be served on request.
    pub history_files: Vec<HistoryFile>,
    /// The segments that replay will read, in order, without a hole. Ends before the first gap.
    pub wal: Vec<PlannedSegment>,
    pub expectation: Expectation,
    /// Compressed bytes of the base backup and of the WAL.
    pub base_bytes: u64,
    pub wal_bytes: u64,
    /// Bytes that the sandbox will take at most, estimated.
    pub disk_bytes: u64,
    /// Defects that the listing shows but that do not stop the restore: the drill goes on and fails.
    pub findings: Vec<Finding>,
    /// What is odd about the archive and changes nothing.
    pub notes: Vec<String>,
    /// What can be reached from this archive, for messages.
    pub window: Window,
}

/// A segment as it lies in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    pub timeline: TimelineId,
    pub number: SegmentNumber,
    pub object: ObjectRef,
}

/// A history file's content, fetched while planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    pub timeline: TimelineId,
    pub text: String,
}

/// The recoverable window of an archive: from the oldest backup's end to the newest WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Window {
    pub from_lsn: Option<Lsn>,
    pub from_time: Option<jiff::Timestamp>,
    pub to_lsn: Option<Lsn>,
    /// When the newest usable segment was archived: no commit in it is later (clocks aside).
    pub to_time: Option<jiff::Timestamp>,
}

/// The archive cannot give what the job asks for: `fail`, with everything that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRefusal {
    pub findings: Vec<Finding>,
    pub window: Window,
}

/// Chooses the recovery point that the job asks for, and says what it takes to get there.
///
/// # Errors
/// A [`PlanRefusal`] where the archive cannot give it. Where every finding is of the environment's
/// classes the drill could not tell, else the backup is not good.
pub fn plan(
    job: &Job,
    catalog: &Catalog,
    now: Timestamp,
    seed: u64,
) -> Result<DrillPlan, PlanRefusal> {
    let _ = (job, catalog, now, seed);
    Err(PlanRefusal { findings: Vec::new(), window: Window::default() })
}
