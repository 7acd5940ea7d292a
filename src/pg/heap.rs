//! Rows of a heap page as they lie there (`storage/itemid.h`, `access/htup_details.h`).

use super::{
    field,
    page::{PAGE_HEADER_SIZE, PAGE_SIZE, PageHeader},
};

const XMAX_LOCK_ONLY: u16 = 0x0080;
const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMAX_COMMITTED: u16 = 0x0400;
const XMAX_INVALID: u16 = 0x0800;
const XMAX_IS_MULTI: u16 = 0x1000;
/// `FirstNormalTransactionId`: the bootstrap's and the frozen one are committed.
const FIRST_NORMAL: u32 = 3;
/// `SizeofHeapTupleHeader`.
const HEADER: usize = 23;

/// What a row says of the transaction that made it, or of the one that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xact {
    Committed,
    /// Rolled back, or there is none.
    None,
    /// Only `pg_xact` can tell.
    Ask(u32),
    /// It is in `pg_multixact`.
    Multi,
}

/// A row's version.
#[derive(Clone, Copy, Debug)]
pub struct Tuple<'a> {
    pub made: Xact,
    pub ended: Xact,
    /// The columns.
    pub data: &'a [u8],
}

impl Tuple<'_> {
    /// A column of four bytes at a fixed offset.
    #[must_use]
    pub fn u32_at(&self, at: usize) -> Option<u32> {
        field::u32_at(self.data, at)
    }
}

/// Every row version of a page, dead ones too.
pub fn tuples(page: &[u8; PAGE_SIZE]) -> impl Iterator<Item = Tuple<'_>> {
    let lower = usize::from(PageHeader::read(page).lower).min(PAGE_SIZE);
    let pointers = page.get(PAGE_HEADER_SIZE..lower).unwrap_or_default().as_chunks::<4>().0;
    pointers.iter().filter_map(|pointer| {
        let word = u32::from_le_bytes(*pointer);
        let (offset, flags, length) = (word & 0x7FFF, word >> 15 & 3, word >> 17);
        // LP_NORMAL.
        if flags != 1 {
            return None;
        }
        tuple(page.get(offset as usize..(offset + length) as usize)?)
    })
}

fn tuple(bytes: &[u8]) -> Option<Tuple<'_>> {
    let (xmin, xmax) = (field::u32_at(bytes, 0)?, field::u32_at(bytes, 4)?);
    let mask = field::u16_at(bytes, 20)?;
    let start = usize::from(*bytes.get(22)?);
    let made = match mask & (XMIN_COMMITTED | XMIN_INVALID) {
        // Both together: frozen.
        0 if xmin >= FIRST_NORMAL => Xact::Ask(xmin),
        XMIN_INVALID => Xact::None,
        _ => Xact::Committed,
    };
    let ended = if mask & (XMAX_INVALID | XMAX_LOCK_ONLY) != 0 || xmax == 0 {
        Xact::None
    } else if mask & XMAX_IS_MULTI != 0 {
        Xact::Multi
    } else if mask & XMAX_COMMITTED != 0 {
        Xact::Committed
    } else {
        Xact::Ask(xmax)
    };
    (start >= HEADER).then(|| Some(Tuple { made, ended, data: bytes.get(start..)? }))?
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page with rows of (`xmin`, `xmax`, infomask, data).
    pub(crate) fn page(rows: &[(u32, u32, u16, Vec<u8>)]) -> [u8; PAGE_SIZE] {
        let mut page = [0; PAGE_SIZE];
        let mut upper = PAGE_SIZE;
        for (index, (xmin, xmax, mask, data)) in rows.iter().enumerate() {
            let length = 24 + data.len();
            upper = (upper - length) & !7;
            page[upper..upper + 4].copy_from_slice(&xmin.to_le_bytes());
            page[upper + 4..upper + 8].copy_from_slice(&xmax.to_le_bytes());
            page[upper + 20..upper + 22].copy_from_slice(&mask.to_le_bytes());
            page[upper + 22] = 24;
            page[upper + 24..upper + length].copy_from_slice(data);
            let pointer = upper as u32 | 1 << 15 | (length as u32) << 17;
            let at = PAGE_HEADER_SIZE + index * 4;
            page[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
        }
        let lower = (PAGE_HEADER_SIZE + rows.len() * 4) as u16;
        page[12..14].copy_from_slice(&lower.to_le_bytes());
        page[14..16].copy_from_slice(&(upper as u16).to_le_bytes());
        page[16..18].copy_from_slice(&8192u16.to_le_bytes());
        page
    }

    #[test]
    fn rows_say_who_made_and_ended_them() {
        let row = |xmin, xmax, mask| (xmin, xmax, mask, vec![1, 2, 3, 4]);
        let page = page(&[
            row(700, 0, 0x0900),
            row(700, 0, 0x0300),
            row(1, 0, 0),
            row(700, 0, 0x0200),
            row(700, 800, 0),
            row(700, 800, 0x0500),
            row(700, 800, 0x0180),
            row(700, 800, 0x1100),
        ]);
        let rows: Vec<_> = tuples(&page).map(|t| (t.made, t.ended)).collect();
        assert_eq!(
            rows,
            [
                (Xact::Committed, Xact::None),
                (Xact::Committed, Xact::None),
                (Xact::Committed, Xact::None),
                (Xact::None, Xact::None),
                (Xact::Ask(700), Xact::Ask(800)),
                (Xact::Committed, Xact::Committed),
                (Xact::Committed, Xact::None),
                (Xact::Committed, Xact::Multi),
            ]
        );
        assert_eq!(tuples(&page).next().unwrap().u32_at(0), Some(0x0403_0201));
    }

    #[test]
    fn never_panics() {
        for seed in 0..200u32 {
            let mut page = [0; PAGE_SIZE];
            let mut state = seed;
            for byte in &mut page {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
            assert!(tuples(&page).count() <= 2048);
        }
    }
}
