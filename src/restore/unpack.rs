//! Writes the members of tars below a data directory.
//!
//! What is written lies below the root whatever a tar says: names are checked, links are never made,
//! and no link is followed. What a tar must not bring into the sandbox is left out. Layout defects are
//! collected; a damaged tar stops the tar that it is in.

mod flush;
mod ground;
mod look;
mod member;
mod open;
mod place;
mod policy;
mod resume;
mod write;

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio_util::sync::CancellationToken;

use self::{
    ground::{Disk, Ground},
    member::Member,
    place::{PlaceError, Root, Way},
    policy::Keep,
    write::Steps,
};
use super::{
    ahead,
    pages::{PageWatch, WatchRules, WatchedPages},
    tar::{TarError, TarReader},
};
use crate::drill::{Code, Error, FailureClass, Finding};

pub use look::look;
pub use policy::Place;
pub use resume::{MadeFiles, Said};

/// How many of them.
const MAX_CONFIG_FILES: usize = 32;
/// Findings and notes beyond these are only counted.
const MAX_FINDINGS: usize = 50;
const MAX_NOTES: usize = 50;
/// Folders whose content PostgreSQL makes itself, and that must be there. The content of a tar is left
/// out: it is of the source's running server.
const OWN_FOLDERS: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_stat_tmp",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
];

/// One tar on its way in.
#[derive(Clone, Copy, Debug)]
pub struct TarSource<'a> {
    /// The object's key, for findings.
    pub key: &'a str,
    pub place: Place,
    /// The number of the part; of a file that every part may hold the last one counts.
    pub part: u32,
}

/// Why a tar was not unpacked to its end.
#[derive(Debug)]
pub enum UnpackFailure {
    /// The tar is damaged. `offset` is the place in the decompressed tar.
    Damaged { offset: u64, member: Option<String>, what: String },
    /// What is read from failed, in a way that is not damage.
    Input(io::Error),
    /// This machine failed.
    Local(Error),
    /// The token was cancelled.
    Cancelled,
}

/// What was unpacked from all tars together.
#[derive(Debug, Default)]
pub struct Unpacked {
    pub files: u64,
    pub bytes: u64,
    /// `global/pg_control`, empty if no tar had it.
    pub pg_control: Vec<u8>,
    pub backup_label: Option<String>,
    /// `PG_VERSION` of the top folder was there.
    pub version_seen: bool,
    pub config_texts: BTreeMap<String, String>,
    /// All of `postgresql.auto.conf`, which is not written.
    pub auto_conf: Option<Vec<u8>>,
    /// Tablespaces that the data directory links to, with where the links pointed.
    pub tablespace_links: BTreeMap<u32, String>,
    pub notes: Vec<String>,
    pub findings: Vec<Finding>,
    /// What the pages of relations looked like.
    pub pages: WatchedPages,
}

/// Takes tars in, below one root or only to look at them; several threads may do so at a time.
#[derive(Debug)]
pub struct Unpacker {
    ground: Ground,
    state: Mutex<State>,
    pages: PageWatch,
    /// Who remembers the files, so that another run can go on.
    made: Option<MadeFiles>,
}

#[derive(Debug, Default)]
struct State {
    done: Unpacked,
    label: Option<(u32, Vec<u8>)>,
    more_findings: usize,
    more_notes: usize,
    /// Files left out of [`OWN_FOLDERS`].
    left_out: u64,
    /// An earlier run has said part of it: what comes again is known.
    resumed: bool,
}

impl Unpacker {
    /// Makes `dir` if it is missing, with its parents.
    ///
    /// # Errors
    /// `WorkDirectory` if it is not empty, otherwise what the system said.
    pub fn open(dir: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let root = Root::open(dir, owner)?;
        Ok(Self::on(Ground::Disk(Disk { root, flusher: None })))
    }

    /// Brings to the disk early what is written, on another thread, for [`Unpacker::finish`] to find little
    /// left that must be made durable.
    ///
    /// # Errors
    /// What the system said.
    pub fn writing_back(mut self) -> Result<Self, Error> {
        self.ground.write_back()?;
        Ok(self)
    }

    /// Reads tars as [`Unpacker::open`] would have them unpacked, and writes nothing.
    #[must_use]
    pub fn examine() -> Self {
        Self::on(Ground::nowhere())
    }

    fn on(ground: Ground) -> Self {
        let pages = PageWatch::new(WatchRules::default());
        Self { ground, state: Mutex::default(), pages, made: None }
    }

    /// Looks at pages by these rules.
    #[must_use]
    pub fn watching(mut self, rules: WatchRules) -> Self {
        self.pages = PageWatch::new(rules);
        self
    }

    /// Unpacks one tar to its end. Blocks. What is written is written on another thread, which has ended
    /// when this returns.
    ///
    /// # Errors
    /// See [`UnpackFailure`]; what was written before stays. Damage goes before what this machine said
    /// while it was written: it is damage on every machine.
    pub fn unpack(
        &self,
        source: TarSource<'_>,
        input: impl ahead::Keep,
        cancel: &CancellationToken,
    ) -> Result<(), UnpackFailure> {
        let Some(disk) = self.ground.disk() else {
            return self.read(source, input, None, cancel);
        };
        let (mut steps, done) = write::steps();
        thread::scope(|scope| {
            let writer = scope.spawn(move || write::write(&done, disk));
            let read = self.read(source, input, Some(&mut steps), cancel);
            let sent = steps.send();
            drop(steps);
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (read, written) {
                (Err(damage @ UnpackFailure::Damaged { .. }), _) => Err(damage),
                (_, Err(error)) => Err(UnpackFailure::Local(error)),
                (Ok(()), Ok(())) if sent.is_err() => Err(UnpackFailure::Cancelled),
                (read, Ok(())) => read,
            }
        })
    }

