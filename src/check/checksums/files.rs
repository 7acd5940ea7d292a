//! The relation files of a data directory, fork by fork.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{
    drill::{Code, Error},
    pg::{
        page::PAGE_SIZE,
        relation_file::{Fork, RelationFile, is_skipped_by_pg_checksums},
    },
};

/// The files of one fork of one relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkFiles {
    /// The name of the first file, whether or not it exists.
    pub first: RelationFile,
    /// Number and length in bytes of those that exist, in order.
    pub segments: BTreeMap<u32, u64>,
    /// The relation is unlogged: an `_init` fork lies beside.
    pub unlogged: bool,
    /// A visibility map lies beside.
    pub has_vm: bool,
}

impl ForkFiles {
    /// Length of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Number of blocks up to the end of the last file that holds any.
    #[must_use]
    pub fn blocks(&self, segment_blocks: u32) -> u64 {
        self.last_with_pages().map_or(0, |last| {
            let before = u64::from(last) * u64::from(segment_blocks);
            before + self.segments.get(&last).map_or(0, |length| length / PAGE_SIZE as u64)
        })
    }

    /// Files that cannot be right: every file before one that holds pages must exist and be full
    /// (`_mdnblocks`; empty ones behind the end are what truncation leaves), and all hold whole pages.
    #[must_use]
    pub fn broken(&self, segment_blocks: u32) -> Vec<(RelationFile, String)> {
        let full = u64::from(segment_blocks) * PAGE_SIZE as u64;
        let mut broken = Vec::new();
        let last = self.last_with_pages().unwrap_or(0);
        for segment in 0..last {
            let detail = match self.segments.get(&segment) {
                None => "the file is missing, but a later one of the relation exists".to_owned(),
                Some(&length) if length < full => {
                    format!("the file has {length} bytes, but a later one of the relation exists")
                }
                Some(_) => continue,
            };
            broken.push((self.first.with_segment(segment), detail));
        }
        let partial = self.segments.get(&last).map_or(0, |length| length % PAGE_SIZE as u64);
        if partial != 0 {
            let detail = format!("the file ends {partial} bytes into a page");
            broken.push((self.first.with_segment(last), detail));
        }
        broken
    }

    /// The fork ends with a full file and nothing follows, not even the empty file that a truncation
    /// leaves: number of blocks up to there.
    #[must_use]
    pub fn full_to_the_end(&self, segment_blocks: u32) -> Option<u32> {
        let last = self.last_with_pages()?;
        let full = u64::from(segment_blocks) * PAGE_SIZE as u64;
        let ends = self.segments.get(&last) == Some(&full)
            && !self.segments.contains_key(&last.checked_add(1)?);
        if ends { last.checked_add(1)?.checked_mul(segment_blocks) } else { None }
    }

    fn last_with_pages(&self) -> Option<u32> {
        self.segments.iter().rev().find(|(_, length)| **length > 0).map(|(segment, _)| *segment)
    }
}

/// Lists `global`, `base` and `pg_tblspc`, through links and folders in place.
///
/// # Errors
/// Where a folder cannot be read.
pub fn list(data_dir: &Path) -> Result<Vec<ForkFiles>, Error> {
    let mut forks: BTreeMap<RelationFile, BTreeMap<u32, u64>> = BTreeMap::new();
    for root in ["global", "base", "pg_tblspc"] {
        walk(&data_dir.join(root), root, &mut |file, length| {
            forks.entry(file.with_segment(0)).or_default().insert(file.segment, length);
        })?;
    }
    let fork_of = |first: &RelationFile, fork| RelationFile { fork, ..first.clone() };
    let list = forks.iter().map(|(first, segments)| ForkFiles {
        first: first.clone(),
        segments: segments.clone(),
        unlogged: forks.contains_key(&fork_of(first, Fork::Init)),
        has_vm: forks.contains_key(&fork_of(first, Fork::Vm)),
    });
    Ok(list.collect())
}

