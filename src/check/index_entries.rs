//! The check `indexEntries`: index entries that point to no row, on the files at rest. amcheck looks
//! from the heap to the index only: a heap page that was zeroed, or lost with the file's end, takes its
//! rows along, and what is left agrees with itself.
//!
//! Every valid B-tree of every table is read once, those of catalogs and of TOAST tables too. As
//! `index_delete_check_htid` (`heapam.c`) has it: an entry is removed before its line pointer is, whatever
//! became of the row, so an entry with a block beyond the heap's end, an item beyond its page's array, or
//! an item that is unused, is damage. Rows of aborted transactions, dead ones (`LP_DEAD`) and the roots of
//! HOT chains (`LP_REDIRECT`) have an item that is used. Pages that are bad by themselves are the check
//! `checksums`' to tell, and excuse all.
//!
//! A table is read once as well, before its indexes; `rows` is what is remembered of it, and how much
//! memory that takes.

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
        page::{self, PAGE_SIZE, PageState},
        relation_file::RelationFile,
    },
    telemetry::{Progress, progress::ProgressEvent},
};

mod rows;

use rows::{Detail, Rows};

const NAME: &str = "indexEntries";
/// Most blocks of a heap that are remembered as bad, and that a finding names.
const MOST_BLOCKS: usize = 1_000;
const MOST_PLACES: usize = 3;

/// Reads every B-tree of every table, in so much memory: bytes, all threads together.
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
    /// It has an entry for every row: it is not partial.
    pub of_all_rows: bool,
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
        let without = list.heaps_without();
        let (data_dir, memory) = (context.cluster.data_dir.clone(), self.memory);
        let (progress, cancel) = (context.progress.clone(), context.cancel.clone());
        let all = move || {
            let unfinished = |pair: &&IndexOfHeap| {
                seen.unfinished.contains(&pair.index) || seen.unfinished.contains(&pair.heap)
            };
            let pairs: Vec<_> = list.pairs.iter().filter(|pair| !unfinished(pair)).collect();
            look(&data_dir, &pairs, memory, &progress, &cancel)
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
    /// Tables too large for the bits of their items, and for the number of each page's items.
    without_bits: u64,
    without_counts: u64,
    findings: Vec<Finding>,
}

impl Tally {
    fn words(&self, heaps_without: u64) -> String {
        let Self { indexes, entries, .. } = self;
        let mut text = vec![format!("{entries} entries of {indexes} indexes point to rows")];
        for (tables, what) in [
            (self.without_bits, "unused items were not told from rows"),
            (self.without_counts, "only pages without any row were told from others"),
        ] {
            if tables > 0 {
                text.push(format!(
                    "in {tables} tables that are large for `sandbox.memory`, {what}"
                ));
            }
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
        self.without_counts += other.without_counts;
        self.findings.extend(other.findings);
    }
}

/// A table and its indexes, as files that are there.
struct Table<'a> {
    heap: &'a ForkFiles,
    indexes: Vec<(&'a str, &'a ForkFiles)>,
    segment_blocks: u32,
}

impl Table<'_> {
    fn bytes(&self) -> u64 {
        let indexes = self.indexes.iter().map(|(_, fork)| fork.bytes());
        self.heap.bytes() + indexes.sum::<u64>()
    }
}

/// The pairs by table, without those of which a file is lost: that is the check `files`' to say.
fn tables<'a>(pairs: &[&'a IndexOfHeap], forks: &'a [ForkFiles]) -> Vec<Table<'a>> {
    let fork = |file: &RelationFile| {
        forks.binary_search_by(|fork| fork.first.cmp(file)).ok().map(|at| &forks[at])
    };
    let mut tables: BTreeMap<&RelationFile, Table<'a>> = BTreeMap::new();
    for pair in pairs {
        let (Some(index), Some(heap)) = (fork(&pair.index), fork(&pair.heap)) else { continue };
        let segment_blocks = pair.segment_blocks;
        let new = || Table { heap, indexes: Vec::new(), segment_blocks };
        tables.entry(&pair.heap).or_insert_with(new).indexes.push((&pair.name, index));
    }
    tables.into_values().collect()
}

