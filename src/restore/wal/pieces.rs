//! A segment in pieces: they are read while those behind them are decoded, and their memory is used
//! again, so that neither the length of a segment nor the processor's cache is a matter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::{
    archive::Codec,
    pg::{
        Lsn,
        wal::{
            quiet::Skim,
            segment_pages::{PAGE_SIZE, Quiet, SegmentPages, WalRules},
        },
    },
    restore::{
        codec::{Exact, ExactError},
        pipe::PipeReader,
    },
};

/// Bytes of a piece: a whole number of WAL pages, large enough that handing it over costs nothing, small
/// enough for a processor's cache.
const PIECE: usize = 1 << 20;
/// Bytes that are decoded and then skimmed while they are in a processor's own cache.
const PART: usize = 128 << 10;
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

/// Bytes of a segment, and the quiet records that lie in them.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    quiet: Vec<Quiet>,
}

/// Makes the two ends of a segment of `length` bytes on its way, of which up to `ahead` bytes wait for
/// their reader. `skim` looks for quiet records where they are decoded.
#[must_use]
pub fn in_pieces(
    length: u64,
    ahead: u64,
    spares: &Spares,
    skim: Option<Skim>,
) -> (PieceSink, Pieces) {
    let most = usize::try_from(ahead / PIECE as u64).unwrap_or(usize::MAX);
    let (sender, receiver) = mpsc::channel(most.max(2));
    let pieces = Pieces {
        receiver,
        spares: spares.clone(),
        length,
        rules: skim.as_ref().map(|skim| skim.rules().clone()),
        next: None,
        piece: Piece::default(),
        at: 0,
        passed: 0,
    };
    (PieceSink { sender, spares: spares.clone(), skim }, pieces)
}

/// Where decoded pieces go. Where nobody takes them any more, they go nowhere.
#[derive(Debug)]
pub struct PieceSink {
    sender: mpsc::Sender<Piece>,
    spares: Spares,
    skim: Option<Skim>,
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
        let mut at = 0;
        loop {
            let mut bytes = self.spares.take();
            bytes.resize(PIECE, 0);
            let mut count = 0;
            while count < PIECE {
                let room = PIECE.min(count + PART);
                let more = decoded.fill(&mut bytes[count..room])?;
                if more == 0 {
                    break;
                }
                count += more;
                if let Some(skim) = &mut self.skim {
                    skim.read(at, &bytes[..count]);
                }
            }
            bytes.truncate(count);
            if count == 0 {
                self.spares.give(bytes);
                return decoded.end();
            }
            at += count as u64;
            let quiet = self.skim.as_mut().map(Skim::take).unwrap_or_default();
            if let Err(unwanted) = self.sender.blocking_send(Piece { bytes, quiet }) {
                self.spares.give(unwanted.0.bytes);
                self.skim = None;
            }
        }
    }
}

/// The pages of a segment as they come, each once. They may end early: whoever decodes knows why.
#[derive(Debug)]
pub struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    spares: Spares,
    length: u64,
    /// By which quiet records are found, where somebody looks for them.
    rules: Option<WalRules>,
    /// Received, and still to be read.
    next: Option<Piece>,
    piece: Piece,
    /// Where in the segment `piece` begins.
    at: u64,
    /// How many of its quiet records lie behind the reader.
    passed: usize,
}

impl Pieces {
    /// Awaits the first page; empty where none comes.
    pub async fn first_page(&mut self) -> &[u8] {
        if self.at == 0 && self.piece.bytes.is_empty() && self.next.is_none() {
            self.next = self.receiver.recv().await;
        }
        let piece = self.next.as_ref().unwrap_or(&self.piece);
        piece.bytes.get(..PAGE).unwrap_or_default()
    }

    /// Goes on as far as the piece that holds `offset`; `false` where there is none.
    fn reach(&mut self, offset: u64) -> bool {
        while offset >= self.at + self.piece.bytes.len() as u64 {
            if !self.advance() {
                return false;
            }
        }
        true
    }

    /// Goes on to the next piece, for which it waits; `false` where there is none.
    fn advance(&mut self) -> bool {
        let Some(next) = self.next.take().or_else(|| self.receiver.blocking_recv()) else {
            return false;
        };
        self.at += self.piece.bytes.len() as u64;
        self.passed = 0;
        self.spares.give(std::mem::replace(&mut self.piece, next).bytes);
        true
    }
}

/// Must not be read on a thread that runs futures.
impl SegmentPages for Pieces {
    fn length(&self) -> u64 {
        self.length
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        if !self.reach(offset) {
            return &[];
        }
        let Some(at) = offset.checked_sub(self.at) else { return &[] };
        let rest = self.piece.bytes.get(at as usize..).unwrap_or_default();
        rest.get(..PAGE).unwrap_or_default()
    }

    fn rewind(&mut self) -> bool {
        false
    }

    fn skimmed_by(&self) -> Option<&WalRules> {
        self.rules.as_ref()
    }

    fn quiet(&mut self, from: Lsn) -> Option<Quiet> {
        if !self.reach(from.0 % self.length) {
            return None;
        }
        let rest = self.piece.quiet.get(self.passed..)?;
        let passed = rest.iter().take_while(|quiet| quiet.from() < from).count();
        self.passed += passed;
        rest.get(passed).filter(|quiet| quiet.from() == from).copied()
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
            self.spares.give(piece.bytes);
        }
        self.spares.give(std::mem::take(&mut self.piece.bytes));
    }
}

#[cfg(test)]
mod tests;
