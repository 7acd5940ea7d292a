//! Who owns a sandbox and until when, and the lock of a job.
//!
//! Both are locks of the kernel on open files (`flock`): they end with their holder, however it ends,
//! so that nothing ever waits for the dead.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drill::{Code, Error};

/// Name of a sandbox's lease.
pub const LEASE_FILE: &str = "lease.json";

/// What `lease.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub drill_id: String,
    pub job: String,
    pub owner_pid: u32,
    /// Start of the owner in clock ticks since boot (`/proc/<pid>/stat`, field 22): tells it from a
    /// later process of the same number.
    pub owner_start: u64,
    pub started: Timestamp,
    /// The drill ends by then, if the job states a limit.
    pub deadline: Option<Timestamp>,
    /// Kept on purpose until then.
    pub keep_until: Option<Timestamp>,
}

/// A lease that is held.
#[derive(Debug)]
pub struct Lease {
    file: File,
    pub record: LeaseRecord,
}

/// The lock of a job, held.
#[derive(Debug)]
pub struct JobLock {
    _file: File,
    path: PathBuf,
}

impl Lease {
    /// Writes and takes the lease of the sandbox at `root`.
    ///
    /// # Errors
    /// `Io` where it cannot be written.
    pub fn take(root: &Path, record: LeaseRecord) -> Result<Self, Error> {
        let path = root.join(LEASE_FILE);
        let made = || -> io::Result<Self> {
            let mut options = OpenOptions::new();
            let file = options
                .write(true)
                .create_new(true)
                .mode(0o644)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            file.try_lock().map_err(io::Error::from)?;
            let mut lease = Self { file, record };
            lease.write()?;
            Ok(lease)
        };
        made().map_err(|error| Error::io(format!("write `{}`", path.display()), &error))
    }

    /// Notes until when the files are kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_until(&mut self, until: Timestamp) -> io::Result<()> {
        self.record.keep_until = Some(until);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&self.record)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())
    }
}

/// Keeps sweepers from the sandboxes below `base` while one is made: between its folder and its lease
/// nothing tells that somebody owns it.
///
/// # Errors
/// `Io` where the folder cannot be locked.
pub fn making(base: &Path) -> Result<File, Error> {
    let locked = File::open(base).and_then(|folder| folder.lock_shared().map(|()| folder));
    locked.map_err(|error| Error::io(format!("lock `{}`", base.display()), &error))
}

/// Looks at the lease of the sandbox at `root` below `base`, while none is being made there.
///
/// # Errors
/// What the file system says.
pub fn inspect_settled(base: &Path, root: &Path) -> io::Result<LeaseState> {
    let folder = File::open(base)?;
    folder.lock()?;
    Ok(inspect(root))
}

/// What is known of the lease of a sandbox that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Its owner lives.
    Held,
    /// Its owner is gone; `None` where the record cannot be read.
    Free(Option<LeaseRecord>),
}

/// Looks at the lease of the sandbox at `root`, without a trace.
#[must_use]
pub fn inspect(root: &Path) -> LeaseState {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_NOFOLLOW).open(root.join(LEASE_FILE));
    let Ok(mut file) = opened else { return LeaseState::Free(None) };
    if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
        return LeaseState::Held;
    }
    let mut text = String::new();
    let read = Read::by_ref(&mut file).take(64 << 10).read_to_string(&mut text);
    LeaseState::Free(read.ok().and_then(|_| serde_json::from_str(&text).ok()))
}

impl JobLock {
    /// Takes the lock of `job` below `base`.
    ///
    /// # Errors
    /// `DrillRunning` with the holder's process id where it is taken.
    pub fn take(base: &Path, job: &str) -> Result<Self, Error> {
        let dir = base.join("locks");
        let path = dir.join(format!("{}.lock", file_name(job)));
        let failed = |error: &io::Error| Error::io(format!("lock `{}`", path.display()), error);
        let mut file = loop {
            let mut file = match open(&dir, &path) {
                Ok(file) => file,
                // The holder before us took the folder away in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound && base.is_dir() => continue,
                Err(error) => return Err(failed(&error)),
            };
            match file.try_lock() {
                // Whoever held it removed the file as it let go: then this one is not the lock.
                Ok(()) if same_file(&file, &path) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
                    let who = holder.trim().parse::<u32>();
                    let who =
                        who.map_or_else(|_| String::new(), |pid| format!(", by process {pid}"));
                    return Err(Error::new(
                        Code::DrillRunning,
                        format!("a drill of job `{job}` is running already{who}"),
                    )
                    .hint("Wait for it to end, or give this drill another name with `--name`."));
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        };
        let mut mark = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        mark().map_err(|error| failed(&error))?;
        Ok(Self { _file: file, path })
    }
}

impl Drop for JobLock {
    /// Leaves nothing behind. The file goes while it is still locked: see [`JobLock::take`].
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(dir) = self.path.parent() {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn open(dir: &Path, path: &Path) -> io::Result<File> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

fn same_file(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let ours = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    matches!((named, ours), (Ok(named), Ok(ours)) if named == ours)
}

/// When the process began, in clock ticks since boot; `None` where it is gone.
#[must_use]
pub fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A job's name as one harmless component of a path.
#[must_use]
pub fn file_name(job: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = job.chars().map(safe).take(40).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LeaseRecord {
        LeaseRecord {
            drill_id: "0199".to_owned(),
            job: "orders".to_owned(),
            owner_pid: std::process::id(),
            owner_start: process_start(std::process::id()).unwrap(),
            started: Timestamp::UNIX_EPOCH,
            deadline: None,
            keep_until: None,
        }
    }

    #[test]
    fn a_second_drill_of_a_job_is_told_who_is_first() {
        let base = tempfile::tempdir().unwrap();
        let first = JobLock::take(base.path(), "orders").unwrap();
        let error = JobLock::take(base.path(), "orders").unwrap_err();
        assert_eq!(error.code, Code::DrillRunning);
        assert!(error.message.contains(&format!("by process {}", std::process::id())));
        JobLock::take(base.path(), "other").unwrap();
        drop(first);
        JobLock::take(base.path(), "orders").unwrap();
    }

    #[test]
    fn a_lease_ends_with_its_holder() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(inspect(root.path()), LeaseState::Free(None));
        let mut lease = Lease::take(root.path(), record()).unwrap();
        assert_eq!(inspect(root.path()), LeaseState::Held);
        lease.keep_until(Timestamp::UNIX_EPOCH).unwrap();
        drop(lease);
        let kept = LeaseRecord { keep_until: Some(Timestamp::UNIX_EPOCH), ..record() };
        assert_eq!(inspect(root.path()), LeaseState::Free(Some(kept)));
    }

    #[test]
    fn names_are_harmless() {
        assert_eq!(file_name("orders-nightly.2"), "orders-nightly.2");
        assert_eq!(file_name("../x y"), "_.._x_y");
        assert_eq!(file_name(""), "_");
        assert!(file_name(&"x".repeat(300)).len() <= 41);
    }

    #[test]
    fn our_own_start_is_known() {
        assert!(process_start(std::process::id()).is_some());
        assert_eq!(process_start(u32::MAX), None);
    }
}
