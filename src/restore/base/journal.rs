//! What of a base backup is restored for good, for a restore that may be broken off at any moment: by a
//! signal, a lost network, a machine that goes down.
//!
//! Each tar that was unpacked to its end leaves, once its files are durable, the list of their names
//! and a record of what else it said. A file that is on no list is of a tar that was broken off.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::part::Part;
use crate::{
    drill::{Code, Error},
    restore::{
        FetchFailure,
        pages::WatchRules,
        unpack::{MadeFiles, Said, UnpackFailure, Unpacker},
    },
};

/// One tar that is restored for good.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    size: u64,
    etag: Option<String>,
    /// What all tars have said up to then: two are unpacked at a time.
    said: Said,
}

impl Record {
    fn is_of(&self, part: &Part) -> bool {
        let object = &part.object;
        (&self.key, self.size, &self.etag) == (&object.key, object.size, &object.etag)
    }
}

/// The journal of one restore of one base backup.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// The number of each part, by its key.
    numbers: BTreeMap<String, usize>,
    done: BTreeMap<String, Said>,
}

impl Journal {
    /// Makes the folder, or reads what an earlier run of the same restore has left there.
    pub(super) fn open(folder: &Path, parts: &[Part]) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::io(format!("open `{}`", folder.display()), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut journal =
            Self { folder: folder.into(), numbers: BTreeMap::new(), done: BTreeMap::new() };
        for (number, part) in parts.iter().enumerate() {
            journal.numbers.insert(part.object.key.clone(), number);
            let path = journal.record_path(number);
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let record: Option<Record> = serde_json::from_slice(&text).ok();
            let Some(record) = record.filter(|record| record.is_of(part)) else {
                let what = format!("`{}` is not of `{}`", path.display(), part.object.key);
                return Err(Error::new(Code::Io, what));
            };
            journal.done.insert(record.key, record.said);
        }
        Ok(journal)
    }

    /// Opens the data directory: a new one, or with what the parts that are done have brought, which is read
    /// again; `moved` counts that.
    pub(super) fn unpacker(
        &self,
        data_dir: &Path,
        owner: Option<(u32, u32)>,
        rules: WatchRules,
        moved: &AtomicU64,
        cancel: &CancellationToken,
    ) -> Result<Unpacker, FetchFailure> {
        let lists = self.numbers.iter().map(|(key, number)| (key.clone(), self.list_path(*number)));
        let made = MadeFiles::new(lists.collect());
        let is_new = fs::read_dir(data_dir).map_or(true, |mut entries| entries.next().is_none());
        let opened = if is_new && self.done.is_empty() {
            Unpacker::open(data_dir, owner)
                .map(|unpacker| unpacker.watching(rules))
                .map_err(UnpackFailure::Local)
        } else {
            let lists: Vec<PathBuf> = self
                .done
                .keys()
                .filter_map(|key| Some(self.list_path(*self.numbers.get(key)?)))
                .collect();
            let said = self.done.values().cloned().collect();
            Unpacker::resume(data_dir, owner, rules, said, &lists, moved, cancel)
        };
        let unpacker = opened.map_err(|failure| match failure {
            UnpackFailure::Local(error) => FetchFailure::Local(error),
            UnpackFailure::Cancelled => FetchFailure::Cancelled,
            // Nothing is read that could be damaged.
            UnpackFailure::Damaged { what, .. } => super::bug(what),
            UnpackFailure::Input(error) => super::bug(error),
        })?;
        unpacker.remembering(made).and_then(Unpacker::writing_back).map_err(FetchFailure::Local)
    }

    pub(super) fn is_done(&self, part: &Part) -> bool {
        self.done.contains_key(&part.object.key)
    }

    /// Keeps a part that was unpacked to its end. Blocks.
    pub(super) fn settle(&self, part: &Part, unpacker: &Unpacker) -> Result<(), Error> {
        let object = &part.object;
        let Some(number) = self.numbers.get(&object.key) else {
            let what = format!("`{}` is not a part of this backup", object.key);
            return Err(Error::new(Code::Bug, what));
        };
        // Before the files are made durable: what comes later is said again, or by another part.
        let said = unpacker.said();
        unpacker.settle(&object.key)?;
        let (key, size, etag) = (object.key.clone(), object.size, object.etag.clone());
        let record = Record { key, size, etag, said };
        let path = self.record_path(*number);
        let failed = |error: io::Error| Error::io(format!("write `{}`", path.display()), &error);
        let text = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            // The names of the record and of the list of files.
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(failed)
    }

    fn record_path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("part-{number}.json"))
    }

    fn list_path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("part-{number}.files"))
    }
}
