//! Each base backup: how far it restores, and what is in the way.

use super::{BackupLine, BackupState, Blocker, Reach, Seen};
use crate::{
    archive::{
        Backup,
        catalog::{Keep, obstacle::Obstacle},
        wal_index::StoredSegment,
    },
    drill::{
        Finding,
        format::{bytes, count},
        plan::{
            Decided, Known,
            range::Range,
            route::{self, NoWay, Route},
            sizes,
            source::{self, Source},
        },
    },
    pg::{Major, SegmentSize},
};

/// So many blockers of a backup are named.
const BLOCKERS_LISTED: usize = 20;
/// So many segments of impossible size are kept, and so many of them are findings.
const ODD_KEPT: usize = 10_000;
const ODD_NAMED: usize = 20;

/// A line, and what gaps are looked for from.
#[derive(Debug)]
pub(super) struct Looked<'a> {
    pub line: BackupLine,
    /// Where there is a way from it.
    pub way: Option<(Source<'a>, Route)>,
}

/// Looks at every backup, oldest first. What is wrong with any but the latest is an attention.
pub(super) fn look<'a>(
    known: &Known<'a>,
    latest: Option<&Decided<'a>>,
    odd: &OddSegments,
    seen: &mut Seen,
) -> Vec<Looked<'a>> {
    let mut all: Vec<Looked<'a>> = Vec::with_capacity(known.catalog.backups.len());
    for backup in &known.catalog.backups {
        let (looked, in_the_way) = one(known, backup, latest, odd);
        if looked.line.state != BackupState::UnderWay {
            seen.attentions.extend(in_the_way);
        }
        if backup.claims_done() {
            seen.attentions.extend(sizes::trend(known, backup));
        }
        all.push(looked);
    }
    all
}

fn one<'a>(
    known: &Known<'a>,
    backup: &'a Backup,
    latest: Option<&Decided<'a>>,
    odd: &OddSegments,
) -> (Looked<'a>, Vec<Finding>) {
    let looked = |state, reach, way, in_the_way: &[Finding]| Looked {
        line: line(backup, state, reach, in_the_way),
        way,
    };
    let source = match Source::of(backup, known.now) {
        Ok(source) => source,
        Err(obstacles) => {
            let found = source::findings(&backup.id, &obstacles);
            let under_way = obstacles.iter().any(Obstacle::is_under_way);
            let state = if under_way { BackupState::UnderWay } else { blocked(&found) };
            return (looked(state, None, None, &found), found);
        }
    };
    let mut found = source.defects();
    if let Some(latest) = latest.map(|latest| &latest.choice.source)
        && latest.system_id != source.system_id
    {
        found.push(source.of_another_system(latest.system_id));
        return (looked(BackupState::Unknown, None, None, &found), found);
    }
    if source.is_inverted() {
        return (looked(BackupState::Blocked, None, None, &found), found);
    }
    match route::find(known, &source) {
        Err(NoWay { findings, .. }) => {
            found.extend(findings);
            (looked(blocked(&found), None, None, &found), found)
        }
        Ok(route) => {
            let damaged = !found.is_empty();
            found.extend(route.findings.iter().cloned());
            let cut = odd.first_on(&route.range);
            found.extend(cut.and_then(|cut| sizes::odd_segment(&cut, source.segment_size)));
            let inconsistent = cut.is_some_and(|cut| cut.number <= source.last_needed());
            if damaged || inconsistent {
                return (looked(BackupState::Blocked, None, None, &found), found);
            }
            let reach = reach(known, &source, &route.range, cut);
            let state = match (found.is_empty(), route.range.behind) {
                (true, None) => BackupState::Restorable,
                (true, Some(_)) => BackupState::Standalone,
                (false, _) => BackupState::Short,
            };
            (looked(state, reach, Some((source, route)), &found), found)
        }
    }
}

/// Where nothing but what cannot be told is in the way, it cannot be told.
fn blocked(found: &[Finding]) -> BackupState {
    if found.iter().all(|finding| finding.class.is_environment()) {
        BackupState::Unknown
    } else {
        BackupState::Blocked
    }
}

