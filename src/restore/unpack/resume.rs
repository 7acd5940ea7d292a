//! A restore that was broken off goes on in the same folder: what the tars that were unpacked to their
//! end have said, which files are theirs, and what must go before the others are unpacked anew.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Keep, Place, State, TarSource, UnpackFailure, Unpacker,
    ground::{Disk, Ground},
    member::{AUTO_CONF, MAX_CONFIG_TEXT, MAX_KEPT},
    place::Root,
    policy::{self, Action},
};
use crate::{
    drill::{Error, Finding},
    restore::{
        pages::{PageWatch, WatchRules},
        tar::{Entry, EntryKind},
    },
};

/// Threads that look at the pages of files that are there already.
const READERS: usize = 2;
/// Bytes of a file read at once.
const PIECE: usize = 1 << 20;

/// What tars said beside the files that they brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The label's part, and the label.
    label: Option<(u32, Vec<u8>)>,
    version_seen: bool,
    auto_conf: Option<Vec<u8>>,
    tablespace_links: BTreeMap<u32, String>,
    notes: Vec<String>,
    more_notes: usize,
    findings: Vec<Finding>,
    more_findings: usize,
    left_out: u64,
}

impl Said {
    /// What either said: each has seen part of what the other one has.
    fn join(&mut self, other: Self) {
        if other.label.as_ref().map(|(part, _)| *part) > self.label.as_ref().map(|(part, _)| *part)
        {
            self.label = other.label;
        }
        self.version_seen |= other.version_seen;
        self.auto_conf = self.auto_conf.take().or(other.auto_conf);
        self.tablespace_links.extend(other.tablespace_links);
        let fresh = |note: &String| !self.notes.contains(note);
        let notes: Vec<String> = other.notes.into_iter().filter(fresh).collect();
        self.notes.extend(notes);
        let fresh = |finding: &Finding| !self.findings.contains(finding);
        let findings: Vec<Finding> = other.findings.into_iter().filter(fresh).collect();
        self.findings.extend(findings);
        self.more_notes = self.more_notes.max(other.more_notes);
        self.more_findings = self.more_findings.max(other.more_findings);
        self.left_out = self.left_out.max(other.left_out);
    }
}

/// Remembers which files each tar brought: one list of names with NULs between for each tar.
#[derive(Debug)]
pub struct MadeFiles {
    /// Where the list of each tar goes, by its key.
    paths: BTreeMap<String, PathBuf>,
    /// The data directory, opened for this alone: what the disk could not do is told once to each who has
    /// opened it (`syncfs(2)`), and must not be told to somebody else only.
    folder: Option<OwnedFd>,
    open: Mutex<BTreeMap<String, BufWriter<File>>>,
}

impl MadeFiles {
    /// Lists go to these paths, by the keys of the tars.
    #[must_use]
    pub fn new(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, folder: None, open: Mutex::default() }
    }

    fn note(&self, key: &str, path: &[u8]) -> io::Result<()> {
        let Some(list) = self.paths.get(key) else { return Ok(()) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.contains_key(key) {
            open.insert(key.to_owned(), BufWriter::new(File::create(list)?));
        }
        let Some(names) = open.get_mut(key) else { return Ok(()) };
        names.write_all(path)?;
        names.write_all(&[0])
    }

    /// Makes the list of a tar durable that was unpacked to its end; one of a tar without files, too.
    ///
    /// # Errors
    /// `Io` where it cannot be written.
    pub fn close(&self, key: &str) -> Result<(), Error> {
        let Some(list) = self.paths.get(key) else { return Ok(()) };
        let names = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let write = || match names {
            Some(names) => names.into_inner()?.sync_all(),
            None => File::create(list)?.sync_all(),
        };
        write().map_err(|error| Error::io(format!("write `{}`", list.display()), &error))
    }
}

/// Names of files by their hashes, with a key drawn for this process: 8 bytes and a little for each.
#[derive(Debug, Default)]
struct Listed {
    hasher: RandomState,
    names: HashSet<u64>,
}

