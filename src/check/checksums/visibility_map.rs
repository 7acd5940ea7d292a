//! The visibility map beside a heap, as a witness of what the heap holds.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use super::{
    files::ForkFiles,
    scan::{Settings, open},
};
use crate::pg::{
    page::{self, PAGE_HEADER_SIZE, PAGE_SIZE, PageState},
    relation_file::{Fork, RelationFile},
};

/// Heap blocks whose bits fit into one page of a visibility map, two bits each
/// (`HEAPBLOCKS_PER_PAGE`, `visibilitymap.c`).
const BLOCKS_PER_VM_PAGE: u32 = (PAGE_SIZE - PAGE_HEADER_SIZE) as u32 * 4;

/// Blocks at or beyond a heap's end whose rows its map says are visible: how many, and the first.
pub(super) fn beyond(data_dir: &Path, files: &ForkFiles, settings: Settings) -> Option<(u64, u64)> {
    let mut map = VisibilityMap::of(data_dir, files, settings)?;
    map.beyond(files.blocks(settings.segment_blocks))
}

/// The visibility map beside a heap, one page of it at a time.
#[derive(Debug)]
pub(super) struct VisibilityMap {
    files: Vec<(u32, File)>,
    settings: Settings,
    /// The page at hand and whether it can be believed.
    current: Option<(u32, bool)>,
    page: Box<[u8; PAGE_SIZE]>,
}

impl VisibilityMap {
    /// `None` for forks other than main, for unlogged relations, and where there is no map.
    pub(super) fn of(data_dir: &Path, files: &ForkFiles, settings: Settings) -> Option<Self> {
        if files.first.fork != Fork::Main || files.unlogged || !files.has_vm {
            return None;
        }
        let first = RelationFile { fork: Fork::Vm, ..files.first.clone() };
        let opened = |segment: u32| {
            let path = data_dir.join(first.with_segment(segment).to_string());
            Some((segment, open(&path).ok()?))
        };
        Some(Self {
            files: (0..).map_while(opened).collect(),
            settings,
            current: None,
            page: Box::new([0; PAGE_SIZE]),
        })
    }

    /// Blocks at or beyond the heap's end whose rows a sound map says are visible: how many, and the
    /// first. A heap that was truncated has none: its map is truncated with it, to the bit, in
    /// production and in replay (`visibilitymap_prepare_truncate`, called by `RelationTruncate` and
    /// `smgr_redo`), and a bit is only ever set after the block was logged.
    fn beyond(&mut self, heap_blocks: u64) -> Option<(u64, u64)> {
        let per_page = u64::from(BLOCKS_PER_VM_PAGE);
        let lengths = self.files.iter().map(|(segment, file)| {
            let pages = file.metadata().map_or(0, |m| m.len()) / PAGE_SIZE as u64;
            if pages == 0 {
                0
            } else {
                u64::from(*segment) * u64::from(self.settings.segment_blocks) + pages
            }
        });
        let end = u32::try_from(lengths.max()?).ok()?;
        let start = u32::try_from(heap_blocks / per_page).ok()?;
        let (mut count, mut first) = (0, None);
        for map_block in start..end {
            if !self.load(map_block) {
                continue;
            }
            let blocks = u64::from(map_block) * per_page..(u64::from(map_block) + 1) * per_page;
            let bytes = self.page[PAGE_HEADER_SIZE..].iter();
            let bits = bytes.flat_map(|byte| [0, 2, 4, 6].map(|shift| byte >> shift & 1 == 1));
            for (block, _) in blocks.zip(bits).filter(|(block, set)| *set && *block >= heap_blocks)
            {
                count += 1;
                first = first.or(Some(block));
            }
        }
        self.current = None;
        first.map(|first| (count, first))
    }

