//! Timelines and their history files (`access/timeline.c`).

use std::fmt;

use super::{Lsn, SegmentNumber, SegmentSize};

/// A timeline's number.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct TimelineId(pub u32);

impl TimelineId {
    /// Name of the file that says where this timeline came from.
    #[must_use]
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One ancestor: WAL belongs to `timeline` up to `switch` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub timeline: TimelineId,
    pub switch: Lsn,
}

/// A timeline and the ancestors that its history file names, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    pub timeline: TimelineId,
    pub ancestors: Vec<Ancestor>,
}

/// Why a history file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("line {line} is not `timeline, LSN, reason`")]
    Syntax { line: usize },
    #[error("line {line}: timeline ids must rise and stay below the file's own")]
    Order { line: usize },
    #[error("no line names a parent")]
    Empty,
}

impl TimelineHistory {
    /// A timeline without a history file: the first one.
    #[must_use]
    pub const fn root(timeline: TimelineId) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Parses the text of `<timeline>.history` with the rules of `readTimeLineHistory`: comments and
    /// empty lines are skipped, the reason is ignored, ids must rise. Switch points need not: a
    /// recovery that follows a newer timeline but ends before its fork writes a lower one.
    ///
    /// # Errors
    /// A [`HistoryError`] names the first line that PostgreSQL would refuse.
    pub fn parse(timeline: TimelineId, text: &str) -> Result<Self, HistoryError> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let content = raw.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut fields = content.split_whitespace();
            let (Some(id), Some(lsn)) = (fields.next(), fields.next()) else {
                return Err(HistoryError::Syntax { line });
            };
            let (Ok(id), Ok(switch)) = (id.parse::<u32>(), lsn.parse::<Lsn>()) else {
                return Err(HistoryError::Syntax { line });
            };
            let last = ancestors.last();
            if id >= timeline.0 || id == 0 || last.is_some_and(|a| a.timeline.0 >= id) {
                return Err(HistoryError::Order { line });
            }
            ancestors.push(Ancestor { timeline: TimelineId(id), switch });
        }
        if ancestors.is_empty() {
            return Err(HistoryError::Empty);
        }
        Ok(Self { timeline, ancestors })
    }

    /// The timeline whose WAL holds the byte at `lsn` (`tliOfPointInHistory`): the newest that has
    /// begun by then.
    #[must_use]
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        self.newest(|begin| begin <= lsn)
    }

    /// The timeline whose file replay reads for a whole segment: the newest one that has begun by
    /// its end, since the first segment of a timeline starts with a copy of its parent's bytes
    /// (`XLogFileReadAnyTLI`).
    #[must_use]
    pub fn timeline_of_segment(&self, segment: SegmentNumber, size: SegmentSize) -> TimelineId {
        self.newest(|begin| size.segment_of(begin) <= segment)
    }

    /// A timeline begins where the line above its own ends. Looked at newest first, as PostgreSQL
    /// does: after a recovery that ended before a fork on its path, switch points do not rise.
    fn newest(&self, begun: impl Fn(Lsn) -> bool) -> TimelineId {
        for (index, ancestor) in self.ancestors.iter().enumerate().rev() {
            if begun(ancestor.switch) {
                return self.ancestors.get(index + 1).map_or(self.timeline, |a| a.timeline);
            }
        }
        self.ancestors.first().map_or(self.timeline, |a| a.timeline)
    }

    /// Where `timeline` ends on the way to this one, or `None` for this one itself and for strangers.
    #[must_use]
    pub fn switch_point(&self, timeline: TimelineId) -> Option<Lsn> {
        self.ancestors.iter().find(|a| a.timeline == timeline).map(|a| a.switch)
    }

    /// Whether `timeline` is this one or one of its ancestors.
    #[must_use]
    pub fn contains(&self, timeline: TimelineId) -> bool {
        timeline == self.timeline || self.switch_point(timeline).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgresql_writes() {
        let text = "1\t0/5000000\tno recovery target specified\n\n# note\n2\t0/60000A0\tbefore 2026-01-01 00:00:00+00\n";
        let history = TimelineHistory::parse(TimelineId(3), text).unwrap();
        assert_eq!(history.timeline_at(Lsn(0x4FF_FFFF)), TimelineId(1));
        assert_eq!(history.timeline_at(Lsn(0x500_0000)), TimelineId(2));
        assert_eq!(history.timeline_at(Lsn(0x600_00A0)), TimelineId(3));
        let size = SegmentSize::DEFAULT;
        assert_eq!(history.timeline_of_segment(SegmentNumber(4), size), TimelineId(1));
        assert_eq!(history.timeline_of_segment(SegmentNumber(5), size), TimelineId(2));
        assert_eq!(history.timeline_of_segment(SegmentNumber(6), size), TimelineId(3));
        assert_eq!(history.switch_point(TimelineId(2)), Some(Lsn(0x600_00A0)));
    }

    #[test]
    fn refuses_what_postgresql_refuses() {
        let parse = |text| TimelineHistory::parse(TimelineId(3), text);
        assert_eq!(parse(""), Err(HistoryError::Empty));
        assert_eq!(parse("x\t0/1\tr"), Err(HistoryError::Syntax { line: 1 }));
        assert_eq!(parse("1\t01\tr"), Err(HistoryError::Syntax { line: 1 }));
        assert_eq!(parse("3\t0/1\tr"), Err(HistoryError::Order { line: 1 }));
        assert_eq!(parse("2\t0/1\tr\n1\t0/2\tr"), Err(HistoryError::Order { line: 2 }));
    }

    #[test]
    fn a_recovery_that_ended_before_the_fork_on_its_path() {
        let text = "1\t0/5000000\tr\n2\t0/3000000\tr\n";
        let history = TimelineHistory::parse(TimelineId(3), text).unwrap();
        assert_eq!(history.timeline_at(Lsn(0x2FF_FFFF)), TimelineId(1));
        assert_eq!(history.timeline_at(Lsn(0x400_0000)), TimelineId(3));
        let size = SegmentSize::DEFAULT;
        assert_eq!(history.timeline_of_segment(SegmentNumber(2), size), TimelineId(1));
        assert_eq!(history.timeline_of_segment(SegmentNumber(4), size), TimelineId(3));
    }
}
