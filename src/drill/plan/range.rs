//! Which segments replay reads, and where the archive stops giving them.

use super::{
    CLOCK_SKEW, Known, PlannedWal, Window,
    holes::{Piece, Track},
    source::Source,
};
use crate::{
    archive::{catalog::Keep, wal_index::Runs},
    drill::{FailureClass, Finding, job::Target},
    pg::{Lsn, SegmentNumber, TimelineHistory, TimelineId},
};

/// A record starts at or after an LSN target, and may go on through the segments that follow. Most
/// fit into a page; this much is planned for, where it is there.
const RECORD_ALLOWANCE: u64 = 64 << 20;

/// The unbroken segments from the backup's first one along the path.
#[derive(Debug)]
pub(in crate::drill) struct Range {
    pieces: Vec<Piece>,
    /// The first segment that is not there, on the timeline that replay would read it from.
    pub missing: (TimelineId, SegmentNumber),
    /// The first segment on the path that is there behind the missing one.
    pub behind: Option<(TimelineId, SegmentNumber)>,
}

impl Range {
    /// The newest segment of the range.
    pub(in crate::drill) fn last(&self) -> Option<(TimelineId, SegmentNumber)> {
        self.pieces.last().map(|piece| (piece.timeline, piece.last))
    }

    /// The newest segment of the range that comes before `cut`.
    pub(in crate::drill) fn last_before(
        &self,
        cut: Option<SegmentNumber>,
    ) -> Option<(TimelineId, SegmentNumber)> {
        let Some(cut) = cut else { return self.last() };
        let before = self.pieces.iter().rev().find(|piece| piece.first < cut)?;
        Some((before.timeline, before.last.min(SegmentNumber(cut.0 - 1))))
    }

    /// Whether this segment is read from this timeline.
    pub(in crate::drill) fn holds(&self, timeline: TimelineId, number: SegmentNumber) -> bool {
        let within = |piece: &Piece| (piece.first..=piece.last).contains(&number);
        self.pieces.iter().any(|piece| piece.timeline == timeline && within(piece))
    }

    /// Number of segments.
    pub(in crate::drill) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.last.0 - piece.first.0 + 1).sum()
    }

    /// Every segment up to `stop`.
    pub(super) fn segments(
        &self,
        known: &Known<'_>,
        source: &Source<'_>,
        stop: SegmentNumber,
    ) -> PlannedWal {
        let pieces = self.pieces.iter().filter(|piece| piece.first <= stop);
        let pieces = pieces.map(|piece| (piece.timeline, piece.first, piece.last.min(stop)));
        PlannedWal::new(known.catalog.wal.select(source.segment_size, pieces))
    }
}

/// Walks the path in runs, not in segments.
pub(super) fn walk(source: &Source<'_>, history: &TimelineHistory, runs: &Runs) -> Range {
    let track = Track { history, runs, size: source.segment_size };
    let mut pieces = Vec::new();
    let mut number = source.first_segment();
    while let Some(piece) = track.piece(number) {
        number = piece.last.next();
        pieces.push(piece);
    }
    Range { pieces, missing: (track.timeline(number), number), behind: track.next_there(number) }
}

/// What the range is good for.
#[derive(Debug)]
pub(super) struct Judged {
    /// The last segment to plan for.
    pub stop: SegmentNumber,
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
}

/// Whether the range reaches consistency and the target. An error is a refusal.
pub(super) fn judge(
    known: &Known<'_>,
    source: &Source<'_>,
    history: &TimelineHistory,
    range: &Range,
    window: &Window,
) -> Result<Judged, Vec<Finding>> {
    let size = source.segment_size;
    let (timeline, missing) = range.missing;
    let gap = Gap { known, source, history, range };
    if missing <= source.last_needed() {
        return Err(vec![gap.before_consistency()]);
    }
    let end = SegmentNumber(u64::MAX >> 32);
    let unlimited = Judged { stop: end, findings: Vec::new(), notes: Vec::new() };
    let unreachable = |subject: String| {
        let newest = missing.start(size);
        Finding::new(
            FailureClass::TargetUnreachable,
            subject.clone(),
            format!("{subject} lies beyond the newest WAL, which ends at {newest}; {window}"),
            "Choose a target inside the window, or find out why nothing newer was archived.",
        )
    };
    match *known.target {
        Target::Immediate => {
            let notes = range.behind.map(|_| gap.beyond()).into_iter().collect();
            Ok(Judged { stop: source.last_needed(), notes, ..unlimited })
        }
        Target::Lsn(lsn) => {
            let holds = size.segment_of(lsn);
            if holds >= missing {
                return Err(vec![match range.behind {
                    Some(_) => gap.finding(&format!("the target {lsn} lies behind it; {window}")),
                    None => unreachable(format!("the target {lsn}")),
                }]);
            }
            let allowance = RECORD_ALLOWANCE.div_ceil(size.bytes());
            let stop = SegmentNumber(holds.0 + allowance).max(source.last_needed());
            let notes = range.behind.map(|_| gap.beyond()).into_iter().collect();
            Ok(Judged { stop, notes, ..unlimited })
        }
        Target::Time(at) => {
            let beyond = window
                .to_time
                .is_some_and(|to| to.checked_add(CLOCK_SKEW).is_ok_and(|latest| at > latest));
            match (range.behind, beyond) {
                (Some(_), true) => Err(vec![
                    gap.finding(&format!("the target time {at} lies behind it; {window}")),
                ]),
                (None, true) => Err(vec![unreachable(format!("the target time {at}"))]),
                (Some(_), false) => Ok(Judged { notes: vec![gap.note()], ..unlimited }),
                (None, false) => Ok(unlimited),
            }
        }
        Target::Xid(_) | Target::Name(_) => {
            let notes = range.behind.map(|_| gap.note()).into_iter().collect();
            Ok(Judged { notes, ..unlimited })
        }
        Target::Latest => {
            let mut judged = unlimited;
            if range.behind.is_some() {
                // Retention leaves such a backup exactly the WAL up to its end.
                let right_behind = missing <= size.segment_of(source.end).next();
                if source.backup.keep == Some(Keep::Standalone) && right_behind {
                    judged.notes.push(format!(
                        "the backup is kept as `standalone`: WAL from `{}` on was removed with its \
                         neighbours",
                        missing.file_name(timeline, size)
                    ));
                } else {
                    judged.findings.push(gap.finding("recovery ends there without a word"));
                }
            } else if timeline == history.timeline
                && history
                    .ancestors
                    .last()
                    .is_some_and(|fork| size.segment_of(fork.switch) >= missing)
            {
                judged.notes.push(format!(
                    "timeline {timeline} has a history file, but none of its segments is archived"
                ));
            }
            Ok(judged)
        }
    }
}

