//! Pages that are sent together: the same bytes each time, but for the checksums.

use bytes::Bytes;
use pgassay::pg::page;

pub const PAGE: usize = page::PAGE_SIZE;
/// Where a page has its checksum (`pd_checksum` in `storage/bufpage.h`).
pub const CHECKSUM: usize = 8;
/// Most pages of a unit.
const MOST: usize = 64;

/// Pages of a relation, from whichever block on.
#[derive(Clone, Debug)]
pub struct Unit {
    /// As they are sent, with any checksums.
    template: Vec<u8>,
    /// Of each page: where in the template its checksum is, and what that is made of.
    sums: Vec<(usize, Sum)>,
}

impl Unit {
    /// The first pages of a table's first file: as many as are a power of two, so that units fit into
    /// files of 1 GiB.
    pub fn of_pages(file: &[u8]) -> Self {
        let pages = file.len() / PAGE;
        assert!(pages > 0, "the table has no pages");
        let pages = MOST.min(1 << pages.ilog2());
        let template = file[..pages * PAGE].to_vec();
        let sums = template.chunks_exact(PAGE).enumerate().map(|(block, page)| {
            let page: &[u8; PAGE] = page.try_into().unwrap();
            let (sum, place) = (Sum::of(page), block * PAGE + CHECKSUM);
            // PostgreSQL itself wrote it.
            let written = u16::from_le_bytes([template[place], template[place + 1]]);
            assert_eq!(sum.at(block as u32), written, "block {block} of the real table");
            (place, sum)
        });
        Self { sums: sums.collect(), template }
    }

    /// The same pages in another form: `template`, with a checksum in each of `places`.
    pub fn in_form(&self, template: Vec<u8>, places: &[usize]) -> Self {
        let sums = places.iter().zip(&self.sums).map(|(place, (_, sum))| (*place, *sum));
        Self { sums: sums.collect(), template }
    }

    /// Pages.
    pub fn blocks(&self) -> u32 {
        self.sums.len() as u32
    }

    /// Bytes of the pages.
    pub fn bytes(&self) -> u64 {
        (self.sums.len() * PAGE) as u64
    }

    /// Bytes as they are sent.
    pub fn stored(&self) -> u64 {
        self.template.len() as u64
    }

    /// As they are sent where the first of them is the relation's block `first`.
    pub fn at(&self, first: u32) -> Bytes {
        let mut bytes = self.template.clone();
        for ((place, _), sum) in self.sums.iter().zip(self.checksums(first)) {
            bytes[*place..*place + 2].copy_from_slice(&sum.to_le_bytes());
        }
        bytes.into()
    }

    /// The checksums there.
    pub fn checksums(&self, first: u32) -> impl Iterator<Item = u16> {
        (first..).zip(&self.sums).map(|(block, (_, sum))| sum.at(block))
    }

    /// The template's pages.
    pub fn pages(&self) -> impl Iterator<Item = &[u8]> {
        self.template.chunks_exact(PAGE)
    }
}

/// What the checksum of a page is before its block number goes in (`pg_checksum_page` in
/// `storage/checksum_impl.h`): a page's checksum anywhere, without reading the page again.
#[derive(Clone, Copy, Debug)]
struct Sum(u32);

impl Sum {
    /// Found by asking for the checksum with one bit of the block number set after the other: as that goes
    /// in last, by an exclusive or, each shows a bit.
    fn of(page: &[u8; PAGE]) -> Self {
        let at = |block| u32::from(page::checksum(page, block)) - 1;
        let none = at(0);
        let bits = (0..32).filter(|bit| {
            // 2^16 is 1 in what is left of a division by 65,535.
            let worth = 1 << (bit % 16);
            at(1 << bit) == (none + 65_535 - worth) % 65_535
        });
        Self(bits.fold(0, |sum, bit| sum | 1 << bit))
    }

    fn at(self, block: u32) -> u16 {
        ((self.0 ^ block) % 65_535 + 1) as u16
    }
}
