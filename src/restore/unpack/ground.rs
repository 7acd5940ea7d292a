//! What members are put on: a folder of this machine, or nothing but the memory of their names.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use super::{
    flush::Flusher,
    place::{PlaceError, Root, Way},
};
use crate::drill::Error;

/// So many names are remembered, some 32 MiB; with more files, two of one name beyond are not seen.
const MAX_NAMES: usize = 2 << 20;

#[derive(Debug)]
pub(super) enum Ground {
    Disk(Disk),
    Nowhere(Names),
}

/// A folder, and who sees to it that what was written there gets to the disk early.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: Root,
    pub(super) flusher: Option<Flusher>,
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

    pub(super) const fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Nowhere(_) => None,
        }
    }

    /// Makes a folder and its parents; one that is there is fine.
    pub(super) fn folder(&self, way: &mut Way, path: &[u8]) -> Result<(), PlaceError> {
        match self {
            Self::Disk(disk) => disk.root.folder(way, path),
            Self::Nowhere(names) => names.folder(path),
        }
    }

    /// Makes a file that is not there yet, and its parents; `None` where nothing is written.
    pub(super) fn create(&self, way: &mut Way, path: &[u8]) -> Result<Option<File>, PlaceError> {
        match self {
            Self::Disk(disk) => disk.root.create(way, path).map(Some),
            Self::Nowhere(names) => names.create(path).map(|()| None),
        }
    }

    /// Makes a file of these bytes.
    pub(super) fn put(&self, path: &[u8], bytes: &[u8]) -> Result<(), PlaceError> {
        let file = self.create(&mut Way::default(), path)?;
        let (Some(mut file), Some(Disk { root, .. })) = (file, self.disk()) else { return Ok(()) };
        root.give(&file).map_err(PlaceError::Local)?;
        file.write_all(bytes).map_err(|error| PlaceError::Local(root.failed("write", &error)))
    }

    /// Begins to bring to the disk what is written from now on.
    pub(super) fn write_back(&mut self) -> Result<(), Error> {
        if let Self::Disk(disk) = self {
            disk.flusher = Some(disk.root.flusher()?);
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let Self::Disk(disk) = self else { return Ok(()) };
        // What failed early is told here, and only here: the system says it once.
        let early = disk.flusher.take().map_or(Ok(()), Flusher::end);
        early
            .and_then(|()| disk.root.sync())
            .map_err(|error| disk.root.failed("make the files durable", &error))
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
