//! The WAL of a plan. It is as long as the archive: objects are named when they are asked for.

use crate::{
    archive::{
        ObjectRef,
        wal_index::{StoredSegment, selection::Selection},
    },
    pg::{SegmentNumber, TimelineId},
};

/// The segments that replay reads, in order and without a hole.
#[derive(Clone, Debug)]
pub struct PlannedWal(Selection);

/// A segment as it lies in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    pub timeline: TimelineId,
    pub number: SegmentNumber,
    pub object: ObjectRef,
}

impl PlannedWal {
    /// Of segments whose numbers follow one another.
    #[must_use]
    pub const fn new(segments: Selection) -> Self {
        Self(segments)
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the first `count` segments.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// The segment at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<PlannedSegment> {
        let StoredSegment { timeline, number, .. } = self.0.stored(index)?;
        Some(PlannedSegment { timeline, number, object: self.0.object(index)? })
    }

    /// The first segment.
    #[must_use]
    pub fn first(&self) -> Option<PlannedSegment> {
        self.get(0)
    }

    /// The last segment.
    #[must_use]
    pub fn last(&self) -> Option<PlannedSegment> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Where the segment of this number stands, if it is planned.
    #[must_use]
    pub fn position(&self, number: SegmentNumber) -> Option<usize> {
        let first = self.0.stored(0)?.number;
        let index = usize::try_from(number.0.checked_sub(first.0)?).ok()?;
        self.0.stored(index).filter(|segment| segment.number == number).map(|_| index)
    }

    /// The segment of this number, if it is planned.
    #[must_use]
    pub fn segment(&self, number: SegmentNumber) -> Option<PlannedSegment> {
        self.get(self.position(number)?)
    }

    /// Every segment.
    pub fn iter(&self) -> impl Iterator<Item = PlannedSegment> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// How every segment is stored; names nothing, so that it costs nothing.
    pub fn stored(&self) -> impl Iterator<Item = StoredSegment> {
        (0..self.len()).filter_map(|index| self.0.stored(index))
    }
}
