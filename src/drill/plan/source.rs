//! The facts of a base backup that can be restored.

use jiff::Timestamp;

use super::sizes;
use crate::{
    archive::{Backup, BackupInfo, catalog::obstacle::Obstacle},
    drill::{FailureClass, Finding},
    pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineId, WalFileName},
};

/// A base backup with everything that planning needs of its description.
#[derive(Clone, Copy, Debug)]
pub(in crate::drill) struct Source<'a> {
    pub backup: &'a Backup,
    pub info: &'a BackupInfo,
    /// The redo point, where replay begins.
    pub begin: Lsn,
    /// Where it is consistent.
    pub end: Lsn,
    pub end_time: Timestamp,
    pub timeline: TimelineId,
    /// The timeline at its end: another one only for a standby that followed its primary.
    pub end_timeline: TimelineId,
    pub segment_size: SegmentSize,
    pub system_id: u64,
    pub major: Major,
}

impl<'a> Source<'a> {
    /// The facts, or everything that is in the way.
    pub(in crate::drill) fn of(backup: &'a Backup, now: Timestamp) -> Result<Self, Vec<Obstacle>> {
        let obstacles = backup.obstacles(now);
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        let info = backup.info.as_ref().map_err(|_| vec![Obstacle::IncompleteInfo("status")])?;
        let all = || {
            let begin = info.begin_xlog?;
            let timeline = info.timeline?;
            Some(Self {
                backup,
                info,
                // The label is what recovery goes by; where they differ there is a finding.
                begin: info.label_start().unwrap_or(begin),
                end: info.end_xlog?,
                end_time: info.end_time?,
                timeline,
                end_timeline: info.end_timeline().unwrap_or(timeline).max(timeline),
                segment_size: info.segment_size?,
                system_id: info.system_id?,
                major: Major::from_version_num(info.version?)?,
            })
        };
        all().ok_or_else(|| vec![Obstacle::IncompleteInfo("begin_xlog")])
    }

    /// The first segment that replay reads.
    pub(in crate::drill) const fn first_segment(&self) -> SegmentNumber {
        self.segment_size.segment_of(self.begin)
    }

    /// The last segment that it takes to become consistent.
    pub(in crate::drill) const fn last_needed(&self) -> SegmentNumber {
        self.segment_size.segment_before(self.end)
    }

    /// What the listing and the description show to be wrong with a backup that claims to be good: its
    /// description contradicts itself, or its files cannot be what they must be.
    pub(in crate::drill) fn defects(&self) -> Vec<Finding> {
        let mut found = self.contradictions();
        if self.is_inverted() {
            found.push(Finding::new(
                FailureClass::BackupInfoMismatch,
                format!("base/{}/backup.info", self.backup.id),
                format!("`end_xlog`, {}, does not lie after the start, {}", self.end, self.begin),
                "Take a new base backup; the description of this one cannot be relied upon.",
            ));
        }
        found.extend(sizes::impossible(self));
        found
    }

    /// It is not of the database system that is asked for: somebody else wrote here, or writes here.
    pub(in crate::drill) fn of_another_system(&self, asked: u64) -> Finding {
        another_system(self.backup, self.system_id, asked)
    }

    /// It ends before it begins: nothing can be planned from this.
    pub(in crate::drill) fn is_inverted(&self) -> bool {
        self.end <= self.begin
    }

