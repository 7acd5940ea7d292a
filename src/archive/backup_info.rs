//! `backup.info`: the description of a base backup (`barman/infofile.py`).

use jiff::Timestamp;

use crate::pg::{Lsn, SegmentSize, TimelineId};

/// A parsed `backup.info`. Fields that pgassay does not use are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    pub status: BackupStatus,
    pub error: Option<String>,
    pub backup_name: Option<String>,
    pub begin_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub begin_xlog: Option<Lsn>,
    pub end_xlog: Option<Lsn>,
    pub begin_wal: Option<String>,
    pub end_wal: Option<String>,
    pub timeline: Option<TimelineId>,
    pub system_id: Option<u64>,
    /// `server_version_num`, such as 150018.
    pub version: Option<u32>,
    pub segment_size: Option<SegmentSize>,
    pub data_checksums: Option<bool>,
    pub tablespaces: Vec<TablespaceInfo>,
    pub backup_label: Option<String>,
    /// Uncompressed bytes as PostgreSQL estimated them.
    pub cluster_size: Option<u64>,
    /// The backup lies in disk snapshots, not in the bucket.
    pub snapshots: bool,
    /// Keys that no known version of Barman writes.
    pub unknown_keys: Vec<String>,
}

/// `status=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupStatus {
    Empty,
    Started,
    WaitingForWals,
    Done,
    Syncing,
    Failed,
}

/// One entry of `tablespaces=[('name', oid, '/location')]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceInfo {
    pub name: String,
    pub oid: u32,
    pub location: String,
}
