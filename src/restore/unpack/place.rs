//! The root that everything is written below, one path component at a time and never through a link.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, mkdirat, openat, syncfs},
    io::Errno,
};

use super::{local, unusable};
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
        let fd = rustix::fs::open(dir, FOLDER, Mode::empty())
            .map_err(|error| fail("open the data directory", error.into()))?;
        let root = Self { fd, dir: dir.into(), owner };
        rustix::fs::fchmod(&root.fd, Mode::RWXU)
            .map_err(|error| root.failed("set the mode", &error.into()))?;
        root.give(&root.fd)?;
        Ok(root)
    }

    /// Makes a folder and its parents; one that is there is fine.
    pub(super) fn folder(&self, path: &[u8]) -> Result<(), PlaceError> {
        self.walk(path).map(|_| ())
    }

    /// Makes a file that is not there yet, and its parents.
    pub(super) fn create(&self, path: &[u8]) -> Result<File, PlaceError> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        let parent = self.walk(parent)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(parent.as_ref().unwrap_or(&self.fd), name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|error| match error {
                    Errno::EXIST => PlaceError::Layout("is there twice".into()),
                    Errno::NAMETOOLONG => PlaceError::Layout("its name is too long".into()),
                    error => self.local("make a file", error),
                })?;
        self.give(&file).map_err(PlaceError::Local)?;
        Ok(File::from(file))
    }

    /// Makes everything durable. One call for the whole file system costs far less than one for each of
    /// the thousands of small files that a data directory has.
    pub(super) fn sync(&self) -> Result<(), Error> {
        syncfs(&self.fd).map_err(|error| self.failed("make the files durable", &error.into()))
    }

    pub(super) fn failed(&self, doing: &str, error: &io::Error) -> Error {
        local(doing, &self.dir, error)
    }

    /// Opens a folder below the root, making what is missing; `None` is the root itself.
    fn walk(&self, path: &[u8]) -> Result<Option<OwnedFd>, PlaceError> {
        let mut at: Option<OwnedFd> = None;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let parent = at.as_ref().unwrap_or(&self.fd);
            let made = match mkdirat(parent, name, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(Errno::NAMETOOLONG) => {
                    return Err(PlaceError::Layout("its name is too long".into()));
                }
                Err(error) => return Err(self.local("make a folder", error)),
            };
            let fd = openat(parent, name, FOLDER, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    PlaceError::Layout("a file is there where a folder should be".into())
                }
                error => self.local("open a folder", error),
            })?;
            if made {
                self.give(&fd).map_err(PlaceError::Local)?;
            }
            at = Some(fd);
        }
        Ok(at)
    }

    fn give(&self, fd: &OwnedFd) -> Result<(), Error> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        fchown(fd, Some(user), Some(group)).map_err(|error| self.failed("set the owner", &error))
    }

    fn local(&self, doing: &str, error: Errno) -> PlaceError {
        PlaceError::Local(self.failed(doing, &error.into()))
    }
}
