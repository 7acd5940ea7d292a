//! The check `indexEntries`: index entries that point to no row, on the files at rest. amcheck looks
//! from the heap to the index only: a heap page that was zeroed, or lost with the file's end, takes its
//! rows along, and what is left agrees with itself.
//!
//! Of each table one B-tree that holds every row is read, the smallest. As `index_delete_check_htid`
//! (`heapam.c`) has it: an entry is removed before its line pointer is, whatever became of the row, so an
//! entry with a block beyond the heap's end, an item beyond its page's array, or an item that is unused,
//! is damage. Pages that are bad by themselves are the check `checksums`' to tell, and excuse all.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Check, CheckContext, Phase,
    checksums::{
        files::{self, ForkFiles},
        read_control,
        scan::pages,
    },
    failure::{capped, damage_hint, interrupted},
    workers::width,
};
use crate::{
    drill::{CheckOutcome, Code, Error, FailureClass, Finding},
    pg::{
        btree_page,
        page::{self, PAGE_HEADER_SIZE, PAGE_SIZE, PageHeader, PageState},
        relation_file::RelationFile,
    },
    telemetry::{Progress, progress::ProgressEvent},
};

const NAME: &str = "indexEntries";
/// Most blocks of a heap that are remembered as bad, and that a finding names.
const MOST_BLOCKS: usize = 1_000;
const MOST_PLACES: usize = 3;
/// Bits for the items of a page: `MaxHeapTuplesPerPage` is 291.
const WORDS: usize = 5;
/// Items of a page that cannot be read: whatever points to it is excused.
const UNKNOWN: u16 = u16::MAX;
/// Bytes of memory for a block with and without the bits of its items.
const WITH_BITS: u64 = 2 + 8 * WORDS as u64;
const WITHOUT_BITS: u64 = 2;

/// Reads one index of every table, in so much memory.
#[derive(Clone, Copy, Debug)]
pub struct IndexEntries {
    pub memory: u64,
}

/// An index and its table, as the check `files` found them in the catalogs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexOfHeap {
    /// Database, schema and name of the index.
    pub name: String,
    pub index: RelationFile,
    pub heap: RelationFile,
    /// Blocks of a full file.
    pub segment_blocks: u32,
}

#[async_trait]
impl Check for IndexEntries {
    fn name(&self) -> String {
        NAME.into()
    }

    fn phase(&self) -> Phase {
        Phase::Stopped
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let seen = context.observations.snapshot();
        let Some(list) = seen.indexes else {
            return CheckOutcome::Skipped("the catalogs were not read to their end".into());
        };
        let without = list.heaps_without;
        let (data_dir, memory) = (context.cluster.data_dir.clone(), self.memory);
        let (progress, cancel) = (context.progress.clone(), context.cancel.clone());
        let all = move || {
            let unfinished = |pair: &&IndexOfHeap| {
                seen.unfinished.contains(&pair.index) || seen.unfinished.contains(&pair.heap)
            };
            let pairs = list.pairs.iter().filter(|pair| !unfinished(pair)).collect();
            look(&data_dir, pairs, memory, &progress, &cancel)
        };
        match tokio::task::spawn_blocking(all).await {
            Ok(Ok(tally)) if tally.findings.is_empty() => {
                CheckOutcome::Passed(tally.words(without))
            }
            Ok(Ok(tally)) => CheckOutcome::Failed(capped(tally.findings)),
            Ok(Err(error)) => CheckOutcome::Errored(error),
            Err(_) => CheckOutcome::Errored(Error::new(Code::Bug, "an index reader panicked")),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    indexes: u64,
    entries: u64,
    /// Tables too large for the bits of their items.
    without_bits: u64,
    findings: Vec<Finding>,
}

impl Tally {
    fn words(&self, heaps_without: u64) -> String {
        let Self { indexes, entries, without_bits, .. } = self;
        let mut text = vec![format!("{entries} entries of {indexes} indexes point to rows")];
        if *without_bits > 0 {
            text.push(format!(
                "in {without_bits} tables that are large for `sandbox.memory`, unused items were not \
                 told from rows"
            ));
        }
        if heaps_without > 0 {
            text.push(format!("{heaps_without} tables have no B-tree of all their rows"));
        }
        text.join("; ")
    }

    fn add(&mut self, other: Self) {
        self.indexes += other.indexes;
        self.entries += other.entries;
        self.without_bits += other.without_bits;
        self.findings.extend(other.findings);
    }
}

fn look(
    data_dir: &Path,
    mut pairs: Vec<&IndexOfHeap>,
    memory: u64,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Tally, Error> {
    let checksums = read_control(data_dir)?.has_data_checksums();
    let forks = files::list(data_dir)?;
    let fork = |file: &RelationFile| {
        forks.binary_search_by(|fork| fork.first.cmp(file)).ok().map(|at| &forks[at])
    };
    let size = |pair: &IndexOfHeap| {
        fork(&pair.index).map_or(0, ForkFiles::bytes) + fork(&pair.heap).map_or(0, ForkFiles::bytes)
    };
    pairs.sort_by_cached_key(|pair| size(pair));
    let total = pairs.iter().map(|pair| size(pair)).sum();
    let threads = width();
    let queue = Mutex::new(pairs);
    let done = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            // The largest is the last of the list.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(pair) = next else { return Ok(tally) };
            // A lost file is the check `files`' to say.
            if let (Some(index), Some(heap)) = (fork(&pair.index), fork(&pair.heap)) {
                let segment_blocks = pair.segment_blocks;
                let reader = Reader { data_dir, index, heap, segment_blocks, checksums, cancel };
                tally.add(reader.read(&pair.name, memory / threads as u64)?);
            }
            progress.emit(ProgressEvent::CheckProgress {
                name: NAME.into(),
                done: done.fetch_add(size(pair), Ordering::Relaxed) + size(pair),
                total,
                unit: "bytes",
            });
        }
    };
    let ends: Vec<Result<Tally, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Error::new(Code::Bug, "an index reader panicked"));
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut tally = Tally::default();
    for end in ends {
        tally.add(end?);
    }
    tally.findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(tally)
}

