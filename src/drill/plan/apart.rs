//! How far base backups lie apart: what a restore has to replay at worst.

use jiff::{SignedDuration, Timestamp};

use crate::archive::Backup;

/// Newest backups that count: a schedule may have changed.
const NEWEST: usize = 8;

/// The middle of the times between the newest finished backups; `None` where there are not two.
pub(super) fn apart(backups: &[Backup]) -> Option<SignedDuration> {
    let finished = backups.iter().filter(|backup| backup.claims_done());
    let mut ends: Vec<Timestamp> =
        finished.filter_map(|backup| backup.info.as_ref().ok()?.end_time).collect();
    ends.sort_unstable();
    let newest = &ends[ends.len().saturating_sub(NEWEST)..];
    let mut gaps: Vec<SignedDuration> =
        newest.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}
