//! Reads the pages of one fork.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use tokio_util::sync::CancellationToken;

use super::files::ForkFiles;
use crate::{
    check::failure::interrupted,
    drill::Error,
    pg::{
        page::{self, PAGE_HEADER_SIZE, PAGE_SIZE, PageState},
        relation_file::{Fork, RelationFile},
    },
};

/// Pages read at once.
const BATCH: usize = 32;
/// Heap blocks whose bits fit into one page of a visibility map, two bits each
/// (`HEAPBLOCKS_PER_PAGE`, `visibilitymap.c`).
const BLOCKS_PER_VM_PAGE: u32 = (PAGE_SIZE - PAGE_HEADER_SIZE) as u32 * 4;
/// Most places that a finding names.
const MOST_PLACES: usize = 5;

/// What `pg_control` says of pages.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub checksums: bool,
    /// Blocks of a full file.
    pub segment_blocks: u32,
}

/// Bad pages: how many, and the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadPages {
    pub count: u64,
    places: Vec<String>,
}

impl BadPages {
    fn add(&mut self, place: impl FnOnce() -> String) {
        self.count += 1;
        if self.places.len() < MOST_PLACES {
            self.places.push(place());
        }
    }

    /// Such as `the first are block 7 (…), block 9 (…)`.
    #[must_use]
    pub fn words(&self) -> String {
        let places = self.places.join(", ");
        if self.places.len() as u64 == self.count { places } else { format!("the first: {places}") }
    }
}

/// What one fork's pages said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkScan {
    pub first: RelationFile,
    pub files: u64,
    pub pages: u64,
    pub damaged: BadPages,
    /// Zero pages that the visibility map says hold rows.
    pub zeroed: BadPages,
    /// How many blocks the visibility map knows beyond the heap's end, and the first of them.
    pub beyond: Option<(u64, u64)>,
    /// Files that are missing, cut or not made of whole pages.
    pub broken_files: Vec<(RelationFile, String)>,
}

/// Reads one fork from its first to its last block. `count` is told every batch's bytes.
///
/// # Errors
/// Where a file cannot be read.
pub fn fork(
    data_dir: &Path,
    files: &ForkFiles,
    settings: Settings,
    count: &impl Fn(u64),
    cancel: &CancellationToken,
) -> Result<ForkScan, Error> {
    let mut scan = ForkScan {
        first: files.first.clone(),
        files: files.segments.len() as u64,
        pages: 0,
        damaged: BadPages::default(),
        zeroed: BadPages::default(),
        beyond: None,
        broken_files: files.broken(settings.segment_blocks),
    };
    let mut map = VisibilityMap::of(data_dir, files, settings);
    let mut buffer = vec![0; BATCH * PAGE_SIZE];
    for &segment in files.segments.keys() {
        let name = files.first.with_segment(segment);
        let path = data_dir.join(name.to_string());
        let failed = |error: io::Error| Error::io(format!("reading `{}`", path.display()), &error);
        let Some(mut block) = name.first_block(settings.segment_blocks) else { continue };
        let mut file = open(&path).map_err(failed)?;
        loop {
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            let length = fill(&mut file, &mut buffer).map_err(failed)?;
            let (pages, _partial) = buffer[..length].as_chunks::<PAGE_SIZE>();
            for page in pages {
                scan.page(page, block, settings.checksums, map.as_mut());
                block = block.wrapping_add(1);
            }
            count(length as u64);
            if length < buffer.len() {
                break;
            }
        }
    }
    scan.beyond = map.and_then(|mut map| map.beyond(files.blocks(settings.segment_blocks)));
    Ok(scan)
}

