//! Why a base backup cannot be restored, as far as the listing and its description tell.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::Backup;
use crate::{
    archive::{backup_info::BackupStatus, key::TarName},
    pg::{Major, TimelineId},
};

/// A backup that was started this long ago and has not ended never will.
const STALE_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// One reason. `Display` is a clause that goes on after the backup's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no `backup.info`; `recent` where the folder's newest object is: Barman before 3.19 writes
    /// the description last, so the backup may be being taken.
    NoInfo {
        recent: bool,
    },
    /// `backup.info` is there and cannot be read.
    UnreadableInfo(String),
    /// `backup.info` vanished or changed while the archive was surveyed.
    Unsettled(String),
    /// `backup.info` says done but lacks a value.
    IncompleteInfo(&'static str),
    Failed(Option<String>),
    /// Not finished; `stale` where it began too long ago to be still running.
    Unfinished {
        status: BackupStatus,
        since: Option<Timestamp>,
        stale: bool,
    },
    /// The data lies in disk snapshots, not in the bucket.
    Snapshots,
    Incremental,
    /// Not a major that pgassay can restore.
    UnsupportedVersion(u32),
    /// A file that must be there is not.
    MissingFile(String),
    /// A file is there only in a form that cannot be decoded.
    UnreadableFile(String),
}

impl Obstacle {
    /// Whether it only says that the backup is being taken now, or may be.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        matches!(self, Self::Unfinished { stale: false, .. } | Self::NoInfo { recent: true })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInfo { recent: false } => f.write_str("has no `backup.info`"),
            Self::NoInfo { recent: true } => {
                f.write_str("has no `backup.info`: it is being taken, or was never finished")
            }
            Self::UnreadableInfo(why) => write!(f, "cannot be read: {why}"),
            Self::Unsettled(why) => write!(f, "changes right now: {why}"),
            Self::IncompleteInfo(key) => write!(f, "says nothing of `{key}` in its `backup.info`"),
            Self::Failed(None) => f.write_str("has failed when it was taken"),
            Self::Failed(Some(why)) => write!(f, "has failed when it was taken: {why}"),
            Self::Unfinished { status, since, stale } => {
                write!(f, "is `{status}`")?;
                if let Some(since) = since {
                    write!(f, " since {since}")?;
                }
                f.write_str(if *stale { " and was never finished" } else { ": it is being taken" })
            }
            Self::Snapshots => f.write_str("lies in disk snapshots, not in the bucket"),
            Self::Incremental => f.write_str("is an incremental one, whose parent is not here"),
            Self::UnsupportedVersion(version) => {
                write!(f, "was taken by PostgreSQL {}, which is not supported", version / 10_000)
            }
            Self::MissingFile(name) => write!(f, "lacks `{name}`"),
            Self::UnreadableFile(name) => {
                write!(f, "has `{name}`, which cannot be decoded here")
            }
        }
    }
}

impl Backup {
    /// Names of the parts that are missing, such as `data_0001.tar.gz`: those before a later part,
    /// and those that `backup.info` names. The last part of a tar cannot be missed from a listing.
    #[must_use]
    pub fn part_gaps(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut look = |tar: TarName, set: Option<&super::TarSet>| {
            // What the other parts are compressed with is what the missing one was.
            let any = set.and_then(|set| set.parts.values().next());
            let any = any.or_else(|| self.data.parts.values().next());
            let extension = any.map_or("", |object| object.codec.extension());
            let gaps = match set {
                Some(set) if !set.parts.is_empty() => set.gaps(),
                _ => vec![0],
            };
            for name in gaps.into_iter().map(|part| tar.file_name(part)) {
                // Reported as unreadable instead.
                if !self.unreadable.iter().any(|file| file.starts_with(&name)) {
                    missing.push(format!("{name}{extension}"));
                }
            }
        };
        look(TarName::Data, Some(&self.data));
        for (oid, set) in &self.tablespaces {
            look(TarName::Tablespace(*oid), Some(set));
        }
        for tablespace in self.info.iter().flat_map(|info| &info.tablespaces) {
            if !self.tablespaces.contains_key(&tablespace.oid) {
                look(TarName::Tablespace(tablespace.oid), None);
            }
        }
        missing
    }

    /// Everything that keeps this backup from being restored; empty where nothing is known to.
    #[must_use]
    pub fn obstacles(&self, now: Timestamp) -> Vec<Obstacle> {
        let info = match &self.info {
            Ok(info) => info,
            Err(why) if self.unsettled => return vec![Obstacle::Unsettled(why.clone())],
            Err(_) if self.info_object.is_none() => {
                let recent = self.modified.is_some_and(|at| now.duration_since(at) <= STALE_AFTER);
                return vec![Obstacle::NoInfo { recent }];
            }
            Err(why) => return vec![Obstacle::UnreadableInfo(why.clone())],
        };
        match info.status {
            BackupStatus::Done | BackupStatus::WaitingForWals => {}
            BackupStatus::Failed => return vec![Obstacle::Failed(info.error.clone())],
            status => {
                let since = info.begin_time.or(self.modified);
                let stale = since.is_none_or(|at| now.duration_since(at) > STALE_AFTER);
                return vec![Obstacle::Unfinished { status, since, stale }];
            }
        }
        if info.snapshots || (self.label_object && self.data.parts.is_empty()) {
            return vec![Obstacle::Snapshots];
        }
        let mut found = Vec::new();
        for (key, missing) in [
            ("begin_xlog", info.begin_xlog.is_none()),
            ("end_xlog", info.end_xlog.is_none()),
            ("timeline", info.timeline.is_none_or(|tli| tli == TimelineId(0))),
            ("systemid", info.system_id.is_none()),
            ("version", info.version.is_none()),
            ("xlog_segment_size", info.segment_size.is_none()),
            ("end_time", info.end_time.is_none()),
        ] {
            if missing {
                found.push(Obstacle::IncompleteInfo(key));
            }
        }
        if let Some(version) = info.version
            && Major::from_version_num(version).is_none()
        {
            found.push(Obstacle::UnsupportedVersion(version));
        }
        if info.is_incremental() {
            found.push(Obstacle::Incremental);
        }
        found.extend(self.unreadable.iter().cloned().map(Obstacle::UnreadableFile));
        found.extend(self.part_gaps().into_iter().map(Obstacle::MissingFile));
        found
    }
}
