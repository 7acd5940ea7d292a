//! A segment on its way: fetched and decoded on threads of its own, while those before it are read.

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{PieceSink, Pieces, SegmentFailure, stream_segment};
use crate::{
    archive::ObjectRef,
    drill::{Code, Error},
    store::SharedStore,
};

/// A segment on its way. Dropping it ends it.
#[derive(Debug)]
pub struct Flight {
    key: String,
    pieces: Box<Pieces>,
    end: AbortOnDropHandle<Result<(), SegmentFailure>>,
}

impl Flight {
    /// Begins to fetch `object`, a segment of `length` bytes, through the ends of a segment in pieces.
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn launch(
        store: &SharedStore,
        object: &ObjectRef,
        length: u64,
        (sink, pieces): (PieceSink, Pieces),
        cancel: &CancellationToken,
    ) -> Self {
        let (store, wanted, cancel) = (store.clone(), object.clone(), cancel.clone());
        let work = async move { stream_segment(&store, &wanted, length, sink, &cancel).await };
        let end = AbortOnDropHandle::new(tokio::spawn(work));
        Self { key: object.key.clone(), pieces: Box::new(pieces), end }
    }

    /// Awaits the segment's first page; empty where none comes.
    pub async fn first_page(&mut self) -> &[u8] {
        self.pieces.first_page().await
    }

    /// Gives the pages to `work`, off the threads that run futures, while they come. What it makes of
    /// them counts where the segment's end is good.
    ///
    /// # Errors
    /// The thread died.
    pub async fn read<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Pieces) -> T + Send + 'static,
    ) -> Result<(T, Result<(), SegmentFailure>), Error> {
        let Self { key, mut pieces, end } = self;
        // The pieces go with the thread: what nobody reads any more must not hold up the decoder.
        let thread = tokio::task::spawn_blocking(move || work(&mut pieces));
        let made = thread
            .await
            .map_err(|error| Error::new(Code::Bug, format!("reading `{key}` ended: {error}")))?;
        Ok((made, landed(&key, end).await))
    }

    /// Awaits the segment's end without reading it.
    ///
    /// # Errors
    /// See [`SegmentFailure`].
    pub async fn landed(self) -> Result<(), SegmentFailure> {
        let Self { key, pieces, end } = self;
        drop(pieces);
        landed(&key, end).await
    }
}

async fn landed(
    key: &str,
    end: AbortOnDropHandle<Result<(), SegmentFailure>>,
) -> Result<(), SegmentFailure> {
    end.await.unwrap_or_else(|error| {
        let what = format!("reading `{key}` ended: {error}");
        Err(SegmentFailure::Store(Error::new(Code::Bug, what)))
    })
}
