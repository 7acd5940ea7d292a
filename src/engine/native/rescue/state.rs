//! What an interrupted rescue leaves: which one it is, how far it is, and who works on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ground::Ground;
use crate::{
    archive::ObjectRef,
    drill::{
        Code, DrillPlan, Error, Finding, Job, expectation::Promise, plan::PlannedSegment,
        reached::Reached,
    },
    engine::native::tree,
    pg::{SegmentNumber, wal::scan::ParameterFloor},
};

const FILE: &str = "rescue.json";
const LOCK: &str = "lock";
/// Raise this when an older program's state cannot be taken up.
const FORMAT: u32 = 1;

/// A rescue and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub format: u32,
    pub rescue_id: String,
    pub started_at: Timestamp,
    pub asked: Asked,
    pub plan: PlanPrint,
    pub phase: Phase,
}

/// What was asked for, in words: another run must ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub archive: String,
    pub backup: String,
    pub target: String,
}

/// What was planned, as far as it must not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPrint {
    pub backup: String,
    /// A text: many readers keep numbers as doubles.
    pub system_id: String,
    pub timeline: u32,
    /// Key, size and entity tag of every tar.
    parts: Vec<(String, u64, Option<String>)>,
    pub segments: u64,
    /// Of the keys, sizes and entity tags of all segments.
    wal: String,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Base and WAL come. What is there is known to their own folders.
    Fetching,
    /// All is there and judged, and the base backup is damaged.
    AwaitingConsent(Prepared),
    /// PostgreSQL may have begun to recover.
    Recovering(Prepared),
    /// The server has stopped cleanly; the folder gets its name.
    HandingOver {
        prepared: Prepared,
        reached: Reached,
        /// Where tablespaces go, by OID.
        tablespaces: Vec<(u32, PathBuf)>,
    },
}

/// What the bytes have shown, so that they need not be read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Replay goes to the target; else to the end of what may be served.
    pub to_target: bool,
    pub promise: Promise,
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
    pub floor: ParameterFloor,
    pub custom_resource_managers: Vec<u8>,
    pub last: Option<SegmentNumber>,
    /// Tablespaces that the WAL makes: OID and location.
    pub made_tablespaces: Vec<(u32, String)>,
}

impl Asked {
    /// By a job that may have been changed by flags.
    #[must_use]
    pub fn by(job: &Job) -> Self {
        Self {
            archive: format!("`{}` in {}", job.archive.server, job.archive.store.url()),
            backup: format!("{:?}", job.recovery_point.backup),
            target: job.recovery_point.to_string(),
        }
    }
}

impl PlanPrint {
    #[must_use]
    pub fn of(plan: &DrillPlan) -> Self {
        let part = |object: &ObjectRef| (object.key.clone(), object.size, object.etag.clone());
        Self {
            backup: plan.backup.id.clone(),
            system_id: plan.system_id.to_string(),
            timeline: plan.history.timeline.0,
            parts: plan.backup.objects().map(part).collect(),
            segments: plan.wal.len() as u64,
            wal: print(plan.wal.iter()),
        }
    }

    /// What is another now than when it was planned, in words; `None` where the plan is the same, or
    /// only has more WAL behind what it had.
    #[must_use]
    pub fn difference(&self, plan: &DrillPlan) -> Option<String> {
        let now = Self::of(plan);
        if self.backup != now.backup {
            return Some(format!("it restores backup `{}`, not `{}`", self.backup, now.backup));
        }
        if self.system_id != now.system_id || self.parts != now.parts {
            return Some(format!("the tars of backup `{}` are not the same any more", now.backup));
        }
        if self.timeline != now.timeline {
            return Some(format!(
                "it follows timeline {}, and the archive leads to timeline {} now",
                self.timeline, now.timeline
            ));
        }
        let known = usize::try_from(self.segments).unwrap_or(usize::MAX);
        let same = known <= plan.wal.len() && print(plan.wal.iter().take(known)) == self.wal;
        (!same).then(|| "the WAL in the archive is not the same any more".to_owned())
    }
}

/// The same for the same objects, also in another program.
fn print(wal: impl Iterator<Item = PlannedSegment>) -> String {
    let mut hash = Sha256::new();
    for PlannedSegment { object, .. } in wal {
        let etag = object.etag.as_deref().unwrap_or_default();
        hash.update(format!("{}\0{}\0{etag}\0", object.key, object.size));
    }
    // Half of it is more than enough to tell two archives apart.
    let digest = hash.finalize().first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
    format!("{digest:032x}")
}

impl State {
    #[must_use]
    pub fn new(rescue_id: String, asked: Asked, plan: &DrillPlan, now: Timestamp) -> Self {
        let (format, plan, phase) = (FORMAT, PlanPrint::of(plan), Phase::Fetching);
        Self { format, rescue_id, started_at: now, asked, plan, phase }
    }

    #[must_use]
    pub const fn is_handing_over(&self) -> bool {
        matches!(self.phase, Phase::HandingOver { .. })
    }

    /// Whether the WAL that counts is settled.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        !matches!(self.phase, Phase::Fetching)
    }
}

/// The state of a rescue that works or has worked there, if it can be read.
#[must_use]
pub fn peek(work: &Path) -> Option<State> {
    read(work).ok().flatten()
}

fn read(work: &Path) -> io::Result<Option<State>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW).open(work.join(FILE));
    let mut text = String::new();
    match file.and_then(|file| file.take(64 << 20).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let state: State = serde_json::from_str(&text)?;
    if state.format != FORMAT {
        return Err(io::Error::other("it is of another version of pgassay"));
    }
    Ok(Some(state))
}