fn reach(
    known: &Known<'_>,
    source: &Source<'_>,
    range: &Range,
    cut: Option<StoredSegment>,
) -> Option<Reach> {
    let size = source.segment_size;
    let (timeline, last) = range.last_before(cut.map(|cut| cut.number))?;
    Some(Reach {
        timeline,
        lsn: last.end(size),
        segment: last.file_name(timeline, size),
        archived_at: known.catalog.wal.stored_at(timeline, last, size).flatten(),
        segments: last.0 - source.first_segment().0 + 1,
    })
}

fn line(
    backup: &Backup,
    state: BackupState,
    reach: Option<Reach>,
    in_the_way: &[Finding],
) -> BackupLine {
    let info = backup.info.as_ref().ok();
    BackupLine {
        id: backup.id.clone(),
        name: info.and_then(|info| info.backup_name.clone()),
        state,
        status: info.map(|info| info.status.to_string()),
        begin_at: info.and_then(|info| info.begin_time),
        end_at: info.and_then(|info| info.end_time),
        end_lsn: info.and_then(|info| info.end_xlog),
        timeline: info.and_then(|info| info.timeline),
        system_id: info.and_then(|info| info.system_id).map(|id| id.to_string()),
        major: info.and_then(|info| Major::from_version_num(info.version?)),
        parts: backup.objects().count() as u64,
        bytes: backup.total_bytes(),
        keep: backup.keep.map(|keep| match keep {
            Keep::Full => "full",
            Keep::Standalone => "standalone",
            Keep::Unknown => "unknown",
        }),
        reach,
        blocked_by: in_the_way.iter().take(BLOCKERS_LISTED).map(Blocker::from).collect(),
    }
}

/// Segments that cannot be what their name says, by their stored size.
#[derive(Debug, Default)]
pub(super) struct OddSegments {
    size: Option<SegmentSize>,
    kept: Vec<StoredSegment>,
    count: usize,
}

impl OddSegments {
    /// By the segment size of the latest backup, else of the newest that tells one.
    pub(super) fn of(known: &Known<'_>, latest: Option<&Decided<'_>>) -> Self {
        let size = latest.map(|latest| latest.choice.source.segment_size);
        let Some(size) = size.or_else(|| segment_size(known)) else { return Self::default() };
        let (mut kept, mut count) = (Vec::new(), 0);
        for segment in known.catalog.wal.odd_sizes(size) {
            count += 1;
            if kept.len() < ODD_KEPT {
                kept.push(segment);
            }
        }
        Self { size: Some(size), kept, count }
    }

    fn first_on(&self, range: &Range) -> Option<StoredSegment> {
        let on = self.kept.iter().filter(|odd| range.holds(odd.timeline, odd.number));
        on.min_by_key(|odd| odd.number).copied()
    }

    /// The first ones that this recovery reads.
    pub(super) fn on(&self, range: &Range) -> Vec<Finding> {
        let on = self.kept.iter().filter(|odd| range.holds(odd.timeline, odd.number));
        on.take(ODD_NAMED).filter_map(|odd| self.finding(odd)).collect()
    }

    /// The first ones of all, and how many more.
    pub(super) fn all(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> =
            self.kept.iter().take(ODD_NAMED).filter_map(|odd| self.finding(odd)).collect();
        if let Some(last) = found.last_mut().filter(|_| self.count > ODD_NAMED) {
            let more = count((self.count - ODD_NAMED) as u64);
            last.detail = format!("{}; so it is with {more} more segments", last.detail);
        }
        found
    }

    fn finding(&self, odd: &StoredSegment) -> Option<Finding> {
        sizes::odd_segment(odd, self.size?)
    }
}

/// The segment size that the newest description tells.
pub(super) fn segment_size(known: &Known<'_>) -> Option<SegmentSize> {
    let infos = known.catalog.backups.iter().rev().filter_map(|backup| backup.info.as_ref().ok());
    infos.into_iter().find_map(|info| info.segment_size)
}

/// WAL from before every backup: no recovery reads it.
pub(super) fn unneeded(known: &Known<'_>) -> Option<String> {
    let size = segment_size(known)?;
    let infos = known.catalog.backups.iter().filter_map(|backup| backup.info.as_ref().ok());
    let begins = infos.filter_map(crate::archive::BackupInfo::replay_start);
    let oldest = begins.min()?;
    let (segments, stored) = known.catalog.wal.stored_before(size.segment_of(oldest), size);
    (segments > 0).then(|| {
        format!(
            "{} WAL segment(s), {}, are older than every backup: no recovery reads them",
            count(segments),
            bytes(stored)
        )
    })
}
