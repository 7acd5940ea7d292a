//! `pg_filenode.map`: the files of catalogs that cannot be found through `pg_class`
//! (`utils/cache/relmapper.c`).

use super::field::u32_at;

/// `RELMAPPER_FILEMAGIC`.
const MAGIC: u32 = 0x0059_2717;
/// Bytes of the file and offset of its CRC: 14 and 15 keep up to 62 mappings, 16 and later 64.
const SIZES: [(usize, usize); 2] = [(512, 504), (524, 520)];

/// Which file each mapped catalog of one database has, or each shared one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilenodeMap {
    /// Catalog's oid and its file's number.
    mappings: Vec<(u32, u32)>,
}

impl FilenodeMap {
    /// Reads the file; `None` where PostgreSQL would refuse it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| u32_at(bytes, at);
        let (_, crc_at) = SIZES.into_iter().find(|(size, _)| *size == bytes.len())?;
        let count = word(4)? as usize;
        if word(0)? != MAGIC || word(crc_at)? != crc32c::crc32c(&bytes[..crc_at]) {
            return None;
        }
        let entry = |index: usize| Some((word(8 + index * 8)?, word(12 + index * 8)?));
        let fits = 8 + count.checked_mul(8)? <= crc_at;
        fits.then(|| Some(Self { mappings: (0..count).map(entry).collect::<Option<_>>()? }))?
    }

    /// The file of a mapped catalog.
    #[must_use]
    pub fn filenode(&self, oid: u32) -> Option<u32> {
        self.mappings.iter().find(|(of, _)| *of == oid).map(|(_, filenode)| *filenode)
    }

    /// Whether a file is a mapped catalog's.
    #[must_use]
    pub fn has_file(&self, filenode: u32) -> bool {
        self.mappings.iter().any(|(_, file)| *file == filenode)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A map as 15 (`old`) or 16 and later write it.
    pub(crate) fn bytes(mappings: &[(u32, u32)], old: bool) -> Vec<u8> {
        let (size, crc_at) = SIZES[usize::from(!old)];
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&(mappings.len() as u32).to_le_bytes());
        for (index, (oid, file)) in mappings.iter().enumerate() {
            let at = 8 + index * 8;
            bytes[at..at + 4].copy_from_slice(&oid.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&file.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn both_sizes_and_no_damage() {
        for old in [true, false] {
            let whole = bytes(&[(1259, 16_400), (1249, 1249)], old);
            let map = FilenodeMap::parse(&whole).unwrap();
            assert_eq!(map.filenode(1259), Some(16_400));
            assert_eq!(map.filenode(2610), None);
            assert!(map.has_file(1249) && !map.has_file(1259));
            for at in 0..16 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                assert_eq!(FilenodeMap::parse(&damaged), None, "byte {at}");
            }
            assert_eq!(FilenodeMap::parse(&whole[..500]), None);
        }
    }
}
