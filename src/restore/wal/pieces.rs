//! A segment in pieces: they are read while those behind them are decoded, and their memory is used
//! again, so that neither the length of a segment nor the processor's cache is a matter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::{
    archive::Codec,
    pg::wal::segment_pages::{PAGE_SIZE, SegmentPages},
    restore::{
        codec::{Exact, ExactError},
        pipe::PipeReader,
    },
};

/// Bytes of a piece: a whole number of WAL pages, large enough that handing it over costs nothing, small
/// enough for a processor's cache.
const PIECE: usize = 1 << 20;
const PAGE: usize = PAGE_SIZE as usize;

/// Pieces that have been read, to be filled again: an allocator that is given back large pieces by
/// many threads keeps several times of what is in use.
#[derive(Clone, Debug, Default)]
pub struct Spares(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spares {
    fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_else(|| vec![0; PIECE])
    }

    fn give(&self, piece: Vec<u8>) {
        if piece.capacity() > 0 {
            self.lock().push(piece);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the two ends of a segment of `length` bytes on its way, of which up to `ahead` bytes wait for
/// their reader.
#[must_use]
pub fn in_pieces(length: u64, ahead: u64, spares: &Spares) -> (PieceSink, Pieces) {
    let most = usize::try_from(ahead / PIECE as u64).unwrap_or(usize::MAX);
    let (sender, receiver) = mpsc::channel(most.max(2));
    let pieces =
        Pieces { receiver, spares: spares.clone(), length, next: None, piece: Vec::new(), at: 0 };
    (PieceSink { sender, spares: spares.clone(), filling: None, wanted: true }, pieces)
}

/// Where decoded pieces go. Where nobody takes them any more, they go nowhere.
#[derive(Debug)]
pub struct PieceSink {
    sender: mpsc::Sender<Vec<u8>>,
    spares: Spares,
    filling: Option<Vec<u8>>,
    wanted: bool,
}

impl PieceSink {
    /// Decodes to the end. Blocks while enough pieces wait.
    pub(super) fn decode(
        mut self,
        codec: Codec,
        reader: PipeReader,
        expected: u64,
    ) -> Result<(), ExactError> {
        let mut decoded = Exact::new(codec, reader, expected);
        loop {
            let mut piece = self.spares.take();
            piece.resize(PIECE, 0);
            let count = decoded.fill(&mut piece)?;
            if count == 0 {
                self.spares.give(piece);
                return decoded.end();
            }
            piece.truncate(count);
            if self.wanted {
                self.wanted = self.sender.blocking_send(piece).is_ok();
            } else {
                self.spares.give(piece);
            }
        }
    }

    /// Takes bytes that need no decoding. Waits while enough pieces wait.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.wanted {
            let piece = self.filling.get_or_insert_with(|| {
                let mut piece = self.spares.take();
                piece.clear();
                piece
            });
            let count = bytes.len().min(PIECE - piece.len());
            piece.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if piece.len() == PIECE {
                self.flush().await;
            }
        }
    }

    /// Hands over what [`Self::push`] holds back.
    pub(super) async fn flush(&mut self) {
        if let Some(piece) = self.filling.take() {
            self.wanted = self.sender.send(piece).await.is_ok();
        }
    }
}

/// The pages of a segment as they come, each once. They may end early: whoever decodes knows why.
#[derive(Debug)]
pub struct Pieces {
    receiver: mpsc::Receiver<Vec<u8>>,
    spares: Spares,
    length: u64,
    /// Received, and still to be read.
    next: Option<Vec<u8>>,
    piece: Vec<u8>,
    /// Where in the segment `piece` begins.
    at: u64,
}

impl Pieces {
    /// Awaits the first page; empty where none comes.
    pub async fn first_page(&mut self) -> &[u8] {
        if self.at == 0 && self.piece.is_empty() && self.next.is_none() {
            self.next = self.receiver.recv().await;
        }
        let piece = self.next.as_ref().unwrap_or(&self.piece);
        piece.get(..PAGE).unwrap_or_default()
    }

    /// Goes on to the next piece, for which it waits; `false` where there is none.
    fn advance(&mut self) -> bool {
        let Some(next) = self.next.take().or_else(|| self.receiver.blocking_recv()) else {
            return false;
        };
        self.at += self.piece.len() as u64;
        self.spares.give(std::mem::replace(&mut self.piece, next));
        true
    }
}

/// Must not be read on a thread that runs futures.
impl SegmentPages for Pieces {
    fn length(&self) -> u64 {
        self.length
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        while offset >= self.at + self.piece.len() as u64 {
            if !self.advance() {
                return &[];
            }
        }
        let Some(at) = offset.checked_sub(self.at) else { return &[] };
        let rest = self.piece.get(at as usize..).unwrap_or_default();
        rest.get(..PAGE).unwrap_or_default()
    }

    fn rewind(&mut self) -> bool {
        false
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.receiver.close();
        let left = self
            .next
            .take()
            .into_iter()
            .chain(std::iter::from_fn(|| self.receiver.try_recv().ok()));
        for piece in left {
            self.spares.give(piece);
        }
        self.spares.give(std::mem::take(&mut self.piece));
    }
}

#[cfg(test)]
mod tests;
