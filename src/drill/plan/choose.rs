//! Which base backup.

use jiff::{SignedDuration, Timestamp};

use super::{
    Known, Verified, path, route, sizes,
    source::{self, Source},
    window,
};
use crate::{
    archive::{Backup, catalog::obstacle::Obstacle},
    drill::{
        FailureClass, Finding,
        job::{BackupChoice, Target, TargetTimeline},
    },
};

/// The backup, and what was seen on the way to it.
#[derive(Debug)]
pub(in crate::drill) struct Choice<'a> {
    pub source: Source<'a>,
    pub why: String,
    pub findings: Vec<Finding>,
    /// What changes nothing for this recovery point.
    pub attentions: Vec<Finding>,
    pub notes: Vec<String>,
}

/// A backup that says that it is done. It may lack files all the same: it is still the one that a
/// restore would take, so it is not passed over for an older one that would hide the defect.
struct Candidate<'a> {
    backup: &'a Backup,
    source: Result<Source<'a>, Vec<Obstacle>>,
}

impl Candidate<'_> {
    fn end_time(&self) -> Option<Timestamp> {
        self.backup.info.as_ref().ok()?.end_time
    }

    fn is_snapshot(&self) -> bool {
        matches!(&self.source, Err(obstacles) if obstacles.contains(&Obstacle::Snapshots))
    }
}

pub(super) fn choose<'a>(known: &Known<'a>, seed: u64) -> Result<Choice<'a>, Vec<Finding>> {
    let backups = &known.catalog.backups;
    if let BackupChoice::Id(id) = &known.point.backup {
        return by_id(known, id);
    }
    let mut candidates: Vec<Candidate<'a>> = backups
        .iter()
        .filter(|backup| backup.claims_done())
        .map(|backup| Candidate { backup, source: Source::of(backup, known.now) })
        .filter(|candidate| !candidate.is_snapshot())
        .collect();
    if candidates.is_empty() {
        return Err(vec![none_restorable(known)]);
    }
    candidates.sort_by_key(|c| (c.end_time(), &c.backup.id));
    let total = candidates.len();

    if let Some(within) = known.point.within {
        let newest = candidates.last().and_then(Candidate::end_time);
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        candidates
            .retain(|c| c.end_time().is_some_and(|at| known.now.duration_since(at) <= within));
        if candidates.is_empty() {
            let newest = newest.map_or_else(String::new, |at| format!("; the newest ended {at}"));
            return Err(vec![Finding::new(
                FailureClass::NoRestorableBackup,
                "base/",
                format!("none of {total} backups ended within the last {within:#}{newest}"),
                "Find out why no base backup was taken, or widen `recoveryPoint.within`.",
            )]);
        }
    }
    candidates.retain(|candidate| ends_before_target(known, candidate.backup));
    if candidates.is_empty() {
        return Err(vec![before_consistency(known, "no base backup ends before it")]);
    }
    on_timeline(known, &mut candidates)?;

    let edge = match known.point.backup {
        BackupChoice::WorstCase => worst_case(known, &candidates),
        BackupChoice::RetentionEdge => retention_edge(known, &candidates),
        BackupChoice::LeastRecentlyVerified => {
            known.verified.and_then(|verified| least_recently(known, verified, &candidates))
        }
        BackupChoice::Latest | BackupChoice::Random | BackupChoice::Id(_) => None,
    };
    let (chosen, why) = if let Some((index, why)) = edge {
        (candidates.swap_remove(index), why)
    } else if known.point.backup == BackupChoice::Random {
        // What retention has begun to remove is no choice.
        if candidates.len() > 1 {
            let newest = candidates.pop();
            candidates.retain(|c| c.backup.objects().next().is_some());
            candidates.extend(newest);
        }
        let count = candidates.len() as u64;
        let index = usize::try_from(mix(seed) % count).unwrap_or(0);
        (candidates.swap_remove(index), format!("drawn from {count} backups by seed {seed}"))
    } else {
        let Some(newest) = candidates.pop() else { return Err(vec![none_restorable(known)]) };
        let before = target_words(known)
            .map_or_else(String::new, |target| format!(" that ended before {target}"));
        (newest, format!("the newest of {total} backups{before}"))
    };
    let id = &chosen.backup.id;
    let source = chosen.source.map_err(|obstacles| source::findings(id, &obstacles))?;
    let why = format!("backup `{id}` is {why}; it ended {}", source.end_time);
    finish(known, source, why)
}

