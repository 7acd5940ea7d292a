//! Pages of the index access methods other than B-tree, as far as they name other pages of their index
//! (`access/hash.h`, `ginblock.h`, `gist.h`, `spgist_private.h`, `brin_page.h`, PostgreSQL 14 to 18).
//!
//! What a live page refers to was written before, in the same WAL record or an earlier one. So it is
//! never a page of zeros, however many of these a crash or an extension in bulk may leave elsewhere.

use super::{
    field,
    page::{PAGE_HEADER_SIZE, PAGE_SIZE, PageHeader},
};

/// An access method whose pages are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexMethod {
    Hash,
    Gin,
    Gist,
    SpGist,
    Brin,
}

/// `InvalidBlockNumber`.
const NO_BLOCK: u32 = u32::MAX;
/// `P_NTUPLES` of a posting tree's root in an entry (`GIN_TREE_POSTING`).
const GIN_TREE_POSTING: u16 = 0xFFFF;
/// `HASH_METAPAGE` magic, SP-GiST's and BRIN's.
const HASH_MAGIC: u32 = 0x0644_0640;
const SPGIST_MAGIC: u32 = 0xBA0B_ABEE;
const BRIN_MAGIC: u32 = 0xA810_9CFA;
/// `BRIN_PAGETYPE_REVMAP`.
const BRIN_REVMAP: u16 = 0xF092;

impl IndexMethod {
    /// From `pg_am.amname`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "hash" => Self::Hash,
            "gin" => Self::Gin,
            "gist" => Self::Gist,
            "spgist" => Self::SpGist,
            "brin" => Self::Brin,
            _ => return None,
        })
    }

    /// Blocks that every finished index has: its metapage and roots.
    #[must_use]
    pub const fn fixed_blocks(self) -> &'static [u32] {
        match self {
            Self::Hash | Self::Gist | Self::Brin => &[0],
            Self::Gin => &[0, 1],
            Self::SpGist => &[0, 1, 2],
        }
    }

    /// Hands every block that an initialised page refers to to `each`. Pages that were deleted refer
    /// to nothing that counts. Bytes that make no sense are passed over: checksums judge them.
    /// `blocks` is the index's length: of what a metapage counts beyond it, only the first is told.
    pub fn references(
        self,
        page: &[u8; PAGE_SIZE],
        block: u32,
        blocks: u32,
        each: &mut impl FnMut(u32),
    ) {
        let page = Page(page);
        match self {
            Self::Hash if block == 0 => page.hash_meta(blocks, each),
            Self::Hash => {
                // Bucket and overflow pages are chained; 2 bits of the flag say that it is one.
                let next = page.special(4).map(|at| page.u32(at));
                let flag = page.special(12).map(|at| page.u16(at));
                if flag.is_some_and(|flag| flag & 3 != 0) {
                    next.filter(|next| *next != NO_BLOCK).into_iter().for_each(each);
                }
            }
            Self::Gin => page.gin(block, each),
            Self::Gist => {
                let Some(flags) = page.special(12).map(|at| page.u16(at)) else { return };
                // Neither a leaf nor deleted.
                if matches!(flags & 3, 0) {
                    page.tuples().for_each(|(at, _)| each(page.block_id(at)));
                }
            }
            Self::SpGist => page.spgist(block, each),
            Self::Brin => page.brin(block, blocks, each),
        }
    }
}

struct Page<'a>(&'a [u8; PAGE_SIZE]);

