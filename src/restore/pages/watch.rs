//! Looks at the pages of relation files as their bytes come by.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    drill::{Code, Error},
    pg::{
        ControlFile,
        filenode_map::FilenodeMap,
        page::{self, PAGE_SIZE, PageHeader, PageState},
        relation_file::{Fork, Location, RelationFile},
    },
};

/// Blocks of a relation's file as PostgreSQL is built (`RELSEG_SIZE`).
const SEGMENT_BLOCKS: u32 = 131_072;
/// Suspects that a file collects before they go to the shared state.
const BATCH: usize = 1024;
/// A `pg_filenode.map` has 512 or 524 bytes.
const MAX_MAP: usize = 1024;
/// Databases whose maps, and unlogged relations whose names, are kept: about 100 bytes each.
const MAX_NAMES: usize = 100_000;

/// What is known before `pg_control`, which is the last member of the last tar.
#[derive(Clone, Copy, Debug)]
pub struct WatchRules {
    /// What `backup.info` says of data checksums; where it says no they are not computed.
    pub checksums: Option<bool>,
    /// Suspects that are kept; later ones are only counted. About 64 bytes each until they are judged.
    /// A quarter is for impossible headers alone: where data checksums turn out to be off, all others
    /// are of no account.
    pub max_suspects: usize,
}

impl WatchRules {
    /// At most a million suspects.
    pub const MOST_SUSPECTS: usize = 1_000_000;

    /// The rules for a job that allows `memory` bytes: suspects take a sixteenth of it at most.
    #[must_use]
    pub fn within(memory: u64, checksums: Option<bool>) -> Self {
        let fit = usize::try_from(memory / 16 / 64).unwrap_or(usize::MAX);
        Self { checksums, max_suspects: fit.clamp(1000, Self::MOST_SUSPECTS) }
    }
}

impl Default for WatchRules {
    fn default() -> Self {
        Self { checksums: None, max_suspects: Self::MOST_SUSPECTS }
    }
}

/// What is wrong with a page, as far as its own bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageFault {
    /// The content does not give the checksum in its header. `sane`: the header itself is possible.
    Checksum { stored: u16, computed: u16, sane: bool },
    /// The header is impossible, or lost before bytes that are not zero.
    Header,
}

impl std::fmt::Display for PageFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checksum { stored, computed, .. } => {
                write!(f, "checksum {stored:04X}, content {computed:04X}")
            }
            Self::Header => f.write_str("impossible header"),
        }
    }
}

/// A page that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SuspectPage {
    /// Number in the whole fork, not in one file of it.
    pub block: u32,
    pub fault: PageFault,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesChecked {
    pub files: u64,
    pub pages: u64,
    /// Bad pages of free space and visibility maps, which PostgreSQL repairs as it reads them.
    pub bad_map_pages: u64,
}

/// Looks at pages; shared by the threads that unpack.
#[derive(Debug, Default)]
pub struct PageWatch {
    rules: WatchRules,
    state: Mutex<WatchedPages>,
}

/// What all files together said, before `pg_control` is known.
#[derive(Clone, Debug, Default)]
pub struct WatchedPages {
    checked: PagesChecked,
    checksums_computed: bool,
    /// By fork (the name of its first file): in the order of the files, not of the blocks.
    suspects: BTreeMap<RelationFile, Vec<SuspectPage>>,
    /// Suspects in `suspects`, and those of them whose header is possible.
    kept: usize,
    kept_checksums: usize,
    /// Suspects beyond the most that are kept, whose header is possible and is not.
    more_checksums: u64,
    more_headers: u64,
    /// Relations that have an init fork.
    unlogged: BTreeSet<(Location, u32)>,
    /// `None` for one that cannot be read: the folder is there all the same.
    maps: BTreeMap<Location, Option<FilenodeMap>>,
    /// More unlogged relations or databases than are kept.
    too_many_names: bool,
    /// A file after the first of its fork was seen.
    later_files: bool,
}

impl PageWatch {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(rules: WatchRules) -> Self {
        let checksums_computed = rules.checksums != Some(false);
        let state = WatchedPages { checksums_computed, ..WatchedPages::default() };
        Self { rules, state: Mutex::new(state) }
    }

    /// Begins a file, by its path below the data directory (of a tablespace `pg_tblspc/OID/…`). `None`
    /// where it has no pages, and for temporary relations.
    pub fn file(&self, path: &[u8]) -> Option<FileWatch<'_>> {
        let path = std::str::from_utf8(path).ok()?;
        let what = if let Some(folder) = path.strip_suffix("/pg_filenode.map") {
            What::Map { location: Location::parse(folder)?, bytes: Vec::new() }
        } else {
            let file = RelationFile::parse(path)?;
            // Beyond the largest block number, as no relation can be.
            let block = file.first_block(SEGMENT_BLOCKS)?;
            What::Pages(Box::new(Pages {
                block,
                file,
                checksums: self.rules.checksums != Some(false),
                count: 0,
                suspects: Vec::new(),
                partial: Vec::new(),
            }))
        };
        Some(FileWatch { watch: self, what })
    }

    /// What was seen.
    #[must_use]
    pub fn finish(self) -> WatchedPages {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, WatchedPages> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file on its way. What it found is handed over when it is dropped.
#[derive(Debug)]
pub struct FileWatch<'a> {
    watch: &'a PageWatch,
    what: What,
}

