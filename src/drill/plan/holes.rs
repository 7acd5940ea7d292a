//! A timeline path through the archive's runs: what can be read without a break, and what is missing.

use crate::{
    archive::wal_index::Runs,
    pg::{SegmentNumber, SegmentSize, TimelineHistory, TimelineId},
};

/// Segments of one timeline, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) struct Piece {
    pub timeline: TimelineId,
    pub first: SegmentNumber,
    pub last: SegmentNumber,
}

/// Segments that a path needs and the archive lacks. Both ends belong to it, each with the timeline
/// that replay would read it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drill) struct Hole {
    pub first: (TimelineId, SegmentNumber),
    pub last: (TimelineId, SegmentNumber),
}

/// Looked at in runs, not in segments.
#[derive(Clone, Copy, Debug)]
pub(in crate::drill) struct Track<'a> {
    pub history: &'a TimelineHistory,
    pub runs: &'a Runs,
    pub size: SegmentSize,
}

impl Track<'_> {
    /// The timeline that replay reads this segment from.
    pub(in crate::drill) fn timeline(&self, number: SegmentNumber) -> TimelineId {
        self.history.timeline_of_segment(number, self.size)
    }

    /// Where a later timeline takes over: the segments in between are all read from one timeline.
    fn takes_over(&self, from: SegmentNumber) -> Option<SegmentNumber> {
        let forks = self.history.ancestors.iter();
        let begins = forks.map(|ancestor| self.size.segment_of(ancestor.switch));
        begins.filter(|begin| *begin > from).min()
    }

    /// What is there without a break from `number` on, up to the next change of timeline.
    pub(in crate::drill) fn piece(&self, number: SegmentNumber) -> Option<Piece> {
        let timeline = self.timeline(number);
        let run = self.runs.holding(timeline, number)?;
        let until = self.takes_over(number);
        let last = until.map_or(run.last, |begin| run.last.min(SegmentNumber(begin.0 - 1)));
        Some(Piece { timeline, first: number, last })
    }

    /// The first segment of the path that is there, at or after `number`.
    pub(in crate::drill) fn next_there(
        &self,
        number: SegmentNumber,
    ) -> Option<(TimelineId, SegmentNumber)> {
        let mut from = Some(number);
        while let Some(start) = from {
            let timeline = self.timeline(start);
            let until = self.takes_over(start);
            let there = self.runs.first_from(timeline, start);
            if let Some(found) = there.filter(|found| until.is_none_or(|until| *found < until)) {
                return Some((timeline, found));
            }
            from = until;
        }
        None
    }

    /// Every hole from `number` on that has something behind it, in order.
    pub(in crate::drill) fn holes(&self, number: SegmentNumber) -> impl Iterator<Item = Hole> {
        let mut number = Some(number);
        std::iter::from_fn(move || {
            while let Some(at) = number {
                if let Some(piece) = self.piece(at) {
                    number = Some(piece.last.next());
                    continue;
                }
                let behind = self.next_there(at).map(|(_, behind)| behind);
                number = behind;
                let last = SegmentNumber(behind?.0 - 1);
                return Some(Hole {
                    first: (self.timeline(at), at),
                    last: (self.timeline(last), last),
                });
            }
            None
        })
    }
}

impl Hole {
    /// Number of segments.
    pub(in crate::drill) const fn len(&self) -> u64 {
        self.last.1.0 - self.first.1.0 + 1
    }
}
