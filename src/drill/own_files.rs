//! What a backup's own files say of it, against its `backup.info`.

use super::{FailureClass, Finding};
use crate::pg::{BackupLabel, ControlFile, Lsn, Major, SegmentSize, backup_label::BackupFrom};

/// What `backup.info` claims.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The backup's id.
    pub backup: &'a str,
    pub system_id: u64,
    pub major: Major,
    pub segment_size: SegmentSize,
    /// Where replay begins.
    pub begin: Lsn,
    /// The label that `backup.info` quotes.
    pub label: Option<&'a str>,
    pub data_checksums: Option<bool>,
}

/// The files, read.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    pub control: ControlFile,
    pub label: BackupLabel,
}

impl OwnFiles {
    /// Whether the backup was taken from a standby. Recovery goes by the label in the data directory,
    /// not by the copy of it in `backup.info`.
    #[must_use]
    pub fn is_from_standby(&self) -> bool {
        self.label.from == Some(BackupFrom::Standby)
    }

    /// Where a backup from a standby becomes consistent; `None` for others, which end with an
    /// `XLOG_BACKUP_END`, and where `pg_control` names no place (`InitWalRecovery`, `xlogrecovery.c`).
    #[must_use]
    pub fn min_recovery_point(&self) -> Option<Lsn> {
        let point = self.control.min_recovery_point;
        (self.is_from_standby() && point != Lsn::INVALID).then_some(point)
    }
}

/// Reads `global/pg_control` (its CRC included) and `backup_label`, and compares them with what is
/// claimed.
///
/// # Errors
/// The findings that make recovery pointless, all of them.
pub fn judge(
    claims: &Claims<'_>,
    pg_control: &[u8],
    backup_label: Option<&str>,
) -> Result<OwnFiles, Vec<Finding>> {
    let backup = claims.backup;
    let corrupt = |file: &str, why: String| {
        Finding::new(
            FailureClass::ArchiveCorrupt,
            format!("{backup}: {file}"),
            why,
            "This backup cannot be recovered: take a new one.",
        )
    };
    let mut fatal = Vec::new();
    let control = ControlFile::parse(pg_control)
        .map_err(|error| fatal.push(corrupt("global/pg_control", error.to_string())))
        .ok();
    let label = backup_label.ok_or("the backup holds no such file".to_owned());
    let label = label
        .and_then(|text| BackupLabel::parse(text).map_err(|error| error.to_string()))
        .map_err(|why| fatal.push(corrupt("backup_label", why)))
        .ok();
    let (Some(control), Some(label)) = (control, label) else { return Err(fatal) };
    fatal.extend(mismatches(claims, &control, &label));
    if let Some(from) = label.incremental_from {
        fatal.push(
            Finding::new(
                FailureClass::IncrementalChain,
                format!("{backup}: backup_label"),
                format!("it is an incremental backup (from {from}), not recoverable by itself"),
                "Drill a full backup, or combine the chain with `pg_combinebackup` first.",
            )
            .at(from),
        );
    }
    if fatal.is_empty() { Ok(OwnFiles { control, label }) } else { Err(fatal) }
}

fn mismatches(claims: &Claims<'_>, control: &ControlFile, label: &BackupLabel) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut compare = |what: &str, here: String, said: String| {
        if here != said {
            found.push(Finding::new(
                FailureClass::BackupInfoMismatch,
                format!("{}: backup.info", claims.backup),
                format!("it says {what} {said}, the backup's own files say {here}"),
                "Find out which tool wrote this `backup.info`, and take a new base backup.",
            ));
        }
    };
    let number = |id: u64| id.to_string();
    compare("system identifier", number(control.system_identifier), number(claims.system_id));
    if let Some(major) = control.major() {
        compare("major version", major.to_string(), claims.major.to_string());
    }
    compare(
        "WAL segment size",
        number(control.wal_segment_size.bytes()),
        number(claims.segment_size.bytes()),
    );
    compare("begin LSN", label.start_wal_location.to_string(), claims.begin.to_string());
    if let Some(said) = claims.label.and_then(|text| BackupLabel::parse(text).ok()) {
        let lsn = |label: &BackupLabel| label.checkpoint_location.to_string();
        compare("checkpoint LSN", lsn(label), lsn(&said));
        compare("timeline", label.timeline.to_string(), said.timeline.to_string());
        let word = |from| if from == BackupFrom::Standby { "standby" } else { "primary" };
        if let (Some(here), Some(said)) = (label.from, said.from) {
            compare("that it was taken from a", word(here).to_owned(), word(said).to_owned());
        }
    }
    if let Some(said) = claims.data_checksums {
        let word = |on| (if on { "on" } else { "off" }).to_owned();
        compare("data checksums", word(control.has_data_checksums()), word(said));
    }
    found
}

#[cfg(test)]
mod tests;
