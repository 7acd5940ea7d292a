//! Segments chosen from an index, as flat in memory as the index itself: there may be a million of them,
//! and an owned key and entity tag for each would take four times as much.

use super::{Entry, StoredSegment, WalIndex, object, place};
use crate::{
    archive::ObjectRef,
    pg::{SegmentNumber, SegmentSize, TimelineId},
};

/// Segments in the order in which they were chosen.
#[derive(Clone, Debug)]
pub struct Selection {
    folder: Box<str>,
    size: SegmentSize,
    entries: Vec<Entry>,
}

impl WalIndex {
    /// The complete segments of each timeline from a first to a last one: what [`Self::segment`] gives of
    /// each, found by one search for all.
    #[must_use]
    pub fn select(
        &self,
        size: SegmentSize,
        pieces: impl IntoIterator<Item = (TimelineId, SegmentNumber, SegmentNumber)>,
    ) -> Selection {
        let mut entries = Vec::new();
        for (timeline, first, last) in pieces {
            let (first, last) = (place(timeline, first, size), place(timeline, last, size));
            let begin = first.map_or(self.segments.len(), |first| {
                self.segments.partition_point(|entry| entry.place() < first)
            });
            let behind = &self.segments[begin..];
            let end = match last {
                Some(last) => behind.partition_point(|entry| entry.place() <= last),
                None => behind.partition_point(|entry| entry.timeline == timeline.0),
            };
            #[cfg(test)]
            super::LOOKED_AT.with(|count| count.set(count.get() + end as u64));
            entries.reserve_exact(end);
            entries.extend(behind[..end].iter().filter(|e| e.number(size).is_some()).cloned());
        }
        // Of one that is there more than once the first counts.
        entries.dedup_by(|again, first| again.place() == first.place());
        Selection { folder: self.folder.clone(), size, entries }
    }
}

impl Selection {
    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the first `count` segments.
    pub fn truncate(&mut self, count: usize) {
        self.entries.truncate(count);
    }

    /// How the segment at `index` is stored.
    #[must_use]
    pub fn stored(&self, index: usize) -> Option<StoredSegment> {
        let entry = self.entries.get(index)?;
        Some(StoredSegment {
            timeline: TimelineId(entry.timeline),
            number: entry.number(self.size)?,
            bytes: entry.size,
            codec: entry.codec,
        })
    }

    /// The object that holds the segment at `index`.
    #[must_use]
    pub fn object(&self, index: usize) -> Option<ObjectRef> {
        self.entries.get(index).map(|entry| object(&self.folder, entry, ""))
    }
}
