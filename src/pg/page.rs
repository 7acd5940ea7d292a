//! Data pages: header and checksum (`storage/bufpage.h`, `storage/checksum_impl.h`).

use super::Lsn;

/// Bytes of a page of every build that is supported (`BLCKSZ`).
pub const PAGE_SIZE: usize = 8192;

/// Bytes of the header in front of the line pointers (`SizeOfPageHeaderData`).
pub const PAGE_HEADER_SIZE: usize = 24;

const LANES: usize = 32;
const FNV_PRIME: u32 = 16_777_619;
/// `PD_VALID_FLAG_BITS`.
const VALID_FLAGS: u16 = 0x0007;

/// The initial state of each lane (`checksumBaseOffsets`).
const BASE_OFFSETS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// The header of a page (`PageHeaderData`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// End of the last WAL record that changed the page.
    pub lsn: Lsn,
    pub checksum: u16,
    pub flags: u16,
    pub lower: u16,
    pub upper: u16,
    pub special: u16,
    pub size_and_version: u16,
}

impl PageHeader {
    /// Reads the first bytes of a page.
    #[must_use]
    pub fn read(page: &[u8; PAGE_SIZE]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
        let u32_at =
            |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        Self {
            lsn: Lsn(u64::from(u32_at(0)) << 32 | u64::from(u32_at(4))),
            checksum: u16_at(8),
            flags: u16_at(10),
            lower: u16_at(12),
            upper: u16_at(14),
            special: u16_at(16),
            size_and_version: u16_at(18),
        }
    }

    /// Never initialised (`PageIsNew`): such a page has no checksum yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.upper == 0
    }

    /// The plausibility that the server demands of a page that it reads (`PageIsVerified`).
    #[must_use]
    pub const fn is_sane(&self) -> bool {
        self.flags & !VALID_FLAGS == 0
            && self.lower <= self.upper
            && self.upper <= self.special
            && self.special as usize <= PAGE_SIZE
            && self.special.is_multiple_of(8)
    }
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// The checksum matches and the server would read the page.
    Valid,
    /// All zeros: never written. Sound for every checksum tool.
    New,
    /// The content changed since the checksum was made: what `pg_checksums` counts as bad.
    BadChecksum { stored: u16, computed: u16 },
    /// `pg_checksums` lets it pass, the server refuses it (`invalid page in block`): an
    /// uninitialised header before bytes that are not zero, or an impossible header.
    BadHeader,
}

impl PageState {
    /// Whether the server would refuse the page.
    #[must_use]
    pub const fn is_damaged(self) -> bool {
        matches!(self, Self::BadChecksum { .. } | Self::BadHeader)
    }
}

/// Judges a page of a cluster with data checksums. `block` is the number in the whole relation's
/// fork, not in one file of it.
#[must_use]
pub fn verify(page: &[u8; PAGE_SIZE], block: u32) -> PageState {
    let header = PageHeader::read(page);
    if header.is_new() {
        return new_or_bad(page);
    }
    let computed = checksum(page, block);
    if computed != header.checksum {
        return PageState::BadChecksum { stored: header.checksum, computed };
    }
    if header.is_sane() { PageState::Valid } else { PageState::BadHeader }
}

/// Judges a page of a cluster without data checksums: only its header can tell.
#[must_use]
pub fn verify_header(page: &[u8; PAGE_SIZE]) -> PageState {
    let header = PageHeader::read(page);
    if header.is_new() {
        new_or_bad(page)
    } else if header.is_sane() {
        PageState::Valid
    } else {
        PageState::BadHeader
    }
}

fn new_or_bad(page: &[u8; PAGE_SIZE]) -> PageState {
    if is_all_zero(page) { PageState::New } else { PageState::BadHeader }
}

/// Whether every byte is zero.
#[must_use]
pub fn is_all_zero(page: &[u8; PAGE_SIZE]) -> bool {
    page.chunks_exact(64).all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
}

