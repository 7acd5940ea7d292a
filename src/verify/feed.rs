//! Segments on their way: fetched and decoded ahead, while the one before is read.

use std::{collections::VecDeque, num::NonZero, sync::Arc, thread};

use tokio_util::sync::CancellationToken;

use super::Reading;
use crate::{
    archive::ObjectRef,
    drill::{Code, Error},
    pg::{SegmentNumber, SegmentSize, TimelineId, wal::quiet::Skim},
    restore::{
        seen_once, two_readings,
        wal::{Flight, Pieces, SegmentFailure, Spares, in_pieces, stream_segment},
    },
    store::SharedStore,
};

/// Segments on their way at a time, at most: the one being read and those behind it.
const AT_A_TIME: usize = 6;
/// Bytes of decoded segments that wait to be read, at most.
const HELD: u64 = 48 << 20;

/// A segment of the listing.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub timeline: TimelineId,
    pub number: SegmentNumber,
    pub object: ObjectRef,
}

/// Why a segment could not be read.
#[derive(Debug)]
pub(super) enum Lost {
    /// It does not decode to a segment; one sentence, the same at the second reading.
    Damaged(String),
    /// Nothing is known of it.
    Unread(Error),
    /// It was cancelled when the first reading had shown damage: nothing is known of it either.
    Once(Error),
    Cancelled,
}

/// A segment whose first page is there, or is known not to come.
pub(super) type Fetched = Result<Coming, Lost>;

/// A segment on its way.
#[derive(Debug)]
pub(super) struct Coming {
    source: Arc<Source>,
    object: ObjectRef,
    flight: Flight,
}

/// Where segments come from.
#[derive(Debug)]
struct Source {
    store: SharedStore,
    size: SegmentSize,
    at_a_time: usize,
    cancel: CancellationToken,
    spares: Spares,
}

impl Source {
    fn new(reading: &Reading<'_>, size: SegmentSize) -> Arc<Self> {
        let (store, cancel) = (Arc::clone(reading.store), reading.cancel.clone());
        // One more is being read, and one stands ready for the processor that comes free.
        let processors = thread::available_parallelism().map_or(2, NonZero::get);
        let at_a_time = (processors + 2).min(AT_A_TIME);
        Arc::new(Self { store, size, at_a_time, cancel, spares: reading.spares.clone() })
    }

    fn launch(self: &Arc<Self>, object: ObjectRef, skim: Option<Skim>) -> Coming {
        let length = self.size.bytes();
        let (sink, pieces) = in_pieces(length, HELD / self.at_a_time as u64, &self.spares, skim);
        let flight = Flight::launch(&self.store, &object, length, (sink, pieces), &self.cancel);
        Coming { source: Arc::clone(self), object, flight }
    }

    async fn landed(
        &self,
        object: &ObjectRef,
        end: Result<(), SegmentFailure>,
    ) -> Result<(), Lost> {
        match end {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.lost(object, failure).await),
        }
    }

    /// A segment that seems damaged is read twice, since stores and networks err once.
    async fn lost(&self, object: &ObjectRef, failure: SegmentFailure) -> Lost {
        let detail = match failure {
            SegmentFailure::Store(error) => return Lost::Unread(error),
            SegmentFailure::Cancelled => return Lost::Cancelled,
            SegmentFailure::Damaged { detail, .. } => detail,
        };
        // Nobody takes what it decodes to.
        let (sink, _) = in_pieces(self.size.bytes(), 0, &self.spares, None);
        match stream_segment(&self.store, object, self.size.bytes(), sink, &self.cancel).await {
            Ok(()) => Lost::Unread(two_readings(&object.key, &detail)),
            Err(SegmentFailure::Cancelled) => Lost::Once(seen_once(&object.key, &detail, None)),
            Err(SegmentFailure::Store(error)) => {
                Lost::Unread(seen_once(&object.key, &detail, Some(&error)))
            }
            Err(SegmentFailure::Damaged { .. }) => Lost::Damaged(detail),
        }
    }
}

impl Coming {
    async fn begun(mut self) -> Fetched {
        if !self.flight.first_page().await.is_empty() {
            return Ok(self);
        }
        let what = format!("`{}` holds nothing", self.object.key);
        self.source.landed(&self.object, self.flight.landed().await).await?;
        Err(Lost::Unread(Error::new(Code::Bug, what)))
    }

    /// The segment's first page.
    pub(super) async fn first_page(&mut self) -> &[u8] {
        self.flight.first_page().await
    }

    /// Gives the pages to `work`, off the threads that run futures, while they come. What it makes of
    /// them is given once the whole segment is known to be sound.
    ///
    /// # Errors
    /// The thread died.
    pub(super) async fn read<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Pieces) -> T + Send + 'static,
    ) -> Result<Result<T, Lost>, Error> {
        let (made, end) = self.read_on(work).await?;
        Ok(end.map(|()| made))
    }

    /// As [`Self::read`], and gives what was made of the pages before the segment was lost.
    pub(super) async fn read_on<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Pieces) -> T + Send + 'static,
    ) -> Result<(T, Result<(), Lost>), Error> {
        let Self { source, object, flight } = self;
        let (made, end) = flight.read(work).await?;
        Ok((made, source.landed(&object, end).await))
    }
}

/// Gives segments in order.
pub(super) struct Feed<'a, I> {
    source: Arc<Source>,
    listed: I,
    skim: Skims<'a>,
    flying: VecDeque<(Listed, Coming)>,
}

/// Gives what looks for quiet records in a segment while it is decoded.
type Skims<'a> = Box<dyn Fn(&Listed) -> Option<Skim> + Send + 'a>;

impl<'a, I: Iterator<Item = Listed>> Feed<'a, I> {
    pub(super) fn new(reading: &Reading<'_>, size: SegmentSize, listed: I) -> Self {
        let source = Source::new(reading, size);
        Self { source, listed, skim: Box::new(|_| None), flying: VecDeque::new() }
    }

    /// Has segments skimmed while they are decoded.
    pub(super) fn skimmed(mut self, skim: impl Fn(&Listed) -> Option<Skim> + Send + 'a) -> Self {
        self.skim = Box::new(skim);
        self
    }

    /// The next segment; meanwhile those behind it are on their way.
    pub(super) async fn next(&mut self) -> Option<(Listed, Fetched)> {
        self.launch(1);
        let (listed, coming) = self.flying.pop_front()?;
        self.launch(self.source.at_a_time - 1);
        Some((listed, coming.begun().await))
    }

    /// The next segment, if it is on its way already: what the run's end has left of the others.
    pub(super) async fn landed(&mut self) -> Option<(Listed, Fetched)> {
        let (listed, coming) = self.flying.pop_front()?;
        Some((listed, coming.begun().await))
    }

    fn launch(&mut self, flying: usize) {
        while self.flying.len() < flying {
            let Some(listed) = self.listed.next() else { return };
            let skim = (self.skim)(&listed);
            let coming = self.source.launch(listed.object.clone(), skim);
            self.flying.push_back((listed, coming));
        }
    }
}

/// Fetches one segment.
pub(super) async fn fetch(reading: &Reading<'_>, object: &ObjectRef, size: SegmentSize) -> Fetched {
    Source::new(reading, size).launch(object.clone(), None).begun().await
}
