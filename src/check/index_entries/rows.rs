//! What is remembered of a table while its indexes are read, in a memory that the configuration bounds.
//!
//! By how large the table is for its share of `sandbox.memory`, most to least: the number of items of each
//! page and a bit for each item that is used (42 bytes a block: 5.3 GiB for a table of 1 TiB); the numbers
//! alone (2 bytes a block: 256 MiB); whether a page has any item (a bit a block: 16 MiB). Beyond that
//! neighbours share a bit. Less memory sees less and never raises an alarm more.

use crate::pg::page::{PAGE_HEADER_SIZE, PAGE_SIZE, PageHeader, PageState};

/// Bits for the items of a page: `MaxHeapTuplesPerPage` is 291.
const WORDS: usize = 5;
/// Items of a page that cannot be read: whatever points to it is excused.
const UNKNOWN: u16 = u16::MAX;
/// Bytes for a block with the bits of its items, and with their number alone.
const WITH_BITS: u64 = 2 + 8 * WORDS as u64;
const WITH_COUNT: u64 = 2;
/// A table may always take so many bytes: a bit for each page of half a gigabyte.
const LEAST: u64 = 8 << 10;

/// How much is remembered of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Every item: used or not.
    Items,
    /// How many items each page has.
    Counts,
    /// Which pages have any.
    Blocks,
}

/// What is on the pages of a table.
pub(super) struct Rows {
    blocks: u32,
    kept: Kept,
}

enum Kept {
    Items {
        counts: Vec<u16>,
        used: Vec<[u64; WORDS]>,
    },
    Counts(Vec<u16>),
    /// A bit for every 2^`shift` blocks.
    Filled {
        bits: Vec<u64>,
        shift: u32,
    },
}

impl Rows {
    /// For a table of so many blocks, in so many bytes. What is never set has no rows.
    pub(super) fn new(blocks: u32, memory: u64) -> Self {
        let memory = memory.max(LEAST);
        let length = blocks as usize;
        let kept = if u64::from(blocks) * WITH_BITS <= memory {
            Kept::Items { counts: vec![0; length], used: vec![[0; WORDS]; length] }
        } else if u64::from(blocks) * WITH_COUNT <= memory {
            Kept::Counts(vec![0; length])
        } else {
            let fits = |shift: &u32| (u64::from(blocks) >> shift) / 8 < memory;
            let shift = (0..u32::BITS).find(fits).unwrap_or_default();
            Kept::Filled { bits: vec![0; (length >> shift) / 64 + 1], shift }
        };
        Self { blocks, kept }
    }

    pub(super) fn detail(&self) -> Detail {
        match self.kept {
            Kept::Items { .. } => Detail::Items,
            Kept::Counts(_) => Detail::Counts,
            Kept::Filled { .. } => Detail::Blocks,
        }
    }

    /// Remembers a page. Blocks behind the end that the table had when it was listed are passed over.
    pub(super) fn set(&mut self, page: &[u8; PAGE_SIZE], block: u32, state: PageState) {
        if block >= self.blocks {
            return;
        }
        let at = block as usize;
        // A page of zeros has no items.
        let lower = usize::from(PageHeader::read(page).lower);
        let items = lower.saturating_sub(PAGE_HEADER_SIZE) / 4;
        let count = if state.is_damaged() { UNKNOWN } else { items as u16 };
        match &mut self.kept {
            Kept::Items { counts, used } => {
                counts[at] = count;
                if count != UNKNOWN {
                    used[at] = used_items(page, items);
                }
            }
            Kept::Counts(counts) => counts[at] = count,
            Kept::Filled { bits, shift } => {
                let bit = at >> *shift;
                bits[bit / 64] |= u64::from(count > 0) << (bit % 64);
            }
        }
    }

    /// What is wrong with an entry for this item, in words.
    pub(super) fn lacks(&self, block: u32, item: u16) -> Option<String> {
        if block >= self.blocks {
            return Some("which lies beyond the table's end".to_owned());
        }
        let at = block as usize;
        match &self.kept {
            Kept::Items { counts, used } => lacks_item(counts[at], item).or_else(|| {
                let n = usize::from(item.checked_sub(1)?);
                let word = used[at].get(n / 64).filter(|_| counts[at] != UNKNOWN)?;
                (word >> (n % 64) & 1 == 0).then(|| format!("whose item {item} is unused"))
            }),
            Kept::Counts(counts) => lacks_item(counts[at], item),
            Kept::Filled { bits, shift } => {
                let bit = at >> shift;
                let filled = item > 0 && bits[bit / 64] >> (bit % 64) & 1 == 1;
                (!filled).then(|| format!("which has no item {item}"))
            }
        }
    }
}

fn lacks_item(items: u16, item: u16) -> Option<String> {
    (items != UNKNOWN && (item == 0 || item > items))
        .then(|| format!("which has {items} items, not item {item}"))
}