/// The hole at the end of a range.
struct Gap<'a> {
    known: &'a Known<'a>,
    source: &'a Source<'a>,
    history: &'a TimelineHistory,
    range: &'a Range,
}

impl Gap<'_> {
    fn name(&self) -> String {
        let (timeline, number) = self.range.missing;
        number.file_name(timeline, self.source.segment_size)
    }

    /// Where the data ends: at the missing segment's start, or at the fork inside of it.
    fn lsn(&self) -> Lsn {
        let (size, number) = (self.source.segment_size, self.range.missing.1);
        let forks = self.history.ancestors.iter().map(|ancestor| ancestor.switch);
        let inside = forks.filter(|switch| size.segment_of(*switch) == number);
        inside.max().unwrap_or(number.start(size))
    }

    fn unreadable(&self) -> Option<Finding> {
        let (timeline, number) = self.range.missing;
        let wal = &self.known.catalog.wal;
        wal.is_unreadable(timeline, number, self.source.segment_size).then(|| {
            let extensions: Vec<&str> =
                wal.unreadable_extensions().iter().map(String::as_str).collect();
            Finding::new(
                FailureClass::CodecUnsupported,
                self.name(),
                format!(
                    "the segment is there, but only in a form that cannot be decoded here: {}",
                    extensions.join(", ")
                ),
                "Drill with a tool that can decode it, or archive WAL without that encryption.",
            )
            .at(self.lsn())
        })
    }

    fn before_consistency(&self) -> Finding {
        if let Some(finding) = self.unreadable() {
            return finding;
        }
        let (source, size) = (self.source, self.source.segment_size);
        // A primary's backup ends only when its last segment has been archived. A standby does not
        // wait for that, so there the end may still be on its way.
        let recent = !self.known.is_settled(Some(source.end_time));
        let on_its_way = recent && source.info.is_from_standby() && self.range.behind.is_none();
        let class = if on_its_way {
            FailureClass::ArchiveUnsettled
        } else {
            FailureClass::WalMissingForConsistency
        };
        let last = source.last_needed().file_name(source.end_timeline, size);
        let detail = format!(
            "backup `{}` needs the WAL from {} to {} (up to `{last}`) to become consistent, and `{}` \
             (from {}) is not in the archive",
            source.backup.id,
            source.begin,
            source.end,
            self.name(),
            self.lsn()
        );
        let hint = if on_its_way {
            "Run the drill again when the segment has been archived."
        } else {
            "See why the segment was not archived (`pg_stat_archiver`), and take a new base backup."
        };
        Finding::new(class, self.name(), detail, hint).at(self.lsn())
    }

    fn finding(&self, consequence: &str) -> Finding {
        if let Some(finding) = self.unreadable() {
            return finding;
        }
        let hint = "See why the segment was not archived or who removed it, and take a new base \
                    backup now: nothing after the gap can be recovered from this one.";
        Finding::new(
            FailureClass::WalGap,
            self.name(),
            format!("{}: {consequence}", self.words()),
            hint,
        )
        .at(self.lsn())
    }

    fn note(&self) -> String {
        format!("{}; whether the target lies before it shows when the WAL is read", self.words())
    }

    fn beyond(&self) -> String {
        format!("{}: it lies beyond the target", self.words())
    }

    fn words(&self) -> String {
        let size = self.source.segment_size;
        let behind = self.range.behind.map_or_else(String::new, |(timeline, number)| {
            let count = number.0 - self.range.missing.1.0;
            let file = number.file_name(timeline, size);
            format!("; {count} segment(s) are missing before `{file}`, which is there")
        });
        format!("`{}` (from {}) is not in the archive{behind}", self.name(), self.lsn())
    }
}