/// How many segments there are from a backup to the first that is missing, where that is beyond its own
/// end.
fn replay_length(known: &Known<'_>, candidate: &Candidate<'_>) -> Option<u64> {
    let source = candidate.source.as_ref().ok().filter(|source| !source.is_inverted())?;
    // The newest WAL is the measure, whatever this drill's target.
    Some(route::find(known, source).ok()?.range.len())
}

/// The backup from which the most WAL has to be replayed. A gap behind it is no reason to take another
/// one: it would hide the gap.
fn worst_case(known: &Known<'_>, candidates: &[Candidate<'_>]) -> Option<(usize, String)> {
    let lengths = candidates.iter().map(|candidate| replay_length(known, candidate));
    let longest = lengths.enumerate().filter_map(|(index, length)| Some((length?, index)));
    // Of equally long ways the older backup's.
    let (length, index) = longest.max_by_key(|(length, index)| (*length, usize::MAX - index))?;
    Some((index, format!("the one with the most WAL to replay, {length} segments")))
}

/// The oldest backup that reaches consistency: what retention is removing already does not.
fn retention_edge(known: &Known<'_>, candidates: &[Candidate<'_>]) -> Option<(usize, String)> {
    let restorable = |candidate: &Candidate<'_>| replay_length(known, candidate).is_some();
    let index = candidates.iter().position(restorable)?;
    Some((index, format!("the oldest of {} backups that can be restored", candidates.len())))
}

/// The backup whose proof is the oldest; of those without one the oldest backup. What retention is
/// removing is passed over.
fn least_recently(
    known: &Known<'_>,
    verified: &Verified,
    candidates: &[Candidate<'_>],
) -> Option<(usize, String)> {
    let proved = |candidate: &Candidate<'_>| verified.get(&candidate.backup.id).copied();
    let restorable = candidates.iter().enumerate();
    let restorable = restorable.filter(|(_, candidate)| replay_length(known, candidate).is_some());
    // Candidates are in the order of their ends, and of equal ones the first is taken.
    let (index, candidate) = restorable.min_by_key(|(_, candidate)| proved(candidate))?;
    let count = candidates.len();
    Some((
        index,
        match proved(candidate) {
            Some(at) => {
                format!("the one of {count} backups whose last sound drill is the oldest, of {at}")
            }
            None => format!("the oldest of {count} backups that no kept drill has proved"),
        },
    ))
}

fn by_id<'a>(known: &Known<'a>, id: &str) -> Result<Choice<'a>, Vec<Finding>> {
    let Some(backup) = known.catalog.backup(id) else {
        let ids: Vec<_> = known.catalog.backups.iter().map(|b| format!("`{}`", b.id)).collect();
        return Err(vec![Finding::new(
            FailureClass::NoRestorableBackup,
            format!("base/{id}/"),
            format!("there is no backup `{id}`; there are: {}", list(&ids)),
            "Correct `recoveryPoint.backup`, or find out what removed that backup.",
        )]);
    };
    let source =
        Source::of(backup, known.now).map_err(|obstacles| source::findings(id, &obstacles))?;
    if !ends_before_target(known, backup) {
        let reason = format!("backup `{id}` ends at {} ({})", source.end, source.end_time);
        return Err(vec![before_consistency(known, &reason)]);
    }
    let why = format!("backup `{id}` is the one that the job names; it ended {}", source.end_time);
    finish(known, source, why)
}

fn finish<'a>(
    known: &Known<'a>,
    source: Source<'a>,
    why: String,
) -> Result<Choice<'a>, Vec<Finding>> {
    let mut findings = source.defects();
    if source.is_inverted() {
        return Err(findings);
    }
    let mut notes = Vec::new();
    let newest_wanted = known.point.backup == BackupChoice::Latest;
    for other in &known.catalog.backups {
        let newer = other.id > source.backup.id;
        let obstacles = other.obstacles(known.now);
        for obstacle in &obstacles {
            notes.push(format!("backup `{}` {obstacle}", other.id));
        }
        // The newest one may be the one whose description is damaged: nobody can say any more.
        let damaged = matches!(obstacles.first(), Some(Obstacle::UnreadableInfo(_)));
        if newer && newest_wanted && damaged {
            findings.extend(source::findings(&other.id, &obstacles));
        }
    }
    let mut attentions = other_systems(known, &source);
    attentions.extend(sizes::trend(known, source.backup));
    Ok(Choice { source, why, findings, attentions, notes })
}