    fn read(
        &self,
        source: TarSource<'_>,
        input: impl ahead::Keep,
        mut steps: Option<&mut Steps>,
        cancel: &CancellationToken,
    ) -> Result<(), UnpackFailure> {
        let mut tar = TarReader::new(input);
        let mut way = Way::default();
        while let Some(entry) = tar.next_entry()? {
            if cancel.is_cancelled() {
                return Err(UnpackFailure::Cancelled);
            }
            let (way, steps) = (&mut way, steps.as_deref_mut());
            Member { unpacker: self, source, entry, way, steps, cancel }.unpack(&mut tar)?;
        }
        Ok(())
    }

    /// Writes what must come last, makes the folders that a tar may lack, and makes all of it durable
    /// if `fsync` says so. Blocks.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(self, fsync: bool) -> Result<Unpacked, Error> {
        let Self { mut ground, state, pages, .. } = self;
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut done = state.done;
        done.pages = pages.finish();
        if state.left_out > 0 {
            done.notes.push(format!(
                "left out {} files of the source's running server (WAL, slots, temporary files)",
                state.left_out
            ));
        }
        if state.more_notes > 0 {
            done.notes.push(format!("{} more notes of this kind", state.more_notes));
        }
        if state.more_findings > 0
            && let Some(last) = done.findings.last_mut()
        {
            last.detail = format!("{} (and {} more like it)", last.detail, state.more_findings);
        }
        if let Some((_, label)) = state.label {
            ground.put(b"backup_label", &label).map_err(|error| match error {
                PlaceError::Local(error) => error,
                PlaceError::Layout(what) => Error::new(Code::Io, format!("`backup_label`: {what}")),
            })?;
            done.files += 1;
            done.bytes += label.len() as u64;
            done.backup_label = Some(String::from_utf8_lossy(&label).into_owned());
        }
        for folder in OWN_FOLDERS.into_iter().chain(["pg_tblspc", "pg_wal/archive_status"]) {
            match ground.folder(&mut Way::default(), folder.as_bytes()) {
                Ok(()) => {}
                Err(PlaceError::Local(error)) => return Err(error),
                Err(PlaceError::Layout(what)) => done.findings.push(Finding::new(
                    FailureClass::PgdataLayout,
                    folder,
                    format!("`{folder}` cannot be a folder: {what}"),
                    policy::LAYOUT_HINT,
                )),
            }
        }
        if fsync {
            ground.sync()?;
        }
        Ok(done)
    }

    /// The findings so far.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.state().done.findings.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: String) {
        let mut state = self.state();
        if state.resumed && state.done.notes.contains(&note) {
            return;
        }
        if state.done.notes.len() < MAX_NOTES {
            state.done.notes.push(note);
        } else {
            state.more_notes += 1;
        }
    }

    fn find(&self, finding: Finding) {
        let mut state = self.state();
        if state.resumed && state.done.findings.contains(&finding) {
            return;
        }
        if state.done.findings.len() < MAX_FINDINGS {
            state.done.findings.push(finding);
        } else {
            state.more_findings += 1;
        }
    }
}

impl State {
    fn keep(&mut self, keep: Option<Keep>, bytes: Vec<u8>, part: u32) {
        match keep {
            None => {}
            Some(Keep::Control) => self.done.pg_control = bytes,
            Some(Keep::Version) => self.done.version_seen = true,
            // A stale one may lie in the source's folder; barman-cloud adds its own at the end.
            Some(Keep::Label) if self.label.as_ref().is_some_and(|(other, _)| *other > part) => {}
            Some(Keep::Label) => self.label = Some((part, bytes)),
            Some(Keep::Config(_)) if self.done.config_texts.len() >= MAX_CONFIG_FILES => {}
            Some(Keep::Config(name)) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.done.config_texts.insert(name, text);
            }
        }
    }
}

impl From<TarError> for UnpackFailure {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Damage { offset, member, what } => Self::Damaged { offset, member, what },
            TarError::Input(error) => Self::Input(error),
        }
    }
}

/// Why the writer left is its own to say.
impl From<write::Gone> for UnpackFailure {
    fn from(_: write::Gone) -> Self {
        Self::Cancelled
    }
}

/// Whether a finding is of members of a tar that decodes, and not of the tar as a whole.
#[must_use]
pub fn is_of_layout(finding: &Finding) -> bool {
    finding.hint == policy::LAYOUT_HINT
}

/// What the system said, with a full quota taken for a full disk.
fn local(doing: impl std::fmt::Display, path: &Path, error: &io::Error) -> Error {
    let doing = format!("{doing} in `{}`", path.display());
    if error.kind() == ErrorKind::QuotaExceeded {
        let full = io::Error::new(ErrorKind::StorageFull, error.to_string());
        return Error::io(doing, &full);
    }
    Error::io(doing, error)
}

/// The work directory cannot be used.
fn unusable(dir: &Path, what: impl std::fmt::Display) -> Error {
    let path: PathBuf = dir.into();
    Error::new(Code::WorkDirectory, format!("`{}` {what}", path.display()))
        .hint("Name an empty folder, or one that does not exist yet.")
}

#[cfg(test)]
#[path = "unpack/tests.rs"]
mod tests;