#[derive(Debug)]
enum What {
    Pages(Box<Pages>),
    Map { location: Location, bytes: Vec<u8> },
}

#[derive(Debug)]
struct Pages {
    file: RelationFile,
    /// The next page's number.
    block: u32,
    checksums: bool,
    count: u64,
    suspects: Vec<SuspectPage>,
    /// The beginning of a page that was cut by the pieces' boundary.
    partial: Vec<u8>,
}

impl FileWatch<'_> {
    /// The next bytes of the file, in pieces of any size. Whole pages are cheapest.
    pub fn data(&mut self, mut bytes: &[u8]) {
        let pages = match &mut self.what {
            What::Map { bytes: kept, .. } => {
                let room = MAX_MAP - kept.len();
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                return;
            }
            What::Pages(pages) => pages,
        };
        if !pages.partial.is_empty() {
            let missing = PAGE_SIZE - pages.partial.len();
            let (head, rest) = bytes.split_at(bytes.len().min(missing));
            pages.partial.extend_from_slice(head);
            bytes = rest;
            let whole = std::mem::take(&mut pages.partial);
            match whole.first_chunk::<PAGE_SIZE>() {
                Some(page) => pages.page(page),
                None => pages.partial = whole,
            }
        }
        let (whole, rest) = bytes.as_chunks::<PAGE_SIZE>();
        for page in whole {
            pages.page(page);
            if pages.suspects.len() >= BATCH {
                self.watch.state().take(pages, self.watch.rules.max_suspects);
            }
        }
        pages.partial.extend_from_slice(rest);
    }
}

impl Drop for FileWatch<'_> {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        match &mut self.what {
            What::Pages(pages) => {
                state.take(pages, self.watch.rules.max_suspects);
                state.end(pages);
            }
            What::Map { location, bytes } => state.map(location, bytes),
        }
    }
}

impl Pages {
    fn page(&mut self, bytes: &[u8; PAGE_SIZE]) {
        let state = if self.checksums {
            page::verify(bytes, self.block)
        } else {
            page::verify_header(bytes)
        };
        let fault = match state {
            // A page of zeros is how relations grow.
            PageState::Valid | PageState::New => None,
            PageState::BadHeader => Some(PageFault::Header),
            PageState::BadChecksum { stored, computed } => Some(PageFault::Checksum {
                stored,
                computed,
                sane: PageHeader::read(bytes).is_sane(),
            }),
        };
        if let Some(fault) = fault {
            self.suspects.push(SuspectPage { block: self.block, fault });
        }
        self.count += 1;
        self.block = self.block.wrapping_add(1);
    }
}

impl WatchedPages {
    /// Whether there is a page that may be bad.
    #[must_use]
    pub fn has_suspects(&self) -> bool {
        self.kept > 0 || self.more_checksums > 0 || self.more_headers > 0
    }

    fn take(&mut self, pages: &mut Pages, most: usize) {
        let found = std::mem::take(&mut pages.suspects);
        if found.is_empty() {
            return;
        }
        if matches!(pages.file.fork, Fork::Fsm | Fork::Vm) {
            self.checked.bad_map_pages += found.len() as u64;
            return;
        }
        let mut kept = Vec::new();
        for page in found {
            let sane = matches!(page.fault, PageFault::Checksum { sane: true, .. });
            let fits = self.kept < most && !(sane && self.kept_checksums >= most - most / 4);
            match (fits, sane) {
                (true, sane) => {
                    self.kept += 1;
                    self.kept_checksums += usize::from(sane);
                    kept.push(page);
                }
                (false, true) => self.more_checksums += 1,
                (false, false) => self.more_headers += 1,
            }
        }
        if !kept.is_empty() {
            let fork = self.suspects.entry(pages.file.with_segment(0)).or_default();
            fork.append(&mut kept);
        }
    }

    fn end(&mut self, pages: &Pages) {
        self.checked.files += 1;
        self.checked.pages += pages.count;
        self.later_files |= pages.file.segment > 0;
        if pages.file.fork == Fork::Init {
            if self.unlogged.len() < MAX_NAMES {
                self.unlogged.insert((pages.file.location.clone(), pages.file.filenode));
            } else {
                self.too_many_names = true;
            }
        }
    }

    fn map(&mut self, location: &Location, bytes: &[u8]) {
        if self.maps.len() < MAX_NAMES {
            self.maps.insert(location.clone(), FilenodeMap::parse(bytes));
        } else {
            self.too_many_names = true;
        }
    }