fn walk(folder: &Path, name: &str, add: &mut impl FnMut(RelationFile, u64)) -> Result<(), Error> {
    let failed = |error: &io::Error| Error::io(format!("reading `{}`", folder.display()), error);
    for entry in fs::read_dir(folder).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let file_name = entry.file_name();
        let Some(entry_name) = file_name.to_str() else { continue };
        if is_skipped_by_pg_checksums(entry_name) {
            continue;
        }
        let path = format!("{name}/{entry_name}");
        // Only tablespaces may be links: what ran in the cluster may have made others.
        let looked = if name == "pg_tblspc" {
            fs::metadata(entry.path())
        } else {
            fs::symlink_metadata(entry.path())
        };
        let metadata = match looked {
            Ok(metadata) => metadata,
            // A link of a tablespace that is gone: what lay in it is missed by the catalogs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&error)),
        };
        // pg_tblspc/OID/PG_MAJOR_CATALOG/DATABASE is the deepest folder.
        if metadata.is_dir() && path.split('/').count() <= 4 {
            walk(&entry.path(), &path, add)?;
        } else if let Some(file) = RelationFile::parse(&path) {
            if !metadata.is_file() {
                return Err(Error::new(
                    Code::Unsupported,
                    format!("`{}` is not an ordinary file", entry.path().display()),
                ));
            }
            add(file, metadata.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(segments: &[(u32, u64)]) -> ForkFiles {
        ForkFiles {
            first: RelationFile::parse("base/5/16384").unwrap(),
            segments: segments.iter().copied().collect(),
            unlogged: false,
            has_vm: false,
        }
    }

    #[test]
    fn files_before_the_last_are_full() {
        let broken = |segments: &[(u32, u64)]| {
            let list = files(segments).broken(4);
            list.iter().map(|(file, _)| file.segment).collect::<Vec<_>>()
        };
        assert_eq!(broken(&[]), [0; 0]);
        assert_eq!(broken(&[(0, 0)]), [0; 0]);
        assert_eq!(broken(&[(0, 32_768), (1, 8192)]), [0; 0]);
        assert_eq!(broken(&[(0, 8192), (1, 0), (2, 0)]), [0; 0], "left by a truncation");
        assert_eq!(broken(&[(0, 32_768), (2, 8192)]), [1]);
        assert_eq!(broken(&[(1, 8192)]), [0]);
        assert_eq!(broken(&[(0, 24_576), (1, 8192)]), [0]);
        assert_eq!(broken(&[(0, 8193)]), [0]);
    }

    #[test]
    fn blocks_are_counted_to_the_last_file_with_pages() {
        let blocks = |segments: &[(u32, u64)]| files(segments).blocks(4);
        assert_eq!(blocks(&[]), 0);
        assert_eq!(blocks(&[(0, 0)]), 0);
        assert_eq!(blocks(&[(0, 16_384 + 17)]), 2);
        assert_eq!(blocks(&[(0, 32_768), (1, 8192), (2, 0)]), 5);
        assert_eq!(blocks(&[(2, 8192)]), 9);
    }

    #[test]
    fn a_last_file_that_may_have_had_a_successor() {
        let blocks = |segments: &[(u32, u64)]| files(segments).full_to_the_end(4);
        assert_eq!(blocks(&[]), None);
        assert_eq!(blocks(&[(0, 8192)]), None);
        assert_eq!(blocks(&[(0, 32_768)]), Some(4));
        assert_eq!(blocks(&[(0, 32_768), (1, 32_768)]), Some(8));
        assert_eq!(blocks(&[(0, 32_768), (1, 0)]), None, "truncated there");
        assert_eq!(blocks(&[(0, 32_768), (1, 8192)]), None);
    }

    #[test]
    fn a_link_or_a_pipe_is_never_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), [0; 8192]).unwrap();
        let data = tempfile::tempdir().unwrap();
        for folder in ["global", "base/5", "pg_tblspc"] {
            fs::create_dir_all(data.path().join(folder)).unwrap();
        }
        fs::write(data.path().join("base/5/16384"), [0; 8192]).unwrap();
        assert_eq!(list(data.path()).unwrap().len(), 1);
        let planted = data.path().join("base/5/16385");
        std::os::unix::fs::symlink(outside.path().join("secret"), &planted).unwrap();
        assert!(list(data.path()).unwrap_err().message.contains("is not an ordinary file"));
        fs::remove_file(&planted).unwrap();
        // A folder's link is not gone into.
        std::os::unix::fs::symlink(data.path().join("base/5"), data.path().join("base/6")).unwrap();
        assert_eq!(list(data.path()).unwrap().len(), 1);
    }
}
