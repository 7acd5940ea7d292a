//! A file of the backup on its way to the second look.

use super::{CatalogLook, Wanted};
use crate::pg::{page::PAGE_SIZE, wal::record::RelationFile};

/// One wanted file on its way.
#[derive(Debug)]
pub struct LookFile<'a> {
    look: &'a mut CatalogLook,
    what: Wanted,
    of: Option<RelationFile>,
    block: u32,
    partial: Vec<u8>,
}

impl<'a> LookFile<'a> {
    pub(super) const fn new(
        look: &'a mut CatalogLook,
        what: Wanted,
        of: Option<RelationFile>,
        block: u32,
    ) -> Self {
        Self { look, what, of, block, partial: Vec::new() }
    }

    /// The next bytes of the file, in pieces of any size.
    pub fn data(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let whole = std::mem::take(&mut self.partial);
        let (pages, rest) = whole.as_chunks::<PAGE_SIZE>();
        for page in pages {
            match self.what {
                Wanted::Xact(file) => {
                    self.look.statuses(file, u64::from(self.block) * PAGE_SIZE as u64, page);
                }
                Wanted::XactAhead(file) => {
                    self.look.kept.xact(file, u64::from(self.block) * PAGE_SIZE as u64, page);
                }
                _ => {
                    if let Some(of) = self.of {
                        self.look.page(&self.what, of, page, self.block);
                    }
                }
            }
            self.block = self.block.wrapping_add(1);
        }
        self.partial = rest.to_vec();
    }
}
