//! The CRC-32C of records. Most are short, and there are millions of them a second: what a general
//! function does before it begins would take as long as the sum.

use super::record::{CRC_OFFSET, HEADER};

/// Data from this length on are summed faster by the library, in three places at once.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 768;

/// The CRC of a record as `XLogInsertRecord` (`access/transam/xlog.c`) makes it: the data first, then the
/// header up to `xl_crc`.
#[must_use]
#[multiversion::multiversion(targets("x86_64+sse4.2"))]
pub fn crc(record: &[u8]) -> u32 {
    let (header, data) = record.split_at(HEADER.min(record.len()));
    let header = header.get(..CRC_OFFSET).unwrap_or(header);
    multiversion::target::match_target! {
        "x86_64+sse4.2" => !by_instruction(by_instruction(!0, data), header),
        _ => crc32c::crc32c_append(crc32c::crc32c(data), header),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
fn by_instruction(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};

    if bytes.len() >= LONG {
        return !crc32c::crc32c_append(!crc, bytes);
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let add = |crc, word: &[u8; 8]| _mm_crc32_u64(crc, u64::from_le_bytes(*word));
    let mut crc = words.iter().fold(u64::from(crc), add) as u32;
    let (half, rest) = rest.as_chunks::<4>();
    if let [half] = half {
        crc = _mm_crc32_u32(crc, u32::from_le_bytes(*half));
    }
    rest.iter().fold(crc, |crc, byte| _mm_crc32_u8(crc, *byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_that_of_the_library(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (header, data) = bytes.split_at(bytes.len().min(HEADER));
            let header = &header[..header.len().min(CRC_OFFSET)];
            let expected = crc32c::crc32c_append(crc32c::crc32c(data), header);
            prop_assert_eq!(crc(&bytes), expected);
        }
    }
}