impl Page<'_> {
    /// Zero beyond the page.
    fn u16(&self, at: usize) -> u16 {
        field::u16_at(self.0, at).unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u32 {
        field::u32_at(self.0, at).unwrap_or_default()
    }

    /// `BlockIdData`: the high half first.
    fn block_id(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    /// A place in the special space, where there is one.
    fn special(&self, offset: usize) -> Option<usize> {
        let start = usize::from(PageHeader::read(self.0).special);
        (start >= PAGE_HEADER_SIZE && start + offset + 2 <= PAGE_SIZE).then_some(start + offset)
    }

    /// Place and length of every tuple in use (`LP_NORMAL`).
    fn tuples(&self) -> impl Iterator<Item = (usize, usize)> {
        let lower = usize::from(PageHeader::read(self.0).lower).min(PAGE_SIZE);
        let count = lower.saturating_sub(PAGE_HEADER_SIZE) / 4;
        (0..count).filter_map(|i| {
            let pointer = self.u32(PAGE_HEADER_SIZE + i * 4);
            let (at, length) = ((pointer & 0x7FFF) as usize, (pointer >> 17) as usize);
            let normal = pointer >> 15 & 3 == 1;
            (normal && at >= PAGE_HEADER_SIZE && at + length <= PAGE_SIZE && length >= 8)
                .then_some((at, length))
        })
    }

    /// `HashMetaPageData`: every bucket's first page and every bitmap page.
    fn hash_meta(&self, blocks: u32, each: &mut impl FnMut(u32)) {
        const SPARES: usize = PAGE_HEADER_SIZE + 52;
        const MAPS: usize = SPARES + 98 * 4;
        if self.u32(PAGE_HEADER_SIZE) != HASH_MAGIC {
            return;
        }
        // A bucket's page comes after as many others: that of bucket `blocks` is beyond the end.
        let last = self.u32(PAGE_HEADER_SIZE + 24).min(blocks);
        for bucket in 0..=last {
            let before = match bucket {
                0 => 0,
                _ => self.u32(SPARES + 4 * (spare_index(bucket + 1).min(98) as usize - 1)),
            };
            let Some(block) = bucket.checked_add(before).and_then(|b| b.checked_add(1)) else {
                return;
            };
            each(block);
        }
        let maps = self.u32(PAGE_HEADER_SIZE + 44).min(1024) as usize;
        (0..maps).for_each(|i| each(self.u32(MAPS + i * 4)));
    }

    fn gin(&self, block: u32, each: &mut impl FnMut(u32)) {
        const DATA: u16 = 1;
        const LEAF: u16 = 2;
        const DELETED: u16 = 4;
        const LIST: u16 = 16;
        if block == 0 {
            // The pending list's head.
            let head = self.u32(PAGE_HEADER_SIZE);
            if head != NO_BLOCK {
                each(head);
            }
            return;
        }
        let Some(special) = self.special(6) else { return };
        let flags = self.u16(special);
        let (right, count) = (self.u32(special - 6), self.u16(special - 2));
        if flags & DELETED != 0 {
            return;
        }
        if flags & LIST != 0 {
            if right != NO_BLOCK {
                each(right);
            }
        } else if flags & (DATA | LEAF) == DATA {
            // `PostingItem`s of 10 bytes behind the right bound.
            let first = PAGE_HEADER_SIZE + 8;
            let most = (PAGE_SIZE - first) / 10;
            (0..usize::from(count).min(most)).for_each(|i| each(self.block_id(first + i * 10)));
        } else if flags & DATA == 0 {
            for (at, _) in self.tuples() {
                if flags & LEAF == 0 || self.u16(at + 4) == GIN_TREE_POSTING {
                    each(self.block_id(at));
                }
            }
        }
    }

    fn spgist(&self, block: u32, each: &mut impl FnMut(u32)) {
        const NOT_INNER: u16 = 1 | 2 | 4;
        let Some(flags) = self.special(0).map(|at| self.u16(at)) else { return };
        if block == 0 || flags & NOT_INNER != 0 {
            return;
        }
        for (at, length) in self.tuples() {
            let head = self.u32(at);
            // Redirections and placeholders have another form.
            if head & 3 != 0 {
                continue;
            }
            let (nodes, prefix) = (head >> 3 & 0x1FFF, (head >> 16) as usize);
            let mut node = at + 8 + prefix;
            for _ in 0..nodes {
                if node + 8 > at + length {
                    break;
                }
                if self.u16(node + 4) != 0 {
                    each(self.block_id(node));
                }
                node += usize::from(self.u16(node + 6) & 0x1FFF).max(8);
            }
        }
    }

    fn brin(&self, block: u32, blocks: u32, each: &mut impl FnMut(u32)) {
        if block == 0 {
            if self.u32(PAGE_HEADER_SIZE) == BRIN_MAGIC {
                (1..=self.u32(PAGE_HEADER_SIZE + 12).min(blocks)).for_each(each);
            }
            return;
        }
        let Some(kind) = self.special(6) else { return };
        if self.u16(kind) == BRIN_REVMAP {
            let items = (PAGE_SIZE - PAGE_HEADER_SIZE - 8) / 6;
            for at in (0..items).map(|i| PAGE_HEADER_SIZE + i * 6) {
                if self.u16(at + 4) != 0 {
                    each(self.block_id(at));
                }
            }
        }
    }
}

/// Whether a metapage is one of its method: 0 for methods whose first page is an ordinary one.
#[must_use]
pub fn has_magic(method: IndexMethod, page: &[u8; PAGE_SIZE]) -> bool {
    let word = Page(page).u32(PAGE_HEADER_SIZE);
    match method {
        IndexMethod::Hash => word == HASH_MAGIC,
        IndexMethod::SpGist => word == SPGIST_MAGIC,
        IndexMethod::Brin => word == BRIN_MAGIC,
        IndexMethod::Gin | IndexMethod::Gist => true,
    }
}

/// The entry of `hashm_spares` that counts for so many buckets (`_hash_spareindex`, `hashutil.c`): one
/// phase for each doubling up to 512, four from there on.
fn spare_index(buckets: u32) -> u32 {
    let group = buckets.next_power_of_two().trailing_zeros();
    if group < 10 {
        return group;
    }
    10 + ((group - 10) << 2) + (((buckets - 1) >> (group - 3)) & 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn phases_of_a_hash_index() {
        for (buckets, index) in [
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (512, 9),
            (513, 10),
            (640, 10),
            (641, 11),
            (1024, 13),
            (1025, 14),
        ] {
            assert_eq!(spare_index(buckets), index, "{buckets}");
        }
    }

    /// A metapage that claims four billion pages costs no more than the file is long.
    #[test]
    fn what_a_metapage_claims_is_bounded_by_the_file() {
        for (method, magic, at) in
            [(IndexMethod::Hash, HASH_MAGIC, 24), (IndexMethod::Brin, BRIN_MAGIC, 12)]
        {
            let mut page = [0; PAGE_SIZE];
            page[PAGE_HEADER_SIZE..][..4].copy_from_slice(&magic.to_le_bytes());
            page[PAGE_HEADER_SIZE + at..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
            let mut blocks = Vec::new();
            method.references(&page, 0, 10, &mut |block| blocks.push(block));
            assert!(blocks.len() < 20 && blocks.iter().any(|block| *block >= 10), "{blocks:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(seed: u64, block in 0_u32..3) {
            let mut state = seed;
            let mut page = [0; PAGE_SIZE];
            for byte in &mut page {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
            for name in ["hash", "gin", "gist", "spgist", "brin"] {
                let method = IndexMethod::from_name(name).unwrap();
                let mut count = 0_u64;
                method.references(&page, block, 100, &mut |_| count += 1);
            }
        }
    }
}
