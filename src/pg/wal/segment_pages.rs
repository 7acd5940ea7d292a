//! Where a reader gets the pages of a segment from.

pub use super::page::{PAGE_SIZE, WalRules};
pub use super::quiet::Quiet;
use crate::pg::Lsn;

/// The pages of one decoded segment, in order: what lies behind the page that is being read may still
/// be on its way.
pub trait SegmentPages {
    /// Bytes of the segment when it is whole.
    fn length(&self) -> u64;

    /// The page that begins at `offset`, a multiple of the page size; empty where there is none, or
    /// none any more. Pages before it need not be kept.
    fn page(&mut self, offset: u64) -> &[u8];

    /// Goes back to the first page; `false` where it is not kept.
    fn rewind(&mut self) -> bool;

    /// By which rules the records are quiet that [`Self::quiet`] gives; `None` where it gives none.
    fn skimmed_by(&self) -> Option<&WalRules> {
        None
    }

    /// The quiet records behind one that ends at `from`, if they are known from there on. Pages before
    /// `from` need not be kept, nor those that quiet records fill.
    fn quiet(&mut self, from: Lsn) -> Option<Quiet> {
        let _ = from;
        None
    }
}

/// A whole segment.
impl SegmentPages for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        let page = usize::try_from(offset).ok().and_then(|at| self.get(at..));
        page.and_then(|rest| rest.get(..PAGE_SIZE as usize)).unwrap_or_default()
    }

    fn rewind(&mut self) -> bool {
        true
    }
}

impl<P: SegmentPages> SegmentPages for &mut P {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        (**self).page(offset)
    }

    fn rewind(&mut self) -> bool {
        (**self).rewind()
    }

    fn skimmed_by(&self) -> Option<&WalRules> {
        (**self).skimmed_by()
    }

    fn quiet(&mut self, from: Lsn) -> Option<Quiet> {
        (**self).quiet(from)
    }
}
