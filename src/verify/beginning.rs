//! Whether recovery of each backup finds the checkpoint record that its `backup_label` names, and at which
//! it begins. The tars say where it must be, the WAL whether it is there.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Reading,
    base::{self, BaseRead},
    interrupted, reach,
    sparing::Plan,
    wal::Stretches,
};
use crate::{
    archive::{Backup, BackupInfo},
    drill::{
        Error, Finding,
        beginning::{self, Begins},
    },
    pg::{BackupLabel, Lsn, Major, SegmentSize, TimelineHistory},
    restore::{seen_once, two_readings},
};

/// A record that begins in the last page of a segment may end in the next one.
const PAGE: u64 = 8192;

/// A backup, and where its label begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    backup: &'a Backup,
    info: &'a BackupInfo,
    path: &'a TimelineHistory,
    begins: Begins,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    Sound,
    Damaged(Finding),
    /// Damage that no second reading of the label shows.
    Doubtful,
    /// The WAL is not known to be sound as far as that.
    Open,
}

impl<'a> Case<'a> {
    /// `None` where there is nothing to ask, or the WAL was asked by an earlier run.
    pub(super) fn of(
        backup: &'a Backup,
        path: Option<&'a TimelineHistory>,
        base: &BaseRead,
    ) -> Option<Self> {
        let info = backup.info.as_ref().ok()?;
        let (start, checkpoint) = (info.replay_start()?, base.checkpoint?);
        Some(Self { backup, info, path: path?, begins: Begins { start, checkpoint } })
    }

    /// Has the run read the segments that show it, which it may know otherwise.
    pub(super) fn ask(&self, plan: &mut Plan, asked: &mut BTreeSet<Lsn>) {
        asked.extend(self.begins.places());
        let size = self.info.segment_size.unwrap_or(SegmentSize::DEFAULT);
        // Nobody else holds it before the WAL is read.
        let Some(wal) = Arc::get_mut(&mut plan.wal) else { return };
        for at in self.begins.places() {
            let number = size.segment_of(at);
            let near_end = number.end(size).0 - at.0 < PAGE;
            wal.see((self.path.timeline_of_segment(number, size), number), near_end);
        }
    }

    /// Judges it by the WAL. Damage is looked at once more: a label has no checksum of its own.
    ///
    /// # Errors
    /// The caller cancelled, or this machine failed.
    pub(super) async fn judge(
        &self,
        reading: &Reading<'_>,
        stretches: &Stretches,
        base: &mut BaseRead,
    ) -> Result<Judged, Error> {
        let end = base
            .own_end
            .as_ref()
            .and_then(|own_end| reach::consistent_at(self.info, own_end, self.path, stretches));
        let major = self.info.version.and_then(Major::from_version_num);
        let Some((end, major)) = end.zip(major) else { return Ok(Judged::Open) };
        let at = |lsn| stretches.beginning(lsn, self.path);
        let Some(found) = beginning::judge(&self.backup.id, self.begins, major, end, at) else {
            return Ok(Judged::Sound);
        };
        Ok(match second(reading, self.backup, self.info, self.begins.checkpoint, &found).await? {
            None => Judged::Damaged(found),
            Some(error) => {
                base.errors.push(error);
                Judged::Doubtful
            }
        })
    }
}

/// Reads once more which checkpoint the label names: from its copy in `backup.info`, else from the tars.
/// Gives why the first reading does not stand, if it does not.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn second(
    reading: &Reading<'_>,
    backup: &Backup,
    info: &BackupInfo,
    checkpoint: Lsn,
    found: &Finding,
) -> Result<Option<Error>, Error> {
    let copy = info.backup_label.as_deref().and_then(|text| BackupLabel::parse(text).ok());
    if copy.is_some_and(|label| label.checkpoint_location == checkpoint) {
        return Ok(None);
    }
    let what = format!("{} of backup {}", found.subject, backup.id);
    let again = match base::read(reading, backup).await {
        Err(_) if reading.is_late() => return Ok(Some(seen_once(&what, &found.detail, None))),
        read => read?,
    };
    if again.checkpoint == Some(checkpoint) {
        return Ok(None);
    }
    Ok(Some(match again.errors.first() {
        _ if again.cut_off && reading.is_late() => seen_once(&what, &found.detail, None),
        _ if again.cut_off => return Err(interrupted()),
        Some(missed) => seen_once(&what, &found.detail, Some(missed)),
        None => two_readings(&what, &found.detail),
    }))
}
