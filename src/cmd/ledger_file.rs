//! The ledger's file: read before a run, replaced in one step after it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::console::{Console, Failure, usage};
use crate::{
    drill::{Error, job::ArchiveLocation},
    verify::ledger::{Ledger, Unusable},
};

/// A ledger and where it is kept.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    pub ledger: Ledger,
}

impl LedgerFile {
    /// Reads the file; makes it where there is none, so that it is known before the run that it can be
    /// written after it. One that is damaged is begun anew, which costs nothing but reading.
    ///
    /// # Errors
    /// The file is something else or another archive's, or cannot be read or written.
    pub(super) fn open(
        path: &Path,
        archive: &ArchiveLocation,
        console: &Console,
    ) -> Result<Self, Failure> {
        let name = name(archive);
        let shown = path.display();
        let fresh = || Ledger::new(&name);
        let ledger = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fresh(),
            Err(error) => return Err(io_error(path, "read", &error).into()),
            Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0) => {
                fresh()
            }
            Ok(file) => match Ledger::read(BufReader::new(file), &name) {
                Ok(ledger) => ledger,
                Err(Unusable::Io(error)) => return Err(io_error(path, "read", &error).into()),
                Err(why) if why.begins_anew() => {
                    console.talk(&format!("the ledger `{shown}` is begun anew: {why}"));
                    fresh()
                }
                Err(why) => {
                    return Err(usage(
                        format!("`{shown}` cannot be the ledger: {why}"),
                        "Name a file of its own for each archive with `--ledger`; a new one is made.",
                    ));
                }
            },
        };
        let mut opened = Self { path: path.to_owned(), ledger };
        opened.save()?;
        Ok(opened)
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written; what was there stands as it was.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        let Self { path, ledger } = self;
        replace(path, ledger).map_err(|error| io_error(path, "write", &error))
    }
}

/// The same names in another store may be other objects.
fn name(archive: &ArchiveLocation) -> String {
    let (url, server) = (archive.store.url(), &archive.server);
    let endpoint = archive.store.s3.endpoint.as_deref();
    let at = endpoint.map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
    format!("{url} {server}{at}")
}

fn io_error(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::io(format!("{what} the ledger `{}`", path.display()), error)
        .hint("Name a file in a folder that may be written with `--ledger`.")
}

/// Writes beside the file and renames, so that a run that dies leaves the one before.
fn replace(path: &Path, ledger: &mut Ledger) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut write = || {
        // One of a dead process with our number. A new file is never somebody's link.
        let _ = fs::remove_file(&beside);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o644).open(&beside)?;
        let mut file = BufWriter::new(file);
        ledger.write(&mut file)?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)?;
        // The name is durable with its folder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().inspect_err(|_| {
        // What is left beside is ours; the error above is the one to tell.
        let _ = fs::remove_file(&beside);
    })
}
