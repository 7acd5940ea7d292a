//! Leaf pages of a B-tree: which rows of the heap their entries point to (`access/nbtree.h`, versions 2
//! to 4 of its metapage, PostgreSQL 14 to 18). What does not fit into the page is passed over: whether a
//! page makes sense is amcheck's to tell.

use super::{
    field,
    page::{PAGE_HEADER_SIZE, PAGE_SIZE, PageHeader},
};

/// Where `BTPageOpaqueData` begins: the last 16 bytes of a page.
const SPECIAL: usize = PAGE_SIZE - 16;
/// `BTP_LEAF`, and the flags of pages without entries: `BTP_DELETED`, `BTP_META`, `BTP_HALF_DEAD`.
const LEAF: u16 = 1;
const WITHOUT_ENTRIES: u16 = 1 << 2 | 1 << 3 | 1 << 4;
/// `t_info`: bits of the length, and `INDEX_ALT_TID_MASK`.
const SIZE_MASK: u16 = 0x1FFF;
const ALT_TID: u16 = 0x2000;
/// `t_tid`'s offset of an entry with several rows: `BT_IS_POSTING` and `BT_OFFSET_MASK`.
const IS_POSTING: u16 = 0x2000;
const COUNT_MASK: u16 = 0x0FFF;
/// Bytes of a line pointer, of an item pointer, and of an entry's header.
const LINE_POINTER: usize = 4;
const ITEM_POINTER: usize = 6;
const ENTRY_HEADER: usize = 8;

/// Hands block and item of every row that a leaf's entries point to to `each`. Pages of other kinds
/// have none.
pub fn rows(page: &[u8; PAGE_SIZE], each: &mut impl FnMut(u32, u16)) {
    let header = PageHeader::read(page);
    let flags = u16_at(page, SPECIAL + 12);
    let leaf = flags & LEAF != 0 && flags & WITHOUT_ENTRIES == 0;
    if header.is_new() || usize::from(header.special) != SPECIAL || !leaf {
        return;
    }
    let items = usize::from(header.lower).saturating_sub(PAGE_HEADER_SIZE) / LINE_POINTER;
    // A page with one to its right begins with its high key.
    let high_key = usize::from(u32_at(page, SPECIAL + 4) != 0);
    for item in high_key..items {
        let pointer = u32_at(page, PAGE_HEADER_SIZE + item * LINE_POINTER);
        let at = (pointer & 0x7FFF) as usize;
        if (PAGE_HEADER_SIZE..=SPECIAL - ENTRY_HEADER).contains(&at) {
            entry(page, at, each);
        }
    }
}

fn entry(page: &[u8; PAGE_SIZE], at: usize, each: &mut impl FnMut(u32, u16)) {
    let info = u16_at(page, at + ITEM_POINTER);
    let (block, item) = item_pointer(page, at);
    if info & ALT_TID == 0 {
        each(block, item);
    } else if item & IS_POSTING != 0 {
        // The block stands for where the list begins.
        let first = at + block as usize % PAGE_SIZE;
        let end = (at + usize::from(info & SIZE_MASK)).min(SPECIAL);
        for n in 0..usize::from(item & COUNT_MASK) {
            let at = first + n * ITEM_POINTER;
            if at + ITEM_POINTER > end {
                return;
            }
            let (block, item) = item_pointer(page, at);
            each(block, item);
        }
    }
}

/// `ItemPointerData`: the block's upper half, its lower half, the item.
fn item_pointer(page: &[u8; PAGE_SIZE], at: usize) -> (u32, u16) {
    let (high, low) = (u16_at(page, at), u16_at(page, at + 2));
    (u32::from(high) << 16 | u32::from(low), u16_at(page, at + 4))
}

/// Zero beyond the page.
fn u16_at(page: &[u8; PAGE_SIZE], at: usize) -> u16 {
    field::u16_at(page, at).unwrap_or_default()
}