/// Hands every whole page of a fork's files that exist to `each`, with its block, until it says no.
/// Whether it came to the end.
///
/// # Errors
/// Where a file cannot be read.
pub fn pages(
    data_dir: &Path,
    files: &ForkFiles,
    segment_blocks: u32,
    each: &mut impl FnMut(&[u8; PAGE_SIZE], u32) -> bool,
) -> Result<bool, Error> {
    let mut buffer = vec![0; BATCH * PAGE_SIZE];
    for &segment in files.segments.keys() {
        let name = files.first.with_segment(segment);
        let path = data_dir.join(name.to_string());
        let failed = |error: io::Error| Error::io(format!("reading `{}`", path.display()), &error);
        let Some(mut block) = name.first_block(segment_blocks) else { continue };
        let mut file = open(&path).map_err(failed)?;
        loop {
            let length = fill(&mut file, &mut buffer).map_err(failed)?;
            for page in buffer[..length].as_chunks::<PAGE_SIZE>().0 {
                if !each(page, block) {
                    return Ok(false);
                }
                block = block.wrapping_add(1);
            }
            if length < buffer.len() {
                break;
            }
        }
    }
    Ok(true)
}

impl ForkScan {
    fn page(
        &mut self,
        page: &[u8; PAGE_SIZE],
        block: u32,
        checksums: bool,
        map: Option<&mut VisibilityMap>,
    ) {
        self.pages += 1;
        let state = if checksums { page::verify(page, block) } else { page::verify_header(page) };
        match state {
            PageState::Valid => {}
            PageState::New => {
                if map.is_some_and(|map| map.is_visible(block)) {
                    self.zeroed.add(|| format!("block {block}"));
                }
            }
            PageState::BadChecksum { stored, computed } => self
                .damaged
                .add(|| format!("block {block} (checksum {stored:04X}, content {computed:04X})")),
            PageState::BadHeader => {
                self.damaged.add(|| format!("block {block} (impossible header)"));
            }
        }
    }
}

/// Never through a link, never waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The visibility map beside a heap, one page of it at a time.
struct VisibilityMap {
    files: Vec<(u32, File)>,
    settings: Settings,
    /// The page at hand and whether it can be believed.
    current: Option<(u32, bool)>,
    page: Box<[u8; PAGE_SIZE]>,
}

impl VisibilityMap {
    /// `None` for forks other than main, for unlogged relations, and where there is no map.
    fn of(data_dir: &Path, files: &ForkFiles, settings: Settings) -> Option<Self> {
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
    fn is_visible(&mut self, block: u32) -> bool {
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
    use std::fs;

    use super::*;
    use crate::check::checksums::files;

    /// A heap of so many pages of a relation with a map of two pages, in which these bits are set.
    fn scanned(heap: u64, bits: &[u32], change: impl FnOnce(&Path)) -> ForkScan {
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
        fork(data.path(), main, settings, &|_| {}, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn a_map_that_knows_more_than_the_heap_holds() {
        let beyond = |heap, bits: &[u32]| scanned(heap, bits, |_| {}).beyond;
        assert_eq!(beyond(6, &[0, 5]), None);
        assert_eq!(beyond(5, &[0, 4, 5]), Some((1, 5)), "the block at the end");
        assert_eq!(beyond(0, &[0, 7]), Some((2, 0)), "nothing is left");
        let second = BLOCKS_PER_VM_PAGE;
        assert_eq!(beyond(6, &[5, second - 1, second + 9]), Some((2, u64::from(second) - 1)));
    }

    #[test]
    fn a_map_that_says_nothing_of_the_end() {
        let unlogged = |data: &Path| fs::write(data.join("base/5/16384_init"), []).unwrap();
        assert_eq!(scanned(1, &[7], unlogged).beyond, None, "emptied by recovery");
        let map = |data: &Path| data.join("base/5/16384_vm");
        let torn = |data: &Path| {
            let file = OpenOptions::new().write(true).open(map(data)).unwrap();
            file.write_all_at(&[0xFF; 24], 0).unwrap();
        };
        assert_eq!(scanned(1, &[7], torn).beyond, None, "a bad map is no witness");
        let short = |data: &Path| fs::write(map(data), []).unwrap();
        assert_eq!(scanned(1, &[7], short).beyond, None);
    }
}
