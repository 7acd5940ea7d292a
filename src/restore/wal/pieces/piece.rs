//! One piece of a segment on its way: the pages that its reader may ask for.

use std::ops::Range;

use super::{PART, PIECE, RUNS, SPAN, Spares};
use crate::pg::{
    Lsn,
    wal::{
        quiet::Skim,
        segment_pages::{PAGE_SIZE, Quiet},
    },
};

const PAGE: usize = PAGE_SIZE as usize;

/// What is kept of a stretch of a segment, and the quiet records that fill the rest of its pages.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Which bytes of the segment this is of.
    pub range: Range<u64>,
    /// Of no account while `range` is empty: what a piece before this one held.
    pub bytes: Vec<u8>,
    /// What `bytes` are, in order.
    kept: Vec<Kept>,
    pub quiet: Vec<Quiet>,
}

/// Bytes without a hole between them: where they begin in the segment and in the piece.
#[derive(Clone, Copy, Debug)]
struct Kept {
    offset: u64,
    at: usize,
}

impl Piece {
    /// An empty one that begins at `offset`.
    pub(super) fn at(offset: u64, spares: &Spares) -> Self {
        Self { range: offset..offset, bytes: spares.take(), kept: Vec::new(), quiet: Vec::new() }
    }

    /// Lets `fill` write the piece's bytes, all of which are kept, and gives how many it wrote.
    pub(super) fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.bytes.resize(PIECE, 0);
        let count = fill(&mut self.bytes)?;
        self.bytes.truncate(count);
        self.kept.push(Kept { offset: self.range.start, at: 0 });
        self.range.end = self.range.start + count as u64;
        Ok(count)
    }

    /// Takes the next bytes of the segment, but for pages that quiet records fill.
    pub(super) fn add(&mut self, part: &[u8], skim: &mut Skim) {
        if self.range.is_empty() {
            self.bytes.clear();
        }
        let quiet = skim.read(self.range.end, part);
        let mut runs = quiet.iter().peekable();
        for page in part.chunks(PAGE) {
            let offset = self.range.end;
            self.range.end += page.len() as u64;
            let here = Lsn(skim.start().0 + offset);
            while runs.next_if(|quiet| quiet.end() <= here).is_some() {}
            if !runs.peek().is_some_and(|quiet| quiet.fills(here)) {
                self.keep(offset, page);
            }
        }
        self.quiet.extend(quiet);
    }

    fn keep(&mut self, offset: u64, page: &[u8]) {
        let at = self.bytes.len();
        let goes_on = |last: &Kept| offset - last.offset == (at - last.at) as u64;
        if !self.kept.last().is_some_and(goes_on) {
            self.kept.push(Kept { offset, at });
        }
        self.bytes.extend_from_slice(page);
    }

    /// Whether it should be handed over.
    pub(super) fn is_enough(&self) -> bool {
        self.bytes.len() + PART > PIECE
            || self.range.end - self.range.start >= SPAN
            || self.quiet.len() >= RUNS
    }

    /// The page at `offset` in the segment; empty where it is not, or not whole, in here.
    pub(super) fn page(&self, offset: u64) -> &[u8] {
        let behind = self.kept.partition_point(|kept| kept.offset <= offset);
        let Some(kept) = behind.checked_sub(1).and_then(|last| self.kept.get(last)) else {
            return &[];
        };
        let end = self.kept.get(behind).map_or(self.bytes.len(), |next| next.at);
        let at = kept.at + (offset - kept.offset) as usize;
        self.bytes.get(at..end).and_then(|rest| rest.get(..PAGE)).unwrap_or_default()
    }

    /// Whether the page at `offset` is one of those that quiet records fill.
    pub(super) fn leaves_out(&self, offset: u64) -> bool {
        let whole = self.range.contains(&offset) && offset + PAGE_SIZE <= self.range.end;
        whole && self.page(offset).is_empty()
    }
}