/// Reads one table and its index.
struct Reader<'a> {
    data_dir: &'a Path,
    index: &'a ForkFiles,
    heap: &'a ForkFiles,
    segment_blocks: u32,
    checksums: bool,
    cancel: &'a CancellationToken,
}

impl Reader<'_> {
    /// The index is read once for as many blocks of the heap as fit into the memory.
    fn read(&self, name: &str, memory: u64) -> Result<Tally, Error> {
        let blocks = self.blocks();
        let bits = u64::from(blocks) * WITH_BITS <= memory;
        let most = if bits { u64::from(blocks) } else { (memory / WITHOUT_BITS).max(1 << 16) };
        let window = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        let mut bad = Bad::default();
        let (mut entries, mut from) = (0_u64, 0_u32);
        loop {
            let to = from.saturating_add(window).min(blocks);
            let rows = self.rows(from..to, bits)?;
            entries = self.entries(&rows, blocks, from == 0, &mut bad)?.max(entries);
            from = to;
            if from >= blocks {
                break;
            }
        }
        let class = FailureClass::IndexDangling;
        let finding = |detail| Finding::new(class, name, detail, damage_hint(class));
        Ok(Tally {
            indexes: 1,
            entries,
            without_bits: u64::from(!bits),
            findings: bad.words().map(finding).into_iter().collect(),
        })
    }

    /// Blocks up to the heap's end, whatever files are missing in between.
    fn blocks(&self) -> u32 {
        let end = |(segment, length): (&u32, &u64)| {
            let first = self.heap.first.with_segment(*segment).first_block(self.segment_blocks)?;
            (*length > 0).then(|| first.saturating_add((length / PAGE_SIZE as u64) as u32))
        };
        self.heap.segments.iter().filter_map(end).max().unwrap_or(0)
    }

    fn state(&self, page: &[u8; PAGE_SIZE], block: u32) -> PageState {
        if self.checksums { page::verify(page, block) } else { page::verify_header(page) }
    }

    /// What is on these blocks of the heap.
    fn rows(&self, range: std::ops::Range<u32>, bits: bool) -> Result<Rows, Error> {
        let length = range.len();
        let mut rows = Rows {
            first: range.start,
            items: vec![0; length],
            used: if bits { vec![[0; WORDS]; length] } else { Vec::new() },
        };
        let mut each = |page: &[u8; PAGE_SIZE], block: u32| {
            if range.contains(&block) {
                rows.set(page, block, self.state(page, block));
            }
            !self.cancel.is_cancelled()
        };
        // Files of other windows are not read.
        let mut heap = self.heap.clone();
        heap.segments.retain(|segment, _| {
            let first = self.heap.first.with_segment(*segment).first_block(self.segment_blocks);
            first.is_some_and(|first| {
                first < range.end && first.saturating_add(self.segment_blocks) > range.start
            })
        });
        self.all(&heap, &mut each)?;
        Ok(rows)
    }

    /// Holds every entry against these rows; how many entries there are.
    fn entries(&self, rows: &Rows, blocks: u32, first: bool, bad: &mut Bad) -> Result<u64, Error> {
        let mut entries = 0;
        let mut each = |page: &[u8; PAGE_SIZE], block: u32| {
            if self.state(page, block) == PageState::Valid {
                btree_page::rows(page, &mut |block, item| {
                    entries += 1;
                    if block >= blocks {
                        if first {
                            bad.add(block, || "which lies beyond the table's end".to_owned());
                        }
                    } else if let Some(what) = rows.lacks(block, item) {
                        bad.add(block, || what);
                    }
                });
            }
            !self.cancel.is_cancelled()
        };
        self.all(self.index, &mut each)?;
        Ok(entries)
    }

    fn all(
        &self,
        fork: &ForkFiles,
        each: &mut impl FnMut(&[u8; PAGE_SIZE], u32) -> bool,
    ) -> Result<(), Error> {
        let whole = pages(self.data_dir, fork, self.segment_blocks, each)?;
        if whole { Ok(()) } else { Err(interrupted()) }
    }
}