/// The right to work there, held until it is dropped: nobody else has it, also not after we are gone.
#[derive(Debug)]
pub struct Claim {
    work: PathBuf,
    _lock: File,
    state: Option<State>,
}

impl Claim {
    /// Takes it, and reads what an interrupted rescue has left. With `anew` that is removed.
    ///
    /// # Errors
    /// `RescueRunning` with the holder's process id, `RescueOther` where what is there is of no use, `Io`.
    pub fn take(ground: &Ground, anew: bool) -> Result<Self, Error> {
        let work = ground.work.clone();
        let failed = |error: &io::Error| Error::io(format!("work in `{}`", work.display()), error);
        let lock = loop {
            match DirBuilder::new().mode(0o700).create(&work) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&error));
                }
                _ => {}
            }
            only_ours(&work)?;
            let path = work.join(LOCK);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o644);
            let mut file = match options.custom_flags(libc::O_NOFOLLOW).open(&path) {
                Ok(file) => file,
                // Who held it has removed it all in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&error)),
            };
            match file.try_lock() {
                Ok(()) if is_same(&file, &path) => {
                    let mut mark = || {
                        file.set_len(0)?;
                        file.rewind()?;
                        writeln!(file, "{}", std::process::id())
                    };
                    mark().map_err(|error| failed(&error))?;
                    break file;
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(running(&ground.dir, file)),
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        };
        let mut claim = Self { work: work.clone(), _lock: lock, state: None };
        if !anew {
            claim.state = read(&work).map_err(|error| {
                let what = format!("`{}` cannot be gone on from: {error}", work.display());
                Error::new(Code::RescueOther, what).hint(ANEW)
            })?;
        }
        if claim.state.is_none() {
            // Whatever a removal that was broken off has left must not be taken for this rescue's.
            claim.clear().map_err(|error| failed(&error))?;
        }
        Ok(claim)
    }

    /// What an interrupted rescue has left.
    #[must_use]
    pub const fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Writes the state for good.
    ///
    /// # Errors
    /// `Io`
    pub fn record(&mut self, state: State) -> Result<(), Error> {
        let path = self.work.join(FILE);
        let write = || {
            let text = serde_json::to_vec_pretty(&state)?;
            let temporary = self.work.join("rescue.tmp");
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.work)?.sync_all()
        };
        write().map_err(|error| Error::io(format!("write `{}`", path.display()), &error))?;
        self.state = Some(state);
        Ok(())
    }

    /// Removes everything but the lock. The state goes first: what is left without one is begun anew.
    fn clear(&mut self) -> io::Result<()> {
        self.state = None;
        match fs::remove_file(self.work.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for entry in fs::read_dir(&self.work)? {
            let entry = entry?;
            if entry.file_name() == LOCK {
                continue;
            }
            if entry.file_type()?.is_dir() {
                tree::remove(&entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes all that the rescue has left there, when the cluster is no longer in it.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub fn finish(mut self) -> io::Result<()> {
        self.clear()
        // The lock goes with the folder, when this is dropped.
    }
}

impl Drop for Claim {
    /// Leaves nothing where nothing was done.
    fn drop(&mut self) {
        let mut names = fs::read_dir(&self.work).into_iter().flatten().flatten();
        if self.state.is_none() && names.all(|entry| entry.file_name() == LOCK) {
            // The lock is still held: see `take`.
            let _ = fs::remove_file(self.work.join(LOCK));
            let _ = fs::remove_dir(&self.work);
        }
    }
}

/// What to do about a state that is of no use.
pub const ANEW: &str = "Begin anew with `--anew`, which removes what that rescue has fetched, or name \
    another folder.";

/// A folder that is not of a rescue's making is left alone.
fn only_ours(work: &Path) -> Result<(), Error> {
    const OURS: &[&str] = &[FILE, "rescue.tmp", LOCK];
    let meta = fs::symlink_metadata(work);
    let me = rustix::process::geteuid().as_raw();
    let other = |why: &str| {
        Error::new(Code::RescueOther, format!("`{}` is in the way: {why}", work.display()))
            .hint("Move it away, or name another folder.")
    };
    match meta {
        Ok(meta) if !meta.is_dir() => return Err(other("it is not a folder")),
        Ok(meta) if meta.uid() != me => return Err(other("it belongs to somebody else")),
        Ok(meta) if meta.mode() & 0o022 != 0 => return Err(other("others may write to it")),
        // It went away: it is made again.
        Err(_) => return Ok(()),
        Ok(_) => {}
    }
    if work.join(FILE).exists() || work.join(LOCK).exists() {
        return Ok(());
    }
    let mut names = fs::read_dir(work).into_iter().flatten().flatten().map(|e| e.file_name());
    match names.find(|name| !OURS.iter().any(|ours| name == ours)) {
        Some(name) => Err(other(&format!("it holds `{}`", name.to_string_lossy()))),
        None => Ok(()),
    }
}

fn running(dir: &Path, mut file: File) -> Error {
    let mut holder = String::new();
    let _ = io::Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
    let who = holder.trim().parse::<u32>();
    let who = who.map_or_else(|_| String::new(), |pid| format!(", by process {pid}"));
    let what = format!("a rescue into `{}` is running already{who}", dir.display());
    Error::new(Code::RescueRunning, what).hint("Wait for it to end, or name another folder.")
}

fn is_same(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let ours = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    matches!((named, ours), (Ok(named), Ok(ours)) if named == ours)
}
