//! Segments on their way: fetched and decoded ahead, while the one before is read.

use std::{collections::VecDeque, sync::Arc};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Reading;
use crate::{
    archive::ObjectRef,
    drill::{Code, Error},
    pg::{SegmentNumber, SegmentSize, TimelineId},
    restore::{
        seen_once, two_readings,
        wal::{Buffers, SegmentFailure, fetch_segment_into},
    },
    store::SharedStore,
};

/// Segments that are fetched and decoded ahead, at most.
const AHEAD: u64 = 2;
/// Bytes of the segments that are held at a time, the one being read among them. Of larger ones it is
/// one.
const HELD: u64 = 64 << 20;

/// A segment of the listing.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub timeline: TimelineId,
    pub number: SegmentNumber,
    pub object: ObjectRef,
}

/// What became of a segment's object.
#[derive(Debug)]
pub(super) enum Fetched {
    Bytes(Vec<u8>),
    /// It does not decode to a segment; one sentence, the same at the second reading.
    Damaged(String),
    /// Nothing is known of it.
    Unread(Error),
    /// It was cancelled when the first reading had shown damage: nothing is known of it either.
    Once(Error),
    Cancelled,
}

type Flight = AbortOnDropHandle<Fetched>;

/// Gives segments in order.
pub(super) struct Feed<I> {
    store: SharedStore,
    size: SegmentSize,
    cancel: CancellationToken,
    listed: I,
    buffers: Buffers,
    ahead: usize,
    flying: VecDeque<(Listed, Flight)>,
}

impl<I: Iterator<Item = Listed>> Feed<I> {
    pub(super) fn new(reading: &Reading<'_>, size: SegmentSize, listed: I) -> Self {
        let (store, cancel) = (Arc::clone(reading.store), reading.cancel.clone());
        let buffers = reading.segments.clone();
        let ahead = ahead(size);
        Self { store, size, cancel, listed, buffers, ahead, flying: VecDeque::new() }
    }

    /// The next segment; meanwhile those behind it are on their way.
    pub(super) async fn next(&mut self) -> Option<(Listed, Fetched)> {
        self.launch(self.ahead.max(1));
        let (listed, flight) = self.flying.pop_front()?;
        let fetched = flight.await.unwrap_or_else(|error| {
            let what = format!("reading `{}` ended: {error}", listed.object.key);
            Fetched::Unread(Error::new(Code::Bug, what))
        });
        self.launch(self.ahead);
        Some((listed, fetched))
    }

    /// Where segments go that have been read.
    pub(super) const fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn launch(&mut self, ahead: usize) {
        while self.flying.len() < ahead {
            let Some(listed) = self.listed.next() else { return };
            let (store, cancel) = (Arc::clone(&self.store), self.cancel.clone());
            let (object, size) = (listed.object.clone(), self.size);
            let buffers = self.buffers.clone();
            let work = async move { fetch(&store, &object, size, &buffers, &cancel).await };
            self.flying.push_back((listed, AbortOnDropHandle::new(tokio::spawn(work))));
        }
    }
}

fn ahead(size: SegmentSize) -> usize {
    (HELD / size.bytes()).saturating_sub(1).min(AHEAD) as usize
}

/// Fetches a segment; one that seems damaged twice, since stores and networks err once.
pub(super) async fn fetch(
    store: &SharedStore,
    object: &ObjectRef,
    size: SegmentSize,
    buffers: &Buffers,
    cancel: &CancellationToken,
) -> Fetched {
    match fetch_segment_into(store, object, size.bytes(), buffers, cancel).await {
        Ok(bytes) => Fetched::Bytes(bytes),
        Err(SegmentFailure::Store(error)) => Fetched::Unread(error),
        Err(SegmentFailure::Cancelled) => Fetched::Cancelled,
        Err(SegmentFailure::Damaged { detail, .. }) => {
            match fetch_segment_into(store, object, size.bytes(), buffers, cancel).await {
                Ok(_) => Fetched::Unread(two_readings(&object.key, &detail)),
                Err(SegmentFailure::Cancelled) => {
                    Fetched::Once(seen_once(&object.key, &detail, None))
                }
                Err(SegmentFailure::Store(error)) => {
                    Fetched::Unread(seen_once(&object.key, &detail, Some(&error)))
                }
                Err(SegmentFailure::Damaged { .. }) => Fetched::Damaged(detail),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_segments_are_held_than_fit() {
        let of = |mib: u32| ahead(SegmentSize::new(mib << 20).unwrap());
        assert_eq!([1, 8, 16, 32, 64, 128, 1024].map(of), [2, 2, 2, 1, 0, 0, 0]);
    }
}
