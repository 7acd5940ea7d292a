//! One header block: fields, numbers, checksum.

use super::{BLOCK, EntryKind};

/// What a header says before extended headers are applied.
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: Kind,
    /// Typeflag NUL, of times before ustar: a name that ends in a slash is a folder.
    pub(super) old_file: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Member(EntryKind),
    PaxLocal,
    PaxGlobal,
    GnuLongName,
    GnuLongLink,
}

impl Header {
    /// # Errors
    /// One sentence that says what is wrong.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        verify_checksum(block)?;
        let typeflag = block[156];
        let kind = match typeflag {
            0 | b'0' | b'7' => Kind::Member(EntryKind::File),
            b'1' => Kind::Member(EntryKind::Hardlink),
            b'2' => Kind::Member(EntryKind::Symlink),
            b'3' => Kind::Member(EntryKind::CharacterDevice),
            b'4' => Kind::Member(EntryKind::BlockDevice),
            b'5' => Kind::Member(EntryKind::Directory),
            b'6' => Kind::Member(EntryKind::Fifo),
            b'x' => Kind::PaxLocal,
            b'g' => Kind::PaxGlobal,
            b'L' => Kind::GnuLongName,
            b'K' => Kind::GnuLongLink,
            other => {
                return Err(format!("a member is of the unknown type `{}`", other.escape_ascii()));
            }
        };
        let magic = &block[257..265];
        let path = match magic {
            // POSIX: the front part of a long name has a field of its own.
            [b'u', b's', b't', b'a', b'r', 0, ..] => match text(&block[345..500]) {
                [] => text(&block[..100]).to_vec(),
                prefix => [prefix, b"/", text(&block[..100])].concat(),
            },
            b"ustar  \0" | [0, 0, 0, 0, 0, 0, 0, 0] => text(&block[..100]).to_vec(),
            _ => return Err("a header is of no known tar format".into()),
        };
        Ok(Self {
            path,
            link: text(&block[157..257]).to_vec(),
            size: number(&block[124..136]).ok_or("a header's size field is not a number")?,
            kind,
            old_file: typeflag == 0,
        })
    }
}

/// The sum of all bytes, its own field taken as spaces, written as every known writer does: six
/// octal digits, NUL, space. Looser forms would let single bits flip unseen.
fn verify_checksum(block: &[u8; BLOCK]) -> Result<(), String> {
    let field = &block[148..156];
    let (digits, end) = field.split_at(6);
    let written = match end {
        [0, b' '] => octal(digits),
        _ => None,
    };
    let written = written.ok_or("a header's checksum field is not a checksum")?;
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let own = sum(&block[..148]) + sum(&block[156..]) + 8 * u64::from(b' ');
    if own == written {
        Ok(())
    } else {
        Err(format!("a header's checksum is wrong: {own:o} instead of {written:o}"))
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.iter().position(|byte| *byte == 0).map_or(field, |end| &field[..end])
}

/// Octal digits between spaces and NULs, or big-endian binary after a byte 0x80 (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, binary @ ..] = field {
        let (high, low) = binary.split_at(binary.len().checked_sub(8)?);
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        return Some(u64::from_be_bytes(low.try_into().ok()?));
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    if digits.is_empty() { Some(0) } else { octal(digits) }
}

fn octal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => Some(sum.checked_mul(8)? + u64::from(digit - b'0')),
        _ => None,
    })
}
