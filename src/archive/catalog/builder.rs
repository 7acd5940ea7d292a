//! Builds a catalog from a listing, page by page, and then from the small files that are worth
//! reading.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Backup, Catalog, Keep};
use crate::{
    archive::{
        BackupInfo, ObjectRef, WalIndex,
        key::{BaseFile, Key, TarName},
        wal_index::Listed,
    },
    pg::{TimelineId, WalFileName},
};

/// So many unknown keys are kept for the reader.
const UNKNOWN_KEPT: usize = 10;

/// Takes in objects, then file contents.
#[derive(Debug)]
pub struct CatalogBuilder {
    root: String,
    backups: BTreeMap<String, Backup>,
    keeps: BTreeMap<String, ObjectRef>,
    catalog: Catalog,
}

/// A small file whose content belongs into the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub what: WantedFile,
    pub object: ObjectRef,
}

/// Which file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedFile {
    /// `backup.info` of this backup.
    Info(String),
    /// `annotations/keep` of this backup.
    Keep(String),
    History(TimelineId),
}

/// Why a file has no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// One sentence without a subject.
    pub why: String,
    /// It vanished or was replaced after it had been listed.
    pub changed: bool,
}

impl CatalogBuilder {
    /// `root` is the prefix of the server's keys with its slash, such as `postgres/orders/`.
    #[must_use]
    pub fn new(root: &str) -> Self {
        let catalog = Catalog { wal: WalIndex::new(root), ..Catalog::default() };
        Self { root: root.to_owned(), backups: BTreeMap::new(), keeps: BTreeMap::new(), catalog }
    }

    /// Takes in one object of the listing.
    pub fn add(&mut self, key: &str, size: u64, etag: Option<&str>, modified: Option<Timestamp>) {
        self.catalog.object_count += 1;
        self.catalog.total_bytes += size;
        let Some(below) = key.strip_prefix(&self.root) else { return self.unknown(key) };
        let listed = |codec| Listed { key, size, etag, modified, codec };
        let object = |codec| listed(codec).object();
        match Key::parse(below) {
            Key::Unknown => self.unknown(key),
            Key::Wal { name, codec } => self.catalog.wal.add(name, listed(codec)),
            Key::UnreadableWal { name, extension } => {
                self.catalog.wal.add_unreadable(&name, extension);
            }
            Key::Base { backup, file } => {
                let plain = object(super::super::Codec::Plain);
                if file == BaseFile::Keep {
                    self.keeps.insert(backup.to_owned(), plain);
                    return;
                }
                let folder =
                    self.backups.entry(backup.to_owned()).or_insert_with(|| Backup::empty(backup));
                folder.modified = folder.modified.max(modified);
                match file {
                    BaseFile::Info => folder.info_object = Some(plain),
                    BaseFile::Label => folder.label_object = true,
                    BaseFile::Keep => {}
                    BaseFile::UnreadableTar { .. } => {
                        let name = below.rsplit('/').next().unwrap_or(below);
                        folder.unreadable.push(name.to_owned());
                    }
                    BaseFile::Tar { tar, part, codec } => {
                        let set = match tar {
                            TarName::Data => &mut folder.data,
                            TarName::Tablespace(oid) => folder.tablespaces.entry(oid).or_default(),
                        };
                        if let Some(other) = set.parts.insert(part, object(codec)) {
                            let note = format!("`{key}` is also there as `{}`", other.key);
                            self.catalog.notes.push(note);
                        }
                    }
                }
            }
        }
    }

    fn unknown(&mut self, key: &str) {
        self.catalog.unknown_key_count += 1;
        if self.catalog.unknown_keys.len() < UNKNOWN_KEPT {
            self.catalog.unknown_keys.push(key.to_owned());
        }
    }

    /// The files to read now that the listing is complete.
    #[must_use]
    pub fn wanted(&mut self) -> Vec<Wanted> {
        self.catalog.wal.settle();
        // A `keep` whose backup is gone is a leftover.
        self.keeps.retain(|id, object| {
            let known = self.backups.contains_key(id);
            if !known {
                self.catalog.notes.push(format!("`{}` belongs to no backup", object.key));
            }
            known
        });
        let infos = self.backups.iter().filter_map(|(id, backup)| {
            let object = backup.info_object.clone()?;
            Some(Wanted { what: WantedFile::Info(id.clone()), object })
        });
        let keeps = self.keeps.iter().map(|(id, object)| Wanted {
            what: WantedFile::Keep(id.clone()),
            object: object.clone(),
        });
        let histories = self.catalog.wal.histories().iter().map(|(timeline, object)| Wanted {
            what: WantedFile::History(*timeline),
            object: object.clone(),
        });
        infos.chain(keeps).chain(histories).collect()
    }

