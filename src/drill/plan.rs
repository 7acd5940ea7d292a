//! The plan: which backup, which WAL, how many bytes, and what the drill must reach. Made before a
//! byte is fetched.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use jiff::{SignedDuration, Timestamp};

pub use self::wal::{PlannedSegment, PlannedWal};
use self::{choose::Choice, draw::Drawn, route::Route};
use super::{
    expectation::Expectation,
    finding::Finding,
    job::{Job, RecoveryPoint, Target, TargetChoice},
};
use crate::{
    archive::{Backup, Catalog, wal_index::Runs},
    pg::{Lsn, Major, SegmentSize, TimelineHistory, TimelineId},
};

mod apart;
mod choose;
mod draw;
mod histories;
pub(super) mod holes;
mod path;
pub(super) mod range;
pub(super) mod route;
mod size;
pub(super) mod sizes;
pub(super) mod source;
mod wal;
pub(super) mod window;

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
    /// The target in words, such as `time 2026-11-22T04:00:00Z`, and how it was drawn where it was.
    pub target_words: String,
    pub exclusive: bool,
    /// The timeline that recovery follows and its ancestors.
    pub history: TimelineHistory,
    /// Every history file of the listing, to be served on request.
    pub history_files: Vec<HistoryFile>,
    /// The segments that replay will read, in order, without a hole. Ends before the first gap.
    pub wal: PlannedWal,
    pub expectation: Expectation,
    /// How far the archive's base backups lie apart, where it has two.
    pub backups_apart: Option<SignedDuration>,
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

/// A history file's content, fetched while planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    pub timeline: TimelineId,
    pub text: String,
}

/// The recoverable window of an archive: from the oldest backup's end to the newest WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// When each backup, by its id, was last proved by a sound drill.
pub type Verified = BTreeMap<String, Timestamp>;

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
    plan_knowing(job, catalog, now, seed, None)
}

/// The same, knowing which backups earlier drills have proved: `leastRecentlyVerified` asks for it, and is
/// `latest` where it is not known.
///
/// # Errors
/// As [`plan`].
pub fn plan_knowing(
    job: &Job,
    catalog: &Catalog,
    now: Timestamp,
    seed: u64,
    verified: Option<&Verified>,
) -> Result<DrillPlan, PlanRefusal> {
    let point = &job.recovery_point;
    let memo = Memo::default();
    let to_the_end = Known { catalog, now, point, target: &Target::Latest, verified, memo: &memo };
    let drawn = match &point.target {
        TargetChoice::Given(target) => Drawn::given(target),
        TargetChoice::Random => draw::draw(&to_the_end, seed)?,
    };
    let Drawn { target, how, first } = drawn;
    let known = Known { target: &target, ..to_the_end };
    let Decided { choice, route } = match first {
        Some(choice) => way(&known, choice)?,
        None => decide(&known, seed)?,
    };
    let source = choice.source;
    let Route { history, range, window, stop, .. } = route;

    let wal = range.segments(&known, &source, stop);
    let wal_bytes = wal.stored().map(|segment| segment.bytes).sum();
    let at_most = wal.last().map_or(source.end, |last| last.number.end(source.segment_size));
    let at_least = match target {
        Target::Lsn(lsn) if !point.exclusive => source.end.max(lsn),
        _ => source.end,
    };
    let history_files = catalog.histories.iter();
    let mut findings = choice.findings;
    findings.extend(route.findings);
    findings.extend(sizes::odd_segments(&wal, source.segment_size));
    let mut notes = choice.notes;
    let attentions = choice.attentions.iter().chain(&route.attentions);
    notes.extend(attentions.map(|seen| format!("`{}`: {}", seen.subject, seen.detail)));
    notes.extend(route.notes);
    notes.extend(catalog.notes.iter().cloned());
    Ok(DrillPlan {
        why: choice.why,
        major: source.major,
        segment_size: source.segment_size,
        system_id: source.system_id,
        target_words: point.words(&target) + &how,
        target: target.clone(),
        exclusive: point.exclusive,
        expectation: Expectation { timeline: history.timeline, at_least, at_most },
        history,
        history_files: history_files
            .map(|(timeline, text)| HistoryFile { timeline: *timeline, text: text.clone() })
            .collect(),
        backups_apart: apart::apart(&catalog.backups),
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
pub(super) struct Known<'a> {
    pub catalog: &'a Catalog,
    pub now: Timestamp,
    pub point: &'a RecoveryPoint,
    /// What the point's target is in this plan.
    pub target: &'a Target,
    pub verified: Option<&'a Verified>,
    pub memo: &'a Memo,
}

/// What is worked out once for each segment size, when it is first asked for: the runs take a pass over
/// the index, the window's beginning one over the backups.
#[derive(Debug, Default)]
pub(super) struct Memo {
    runs: BySize<Rc<Runs>>,
    from: BySize<Option<(Lsn, Timestamp)>>,
}

/// An archive has one segment size, or very few.
type BySize<T> = RefCell<Vec<(SegmentSize, T)>>;

fn once<T: Clone>(memo: &BySize<T>, size: SegmentSize, make: impl FnOnce() -> T) -> T {
    if let Some((_, made)) = memo.borrow().iter().find(|(own, _)| *own == size) {
        return made.clone();
    }
    let made = make();
    memo.borrow_mut().push((size, made.clone()));
    made
}

/// The backup that the job's recovery point means, and the way from it.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    pub choice: Choice<'a>,
    pub route: Route,
}

/// Chooses the backup and finds the way, for a plan and for a look at the whole archive alike.
pub(super) fn decide<'a>(known: &Known<'a>, seed: u64) -> Result<Decided<'a>, PlanRefusal> {
    let choice = choose::choose(known, seed)
        .map_err(|findings| PlanRefusal { findings, window: window::of_archive(known) })?;
    way(known, choice)
}

/// The way from a chosen backup.
fn way<'a>(known: &Known<'_>, choice: Choice<'a>) -> Result<Decided<'a>, PlanRefusal> {
    match route::find(known, &choice.source) {
        Ok(route) => Ok(Decided { choice, route }),
        // What contradicts itself in the description may be why the rest cannot be found.
        Err(route::NoWay { findings, window }) => Err(PlanRefusal {
            findings: [choice.findings, findings].concat(),
            window: window.unwrap_or_else(|| window::of_archive(known)),
        }),
    }
}

impl Known<'_> {
    pub(super) fn runs(&self, size: SegmentSize) -> Rc<Runs> {
        once(&self.memo.runs, size, || Rc::new(self.catalog.wal.runs(size)))
    }

    /// Whether a thing of that time can be relied upon to be complete; unknown times can.
    fn is_settled(&self, at: Option<Timestamp>) -> bool {
        at.is_none_or(|at| self.now.duration_since(at) > SETTLE)
    }
}

#[cfg(test)]
pub(super) mod tests;
