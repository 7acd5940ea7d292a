//! Segments on their way: fetched and decoded ahead, while the one before is read.

use std::{collections::VecDeque, sync::Arc};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    archive::ObjectRef,
    drill::{Code, Error},
    pg::{SegmentNumber, SegmentSize, TimelineId},
    restore::{
        two_readings,
        wal::{Buffers, SegmentFailure, fetch_segment_into},
    },
    store::SharedStore,
};

/// Segments that are fetched and decoded ahead.
const AHEAD: usize = 2;
/// Of larger segments only one is.
const LARGE: u64 = 64 << 20;

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
    flying: VecDeque<(Listed, Flight)>,
}

impl<I: Iterator<Item = Listed>> Feed<I> {
    pub(super) fn new(
        store: &SharedStore,
        size: SegmentSize,
        cancel: &CancellationToken,
        listed: I,
    ) -> Self {
        let (store, cancel) = (Arc::clone(store), cancel.clone());
        let buffers = Buffers::default();
        Self { store, size, cancel, listed, buffers, flying: VecDeque::new() }
    }

    /// The next segment; meanwhile those behind it are on their way.
    pub(super) async fn next(&mut self) -> Option<(Listed, Fetched)> {
        self.launch();
        let (listed, flight) = self.flying.pop_front()?;
        let fetched = flight.await.unwrap_or_else(|error| {
            let what = format!("reading `{}` ended: {error}", listed.object.key);
            Fetched::Unread(Error::new(Code::Bug, what))
        });
        self.launch();
        Some((listed, fetched))
    }

    /// Where segments go that have been read.
    pub(super) const fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn launch(&mut self) {
        let ahead = if self.size.bytes() > LARGE { 1 } else { AHEAD };
        while self.flying.len() < ahead {
            let Some(listed) = self.listed.next() else { return };
            let (store, cancel) = (Arc::clone(&self.store), self.cancel.clone());
            let (object, size) = (listed.object.clone(), self.size);
            let buffers = self.buffers.clone();
            let work = async move { fetch_into(&store, &object, size, &buffers, &cancel).await };
            self.flying.push_back((listed, AbortOnDropHandle::new(tokio::spawn(work))));
        }
    }
}

/// Fetches a segment; one that seems damaged twice, since stores and networks err once.
pub(super) async fn fetch(
    store: &SharedStore,
    object: &ObjectRef,
    size: SegmentSize,
    cancel: &CancellationToken,
) -> Fetched {
    fetch_into(store, object, size, &Buffers::default(), cancel).await
}

async fn fetch_into(
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
                Err(SegmentFailure::Cancelled) => Fetched::Cancelled,
                Err(SegmentFailure::Damaged { .. } | SegmentFailure::Store(_)) => {
                    Fetched::Damaged(detail)
                }
            }
        }
    }
}