impl Listed {
    fn read(lists: &[PathBuf]) -> Result<Self, Error> {
        let mut listed = Self::default();
        for list in lists {
            let failed = |error: io::Error| Error::io(format!("read `{}`", list.display()), &error);
            let mut reader = BufReader::new(File::open(list).map_err(failed)?);
            let mut name = Vec::new();
            while reader.read_until(0, &mut name).map_err(failed)? > 0 {
                name.pop();
                listed.names.insert(listed.hasher.hash_one(&name[..]));
                name.clear();
            }
        }
        Ok(listed)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.names.contains(&self.hasher.hash_one(name))
    }
}

impl Unpacker {
    /// Remembers from now on which files come.
    ///
    /// # Errors
    /// What the system said.
    pub fn remembering(mut self, mut made: MadeFiles) -> Result<Self, Error> {
        if let Some(Disk { root, .. }) = self.ground.disk() {
            let folder = rustix::fs::openat(root.as_fd(), ".", FOLDER, Mode::empty());
            let failed = |error: Errno| root.failed("open the data directory", &error.into());
            made.folder = Some(folder.map_err(failed)?);
        }
        self.made = Some(made);
        Ok(self)
    }

    /// Goes on in `dir`, which an earlier run of the same restore has made: `said` and `lists` are of the
    /// tars that were unpacked to their end. Files that are on none of the lists were made by a run that
    /// was broken off, and are removed; the others are read as they would be out of their tars. `moved`
    /// counts the bytes. Blocks.
    ///
    /// # Errors
    /// `Local` and `Cancelled`.
    pub fn resume(
        dir: &Path,
        owner: Option<(u32, u32)>,
        rules: WatchRules,
        said: Vec<Said>,
        lists: &[PathBuf],
        moved: &AtomicU64,
        cancel: &CancellationToken,
    ) -> Result<Self, UnpackFailure> {
        let root = Root::reopen(dir, owner).map_err(UnpackFailure::Local)?;
        let listed = Listed::read(lists).map_err(UnpackFailure::Local)?;
        let mut all = Said::default();
        for said in said {
            all.join(said);
        }
        let mut state = State { resumed: true, ..State::default() };
        state.label = all.label;
        state.done.version_seen = all.version_seen;
        state.done.auto_conf = all.auto_conf;
        if let Some(text) = &state.done.auto_conf {
            let text = String::from_utf8_lossy(text).into_owned();
            state.done.config_texts.insert(AUTO_CONF.to_owned(), text);
        }
        state.done.tablespace_links = all.tablespace_links;
        (state.done.notes, state.more_notes) = (all.notes, all.more_notes);
        (state.done.findings, state.more_findings) = (all.findings, all.more_findings);
        state.left_out = all.left_out;
        let (state, pages) = (Mutex::new(state), PageWatch::new(rules));
        let this =
            Self { ground: Ground::Disk(Disk { root, flusher: None }), state, pages, made: None };
        this.go_through(&listed, moved, cancel)?;
        Ok(this)
    }

    /// What was said so far, to be kept beside the files of a tar that was unpacked to its end.
    #[must_use]
    pub fn said(&self) -> Said {
        let state = self.state();
        let done = &state.done;
        Said {
            label: state.label.clone(),
            version_seen: done.version_seen,
            auto_conf: done.auto_conf.clone(),
            tablespace_links: done.tablespace_links.clone(),
            notes: done.notes.clone(),
            more_notes: state.more_notes,
            findings: done.findings.clone(),
            more_findings: state.more_findings,
            left_out: state.left_out,
        }
    }

    /// Makes what was written so far durable, and the list of the files of this tar with it.
    ///
    /// # Errors
    /// What the system said.
    pub fn settle(&self, key: &str) -> Result<(), Error> {
        let Some(made) = &self.made else { return Ok(()) };
        if let (Some(folder), Some(Disk { root, .. })) = (&made.folder, self.ground.disk()) {
            let failed = |error: Errno| root.failed("make the files durable", &error.into());
            rustix::fs::syncfs(folder).map_err(failed)?;
        }
        made.close(key)
    }