fn look(
    data_dir: &Path,
    pairs: &[&IndexOfHeap],
    memory: u64,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Tally, Error> {
    let checksums = read_control(data_dir)?.has_data_checksums();
    let forks = files::list(data_dir)?;
    let mut tables = tables(pairs, &forks);
    tables.sort_by_cached_key(Table::bytes);
    let total = tables.iter().map(Table::bytes).sum();
    let threads = width();
    let queue = Mutex::new(tables);
    let done = AtomicU64::new(0);
    let count = |bytes: u64| {
        progress.emit(ProgressEvent::CheckProgress {
            name: NAME.into(),
            done: done.fetch_add(bytes, Ordering::Relaxed) + bytes,
            total,
            unit: "bytes",
        });
    };
    let work = || {
        let mut tally = Tally::default();
        loop {
            // The largest is the last of the list.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(table) = next else { return Ok(tally) };
            let segment_blocks = table.segment_blocks;
            let reader = Reader { data_dir, segment_blocks, checksums, cancel };
            tally.add(reader.read(&table, memory / threads as u64, &count)?);
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

/// Reads one table and its indexes.
struct Reader<'a> {
    data_dir: &'a Path,
    segment_blocks: u32,
    checksums: bool,
    cancel: &'a CancellationToken,
}

impl Reader<'_> {
    /// The table once, then each index once, in so many bytes of memory.
    fn read(&self, table: &Table<'_>, memory: u64, count: &impl Fn(u64)) -> Result<Tally, Error> {
        let mut rows = Rows::new(self.blocks(table.heap), memory);
        self.all(table.heap, &mut |page, block| rows.set(page, block, self.state(page, block)))?;
        count(table.heap.bytes());
        let detail = rows.detail();
        let mut tally = Tally {
            without_bits: u64::from(detail == Detail::Counts),
            without_counts: u64::from(detail == Detail::Blocks),
            ..Tally::default()
        };
        for (name, index) in &table.indexes {
            let mut bad = Bad::default();
            tally.indexes += 1;
            tally.entries += self.entries(index, &rows, &mut bad)?;
            let class = FailureClass::IndexDangling;
            let finding = |detail| Finding::new(class, *name, detail, damage_hint(class));
            tally.findings.extend(bad.words().map(finding));
            count(index.bytes());
        }
        Ok(tally)
    }

    /// Blocks up to the heap's end, whatever files are missing in between.
    fn blocks(&self, heap: &ForkFiles) -> u32 {
        let end = |(segment, length): (&u32, &u64)| {
            let first = heap.first.with_segment(*segment).first_block(self.segment_blocks)?;
            (*length > 0).then(|| first.saturating_add((length / PAGE_SIZE as u64) as u32))
        };
        heap.segments.iter().filter_map(end).max().unwrap_or(0)
    }

    fn state(&self, page: &[u8; PAGE_SIZE], block: u32) -> PageState {
        if self.checksums { page::verify(page, block) } else { page::verify_header(page) }
    }

    /// Holds every entry of an index against these rows; how many entries there are.
    fn entries(&self, index: &ForkFiles, rows: &Rows, bad: &mut Bad) -> Result<u64, Error> {
        let mut entries = 0;
        self.all(index, &mut |page, block| {
            if self.state(page, block) == PageState::Valid {
                btree_page::rows(page, &mut |block, item| {
                    entries += 1;
                    if let Some(what) = rows.lacks(block, item) {
                        bad.add(block, || what);
                    }
                });
            }
        })?;
        Ok(entries)
    }

    fn all(
        &self,
        fork: &ForkFiles,
        each: &mut impl FnMut(&[u8; PAGE_SIZE], u32),
    ) -> Result<(), Error> {
        let mut each = |page: &[u8; PAGE_SIZE], block: u32| {
            each(page, block);
            !self.cancel.is_cancelled()
        };
        let whole = pages(self.data_dir, fork, self.segment_blocks, &mut each)?;
        if whole { Ok(()) } else { Err(interrupted()) }
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
