//! A tar in memory, member by member, and changes to it that leave it a proper tar.

use std::{io::Cursor, ops::Range};

use crate::restore::tar::{EntryKind, TarReader};

const BLOCK: usize = 512;

/// One member's place in the (decompressed) tar.
#[derive(Clone, Debug)]
pub struct Member {
    pub path: String,
    pub is_file: bool,
    /// Its headers, extended ones included.
    pub headers: Range<usize>,
    pub data: Range<usize>,
    /// Where the next member begins.
    pub end: usize,
}

impl Member {
    /// The header block that names it: the last one.
    #[must_use]
    pub const fn header(&self) -> usize {
        self.headers.end - BLOCK
    }

    /// The body of its extended header, if it has one.
    #[must_use]
    pub fn extended(&self) -> Option<Range<usize>> {
        (self.headers.len() > 2 * BLOCK)
            .then(|| self.headers.start + BLOCK..self.headers.end - BLOCK)
    }
}

/// The members of a sound tar; `None` where it is none.
#[must_use]
pub fn members(tar: &[u8]) -> Option<Vec<Member>> {
    let mut reader = TarReader::new(Cursor::new(tar));
    let mut members: Vec<Member> = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let start = members.last().map_or(0, |before| before.end);
        let data = entry.offset as usize + BLOCK;
        let size = usize::try_from(entry.size).ok()?;
        members.push(Member {
            path: String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned(),
            is_file: entry.kind == EntryKind::File,
            headers: start..data,
            data: data..data + size,
            end: data + size.next_multiple_of(BLOCK),
        });
    }
    Some(members)
}

/// The tar without some of its members.
#[must_use]
pub fn without(tar: &[u8], members: &[Member], drop: impl Fn(&Member) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(tar.len());
    let mut at = 0;
    for member in members.iter().filter(|member| drop(member)) {
        out.extend_from_slice(&tar[at..member.headers.start]);
        at = member.end;
    }
    out.extend_from_slice(&tar[at..]);
    out
}

/// The tar with other data in one member, its header made to fit.
#[must_use]
pub fn with_data(tar: &[u8], member: &Member, data: &[u8]) -> Vec<u8> {
    let mut out = tar[..member.data.start].to_vec();
    let header = &mut out[member.header()..];
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out.extend_from_slice(&tar[member.end..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, size: usize, kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let member = Member {
            path: String::new(),
            is_file: true,
            headers: 0..512,
            data: 512..512,
            end: 512,
        };
        let mut block = with_data(&block, &member, &vec![0; size]);
        block.truncate(BLOCK);
        block
    }

    fn tar() -> Vec<u8> {
        let mut tar = header("a", 5, b'0');
        tar.extend(b"hello");
        tar.resize(1024, 0);
        tar.extend(header("x", 20, b'x'));
        tar.extend(b"20 path=longer/name\n");
        tar.resize(2048, 0);
        tar.extend(header("b", 3, b'0'));
        tar.extend(b"abc");
        tar.resize(3072 + 1024, 0);
        tar
    }

    #[test]
    fn members_have_their_places() {
        let tar = tar();
        let members = members(&tar).unwrap();
        let paths: Vec<&str> = members.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["a", "longer/name"]);
        assert_eq!(&tar[members[0].data.clone()], b"hello");
        assert_eq!(&tar[members[1].data.clone()], b"abc");
        assert_eq!((members[0].extended(), members[1].extended()), (None, Some(1536..2048)));
    }

    #[test]
    fn changes_leave_a_proper_tar() {
        let tar = tar();
        let all = members(&tar).unwrap();
        let longer = with_data(&tar, &all[0], &[b'z'; 700]);
        let changed = members(&longer).unwrap();
        assert_eq!(longer[changed[0].data.clone()], [b'z'; 700]);
        assert_eq!(&longer[changed[1].data.clone()], b"abc");
        let rest = members(&without(&tar, &all, |m| m.path == "a")).unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].path, "longer/name");
    }
}