    pub(super) fn remember(&self, source: TarSource<'_>, path: &[u8]) -> Result<(), Error> {
        let Some(made) = &self.made else { return Ok(()) };
        made.note(source.key, path)
            .map_err(|error| Error::io(format!("remember the files of `{}`", source.key), &error))
    }

    fn go_through(
        &self,
        listed: &Listed,
        moved: &AtomicU64,
        cancel: &CancellationToken,
    ) -> Result<(), UnpackFailure> {
        let Some(Disk { root, .. }) = self.ground.disk() else { return Ok(()) };
        let failed = |error: Errno| {
            UnpackFailure::Local(root.failed("look through what is there", &error.into()))
        };
        let (give, take) = sync_channel(READERS * 4);
        let take = Mutex::new(take);
        let (walked, read) = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|_| scope.spawn(|| self.read_given(&take, moved, cancel)))
                .collect();
            let walk = Walk { listed, give, cancel };
            let walked = rustix::fs::openat(root.as_fd(), ".", FOLDER, Mode::empty())
                .and_then(|top| walk.folder(&top, &mut Vec::new()));
            // Ends the readers.
            drop(walk);
            let read: Result<(), io::Error> = readers.into_iter().try_for_each(|reader| {
                reader.join().unwrap_or_else(|_| Err(io::Error::other("a reader died")))
            });
            (walked, read)
        });
        if cancel.is_cancelled() {
            return Err(UnpackFailure::Cancelled);
        }
        walked.map_err(failed)?;
        read.map_err(|error| UnpackFailure::Local(root.failed("read what is there", &error)))
    }

    fn read_given(
        &self,
        take: &Mutex<Receiver<(File, Vec<u8>)>>,
        moved: &AtomicU64,
        cancel: &CancellationToken,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut first = Ok(());
        loop {
            let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((file, path)) = next else { return first };
            // Goes on after a failure: who walks must not wait for ever.
            if first.is_ok() && !cancel.is_cancelled() {
                first = self.read_file(file, path, moved, &mut buffer);
            }
        }
    }

    /// Takes in a file that is there already, as [`super::Member`] does one of a tar.
    fn read_file(
        &self,
        mut file: File,
        path: Vec<u8>,
        moved: &AtomicU64,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let size = file.metadata()?.len();
        let entry = Entry { path, kind: EntryKind::File, size, link: Vec::new(), offset: 0 };
        let Action::File { path, keep } = policy::decide(Place::Data, &entry) else {
            return Ok(());
        };
        let max = match &keep {
            None => 0,
            Some(Keep::Config(_)) => MAX_CONFIG_TEXT,
            Some(_) => MAX_KEPT,
        };
        let mut pages = self.pages.file(&path);
        let mut kept = Vec::new();
        if pages.is_some() || keep.is_some() {
            loop {
                let count = match file.read(buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                moved.fetch_add(count as u64, Ordering::Relaxed);
                let piece = &buffer[..count];
                if let Some(pages) = &mut pages {
                    pages.data(piece);
                }
                kept.extend_from_slice(&piece[..count.min(max - kept.len())]);
            }
        }
        let mut state = self.state();
        state.done.files += 1;
        state.done.bytes += size;
        state.keep(keep, kept, 0);
        Ok(())
    }
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A way through the data directory, never through a link.
struct Walk<'a> {
    listed: &'a Listed,
    give: SyncSender<(File, Vec<u8>)>,
    cancel: &'a CancellationToken,
}

impl Walk<'_> {
    fn folder(&self, folder: &OwnedFd, path: &mut Vec<u8>) -> Result<(), Errno> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            // The type in the entry may be unknown, and may be another one by now.
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let below = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
                    self.folder(&below, path)?;
                }
                FileType::RegularFile if self.listed.has(path) => {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                    // Nobody takes it where the readers have died, which is seen at the end.
                    let _ = self.give.send((File::from(file), path.clone()));
                }
                FileType::RegularFile => {
                    rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
                }
                _ => {}
            }
            path.truncate(length);
        }
        Ok(())
    }
}
