//! The catalog: what a listing and the `backup.info` files say that an archive holds.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{BackupInfo, ObjectRef, WalIndex};
use crate::pg::TimelineId;

/// One server's archive.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Oldest first, by id.
    pub backups: Vec<Backup>,
    pub wal: WalIndex,
    /// Text of every `.history` file that could be read.
    pub histories: BTreeMap<TimelineId, String>,
    /// Keys below the prefix that mean nothing in this layout; at most a few are kept, with the count.
    pub unknown_keys: Vec<String>,
    pub unknown_key_count: u64,
    pub object_count: u64,
    pub total_bytes: u64,
}

/// One base backup: what its folder holds.
#[derive(Clone, Debug)]
pub struct Backup {
    pub id: String,
    /// `Err` with one sentence where `backup.info` is missing or cannot be read.
    pub info: Result<BackupInfo, String>,
    /// `data.tar…`, `data_0001.tar…`.
    pub data: TarSet,
    /// `<oid>.tar…`, by tablespace.
    pub tablespaces: BTreeMap<u32, TarSet>,
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
