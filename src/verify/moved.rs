//! Databases that were moved under a backup: what its WAL and its tars together say of them.

use super::base::BaseRead;
use crate::{
    drill::{Code, Error, moved_databases},
    pg::{Lsn, wal::storage::StorageEvent},
};

/// Takes what `events`, those of the backup's window, mean for it into `base`.
pub(super) fn judge<'a>(
    backup: &str,
    events: impl IntoIterator<Item = (Lsn, &'a StorageEvent)>,
    base: &mut BaseRead,
) {
    // Of a base that could not be read nobody knows what it holds.
    if !base.errors.is_empty() || base.own_end.is_none() {
        return;
    }
    for doubt in moved_databases::doubtful(events, |folder| base.databases.contains(&folder)) {
        match doubt.finding(backup) {
            Some(finding) => base.findings.push(finding),
            None => base.errors.push(
                Error::new(Code::Unsupported, doubt.question(backup))
                    .hint("Drill this backup with deep checks, or take a new one."),
            ),
        }
    }
}
