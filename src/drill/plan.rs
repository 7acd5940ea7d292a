//! The plan: which backup, which WAL, how many bytes, and what the drill must reach. Made before a
//! byte is fetched.

use jiff::{SignedDuration, Timestamp};

use super::{
    expectation::Expectation,
    finding::Finding,
    job::{Job, RecoveryPoint, Target},
};
use crate::{
    archive::{Backup, Catalog, ObjectRef},
    pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId},
};

mod choose;
mod path;
mod range;
mod size;
mod source;
mod window;

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

/// What must come may take this long: CloudNativePG has a segment archived every five minutes.
pub const SETTLE: SignedDuration = SignedDuration::from_mins(10);

/// Room for clocks that differ between the store, the source and here.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

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
    let point = &job.recovery_point;
    let known = Known { catalog, now, point };
    let refuse = |findings| PlanRefusal { findings, window: window::of_archive(&known) };

    let choice = choose::choose(&known, seed).map_err(refuse)?;
    let source = choice.source;
    // What contradicts itself in the description may be why the rest cannot be found.
    let with_choice = |found| [choice.findings.clone(), found].concat();
    let path = path::follow(&known, &source).map_err(|found| refuse(with_choice(found)))?;
    let runs = catalog.wal.runs(source.segment_size);
    let range = range::walk(&source, &path.history, &runs);
    let window = window::of_range(&known, &source, &range, &runs);
    let verdict = range::judge(&known, &source, &path.history, &range, &window);
    let verdict = verdict
        .map_err(|found| PlanRefusal { findings: with_choice(found), window: window.clone() })?;

    let wal: Vec<PlannedSegment> = range.segments(&known, &source, verdict.stop);
    let wal_bytes = wal.iter().map(|segment| segment.object.size).sum();
    let at_most = wal.last().map_or(source.end, |last| last.number.end(source.segment_size));
    let at_least = match point.target {
        Target::Lsn(lsn) if !point.exclusive => source.end.max(lsn),
        _ => source.end,
    };
    let history_files = catalog.histories.iter();
    let mut notes = choice.notes;
    notes.extend(path.notes);
    notes.extend(verdict.notes);
    notes.extend(catalog.notes.iter().cloned());
    let mut findings = choice.findings;
    findings.extend(path.findings);
    findings.extend(verdict.findings);
    Ok(DrillPlan {
        why: choice.why,
        major: source.major,
        segment_size: source.segment_size,
        system_id: source.system_id,
        target: point.target.clone(),
        exclusive: point.exclusive,
        expectation: Expectation { timeline: path.history.timeline, at_least, at_most },
        history: path.history,
        history_files: history_files
            .map(|(timeline, text)| HistoryFile { timeline: *timeline, text: text.clone() })
            .collect(),
        base_bytes: source.backup.total_bytes(),
        wal_bytes,
        disk_bytes: size::disk_bytes(&source, wal.len() as u64),
        wal,
        backup: source.backup.clone(),
        findings,
        notes,
        window,
    })
}

/// What planning looks at.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    catalog: &'a Catalog,
    now: Timestamp,
    point: &'a RecoveryPoint,
}

impl Known<'_> {
    /// Whether a thing of that time can be relied upon to be complete; unknown times can.
    fn is_settled(&self, at: Option<Timestamp>) -> bool {
        at.is_none_or(|at| self.now.duration_since(at) > SETTLE)
    }
}

#[cfg(test)]
mod tests;
