//! What a service must know after it was killed: which slots were dealt with, and which drills were
//! running. A folder of small files; each is written whole or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drill::{Code, Error, report::DrillCause};

/// Newest slot of each job that was dealt with, by the job's name.
pub type Settled = BTreeMap<String, Timestamp>;

/// When each job was first seen, by the job's name: a job that never drills is overdue some day, however
/// often the service is started anew.
pub type KnownSince = BTreeMap<String, Timestamp>;

/// A drill that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningDrill {
    /// UUIDv7.
    pub drill_id: String,
    pub job: String,
    pub started_at: Timestamp,
    pub cause: Option<DrillCause>,
}

/// The folder, owned until it is dropped.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    _lock: File,
}

impl State {
    /// Takes the folder, which is made if it is missing.
    ///
    /// # Errors
    /// `ServiceState` where another service has it, or it cannot be written.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let refused = |error: &io::Error| {
            let message = format!("cannot use the folder `{}`: {error}", root.display());
            Error::new(Code::ServiceState, message)
                .hint("Name a folder that this user may write with `--state`.")
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(root.join("running")).map_err(|error| refused(&error))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(root.join("lock")).map_err(|error| refused(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let message = format!("another service uses the folder `{}`", root.display());
                Err(Error::new(Code::ServiceState, message)
                    .hint("Stop it, or name another folder with `--state`."))
            }
            Err(TryLockError::Error(error)) => Err(refused(&error)),
        }
    }

    /// What was settled when the service last ran. A file that cannot be read is none: its slots are not
    /// made up for.
    #[must_use]
    pub fn settled(&self) -> Settled {
        let bytes = fs::read(self.root.join("slots.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Notes what is settled.
    ///
    /// # Errors
    /// `Io`.
    pub fn settle(&self, settled: &Settled) -> Result<(), Error> {
        self.write("slots.json", &serde_json::to_vec_pretty(settled).unwrap_or_default())
    }

    /// Since when each job is known. A file that cannot be read is none.
    #[must_use]
    pub fn known_since(&self) -> KnownSince {
        let bytes = fs::read(self.root.join("jobs.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Notes since when each job is known.
    ///
    /// # Errors
    /// `Io`.
    pub fn know(&self, since: &KnownSince) -> Result<(), Error> {
        self.write("jobs.json", &serde_json::to_vec_pretty(since).unwrap_or_default())
    }

    /// Notes that a drill begins, before it does.
    ///
    /// # Errors
    /// `Io`.
    pub fn begin(&self, drill: &RunningDrill) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(drill).unwrap_or_default();
        self.write(&format!("running/{}.json", drill.drill_id), &bytes)
    }

    /// Notes that a drill has ended, after its report is kept.
    ///
    /// # Errors
    /// `Io`.
    pub fn end(&self, drill_id: &str) -> Result<(), Error> {
        let path = self.root.join(format!("running/{drill_id}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove `{}`", path.display()), &error))
            }
            _ => Ok(()),
        }
    }

    /// The drills that had begun and not ended when the service before was killed, the oldest first.
    ///
    /// # Errors
    /// `Io`.
    pub fn interrupted(&self) -> Result<Vec<RunningDrill>, Error> {
        let folder = self.root.join("running");
        let failed = |error: &io::Error| Error::io(format!("read `{}`", folder.display()), error);
        let mut drills: Vec<RunningDrill> = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            if path.extension().is_some_and(|end| end == "json") {
                let bytes = fs::read(&path).map_err(|error| failed(&error))?;
                // A file of another version names no drill that could be reported.
                drills.extend(serde_json::from_slice::<RunningDrill>(&bytes).ok());
            }
        }
        drills.sort_by(|a, b| (a.started_at, &a.drill_id).cmp(&(b.started_at, &b.drill_id)));
        Ok(drills)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.root.join(name);
        let temporary = path.with_extension("tmp");
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(path.parent().unwrap_or(&self.root))?.sync_all()
        })();
        written.map_err(|error: io::Error| Error::io(format!("write `{}`", path.display()), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(id: &str, second: i64) -> RunningDrill {
        RunningDrill {
            drill_id: id.to_owned(),
            job: "orders".to_owned(),
            started_at: Timestamp::from_second(second).unwrap(),
            cause: Some(DrillCause::Slot { at: Timestamp::from_second(second - 1).unwrap() }),
        }
    }

    #[test]
    fn what_was_running_is_known_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("made/when/needed");
        let state = State::open(&root).unwrap();
        assert_eq!((state.settled(), state.interrupted().unwrap()), (Settled::new(), vec![]));
        for (id, second) in [("b", 20), ("a", 30), ("c", 10)] {
            state.begin(&drill(id, second)).unwrap();
        }
        let settled = Settled::from([("orders".to_owned(), Timestamp::from_second(9).unwrap())]);
        state.settle(&settled).unwrap();
        state.end("b").unwrap();
        state.end("b").unwrap();
        drop(state);
        let state = State::open(&root).unwrap();
        assert_eq!(state.interrupted().unwrap(), [drill("c", 10), drill("a", 30)]);
        assert_eq!(state.settled(), settled);
        assert_eq!(state.known_since(), KnownSince::new());
        state.know(&settled).unwrap();
        assert_eq!(state.known_since(), settled);
    }

    #[test]
    fn one_service_for_each_folder() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let error = State::open(dir.path()).unwrap_err();
        assert!(error.message.contains("another service"), "{error}");
        drop(state);
        State::open(dir.path()).unwrap();
    }

    #[test]
    fn what_is_torn_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        fs::write(dir.path().join("slots.json"), "{\"orders\": \"2026-").unwrap();
        fs::write(dir.path().join("running/x.json"), "{").unwrap();
        fs::write(dir.path().join("running/y.tmp"), "{").unwrap();
        assert_eq!((state.settled(), state.interrupted().unwrap()), (Settled::new(), vec![]));
    }
}
