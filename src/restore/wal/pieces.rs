//! A segment in pieces: they are read while those behind them are decoded, and their memory is used
//! again, so that neither the length of a segment nor the processor's cache is a matter.

mod piece;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use self::piece::Piece;
use super::Undecoded;
use crate::{
    archive::Codec,
    drill::Error,
    pg::{
        Lsn,
        wal::{
            quiet::Skim,
            segment_pages::{Quiet, SegmentPages, WalRules},
        },
    },
    restore::{codec::Exact, pipe::PipeReader},
};

/// Bytes of a piece: a whole number of WAL pages, large enough that handing it over costs nothing, small
/// enough for a processor's cache.
const PIECE: usize = 1 << 20;
/// Bytes that are skimmed at a time: they are still in the cache of the processor that decoded them.
const PART: usize = 256 << 10;
/// Bytes of a segment that a piece may be of, where little of them is left after skimming.
const SPAN: u64 = 4 << 20;
/// Runs of quiet records in a piece.
const RUNS: usize = 1024;

/// Who keeps a segment while it is decoded, on the thread that decodes it.
pub trait Keep: fmt::Debug + Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// They could not be kept: the segment is not decoded any further.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// The segment is whole.
    ///
    /// # Errors
    /// It could not be kept.
    fn end(&mut self) -> Result<(), Error>;
}

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
/// their reader. `skim` looks for quiet records where they are decoded; pages that they fill are left
/// out.
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
        passed: 0,
        missed: false,
    };
    (PieceSink { sender, spares: spares.clone(), skim, keep: None }, pieces)
}

/// Where decoded pieces go. Where nobody takes them any more, they go nowhere.
#[derive(Debug)]
pub struct PieceSink {
    sender: mpsc::Sender<Piece>,
    spares: Spares,
    skim: Option<Skim>,
    keep: Option<Box<dyn Keep>>,
}

impl PieceSink {
    /// Has all that is decoded kept by `keep`, also what nobody reads.
    #[must_use]
    pub fn kept(self, keep: Box<dyn Keep>) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// Decodes to the end. Blocks while enough pieces wait.
    pub(super) fn decode(
        self,
        codec: Codec,
        reader: PipeReader,
        expected: u64,
    ) -> Result<(), Undecoded> {
        let mut decoded = Exact::new(codec, reader, expected);
        let Self { sender, spares, skim, mut keep } = self;
        let mut kept = |bytes: &[u8]| keep.as_mut().map_or(Ok(()), |keep| keep.take(bytes));
        let mut skimming = skim.map(|skim| {
            let mut part = spares.take();
            part.resize(PART, 0);
            (skim, part)
        });
        let mut piece = Piece::at(0, &spares);
        loop {
            let count = if let Some((skim, part)) = &mut skimming {
                let part = decoded.part(&mut part[..PART])?;
                kept(part)?;
                piece.add(part, skim);
                part.len()
            } else {
                let count = piece.fill(|bytes| decoded.fill(bytes))?;
                kept(&piece.bytes)?;
                count
            };
            let enough = count == 0 || skimming.is_none() || piece.is_enough();
            if enough && !piece.range.is_empty() {
                let next = Piece::at(piece.range.end, &spares);
                let full = std::mem::replace(&mut piece, next);
                if let Err(unwanted) = sender.blocking_send(full) {
                    spares.give(unwanted.0.bytes);
                    skimming = None;
                }
            }
            if count == 0 {
                spares.give(skimming.map(|(_, part)| part).unwrap_or_default());
                spares.give(piece.bytes);
                decoded.end()?;
                return keep.map_or(Ok(()), |mut keep| Ok(keep.end()?));
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
    /// How many of its quiet records lie behind the reader.
    passed: usize,
    missed: bool,
}

impl Pieces {
    /// Awaits the first page; empty where none comes.
    pub async fn first_page(&mut self) -> &[u8] {
        if self.piece.range.end == 0 && self.next.is_none() {
            self.next = self.receiver.recv().await;
        }
        self.next.as_ref().unwrap_or(&self.piece).page(0)
    }

    /// Whether a page was asked for that had been left out because quiet records fill it. What was made
    /// of the segment counts for nothing then: it must be read without skimming.
    #[must_use]
    pub const fn missed(&self) -> bool {
        self.missed
    }

    /// Goes on as far as the piece that holds `offset`; `false` where there is none.
    fn reach(&mut self, offset: u64) -> bool {
        while offset >= self.piece.range.end {
            let Some(next) = self.next.take().or_else(|| self.receiver.blocking_recv()) else {
                return false;
            };
            self.passed = 0;
            self.spares.give(std::mem::replace(&mut self.piece, next).bytes);
        }
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
        self.missed |= self.piece.leaves_out(offset);
        self.piece.page(offset)
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