/// A bit for each item that is not `LP_UNUSED`, which is 0: a row, a root of a HOT chain, a dead row.
fn used_items(page: &[u8; PAGE_SIZE], items: usize) -> [u64; WORDS] {
    let mut used = [0; WORDS];
    let pointers = page[PAGE_HEADER_SIZE..].as_chunks::<4>().0;
    for (n, pointer) in pointers.iter().take(items.min(WORDS * 64)).enumerate() {
        let flags = u32::from_le_bytes(*pointer) >> 15 & 3;
        used[n / 64] |= u64::from(flags != 0) << (n % 64);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: u32 = 1;
    const REDIRECT: u32 = 2;
    const DEAD: u32 = 3;

    /// A page with so many items, of which these are something else than rows.
    fn page(items: u16, others: &[(u16, u32)]) -> Box<[u8; PAGE_SIZE]> {
        let mut page = Box::new([0; PAGE_SIZE]);
        page[12..14].copy_from_slice(&(24 + items * 4).to_le_bytes());
        page[14..16].copy_from_slice(&8000_u16.to_le_bytes());
        for item in 1..=items {
            let other = others.iter().find(|(other, _)| *other == item);
            let flags = other.map_or(NORMAL, |(_, flags)| *flags);
            // Only a row has a place on the page (`lp_off`, `lp_len`).
            let place = if flags == NORMAL { 0x1F40_u32 | 28 << 17 } else { 0 };
            let at = 24 + usize::from(item - 1) * 4;
            page[at..at + 4].copy_from_slice(&(place | flags << 15).to_le_bytes());
        }
        page
    }

    fn rows(blocks: u32, memory: u64) -> Rows {
        let mut rows = Rows::new(blocks, memory);
        rows.set(&page(291, &[(70, 0), (71, DEAD), (72, REDIRECT), (291, 0)]), 0, PageState::Valid);
        rows.set(&page(3, &[]), 1, PageState::BadHeader);
        rows.set(&[0; PAGE_SIZE], 2, PageState::New);
        rows
    }

    /// A table of so many blocks that the least memory is enough for this much.
    const SIZES: [(u32, Detail); 3] =
        [(195, Detail::Items), (4_096, Detail::Counts), (65_536, Detail::Blocks)];

    #[test]
    fn items_that_are_there_and_items_that_are_not() {
        for (blocks, detail) in SIZES {
            let rows = rows(blocks, 0);
            assert_eq!(rows.detail(), detail);
            let there = |block, item| rows.lacks(block, item).is_none();
            assert!(there(0, 1) && there(0, 64) && there(0, 65) && there(0, 290));
            assert!(there(0, 71), "a dead row is removed after its entries");
            assert!(there(0, 72), "entries point to the root of a HOT chain");
            assert_eq!(there(0, 70), detail != Detail::Items, "an unused item");
            assert_eq!(there(0, 291), detail != Detail::Items);
            assert_eq!(there(0, 292), detail == Detail::Blocks);
            assert!(!there(0, 0));
            assert!(there(1, 200) && there(1, 400) && there(1, 1), "a damaged page excuses all");
            assert!(!there(2, 1), "a page of zeros has no rows");
            assert!(!there(3, 1), "a page that was never read has none either");
            assert!(!there(blocks, 1) && !there(u32::MAX, 1), "a table that was truncated");
        }
    }

    #[test]
    fn a_table_of_any_size_fits() {
        // 32 TiB is the most.
        let share = 4 << 20;
        let Kept::Filled { bits, shift } = Rows::new(u32::MAX, share).kept else {
            panic!("that cannot fit")
        };
        assert_eq!(shift, 7);
        assert!(bits.len() as u64 * 8 <= share + 8);
        // A terabyte: a bit for each page in 16 MiB.
        let terabyte = (1_u64 << 40) / PAGE_SIZE as u64;
        let of = |memory| Rows::new(terabyte as u32, memory);
        let Kept::Filled { shift: 0, .. } = of(17 << 20).kept else { panic!("a bit for each") };
        assert_eq!(of(256 << 20).detail(), Detail::Counts);
    }

    #[test]
    fn blocks_that_share_a_bit_are_bad_together() {
        // 2^18 blocks in 2^16 bits.
        let mut rows = Rows::new(1 << 18, 0);
        rows.set(&page(1, &[]), 9, PageState::Valid);
        rows.set(&[0; PAGE_SIZE], 10, PageState::New);
        rows.set(&[0; PAGE_SIZE], (1 << 18) + 1, PageState::New);
        let Kept::Filled { shift, .. } = rows.kept else { panic!("that cannot fit") };
        let group = 1 << shift;
        let first = 9 / group * group;
        for block in first..first + group {
            assert_eq!(rows.lacks(block, 1), None, "{block}");
        }
        assert!(rows.lacks(first + group, 1).is_some() && rows.lacks(first - 1, 1).is_some());
    }
}