fn u32_at(page: &[u8; PAGE_SIZE], at: usize) -> u32 {
    field::u32_at(page, at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A leaf with entries of these bytes, the last of them first on the page.
    fn leaf(next: u32, flags: u16, entries: &[Vec<u8>]) -> Box<[u8; PAGE_SIZE]> {
        let mut page = Box::new([0; PAGE_SIZE]);
        let mut upper = SPECIAL;
        for (n, bytes) in entries.iter().enumerate() {
            upper -= bytes.len().next_multiple_of(8);
            page[upper..upper + bytes.len()].copy_from_slice(bytes);
            let pointer = upper as u32 | 1 << 15 | (bytes.len() as u32) << 17;
            page[24 + n * 4..28 + n * 4].copy_from_slice(&pointer.to_le_bytes());
        }
        let lower = (24 + entries.len() * 4) as u16;
        for (at, value) in [(12, lower), (14, upper as u16), (16, SPECIAL as u16)] {
            page[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        page[SPECIAL + 4..SPECIAL + 8].copy_from_slice(&next.to_le_bytes());
        page[SPECIAL + 12..SPECIAL + 14].copy_from_slice(&flags.to_le_bytes());
        page
    }

    fn pointer(block: u32, item: u16) -> Vec<u8> {
        let halves = [(block >> 16) as u16, block as u16, item];
        halves.into_iter().flat_map(u16::to_le_bytes).collect()
    }

    fn plain(block: u32, item: u16) -> Vec<u8> {
        [pointer(block, item), 16_u16.to_le_bytes().to_vec(), vec![7; 8]].concat()
    }

    fn posting(list: &[(u32, u16)]) -> Vec<u8> {
        let info = ALT_TID | (16 + list.len() * ITEM_POINTER) as u16;
        let head = pointer(16, IS_POSTING | list.len() as u16);
        let rows = list.iter().flat_map(|(block, item)| pointer(*block, *item));
        [head, info.to_le_bytes().to_vec(), vec![7; 8], rows.collect()].concat()
    }

    fn found(page: &[u8; PAGE_SIZE]) -> Vec<(u32, u16)> {
        let mut all = Vec::new();
        rows(page, &mut |block, item| all.push((block, item)));
        all
    }

    #[test]
    fn entries_with_one_row_and_with_several() {
        let entries = [plain(3, 1), posting(&[(70_000, 2), (70_001, 9)]), plain(5, 291)];
        let all = [(3, 1), (70_000, 2), (70_001, 9), (5, 291)];
        assert_eq!(found(&leaf(0, LEAF, &entries)), all);
        assert_eq!(found(&leaf(8, LEAF, &entries)), all[1..], "the first is the high key");
        for flags in [0, LEAF | 1 << 2, LEAF | 1 << 4, 1 << 3] {
            assert_eq!(found(&leaf(0, flags, &entries)), [], "{flags}");
        }
        assert_eq!(found(&[0; PAGE_SIZE]), []);
    }

    #[test]
    fn an_entry_that_is_marked_dead_still_points_to_an_item() {
        let mut page = leaf(0, LEAF, &[plain(3, 1), plain(4, 2)]);
        // `LP_DEAD`: vacuum removes it before the item, as any other.
        let pointer = u32_at(&page, 24);
        page[24..28].copy_from_slice(&(pointer | 3 << 15).to_le_bytes());
        assert_eq!(found(&page), [(3, 1), (4, 2)]);
    }

    #[test]
    fn a_list_never_leads_out_of_its_entry() {
        let mut cut = posting(&[(1, 1), (2, 2)]);
        cut[4] = 200;
        assert_eq!(found(&leaf(0, LEAF, &[cut])), [(1, 1), (2, 2)]);
        let pivot = [pointer(9, 1), (ALT_TID | 16).to_le_bytes().to_vec(), vec![0; 8]].concat();
        assert_eq!(found(&leaf(0, LEAF, &[pivot])), []);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), PAGE_SIZE), lower: u16) {
            let mut page: Box<[u8; PAGE_SIZE]> = bytes.into_boxed_slice().try_into().unwrap();
            page[12..14].copy_from_slice(&lower.to_le_bytes());
            page[16..18].copy_from_slice(&(SPECIAL as u16).to_le_bytes());
            page[SPECIAL + 12..SPECIAL + 14].copy_from_slice(&LEAF.to_le_bytes());
            rows(&page, &mut |_, _| {});
        }
    }
}
