//! The relation files of a data directory, fork by fork.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{
    drill::{Code, Error},
    pg::relation_file::{Fork, RelationFile, is_skipped_by_pg_checksums},
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
