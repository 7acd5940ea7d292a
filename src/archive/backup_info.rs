//! `backup.info`: the description of a base backup (`barman/infofile.py`).
//!
//! Lines of `key=value`; `None` is no value, lists and quoted texts are Python literals. Barman 3.4
//! writes fewer keys than 3.19 does: what is not there is `None` here.

use std::str::FromStr;

use jiff::Timestamp;

use super::literal::Literal;
use crate::pg::{Lsn, SegmentSize, TimelineId, WalFileName};

mod time;

/// The keys that Barman up to 3.19 writes and that are of no use here.
const IGNORED: &[&str] = &[
    "backup_id",
    "begin_offset",
    "children_backup_ids",
    "compression",
    "copy_stats",
    "deduplicated_size",
    "encryption",
    "end_offset",
    "hba_file",
    "ident_file",
    "included_files",
    "mode",
    "pgdata",
    "server_name",
    "size",
    "summarize_wal",
];

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
    /// The source's `postgresql.conf`.
    pub config_file: Option<String>,
    /// The backup lies in disk snapshots, not in the bucket.
    pub snapshots: bool,
    /// The backup that this one holds only the changes of.
    pub parent_backup_id: Option<String>,
    /// Keys that no known version of Barman writes.
    pub unknown_keys: Vec<String>,
    /// Values that had to be read with an assumption, one sentence each.
    pub warnings: Vec<String>,
}

impl BackupInfo {
    const EMPTY: Self = Self {
        status: BackupStatus::Empty,
        error: None,
        backup_name: None,
        begin_time: None,
        end_time: None,
        begin_xlog: None,
        end_xlog: None,
        begin_wal: None,
        end_wal: None,
        timeline: None,
        system_id: None,
        version: None,
        segment_size: None,
        data_checksums: None,
        tablespaces: Vec::new(),
        backup_label: None,
        cluster_size: None,
        config_file: None,
        snapshots: false,
        parent_backup_id: None,
        unknown_keys: Vec::new(),
        warnings: Vec::new(),
    };

    /// Parses the text of a `backup.info`. Unknown keys are kept as such; of a repeated key the last
    /// line counts, as in Barman. A time without a zone is taken for UTC, which is what CloudNativePG's
    /// pods run in (Barman takes the reader's own zone), and noted.
    ///
    /// # Errors
    /// One sentence: which line or value cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut info = Self::EMPTY;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return Err(format!("line {} is not `key=value`", index + 1));
            };
            let (key, value) = (key.trim(), value.trim());
            let value = (value != "None").then_some(value);
            info.set(key, value).map_err(|what| match value {
                // A label or a list may be long, and may hold paths: the key says enough.
                Some(value) if value.len() <= 60 => format!("`{key}={value}` is not {what}"),
                _ => format!("the value of `{key}` is not {what}"),
            })?;
        }
        Ok(info)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), &'static str> {
        let text = || value.map(str::to_owned);
        match key {
            "status" => self.status = value.unwrap_or("EMPTY").parse()?,
            "error" => self.error = text(),
            "backup_name" => self.backup_name = text(),
            "begin_time" => self.begin_time = self.time(key, value)?,
            "end_time" => self.end_time = self.time(key, value)?,
            "begin_xlog" => self.begin_xlog = read(value, "an LSN")?,
            "end_xlog" => self.end_xlog = read(value, "an LSN")?,
            "begin_wal" => self.begin_wal = segment_name(value)?,
            "end_wal" => self.end_wal = segment_name(value)?,
            "timeline" => self.timeline = read(value, "a timeline id")?.map(TimelineId),
            "systemid" => self.system_id = read(value, "a system identifier")?,
            "version" => self.version = read(value, "a number such as 150018")?,
            "xlog_segment_size" => {
                const WHAT: &str = "a power of two from 1 MiB to 1 GiB";
                let bytes: Option<u32> = read(value, WHAT)?;
                self.segment_size =
                    bytes.map(|bytes| SegmentSize::new(bytes).ok_or(WHAT)).transpose()?;
            }
            "data_checksums" => {
                self.data_checksums = match value {
                    None => None,
                    Some("on" | "True") => Some(true),
                    Some("off" | "False") => Some(false),
                    Some(_) => return Err("`on` or `off`"),
                }
            }
            "tablespaces" => self.tablespaces = tablespaces(value)?,
            "backup_label" => self.backup_label = value.map(label).transpose()?,
            "cluster_size" => self.cluster_size = read(value, "a number of bytes")?,
            "config_file" => self.config_file = text(),
            "snapshots_info" => self.snapshots = value.is_some(),
            "parent_backup_id" => self.parent_backup_id = text(),
            _ if IGNORED.contains(&key) => {}
            _ => self.unknown_keys.push(key.chars().take(60).collect()),
        }
        Ok(())
    }

    fn time(&mut self, key: &str, value: Option<&str>) -> Result<Option<Timestamp>, &'static str> {
        let Some(value) = value else { return Ok(None) };
        let (at, zoned) = time::parse(value).ok_or("a time")?;
        if !zoned {
            self.warnings.push(format!("`{key}={value}` has no time zone and was taken for UTC"));
        }
        Ok(Some(at))
    }

    /// Whether the data directory holds only what changed since another backup.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        self.parent_backup_id.is_some() || self.label_line("INCREMENTAL FROM LSN").is_some()
    }

    /// Whether the backup was taken from a standby: its WAL has no record that ends it.
    #[must_use]
    pub fn is_from_standby(&self) -> bool {
        self.label_line("BACKUP FROM") == Some("standby")
    }

    /// `START WAL LOCATION` of the label: the redo point, where replay begins.
    #[must_use]
    pub fn label_start(&self) -> Option<Lsn> {
        self.label_line("START WAL LOCATION")?.split_whitespace().next()?.parse().ok()
    }

    /// Where replay begins: as the label says, else `begin_xlog`.
    #[must_use]
    pub fn replay_start(&self) -> Option<Lsn> {
        self.label_start().or(self.begin_xlog)
    }

    /// `START TIMELINE` of the label.
    #[must_use]
    pub fn label_timeline(&self) -> Option<TimelineId> {
        self.label_line("START TIMELINE")?.parse().ok().map(TimelineId)
    }

    /// `START TIME` of the label, as the server wrote it.
    #[must_use]
    pub fn label_time(&self) -> Option<&str> {
        self.label_line("START TIME")
    }

    fn label_line(&self, key: &str) -> Option<&str> {
        let lines = self.backup_label.as_deref().unwrap_or("").lines();
        lines
            .filter_map(|line| line.split_once(':'))
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v.trim())
    }

    /// Timeline that `end_wal` names: another than `timeline` where a standby followed its primary
    /// to a new one while the backup ran.
    #[must_use]
    pub fn end_timeline(&self) -> Option<TimelineId> {
        match self.end_wal.as_deref()?.parse() {
            Ok(WalFileName::Segment { timeline, .. }) => Some(timeline),
            _ => None,
        }
    }
}

