//! The check `indexPages`: indexes that amcheck knows nothing of (hash, GIN, GiST, SP-GiST, BRIN), at
//! rest. Every page that the metapage or a live page refers to must have been written: a page of zeros
//! there passes every checksum tool, and a search that comes to it finds nothing, or ends in an error.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Check, CheckContext, Phase,
    checksums::{
        files::{self, ForkFiles},
        scan::pages,
    },
    failure::{capped, damage_hint, interrupted},
    files::Named,
};
use crate::{
    drill::{CheckOutcome, Code, Error, FailureClass, Finding},
    pg::{
        index_page::{IndexMethod, has_magic},
        page::{PAGE_SIZE, PageHeader},
        relation_file::RelationFile,
    },
};

/// Most blocks that a finding names.
const MOST_PLACES: usize = 5;

/// Reads every such index once.
#[derive(Clone, Copy, Debug)]
pub struct IndexPages;

/// An index to read, as the check `files` found it in the catalogs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Database, schema and name.
    pub name: String,
    pub method: IndexMethod,
    pub file: RelationFile,
    /// Blocks of a full file.
    pub segment_blocks: u32,
}

#[async_trait]
impl Check for IndexPages {
    fn name(&self) -> String {
        "indexPages".into()
    }

    fn phase(&self) -> Phase {
        Phase::Stopped
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let Some(list) = context.observations.snapshot().indexes else {
            return CheckOutcome::Skipped("the catalogs were not read to their end".into());
        };
        let (known, data_dir) = (Arc::clone(&list), context.cluster.data_dir.clone());
        let cancel = context.cancel.clone();
        let all = move || look(&data_dir, &known.known, &cancel);
        match tokio::task::spawn_blocking(all).await {
            Ok(Ok(findings)) if findings.is_empty() => {
                let mut text = vec![format!("{} indexes other than B-trees", list.known.len())];
                for (left, why) in
                    [(&list.invalid, "invalid"), (&list.other, "of other access methods")]
                {
                    if left.count > 0 {
                        let Named { count, first } = left;
                        text.push(format!("{count} {why} were not looked at, such as {first}"));
                    }
                }
                CheckOutcome::Passed(text.join("; "))
            }
            Ok(Ok(findings)) => CheckOutcome::Failed(capped(findings)),
            Ok(Err(error)) => CheckOutcome::Errored(error),
            Err(_) => CheckOutcome::Errored(Error::new(Code::Bug, "a page reader panicked")),
        }
    }
}

fn look(
    data_dir: &Path,
    indexes: &[IndexFile],
    cancel: &CancellationToken,
) -> Result<Vec<Finding>, Error> {
    let forks = files::list(data_dir)?;
    let mut findings = Vec::new();
    for index in indexes {
        // A lost file is the check `files`' to say.
        let Ok(at) = forks.binary_search_by(|fork| fork.first.cmp(&index.file)) else { continue };
        if let Some(detail) = judge(data_dir, &forks[at], index, cancel)? {
            let class = FailureClass::PageZeroed;
            findings.push(Finding::new(class, &index.name, detail, damage_hint(class)));
        }
    }
    Ok(findings)
}

/// What is wrong with one index, in words. Two bits for each block are in memory.
fn judge(
    data_dir: &Path,
    fork: &ForkFiles,
    index: &IndexFile,
    cancel: &CancellationToken,
) -> Result<Option<String>, Error> {
    let (mut written, mut wanted) = (Bits::default(), Bits::default());
    let blocks = fork.bytes() / PAGE_SIZE as u64;
    let length = u32::try_from(blocks).unwrap_or(u32::MAX);
    let mut beyond = None;
    let mut want = |block: u32| {
        if u64::from(block) < blocks {
            wanted.set(block);
        } else {
            beyond.get_or_insert(block);
        }
    };
    index.method.fixed_blocks().iter().for_each(|block| want(*block));
    let mut magic = true;
    let mut each = |page: &[u8; PAGE_SIZE], block: u32| {
        if !PageHeader::read(page).is_new() {
            written.set(block);
            magic &= block != 0 || has_magic(index.method, page);
            index.method.references(page, block, length, &mut want);
        }
        !cancel.is_cancelled()
    };
    if !pages(data_dir, fork, index.segment_blocks, &mut each)? {
        return Err(interrupted());
    }
    if !magic {
        return Ok(Some("its first page is not the one of such an index".to_owned()));
    }
    if let Some(block) = beyond {
        return Ok(Some(format!("it needs block {block}, but has {blocks} pages")));
    }
    let (count, first) = wanted.without(&written);
    let places: Vec<String> = first.iter().map(|block| format!("block {block}")).collect();
    Ok((count > 0).then(|| {
        let more = if count > first.len() as u64 { ", …" } else { "" };
        format!("{count} pages that the index refers to are all zeros: {}{more}", places.join(", "))
    }))
}

/// A set of block numbers.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, block: u32) {
        let word = (block / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (block % 64);
    }

    /// How many are not in `other`, and the first of them.
    fn without(&self, other: &Self) -> (u64, Vec<u32>) {
        let (mut count, mut first) = (0, Vec::new());
        for (i, word) in self.0.iter().enumerate() {
            let mut left = word & !other.0.get(i).copied().unwrap_or_default();
            count += u64::from(left.count_ones());
            while left != 0 && first.len() < MOST_PLACES {
                first.push(i as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        (count, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_blocks() {
        let mut wanted = Bits::default();
        let mut written = Bits::default();
        for block in [0, 1, 63, 64, 65, 200, 1000, 1001, 1002, 1003, 1004] {
            wanted.set(block);
        }
        for block in [0, 63, 65, 70] {
            written.set(block);
        }
        assert_eq!(wanted.without(&written), (8, vec![1, 64, 200, 1000, 1001]));
        assert_eq!(Bits::default().without(&written), (0, vec![]));
    }
}