/// What is on some blocks of a heap.
struct Rows {
    first: u32,
    /// Items of each block.
    items: Vec<u16>,
    /// Which of them are not unused, where there was memory for it.
    used: Vec<[u64; WORDS]>,
}

impl Rows {
    fn set(&mut self, page: &[u8; PAGE_SIZE], block: u32, state: PageState) {
        let at = (block - self.first) as usize;
        if state.is_damaged() {
            self.items[at] = UNKNOWN;
            return;
        }
        // A page of zeros has no items.
        let lower = usize::from(PageHeader::read(page).lower);
        let items = lower.saturating_sub(PAGE_HEADER_SIZE) / 4;
        self.items[at] = items as u16;
        let Some(used) = self.used.get_mut(at) else { return };
        let pointers = page[PAGE_HEADER_SIZE..].as_chunks::<4>().0;
        for (n, pointer) in pointers.iter().take(items.min(WORDS * 64)).enumerate() {
            // `LP_UNUSED` is 0.
            let flags = u32::from_le_bytes(*pointer) >> 15 & 3;
            used[n / 64] |= u64::from(flags != 0) << (n % 64);
        }
    }

    /// What is wrong with an entry for this item, in words. Blocks of another window are not judged.
    fn lacks(&self, block: u32, item: u16) -> Option<String> {
        let at = block.checked_sub(self.first)? as usize;
        let items = *self.items.get(at)?;
        if items == UNKNOWN {
            return None;
        }
        if item == 0 || item > items {
            return Some(format!("which has {items} items, not item {item}"));
        }
        let n = usize::from(item - 1);
        let used = self.used.get(at).and_then(|used| used.get(n / 64))?;
        (used >> (n % 64) & 1 == 0).then(|| format!("whose item {item} is unused"))
    }
}

/// Blocks that entries point to in vain.
#[derive(Debug, Default)]
struct Bad {
    blocks: BTreeMap<u32, String>,
    more: bool,
}

impl Bad {
    fn add(&mut self, block: u32, what: impl FnOnce() -> String) {
        if self.blocks.contains_key(&block) {
            return;
        }
        if self.blocks.len() == MOST_BLOCKS {
            self.more = true;
            return;
        }
        self.blocks.insert(block, what());
    }

    fn words(&self) -> Option<String> {
        let place = |(block, what): (&u32, &String)| format!("block {block}, {what}");
        let places: Vec<String> = self.blocks.iter().take(MOST_PLACES).map(place).collect();
        let count = format!("{}{}", if self.more { "more than " } else { "" }, self.blocks.len());
        (!places.is_empty()).then(|| {
            let places = places.join("; ");
            format!(
                "it points to rows that are not there, in {count} blocks of its table: {places}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with so many items, of which these are unused.
    fn page(items: u16, unused: &[u16]) -> Box<[u8; PAGE_SIZE]> {
        let mut page = Box::new([0; PAGE_SIZE]);
        page[12..14].copy_from_slice(&(24 + items * 4).to_le_bytes());
        page[14..16].copy_from_slice(&8000_u16.to_le_bytes());
        for item in (1..=items).filter(|item| !unused.contains(item)) {
            let at = 24 + usize::from(item - 1) * 4;
            page[at..at + 4].copy_from_slice(&(0x1F40_u32 | 1 << 15).to_le_bytes());
        }
        page
    }

    fn rows(bits: bool) -> Rows {
        let used = if bits { vec![[0; WORDS]; 4] } else { Vec::new() };
        let mut rows = Rows { first: 10, items: vec![0; 4], used };
        rows.set(&page(291, &[70, 291]), 10, PageState::Valid);
        rows.set(&page(3, &[]), 11, PageState::BadHeader);
        rows.set(&[0; PAGE_SIZE], 12, PageState::New);
        rows
    }

    #[test]
    fn items_that_are_there_and_items_that_are_not() {
        for bits in [true, false] {
            let rows = rows(bits);
            let there = |block, item| rows.lacks(block, item).is_none();
            assert!(there(10, 1) && there(10, 64) && there(10, 65) && there(10, 290));
            assert_eq!(there(10, 70), !bits);
            assert_eq!(there(10, 291), !bits);
            assert!(!there(10, 292) && !there(10, 0));
            assert!(there(11, 200), "a damaged page excuses all");
            assert!(!there(12, 1), "a page of zeros has no rows");
            assert!(!there(13, 1), "a page that was never read has none either");
            assert!(there(9, 1) && there(14, 1), "another window's");
        }
    }

    #[test]
    fn long_lists_are_bounded() {
        let mut bad = Bad::default();
        assert_eq!(bad.words(), None);
        for block in 0..5_000 {
            bad.add(block, || "which is a test".to_owned());
        }
        assert_eq!(bad.blocks.len(), MOST_BLOCKS);
        let words = bad.words().unwrap();
        assert!(words.contains("in more than 1000 blocks of its table: block 0, which"), "{words}");
    }
}