/// Backups of another database system than this one's: somebody else wrote here, or writes here.
fn other_systems(known: &Known<'_>, source: &Source<'_>) -> Vec<Finding> {
    let backups = known.catalog.backups.iter();
    let others = backups.filter_map(|other| {
        let system_id = other.info.as_ref().ok()?.system_id?;
        (system_id != source.system_id).then_some((other, system_id))
    });
    let asked = source.system_id;
    others.map(|(other, system_id)| source::another_system(other, system_id, asked)).collect()
}

/// Keeps what leads to a timeline that the job names by its id.
fn on_timeline(known: &Known<'_>, candidates: &mut Vec<Candidate<'_>>) -> Result<(), Vec<Finding>> {
    if !matches!(known.point.timeline, TargetTimeline::Id(_)) {
        return Ok(());
    }
    let mut refused = Vec::new();
    let mut kept = Vec::new();
    for candidate in std::mem::take(candidates) {
        match candidate.source.as_ref().map(|source| path::follow(known, source)) {
            Ok(Err(findings)) => refused = findings,
            _ => kept.push(candidate),
        }
    }
    *candidates = kept;
    if candidates.iter().any(|c| c.source.is_ok()) || refused.is_empty() {
        Ok(())
    } else {
        Err(refused)
    }
}

fn ends_before_target(known: &Known<'_>, backup: &Backup) -> bool {
    let Ok(info) = &backup.info else { return true };
    match *known.target {
        Target::Time(at) => info.end_time.is_none_or(|end| end <= at),
        Target::Lsn(lsn) => info.end_xlog.is_none_or(|end| end <= lsn),
        Target::Latest | Target::Immediate | Target::Xid(_) | Target::Name(_) => true,
    }
}

/// The target where it limits the choice.
fn target_words(known: &Known<'_>) -> Option<String> {
    match *known.target {
        Target::Time(at) => Some(format!("the target time {at}")),
        Target::Lsn(lsn) => Some(format!("the target {lsn}")),
        Target::Latest | Target::Immediate | Target::Xid(_) | Target::Name(_) => None,
    }
}

fn before_consistency(known: &Known<'_>, reason: &str) -> Finding {
    let target = target_words(known).unwrap_or_else(|| "the target".to_owned());
    let window = window::of_archive(known);
    Finding::new(
        FailureClass::TargetBeforeConsistency,
        target.clone(),
        format!("{target} lies before what can be recovered: {reason}; {window}"),
        "Choose a target inside the window, or find out why older backups are gone.",
    )
}

fn none_restorable(known: &Known<'_>) -> Finding {
    let backups = &known.catalog.backups;
    let mut reasons = Vec::new();
    for backup in backups.iter().rev() {
        let obstacles = backup.obstacles(known.now);
        let each: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        reasons.push(format!("`{}` {}", backup.id, each.join(" and ")));
    }
    let detail = if reasons.is_empty() {
        "there are objects, but no base backup".to_owned()
    } else {
        format!("no base backup can be restored: {}", list(&reasons))
    };
    let snapshots = backups.iter().any(|b| b.obstacles(known.now).contains(&Obstacle::Snapshots));
    let class = if snapshots {
        FailureClass::BackupUnsupported
    } else if backups.iter().any(|backup| backup.unsettled) {
        // What was there a moment ago may have been good: nobody can say any more.
        FailureClass::ArchiveUnsettled
    } else {
        FailureClass::NoRestorableBackup
    };
    Finding::new(
        class,
        "base/",
        detail,
        "Take a base backup and see that it ends: `barman-cloud-backup-list` must show it as done.",
    )
}

/// The first few, and how many more.
fn list(items: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items[..items.len() - more].join(", ");
    match (items.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => shown,
        (_, more) => format!("{shown} and {more} more"),
    }
}

/// `SplitMix64`: neighbouring seeds give unrelated numbers, the same on every machine.
pub(super) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
