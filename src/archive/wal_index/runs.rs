//! Unbroken runs of segments: what makes a gap visible without walking the segments again.

use crate::pg::{SegmentNumber, TimelineId};

/// Segments of one timeline without a hole, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub timeline: TimelineId,
    pub first: SegmentNumber,
    pub last: SegmentNumber,
}

/// Every run of an archive for one segment size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// By timeline, then by number.
    runs: Vec<Run>,
}

impl Runs {
    /// From places in order; repeated ones count once.
    pub(super) fn collect(places: impl Iterator<Item = (TimelineId, SegmentNumber)>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (timeline, number) in places {
            match runs.last_mut() {
                Some(run) if run.timeline == timeline && run.last == number => {}
                Some(run) if run.timeline == timeline && run.last.next() == number => {
                    run.last = number;
                }
                _ => runs.push(Run { timeline, first: number, last: number }),
            }
        }
        Self { runs }
    }

    /// The runs of one timeline, in order.
    #[must_use]
    pub fn of(&self, timeline: TimelineId) -> &[Run] {
        let first = self.runs.partition_point(|run| run.timeline < timeline);
        let end = self.runs.partition_point(|run| run.timeline <= timeline);
        &self.runs[first..end]
    }

    /// The run that holds this segment.
    #[must_use]
    pub fn holding(&self, timeline: TimelineId, number: SegmentNumber) -> Option<Run> {
        let runs = self.of(timeline);
        runs.get(runs.partition_point(|run| run.last < number))
            .filter(|run| run.first <= number)
            .copied()
    }

    /// The first segment at or after `number`.
    #[must_use]
    pub fn first_from(&self, timeline: TimelineId, number: SegmentNumber) -> Option<SegmentNumber> {
        let runs = self.of(timeline);
        let run = runs.get(runs.partition_point(|run| run.last < number))?;
        Some(run.first.max(number))
    }

    /// The newest segment of a timeline.
    #[must_use]
    pub fn newest(&self, timeline: TimelineId) -> Option<SegmentNumber> {
        self.of(timeline).last().map(|run| run.last)
    }

    /// Number of runs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there is no segment at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}
