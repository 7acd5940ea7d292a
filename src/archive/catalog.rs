//! The catalog: what a listing and the `backup.info` files say that an archive holds.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{BackupInfo, ObjectRef, WalIndex};
use crate::pg::TimelineId;

pub mod builder;
pub mod obstacle;

/// One server's archive.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Oldest first, by id.
    pub backups: Vec<Backup>,
    pub wal: WalIndex,
    /// Text of every `.history` file that could be read.
    pub histories: BTreeMap<TimelineId, String>,
    /// Why a `.history` file that is there could not be read: one sentence each.
    pub unreadable_histories: BTreeMap<TimelineId, String>,
    /// Keys below the prefix that mean nothing in this layout; at most a few are kept, with the count.
    pub unknown_keys: Vec<String>,
    pub unknown_key_count: u64,
    pub object_count: u64,
    pub total_bytes: u64,
    /// What is odd about the archive and changes nothing.
    pub notes: Vec<String>,
}

/// One base backup: what its folder holds.
#[derive(Clone, Debug)]
pub struct Backup {
    pub id: String,
    /// `Err` with one sentence where `backup.info` is missing or cannot be read.
    pub info: Result<BackupInfo, String>,
    /// `backup.info` vanished or changed while the archive was surveyed.
    pub unsettled: bool,
    /// `backup.info` as listed.
    pub info_object: Option<ObjectRef>,
    /// `data.tar…`, `data_0001.tar…`.
    pub data: TarSet,
    /// `<oid>.tar…`, by tablespace.
    pub tablespaces: BTreeMap<u32, TarSet>,
    /// Tars that are there only in a form that cannot be decoded, by file name.
    pub unreadable: Vec<String>,
    /// `backup_label` as an object of its own: the data lies in disk snapshots.
    pub label_object: bool,
    pub keep: Option<Keep>,
    /// The newest object of the folder.
    pub modified: Option<Timestamp>,
}

/// The parts of one split tar, by part number: 0 is the one without a suffix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarSet {
    pub parts: BTreeMap<u32, ObjectRef>,
}

/// `annotations/keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Full,
    Standalone,
    /// Present, content not read or unknown.
    Unknown,
}

impl TarSet {
    /// Numbers of the parts that must be there, since a later one is. The last part leaves no trace
    /// in a listing: its loss shows only when the tar turns out to lack its end.
    #[must_use]
    pub fn gaps(&self) -> Vec<u32> {
        let last = self.parts.keys().next_back().copied().unwrap_or(0);
        // A stray part with a huge number must not make a huge list.
        (0..last).filter(|part| !self.parts.contains_key(part)).take(100).collect()
    }

    /// Bytes as stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.values().map(|object| object.size).sum()
    }
}

impl Backup {
    /// A backup of which nothing is known but its id.
    #[must_use]
    pub fn empty(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            info: Err("`backup.info` is missing".to_owned()),
            unsettled: false,
            info_object: None,
            data: TarSet::default(),
            tablespaces: BTreeMap::new(),
            unreadable: Vec::new(),
            label_object: false,
            keep: None,
            modified: None,
        }
    }

    /// Bytes of all tars, as stored.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.data.bytes() + self.tablespaces.values().map(TarSet::bytes).sum::<u64>()
    }

    /// Every part of every tar.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        let tars = std::iter::once(&self.data).chain(self.tablespaces.values());
        tars.flat_map(|tar| tar.parts.values())
    }

    /// Whether its description says that it was finished (`STATUS_COPY_DONE` in `barman/infofile.py`).
    #[must_use]
    pub fn claims_done(&self) -> bool {
        self.info.as_ref().is_ok_and(|info| info.status.is_done())
    }
}

impl Catalog {
    /// The backup of this id.
    #[must_use]
    pub fn backup(&self, id: &str) -> Option<&Backup> {
        self.backups.iter().find(|backup| backup.id == id)
    }
}