    /// Tablespace and database of every folder of a database that was seen, by the name of its
    /// `pg_filenode.map`.
    #[must_use]
    pub fn databases(&self) -> BTreeSet<(u32, u32)> {
        self.maps.keys().map(|home| (home.tablespace(), home.database())).collect()
    }

    /// Pages and files that were looked at.
    #[must_use]
    pub const fn checked(&self) -> PagesChecked {
        self.checked
    }

    /// What counts, now that `pg_control` says how pages are made.
    ///
    /// # Errors
    /// `Unsupported` for a build of PostgreSQL with other sizes of pages or files.
    pub fn judged_by(self, control: &ControlFile) -> Result<Suspects, Error> {
        let other = |what: String| Error::new(Code::Unsupported, what);
        if control.block_size as usize != PAGE_SIZE {
            return Err(other(format!("pages of {} bytes cannot be checked", control.block_size)));
        }
        if control.relation_segment_blocks != SEGMENT_BLOCKS && self.later_files {
            return Err(other(format!(
                "pages of relations whose files have {} blocks cannot be checked",
                control.relation_segment_blocks
            )));
        }
        let checksums = control.has_data_checksums();
        let version_dir = control
            .major()
            .map(|major| format!("PG_{}_{}", major.number(), control.catalog_version));
        // What an older major left in a tablespace is not of this cluster.
        let foreign = |location: &Location| {
            matches!(location, Location::Tablespace { version_dir: dir, .. }
                if version_dir.as_ref().is_some_and(|own| own != dir))
        };
        // One that cannot be read leaves the second look without an answer.
        let maps = self.maps.into_iter().filter(|(location, _)| !foreign(location));
        let maps = maps.filter_map(|(location, map)| Some((location, map?))).collect();
        let mut forks = BTreeMap::new();
        for (file, mut pages) in self.suspects {
            let unlogged = file.fork == Fork::Main
                && self.unlogged.contains(&(file.location.clone(), file.filenode));
            pages.retain(|page| {
                checksums || !matches!(page.fault, PageFault::Checksum { sane: true, .. })
            });
            if foreign(&file.location) || unlogged || pages.is_empty() {
                continue;
            }
            pages.sort_unstable_by_key(|page| page.block);
            forks.insert(file, pages);
        }
        Ok(Suspects {
            checked: self.checked,
            checksums,
            not_computed: checksums && !self.checksums_computed,
            forks,
            not_kept: self.more_headers + if checksums { self.more_checksums } else { 0 },
            maps,
            incomplete_names: self.too_many_names,
        })
    }
}

/// Pages that fail, of relations that must survive a crash: torn or damaged, which the WAL tells.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    pub checked: PagesChecked,
    /// The cluster has data checksums; without, only page headers were judged.
    pub checksums: bool,
    /// The cluster has data checksums, but `backup.info` says that it has not, so that they were not
    /// computed.
    pub not_computed: bool,
    /// By fork (the name of its first file), by rising block.
    pub forks: BTreeMap<RelationFile, Vec<SuspectPage>>,
    /// Suspects that were only counted, some of which may be of unlogged relations.
    pub not_kept: u64,
    /// Which file every mapped catalog has, of each database and of the shared ones.
    pub maps: BTreeMap<Location, FilenodeMap>,
    /// There were more unlogged relations or databases than could be remembered. What their pages are
    /// the catalogs tell.
    pub incomplete_names: bool,
}

impl Suspects {
    /// What another reading of the same files is compared by.
    #[must_use]
    pub fn prints(&self) -> Prints {
        let print = |pages: &Vec<SuspectPage>| {
            let mut hasher = DefaultHasher::new();
            pages.hash(&mut hasher);
            hasher.finish()
        };
        let forks = self.forks.iter().map(|(file, pages)| (file.to_string(), print(pages)));
        Prints { forks: forks.collect(), partial: self.not_kept > 0 }
    }

    /// Nothing to judge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forks.is_empty() && self.not_kept == 0
    }

    /// Pages that are suspected.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.forks.values().map(|pages| pages.len() as u64).sum::<u64>() + self.not_kept
    }
}

/// What is wrong with which pages: the same for the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Prints {
    /// Hashes, by the path of a fork's first file.
    forks: BTreeMap<String, u64>,
    /// There were more suspects than are kept, and which ones are not is not the same every time.
    partial: bool,
}

impl Prints {
    /// Whether no page is bad.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forks.is_empty() && !self.partial
    }

    /// Whether this reading and another one show the same damage in a fork, by the path of its first
    /// file.
    #[must_use]
    pub fn agree(&self, other: &Self, path: &str) -> bool {
        let print = self.forks.get(path);
        print.is_some() && (print == other.forks.get(path) || self.partial && other.partial)
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