    /// Takes in a file's decoded content, or why there is none.
    pub fn content(&mut self, what: WantedFile, content: Result<&[u8], Unread>) {
        let changed = content.as_ref().is_err_and(|unread| unread.changed);
        let content = content.map_err(|unread| unread.why);
        match what {
            WantedFile::Info(id) => {
                let Some(backup) = self.backups.get_mut(&id) else { return };
                backup.unsettled = changed;
                backup.info = content.and_then(|bytes| {
                    let text = str::from_utf8(bytes)
                        .map_err(|_| "`backup.info` is not UTF-8 text".to_owned())?;
                    BackupInfo::parse(text).map_err(|error| format!("`backup.info`: {error}"))
                });
                if let Ok(info) = &backup.info {
                    let keys = info.unknown_keys.iter().map(|key| format!("unknown key `{key}`"));
                    let notes = info.warnings.iter().cloned().chain(keys);
                    let named = notes.map(|note| format!("backup `{id}`: {note}"));
                    self.catalog.notes.extend(named);
                }
            }
            WantedFile::Keep(id) => {
                let Some(backup) = self.backups.get_mut(&id) else { return };
                backup.keep = Some(match content.map(<[u8]>::trim_ascii) {
                    Ok(b"full") => Keep::Full,
                    Ok(b"standalone") => Keep::Standalone,
                    _ => Keep::Unknown,
                });
            }
            WantedFile::History(timeline) => {
                let text = content.and_then(|bytes| {
                    str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
                });
                match text {
                    Ok(text) => drop(self.catalog.histories.insert(timeline, text.to_owned())),
                    Err(why) => drop(self.catalog.unreadable_histories.insert(timeline, why)),
                }
            }
        }
    }

    /// Takes in what a later look found: a segment that the listing did not have.
    pub fn add_late(&mut self, key: &str, size: u64, etag: Option<&str>, at: Option<Timestamp>) {
        let below = key.strip_prefix(&self.root).unwrap_or("");
        let Key::Wal { name: WalFileName::Segment { timeline, log, seg }, .. } = Key::parse(below)
        else {
            return;
        };
        if !self.catalog.wal.has(timeline, log, seg) {
            self.add(key, size, etag, at);
        }
    }

    /// Where segments are missing that may have been on their way while the listing was made: key
    /// prefixes to list again. `since` is what counts as just now.
    #[must_use]
    pub fn unsettled_folders(&mut self, since: Timestamp) -> BTreeSet<String> {
        self.catalog.wal.settle();
        let mut infos = self.backups.values().rev().filter_map(|backup| backup.info.as_ref().ok());
        let Some(size) = infos.find_map(|info| info.segment_size) else {
            return BTreeSet::new();
        };
        self.catalog.wal.unsettled_folders(size, since)
    }

    /// Notes something that changes nothing.
    pub fn note(&mut self, text: impl Into<String>) {
        self.catalog.notes.push(text.into());
    }

    /// How many objects were taken in.
    #[must_use]
    pub const fn object_count(&self) -> u64 {
        self.catalog.object_count
    }

    /// The catalog. Files of [`Self::wanted`] whose content was not given count as missing.
    #[must_use]
    pub fn finish(mut self) -> Catalog {
        self.catalog.wal.settle();
        let twice = self.catalog.wal.duplicates().count();
        if let Some(name) = self.catalog.wal.duplicates().next() {
            self.catalog.notes.push(format!(
                "{twice} WAL segments are there with more than one extension, `{name}` first: the \
                 first in key order is used, as barman-cloud-wal-restore does"
            ));
        }
        if let (Some(first), count) =
            (self.catalog.unknown_keys.first(), self.catalog.unknown_key_count)
        {
            self.catalog.notes.push(format!(
                "{count} object(s) have keys that mean nothing in the Barman Cloud layout, `{first}` first"
            ));
        }
        self.catalog.backups = self.backups.into_values().collect();
        self.catalog
    }
}
