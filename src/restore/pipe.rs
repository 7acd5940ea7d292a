//! From an object's asynchronous body to a blocking reader on a decoder's thread.
//!
//! The two ends are kept apart on purpose: [`Feeder::feed`] says what became of the body, the thread
//! that reads says what became of the bytes. A failing store is thus never taken for damage. Dropping
//! either end ends the other.

use std::{
    io::{self, BufRead, ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{drill::Error, store::ByteStream};

/// Pieces of a body that may wait for the reader.
const PIECES: usize = 32;
/// Pieces that there is room for when a feeder that had to wait goes on: to wake a thread costs more than
/// to hand over a piece.
const AT_ONCE: usize = 16;

/// Makes the two ends of a pipe.
#[must_use]
pub fn pipe() -> (Feeder, PipeReader) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let taken = Taken::default();
    let reader = PipeReader { receiver, piece: Bytes::new(), ended: false, taken: taken.clone() };
    (Feeder { sender }, reader)
}

/// The asynchronous end.
#[derive(Debug)]
pub struct Feeder {
    sender: mpsc::Sender<Piece>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// What became of a body.
#[derive(Debug)]
pub enum FeedEnd {
    /// It came to its end; all of its bytes were handed over.
    Complete { bytes: u64 },
    /// The reader went away first, because of an error of its own.
    ReaderGone { bytes: u64 },
    /// The store failed.
    Store(Error),
    /// The token was cancelled.
    Cancelled,
}

impl Feeder {
    /// Moves `body` into the pipe; `on_bytes` gets the length of each piece. A body that goes beyond
    /// `limit` bytes is left there, with the count of what had come.
    pub async fn feed(
        self,
        mut body: ByteStream,
        limit: u64,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
        cancel: &CancellationToken,
    ) -> FeedEnd {
        let mut bytes = 0;
        let mut room = None;
        loop {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => return FeedEnd::Cancelled,
                () = self.sender.closed() => return FeedEnd::ReaderGone { bytes },
                next = body.next() => next,
            };
            let piece = match next {
                Some(Ok(piece)) => {
                    bytes += piece.len() as u64;
                    on_bytes(piece.len() as u64);
                    if bytes > limit {
                        return FeedEnd::Complete { bytes };
                    }
                    Piece::Bytes(piece)
                }
                Some(Err(error)) => return FeedEnd::Store(error),
                None => Piece::End,
            };
            let end = matches!(piece, Piece::End);
            let free = room.as_mut().and_then(Iterator::next);
            let place = if free.is_some() {
                free
            } else {
                // A piece that there is room for goes first: what the reader has seen has also been
                // told.
                let more = tokio::select! {
                    biased;
                    more = self.sender.reserve_many(AT_ONCE) => more,
                    () = cancel.cancelled() => return FeedEnd::Cancelled,
                };
                more.ok().and_then(|more| room.insert(more).next())
            };
            match (place, end) {
                // A reader that has seen enough may leave before the end mark.
                (None, true) => return FeedEnd::Complete { bytes },
                (None, false) => return FeedEnd::ReaderGone { bytes },
                (Some(place), _) => place.send(piece),
            }
            if end {
                return FeedEnd::Complete { bytes };
            }
        }
    }
}

/// The blocking end. Must not be read on a thread that runs futures.
#[derive(Debug)]
pub struct PipeReader {
    receiver: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
    taken: Taken,
}

/// How many bytes a reader has taken: where in the object it is.
#[derive(Clone, Debug, Default)]
pub struct Taken(Arc<AtomicU64>);

impl Taken {
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl PipeReader {
    /// A view of the reader's position that outlives it.
    #[must_use]
    pub fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

impl Read for PipeReader {
    /// # Errors
    /// As [`BufRead::fill_buf`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for PipeReader {
    /// # Errors
    /// `BrokenPipe` when the feeder left before the body's end.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(piece)) => self.piece = piece,
                Some(Piece::End) => self.ended = true,
                None => {
                    let what = "the object's body ended before its end";
                    return Err(io::Error::new(ErrorKind::BrokenPipe, what));
                }
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
        self.taken.add(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::drill::Code;

    fn ignore(_: u64) {}

    fn pieces(count: usize) -> ByteStream {
        stream::iter((0..count).map(|i| Ok(Bytes::from(vec![i as u8; 1000])))).boxed()
    }

    fn read_all(mut reader: PipeReader) -> tokio::task::JoinHandle<io::Result<Vec<u8>>> {
        tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            reader.read_to_end(&mut out).map(|_| out)
        })
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_and_are_counted() {
        let (feeder, reader) = pipe();
        let taken = reader.taken();
        let seen = AtomicU64::new(0);
        let count = |n| {
            seen.fetch_add(n, Ordering::Relaxed);
        };
        let thread = read_all(reader);
        let end = feeder.feed(pieces(100), 100_000, &count, &CancellationToken::new()).await;
        assert!(matches!(end, FeedEnd::Complete { bytes: 100_000 }), "{end:?}");
        let out = thread.await.unwrap().unwrap();
        assert!(out.chunks(1000).enumerate().all(|(i, piece)| piece == vec![i as u8; 1000]));
        assert_eq!((out.len(), taken.bytes(), seen.into_inner()), (100_000, 100_000, 100_000));
    }

    #[tokio::test]
    async fn an_error_of_the_store_is_no_end_of_file() {
        let (feeder, reader) = pipe();
        let broken = stream::once(async { Err(Error::new(Code::StoreUnavailable, "500")) });
        let thread = read_all(reader);
        let body = pieces(3).chain(broken).boxed();
        let end = feeder.feed(body, u64::MAX, &ignore, &CancellationToken::new()).await;
        assert!(matches!(end, FeedEnd::Store(Error { code: Code::StoreUnavailable, .. })));
        assert_eq!(thread.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_left() {
        let (feeder, reader) = pipe();
        let thread = read_all(reader);
        let end = feeder.feed(pieces(100), 5000, &ignore, &CancellationToken::new()).await;
        assert!(matches!(end, FeedEnd::Complete { bytes: 6000 }), "{end:?}");
        assert_eq!(thread.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_the_feeder_also_while_the_body_hangs() {
        let (feeder, reader) = pipe();
        let body = pieces(2).chain(stream::pending()).boxed();
        let thread = tokio::task::spawn_blocking(move || {
            let mut reader = reader;
            reader.read_exact(&mut [0; 1500]).unwrap();
        });
        let end = feeder.feed(body, u64::MAX, &ignore, &CancellationToken::new()).await;
        assert!(matches!(end, FeedEnd::ReaderGone { bytes: 2000 }), "{end:?}");
        thread.await.unwrap();
    }

    #[tokio::test]
    async fn cancelling_ends_both_also_while_the_pipe_is_full() {
        for hang in [true, false] {
            let (feeder, reader) = pipe();
            let body = if hang { stream::pending().boxed() } else { pieces(1000) };
            let cancel = CancellationToken::new();
            let fed = AtomicU64::new(0);
            let full = |_| {
                if fed.fetch_add(1, Ordering::Relaxed) == PIECES as u64 {
                    cancel.cancel();
                }
            };
            if hang {
                cancel.cancel();
            }
            // Nobody reads meanwhile.
            let end = feeder.feed(body, u64::MAX, &full, &cancel).await;
            assert!(matches!(end, FeedEnd::Cancelled), "{end:?}");
            let read = read_all(reader).await.unwrap();
            assert_eq!(read.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test]
    async fn dropping_the_feeder_ends_the_reader() {
        let (feeder, reader) = pipe();
        let started = Arc::new(AtomicBool::new(false));
        let thread = read_all(reader);
        {
            let cancel = CancellationToken::new();
            let seen = Arc::clone(&started);
            let note = move |_| seen.store(true, Ordering::Relaxed);
            let body = pieces(1).chain(stream::pending()).boxed();
            let mut feeding = std::pin::pin!(feeder.feed(body, u64::MAX, &note, &cancel));
            while !started.load(Ordering::Relaxed) {
                assert!(futures_util::poll!(&mut feeding).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(thread.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