    /// Whether a sound map says that every row on this heap block is visible: then it has rows.
    pub(super) fn is_visible(&mut self, block: u32) -> bool {
        let map_block = block / BLOCKS_PER_VM_PAGE;
        if self.current.is_none_or(|(at, _)| at != map_block) {
            self.current = Some((map_block, self.load(map_block)));
        }
        let index = block % BLOCKS_PER_VM_PAGE;
        let byte = self.page[PAGE_HEADER_SIZE + (index / 4) as usize];
        self.current.is_some_and(|(_, sound)| sound) && byte >> (index % 4 * 2) & 1 == 1
    }

    fn load(&mut self, map_block: u32) -> bool {
        let segment = map_block / self.settings.segment_blocks;
        let offset = u64::from(map_block % self.settings.segment_blocks) * PAGE_SIZE as u64;
        let file = self.files.iter().find(|(n, _)| *n == segment);
        let read = file.is_some_and(|(_, f)| f.read_exact_at(&mut self.page[..], offset).is_ok());
        let state = if self.settings.checksums {
            page::verify(&self.page, map_block)
        } else {
            page::verify_header(&self.page)
        };
        read && state == PageState::Valid
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;
    use crate::check::checksums::files;

    /// A heap of so many pages of a relation with a map of two pages, in which these bits are set.
    fn known_beyond(heap: u64, bits: &[u32], change: impl FnOnce(&Path)) -> Option<(u64, u64)> {
        let data = tempfile::tempdir().unwrap();
        for folder in ["global", "base/5", "pg_tblspc"] {
            fs::create_dir_all(data.path().join(folder)).unwrap();
        }
        fs::File::create(data.path().join("base/5/16384")).unwrap().set_len(heap * 8192).unwrap();
        let mut map = vec![0; 2 * PAGE_SIZE];
        for page in map.as_chunks_mut::<PAGE_SIZE>().0 {
            // pd_lower, pd_upper and pd_special of an empty page, its size and version.
            for (at, value) in [(12, 24_u16), (14, 8192), (16, 8192), (18, 8192 | 4)] {
                page[at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        for bit in bits {
            let (page, index) = (bit / BLOCKS_PER_VM_PAGE, bit % BLOCKS_PER_VM_PAGE);
            let at = page as usize * PAGE_SIZE + PAGE_HEADER_SIZE + index as usize / 4;
            map[at] |= 1 << (index % 4 * 2);
        }
        fs::write(data.path().join("base/5/16384_vm"), map).unwrap();
        change(data.path());
        let forks = files::list(data.path()).unwrap();
        let main = forks.iter().find(|f| f.first.fork == Fork::Main).unwrap();
        let settings = Settings { checksums: false, segment_blocks: 131_072 };
        beyond(data.path(), main, settings)
    }

    #[test]
    fn a_map_that_knows_more_than_the_heap_holds() {
        let known = |heap, bits: &[u32]| known_beyond(heap, bits, |_| {});
        assert_eq!(known(6, &[0, 5]), None);
        assert_eq!(known(5, &[0, 4, 5]), Some((1, 5)), "the block at the end");
        assert_eq!(known(0, &[0, 7]), Some((2, 0)), "nothing is left");
        let second = BLOCKS_PER_VM_PAGE;
        assert_eq!(known(6, &[5, second - 1, second + 9]), Some((2, u64::from(second) - 1)));
    }

    #[test]
    fn a_map_that_says_nothing_of_the_end() {
        let unlogged = |data: &Path| fs::write(data.join("base/5/16384_init"), []).unwrap();
        assert_eq!(known_beyond(1, &[7], unlogged), None, "emptied by recovery");
        let map = |data: &Path| data.join("base/5/16384_vm");
        let torn = |data: &Path| {
            let file = OpenOptions::new().write(true).open(map(data)).unwrap();
            file.write_all_at(&[0xFF; 24], 0).unwrap();
        };
        assert_eq!(known_beyond(1, &[7], torn), None, "a bad map is no witness");
        let short = |data: &Path| fs::write(map(data), []).unwrap();
        assert_eq!(known_beyond(1, &[7], short), None);
    }
}