fn read<T: FromStr>(value: Option<&str>, what: &'static str) -> Result<Option<T>, &'static str> {
    value.map(|value| value.parse().map_err(|_| what)).transpose()
}

fn segment_name(value: Option<&str>) -> Result<Option<String>, &'static str> {
    match value.map(str::parse) {
        None => Ok(None),
        Some(Ok(WalFileName::Segment { .. })) => Ok(value.map(str::to_owned)),
        Some(_) => Err("the name of a WAL segment"),
    }
}

/// A quoted text, or the bare text as very old files have it.
fn label(value: &str) -> Result<String, &'static str> {
    if !value.starts_with(['\'', '"', 'u', 'b']) {
        return Ok(value.to_owned());
    }
    match Literal::parse(value) {
        Ok(Literal::Str(text)) => Ok(text),
        Ok(Literal::Bytes(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Err("a quoted text"),
    }
}

fn tablespaces(value: Option<&str>) -> Result<Vec<TablespaceInfo>, &'static str> {
    const WHAT: &str = "a list of `(name, oid, location)`";
    let Some(value) = value else { return Ok(Vec::new()) };
    let list = Literal::parse(value).map_err(|_| WHAT)?;
    let entry = |item: &Literal| match item.items()? {
        [name, Literal::Int(oid), location] => Some(TablespaceInfo {
            name: name.as_str()?.to_owned(),
            oid: u32::try_from(*oid).ok().filter(|oid| *oid > 0)?,
            location: location.as_str()?.to_owned(),
        }),
        _ => None,
    };
    let entries: Option<Vec<_>> = list.items().ok_or(WHAT)?.iter().map(entry).collect();
    entries.ok_or(WHAT)
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

impl BackupStatus {
    /// Whether everything was copied (`STATUS_COPY_DONE`).
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::WaitingForWals)
    }
}

impl std::fmt::Display for BackupStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "EMPTY",
            Self::Started => "STARTED",
            Self::WaitingForWals => "WAITING_FOR_WALS",
            Self::Done => "DONE",
            Self::Syncing => "SYNCING",
            Self::Failed => "FAILED",
        })
    }
}

impl FromStr for BackupStatus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::Empty,
            Self::Started,
            Self::WaitingForWals,
            Self::Done,
            Self::Syncing,
            Self::Failed,
        ];
        all.into_iter().find(|status| status.to_string() == text).ok_or("a known status")
    }
}

#[cfg(test)]
mod tests;