/// The checksum that belongs into the header of this page (`pg_checksum_page`): 32 interleaved sums
/// over rows of 32 words, so that the compiler can keep the lanes in vector registers: the widest that
/// the processor has, chosen when the program runs.
#[must_use]
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn checksum(page: &[u8; PAGE_SIZE], block: u32) -> u16 {
    let mut sums = BASE_OFFSETS;
    let mut rows = page.chunks_exact(LANES * 4);
    if let Some(first) = rows.next() {
        let mut words = row(first);
        // Word 2 is the checksum itself and the flags: the checksum counts as zero.
        words[2] &= 0xFFFF_0000;
        mix(&mut sums, &words);
    }
    for bytes in rows {
        mix(&mut sums, &row(bytes));
    }
    for _ in 0..2 {
        mix(&mut sums, &[0; LANES]);
    }
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    (folded % 65_535 + 1) as u16
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code takes the caller's vector instructions"
)]
fn row(bytes: &[u8]) -> [u32; LANES] {
    let mut words = [0; LANES];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code takes the caller's vector instructions"
)]
fn mix(sums: &mut [u32; LANES], words: &[u32; LANES]) {
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ word;
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    fn plain(page: &[u8; PAGE_SIZE], block: u32) -> u16 {
        let mut sums = BASE_OFFSETS;
        let mut page = *page;
        page[8..10].fill(0);
        let words: Vec<u32> =
            page.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        for (i, word) in words.iter().chain([0; 2 * LANES].iter()).enumerate() {
            let mixed = sums[i % LANES] ^ word;
            sums[i % LANES] = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
        }
        (sums.iter().fold(block, |a, s| a ^ s) % 65_535 + 1) as u16
    }

    /// A plausible page with a right checksum.
    fn page(fill: u8, block: u32) -> [u8; PAGE_SIZE] {
        let mut page = [fill; PAGE_SIZE];
        page[10..12].fill(0);
        page[12..14].copy_from_slice(&28u16.to_le_bytes());
        page[14..16].copy_from_slice(&8000u16.to_le_bytes());
        page[16..18].copy_from_slice(&8192u16.to_le_bytes());
        let sum = checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    #[test]
    fn states() {
        assert_eq!(verify(&page(7, 3), 3), PageState::Valid);
        assert!(matches!(verify(&page(7, 3), 4), PageState::BadChecksum { .. }));
        assert_eq!(verify(&[0; PAGE_SIZE], 9), PageState::New);

        let mut header_lost = [0; PAGE_SIZE];
        header_lost[8191] = 1;
        assert_eq!(verify(&header_lost, 0), PageState::BadHeader);

        let mut impossible = page(7, 3);
        impossible[12..14].copy_from_slice(&9000u16.to_le_bytes());
        assert!(matches!(verify(&impossible, 3), PageState::BadChecksum { .. }));
        let sum = checksum(&impossible, 3);
        impossible[8..10].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(verify(&impossible, 3), PageState::BadHeader);
        assert_eq!(verify_header(&impossible), PageState::BadHeader);
        assert_eq!(verify_header(&page(7, 3)), PageState::Valid);
    }

    proptest! {
        #[test]
        fn checksum_is_its_definition(seed: u64, block: u32) {
            let mut state = seed;
            let mut page = [0; PAGE_SIZE];
            for byte in &mut page {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
            prop_assert_eq!(checksum(&page, block), plain(&page, block));
        }

        #[test]
        fn a_flipped_byte_is_seen(at in 0..PAGE_SIZE, mask in 1u8.., block: u32) {
            let mut page = page(0x5A, block);
            page[at] ^= mask;
            let stored = u16::from_le_bytes([page[8], page[9]]);
            // One change in 65,535 keeps the sum by chance.
            prop_assert_eq!(verify(&page, block).is_damaged(), plain(&page, block) != stored);
        }
    }
}
