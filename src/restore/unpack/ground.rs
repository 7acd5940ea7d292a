//! What members are put on: a folder of this machine, or nothing but the memory of their names.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use super::place::{PlaceError, Root};
use crate::drill::Error;

/// So many names are remembered, some 32 MiB; with more files, two of one name beyond are not seen.
const MAX_NAMES: usize = 2 << 20;

#[derive(Debug)]
pub(super) enum Ground {
    Disk(Root),
    Nowhere(Names),
}

/// Hashes of the names of files, with a key drawn for this process: a tar cannot aim at a collision.
#[derive(Debug, Default)]
pub(super) struct Names {
    hasher: RandomState,
    files: Mutex<HashSet<u64>>,
}

impl Ground {
    pub(super) fn nowhere() -> Self {
        Self::Nowhere(Names::default())
    }

    /// Makes a folder and its parents; one that is there is fine.
    pub(super) fn folder(&self, path: &[u8]) -> Result<(), PlaceError> {
        match self {
            Self::Disk(root) => root.folder(path),
            Self::Nowhere(names) => names.folder(path),
        }
    }

    /// Makes a file that is not there yet, and its parents; `None` where nothing is written.
    pub(super) fn create(&self, path: &[u8]) -> Result<Option<File>, PlaceError> {
        match self {
            Self::Disk(root) => root.create(path).map(Some),
            Self::Nowhere(names) => names.create(path).map(|()| None),
        }
    }

    pub(super) fn write(&self, file: &mut File, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Disk(root) => file.write_all(bytes).map_err(|error| root.failed("write", &error)),
            Self::Nowhere(_) => Ok(()),
        }
    }

    /// Makes everything durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match self {
            Self::Disk(root) => root.sync(),
            Self::Nowhere(_) => Ok(()),
        }
    }
}

impl Names {
    fn folder(&self, path: &[u8]) -> Result<(), PlaceError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_room(&files, path)
    }

    fn create(&self, path: &[u8]) -> Result<(), PlaceError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash);
        self.has_room(&files, &path[..parent])?;
        if path.len() - parent > 256 {
            return Err(PlaceError::Layout("its name is too long".into()));
        }
        let name = self.hasher.hash_one(path);
        if files.contains(&name) {
            return Err(PlaceError::Layout("is there twice".into()));
        }
        if files.len() < MAX_NAMES {
            files.insert(name);
        }
        Ok(())
    }

    /// Whether neither the folder nor one above it is a file.
    fn has_room(&self, files: &HashSet<u64>, folder: &[u8]) -> Result<(), PlaceError> {
        let ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            let above = &folder[..end];
            if above.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.len() > 255) {
                return Err(PlaceError::Layout("its name is too long".into()));
            }
            if files.contains(&self.hasher.hash_one(above)) {
                let what = "a file is there where a folder should be";
                return Err(PlaceError::Layout(what.into()));
            }
        }
        Ok(())
    }
}
