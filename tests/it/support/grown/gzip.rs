//! The same as one member of gzip, however long (RFC 1951, RFC 1952): every page is compressed once, by
//! itself, and the ten bytes in front of the rest, which hold the checksum, are stored as they are. The
//! sum of all bytes at the member's end is put together from what each page adds to it.

use std::ops::Range;

use flate2::{Compress, Compression, FlushCompress};

use super::unit::{CHECKSUM, PAGE, Unit};

/// Of a member without a name and a time.
pub const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
/// An empty last block.
const LAST: [u8; 2] = [3, 0];
/// Bytes of a page up to the end of its checksum.
const STORED: usize = CHECKSUM + 2;
/// The polynomial of CRC-32, its bits in the order in which they come.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// A member on its way: what has gone into it so far.
pub struct Deflated {
    unit: Unit,
    bytes: Table,
    /// What a page does to the sum of what came before it: by each byte of that.
    page: [Table; 4],
    /// What the bytes of a checksum add to that of a page, and what the page is without them.
    checksum: [Table; 2],
    pages: Vec<u32>,
    sum: u32,
    length: u64,
}

type Table = [u32; 256];

impl Deflated {
    pub fn new(unit: &Unit) -> Self {
        let bytes = table(|byte| (0..8).fold(byte, |sum, _| (sum >> 1) ^ ((sum & 1) * POLYNOMIAL)));
        let zeros = [0; PAGE];
        let page = [0, 8, 16, 24].map(|shift| table(|byte| add(&bytes, byte << shift, &zeros)));
        let checksum = [CHECKSUM, CHECKSUM + 1].map(|at| {
            table(|byte| {
                let mut page = [0; PAGE];
                page[at] = byte as u8;
                add(&bytes, 0, &page)
            })
        });
        let (mut template, mut places, mut pages) = (Vec::new(), Vec::new(), Vec::new());
        for page in unit.pages() {
            let mut page = page.to_vec();
            page[CHECKSUM..STORED].fill(0);
            pages.push(add(&bytes, 0, &page));
            // A block that is not compressed: its kind, its length twice, its bytes.
            let length = STORED as u16;
            template.push(0);
            template.extend(length.to_le_bytes());
            template.extend((!length).to_le_bytes());
            places.push(template.len() + CHECKSUM);
            template.extend(&page[..STORED]);
            template.extend(compressed(&page[STORED..]));
        }
        let unit = unit.in_form(template, &places);
        Self { unit, bytes, page, checksum, pages, sum: !0, length: 0 }
    }

    /// The pages as they are in a member.
    pub fn unit(&self) -> Unit {
        self.unit.clone()
    }

    /// Takes in bytes; as they are in the member.
    pub fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.sum = add(&self.bytes, self.sum, bytes);
        self.length += bytes.len() as u64;
        compressed(bytes)
    }

    /// Takes in units of pages.
    pub fn blocks(&mut self, blocks: Range<u32>) {
        self.length += blocks.len() as u64 * PAGE as u64;
        for first in blocks.step_by(self.pages.len()) {
            for (page, checksum) in self.pages.iter().zip(self.unit.checksums(first)) {
                let before = self.page.iter().zip(self.sum.to_le_bytes());
                let own = self.checksum.iter().zip(checksum.to_le_bytes());
                let parts = before.chain(own).map(|(table, byte)| table[usize::from(byte)]);
                self.sum = parts.fold(*page, |sum, part| sum ^ part);
            }
        }
    }

    /// What ends the member.
    pub fn end(&self) -> Vec<u8> {
        let (sum, length) = ((!self.sum).to_le_bytes(), (self.length as u32).to_le_bytes());
        [&LAST[..], &sum, &length].concat()
    }
}

fn table(of: impl Fn(u32) -> u32) -> Table {
    std::array::from_fn(|byte| of(byte as u32))
}

/// The sum of CRC-32 behind these bytes, without the inversion at both ends.
fn add(table: &Table, sum: u32, bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ table[usize::from(sum as u8 ^ byte)];
    bytes.iter().fold(sum, step)
}

/// Blocks that refer to nothing before them and end with a byte.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 100 + 1024);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(bytes, &mut out, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), bytes.len() as u64);
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
    out
}
