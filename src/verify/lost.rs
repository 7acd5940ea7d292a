//! Backups without a `backup.info`: no tool restores one, whatever its tars hold.

use jiff::Timestamp;

use super::{Reading, interrupted};
use crate::{
    archive::{Backup, catalog::obstacle::Obstacle},
    drill::{Error, FailureClass, Finding},
    pg::backup_label::BackupLabel,
    restore::{FetchFailure, base::examine_base, pages::WatchRules},
};

/// Whether only the description keeps a backup from being restored, as far as the listing tells.
pub(super) fn may_be_complete(backup: &Backup, now: Timestamp) -> bool {
    backup.objects().next().is_some()
        && backup.obstacles(now).iter().all(|o| matches!(o, Obstacle::NoInfo { recent: false }))
}

/// Reads the tars of such a backup. Gives a finding where nothing else is missing: the tars end with
/// `pg_control` and `backup_label`, which barman-cloud-backup writes last.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn read(reading: &Reading<'_>, backup: &Backup) -> Result<Option<Finding>, Error> {
    let count = |bytes| reading.fetched(bytes);
    let rules = WatchRules::default();
    let examined = match examine_base(reading.store, backup, rules, &count, reading.cancel).await {
        Ok(examined) => examined,
        Err(FetchFailure::Cancelled) => return Err(interrupted()),
        Err(FetchFailure::Store(error) | FetchFailure::Local(error)) => return Err(error),
        Err(FetchFailure::Damaged(_)) => return Ok(None),
    };
    if examined.cut_off {
        return Err(interrupted());
    }
    let restored = examined.restored;
    let label = restored.backup_label.as_deref().and_then(|text| BackupLabel::parse(text).ok());
    let Some(label) = label.filter(|_| examined.whole && restored.findings.is_empty()) else {
        return Ok(None);
    };
    let started = label.start_time.map_or_else(String::new, |time| format!(" ({time})"));
    Ok(Some(
        Finding::new(
            FailureClass::BackupPartMissing,
            format!("base/{}/backup.info", backup.id),
            format!(
                "the backup is complete but for its description: it began at {}{started} on timeline {}, \
                 and no tool restores it without",
                label.start_wal_location, label.timeline
            ),
            "Bring `backup.info` back, from the bucket's older versions or from another copy; until \
             then its recovery points are lost unless an older backup has them.",
        )
        .at(label.start_wal_location),
    ))
}
