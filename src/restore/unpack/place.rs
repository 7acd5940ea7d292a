//! The root that everything is written below, one path component at a time and never through a link.
//!
//! Members of one folder follow each other in a tar: the folders on the way to the last one stay open, so
//! that a file costs the calls that make, write and close it, however deep it lies.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, mkdirat, openat, syncfs},
    io::Errno,
};

use super::{flush::Flusher, local, unusable};
use crate::drill::Error;

/// Why something cannot be put in its place.
#[derive(Debug)]
pub(super) enum PlaceError {
    Local(Error),
    /// The archive wants what cannot be, such as two files of one name.
    Layout(String),
}

#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    dir: PathBuf,
    owner: Option<(u32, u32)>,
}

/// The folders on the way to what was put down last, from below the root on, each opened in the one before
/// it and not through a link. What has their names now may be something else; what is made goes into them.
#[derive(Debug, Default)]
pub(super) struct Way(Vec<(Vec<u8>, OwnedFd)>);

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Root {
    pub(super) fn open(dir: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let fail = |doing, error: io::Error| local(doing, dir, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| fail("make the data directory", error))?;
        let mut entries = fs::read_dir(dir).map_err(|error| fail("list", error))?;
        if entries.next().is_some() {
            return Err(unusable(dir, "is not empty"));
        }
        Self::reopen(dir, owner)
    }

    /// One that an earlier run of the same restore has made, with what is in it.
    pub(super) fn reopen(dir: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let fail = |doing, error: io::Error| local(doing, dir, &error);
        let fd = rustix::fs::open(dir, FOLDER, Mode::empty())
            .map_err(|error| fail("open the data directory", error.into()))?;
        let root = Self { fd, dir: dir.into(), owner };
        rustix::fs::fchmod(&root.fd, Mode::RWXU)
            .map_err(|error| root.failed("set the mode", &error.into()))?;
        root.give(&root.fd)?;
        Ok(root)
    }

    /// Makes a folder and its parents; one that is there is fine.
    pub(super) fn folder(&self, way: &mut Way, path: &[u8]) -> Result<(), PlaceError> {
        self.walk(way, path).map(|_| ())
    }

    /// Makes a file that is not there yet, and its parents. It must still be [given away](Self::give).
    pub(super) fn create(&self, way: &mut Way, path: &[u8]) -> Result<File, PlaceError> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        let parent = self.walk(way, parent)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
                Errno::EXIST => PlaceError::Layout("is there twice".into()),
                Errno::NAMETOOLONG => PlaceError::Layout("its name is too long".into()),
                error => self.local("make a file", error),
            })?;
        Ok(File::from(file))
    }

    /// Makes everything durable. One call for the whole file system costs far less than one for each of
    /// the thousands of small files that a data directory has.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.fd)?)
    }

    /// Who brings early to the disk what is written below this root.
    pub(super) fn flusher(&self) -> Result<Flusher, Error> {
        let fd = self.fd.try_clone();
        fd.and_then(Flusher::start).map_err(|error| self.failed("begin to write", &error))
    }

    pub(super) fn as_fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn failed(&self, doing: &str, error: &io::Error) -> Error {
        local(doing, &self.dir, error)
    }

    /// Opens a folder below the root, making what is missing; goes from where `way` parts from it.
    fn walk<'a>(&'a self, way: &'a mut Way, path: &[u8]) -> Result<&'a OwnedFd, PlaceError> {
        let mut depth = 0;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if way.0.get(depth).is_none_or(|(open, _)| open != name) {
                way.0.truncate(depth);
                let parent = way.0.last().map_or(&self.fd, |(_, folder)| folder);
                let folder = self.step(parent, name)?;
                way.0.push((name.to_vec(), folder));
            }
            depth += 1;
        }
        Ok(depth.checked_sub(1).map_or(&self.fd, |last| &way.0[last].1))
    }

    /// Opens a folder in another one, or makes it.
    fn step(&self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, PlaceError> {
        let made = match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(Errno::NAMETOOLONG) => {
                return Err(PlaceError::Layout("its name is too long".into()));
            }
            Err(error) => return Err(self.local("make a folder", error)),
        };
        let folder = openat(parent, name, FOLDER, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => {
                PlaceError::Layout("a file is there where a folder should be".into())
            }
            error => self.local("open a folder", error),
        })?;
        if made {
            self.give(&folder).map_err(PlaceError::Local)?;
        }
        Ok(folder)
    }

    /// Makes the owner of what was made the one that everything shall belong to.
    pub(super) fn give(&self, fd: impl AsFd) -> Result<(), Error> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        fchown(fd, Some(user), Some(group)).map_err(|error| self.failed("set the owner", &error))
    }

    fn local(&self, doing: &str, error: Errno) -> PlaceError {
        PlaceError::Local(self.failed(doing, &error.into()))
    }
}
