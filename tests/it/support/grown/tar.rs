//! The member of a real tar that grows, and its headers for the files that it becomes
//! (<https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>, "ustar Interchange Format").

use std::ops::Range;

use bytes::Bytes;

const BLOCK: usize = 512;

/// A member of a tar.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    /// Where its first header begins, an extended one where it has one.
    pub begin: usize,
    /// Where its own header is.
    header: usize,
    pub data: Range<usize>,
}

/// The first member that holds `needle`.
pub fn member_with(tar: &[u8], needle: &[u8]) -> Member {
    let (mut at, mut begin) = (0, None);
    loop {
        let header = &tar[at..at + BLOCK];
        assert_ne!(header[0], 0, "no member holds the row");
        let text = |field: Range<usize>| {
            let bytes = header[field].split(|byte| *byte == 0).next().unwrap();
            std::str::from_utf8(bytes).unwrap().trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        let data = at + BLOCK..at + BLOCK + size;
        let next = data.end.next_multiple_of(BLOCK);
        if header[156] == b'x' {
            begin.get_or_insert(at);
        } else {
            if tar[data.clone()].windows(needle.len()).any(|window| window == needle) {
                let begin = begin.unwrap_or(at);
                return Member { name: text(0..100), begin, header: at, data };
            }
            begin = None;
        }
        at = next;
    }
}

impl Member {
    /// Its headers with the name and the size of a relation's nth file.
    pub fn headers_of_file(&self, tar: &[u8], number: usize, size: usize) -> Bytes {
        let mut bytes = tar[self.begin..self.header + BLOCK].to_vec();
        let extended = String::from_utf8_lossy(&bytes[..self.header - self.begin]).into_owned();
        assert!(!extended.contains(" path=") && !extended.contains(" size="), "{extended}");
        let at = bytes.len() - BLOCK;
        let header = &mut bytes[at..];
        let name = if number == 0 { self.name.clone() } else { format!("{}.{number}", self.name) };
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.into()
    }
}