    /// Where `backup.info` contradicts itself or its folder.
    fn contradictions(&self) -> Vec<Finding> {
        let (id, info, size) = (&self.backup.id, self.info, self.segment_size);
        let mut found = Vec::new();
        let mut differ = |detail: String| {
            found.push(Finding::new(
                FailureClass::BackupInfoMismatch,
                format!("base/{id}/backup.info"),
                detail,
                "Take a new base backup; the description of this one cannot be relied upon.",
            ));
        };
        let begin = info.begin_xlog.unwrap_or(self.begin);
        if begin != self.begin {
            differ(format!("`begin_xlog` is {begin}, but the label says {}", self.begin));
        }
        if let Some(label) = info.label_timeline()
            && label != self.timeline
        {
            differ(format!("`timeline` is {}, but the label says {label}", self.timeline));
        }
        let number = |name: Option<&String>| match name?.parse() {
            Ok(WalFileName::Segment { log, seg, .. }) => WalFileName::number(log, seg, size),
            _ => None,
        };
        if let Some(name) = &info.begin_wal
            && number(Some(name)) != Some(size.segment_of(begin))
        {
            differ(format!("`begin_wal` is `{name}`, which does not hold `begin_xlog`, {begin}"));
        }
        // At a segment's boundary either side is a possible answer of pg_walfile_name.
        let ends = [size.segment_of(self.end), size.segment_before(self.end)];
        if let Some(name) = &info.end_wal
            && !number(Some(name)).is_some_and(|number| ends.contains(&number))
        {
            differ(format!("`end_wal` is `{name}`, which does not hold `end_xlog`, {}", self.end));
        }
        for oid in self.backup.tablespaces.keys() {
            if !info.tablespaces.iter().any(|known| known.oid == *oid) {
                differ(format!(
                    "there is a tar of tablespace {oid}, which `tablespaces` does not name: a \
                     restore leaves it out"
                ));
            }
        }
        found
    }
}

/// A backup whose system is not the one that is asked for.
pub(super) fn another_system(backup: &Backup, system_id: u64, asked: u64) -> Finding {
    let id = &backup.id;
    Finding::new(
        FailureClass::SystemIdMismatch,
        format!("base/{id}/backup.info"),
        format!(
            "backup `{id}` is of another database system: {system_id}, not {asked}; whose WAL this is \
             shows only when it is read"
        ),
        "Give each cluster a `serverName` of its own; two that archive to one prefix overwrite each \
         other's WAL.",
    )
}

/// What is in a backup's way, as findings.
pub(in crate::drill) fn findings(id: &str, obstacles: &[Obstacle]) -> Vec<Finding> {
    let finding = |obstacle: &Obstacle| {
        let detail = format!("backup `{id}` {obstacle}");
        let info = format!("base/{id}/backup.info");
        let (class, subject, hint) = match obstacle {
            Obstacle::MissingFile(name) => (
                FailureClass::BackupPartMissing,
                format!("base/{id}/{name}"),
                "Take a new base backup; this one cannot be restored without that file.",
            ),
            Obstacle::UnreadableFile(name) => (
                FailureClass::CodecUnsupported,
                format!("base/{id}/{name}"),
                "Drill with a tool that can decode it, or store backups without that encryption.",
            ),
            Obstacle::Incremental => (
                FailureClass::IncrementalChain,
                info,
                "Take a full base backup; a data directory of changed blocks only cannot start.",
            ),
            Obstacle::Snapshots | Obstacle::UnsupportedVersion(_) => (
                FailureClass::BackupUnsupported,
                info,
                "Name another backup with `recoveryPoint.backup`; see which there are with `pgassay \
                 catalog`.",
            ),
            Obstacle::UnreadableInfo(_) | Obstacle::IncompleteInfo(_) => (
                FailureClass::BackupInfoMismatch,
                info,
                "Take a new base backup; no tool can restore one whose description is damaged.",
            ),
            Obstacle::Unsettled(_) => (
                FailureClass::ArchiveUnsettled,
                info,
                "Run the drill again when the backup that is being taken has ended.",
            ),
            Obstacle::NoInfo { .. } | Obstacle::Failed(_) | Obstacle::Unfinished { .. } => (
                FailureClass::NoRestorableBackup,
                info,
                "Look at the log of the backup, and take a new one.",
            ),
        };
        Finding::new(class, subject, detail, hint)
    };
    obstacles.iter().map(finding).collect()
}
