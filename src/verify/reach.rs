//! What the tars and the WAL together say of one backup.

use super::{
    base::{BaseRead, OwnEnd},
    wal::{Ended, Start, Stretches},
};
use crate::{
    archive::{Backup, BackupInfo},
    drill::{
        Finding,
        holdings::{self, BackupLine, Blocker},
        outlook,
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Lsn, TimelineHistory},
};

/// So much that is in the way is shown with a backup.
const SHOWN: usize = 5;

/// A backup of which nothing but its description is known.
pub(super) fn described(backup: &Backup, line: Option<&BackupLine>) -> BackupVerified {
    let info = backup.info.as_ref().ok();
    BackupVerified {
        id: backup.id.clone(),
        name: info.and_then(|i| i.backup_name.clone()),
        state: BackupState::NotRestorable,
        end_at: info.and_then(|i| i.end_time),
        timeline: info.and_then(|i| i.timeline),
        begin_lsn: info.and_then(|i| i.begin_xlog),
        end_lsn: info.and_then(|i| i.end_xlog),
        bytes: backup.total_bytes(),
        files: 0,
        pages: 0,
        torn_pages: 0,
        reach: None,
        blocked_by: line.map(|line| line.blocked_by.clone()).unwrap_or_default(),
    }
}

/// Where replay of a backup begins.
pub(super) fn start(info: &BackupInfo) -> Option<Start> {
    let (timeline, lsn) = (info.timeline?, info.replay_start()?);
    Some(Start { system_id: info.system_id?, timeline, lsn })
}

/// Where a backup is consistent, if the WAL is sound as far as that.
pub(super) fn consistent_at(
    info: &BackupInfo,
    own_end: &OwnEnd,
    path: &TimelineHistory,
    stretches: &Stretches,
) -> Option<Lsn> {
    let start = start(info)?;
    let end = own_end.min_recovery_point.or_else(|| stretches.backup_end(start.lsn, path))?;
    let (reach, _) = stretches.reach(&start, path)?;
    (reach.lsn >= end).then_some(end)
}

/// Puts together what was found. Gives the findings that only both together show.
pub(super) fn judge(
    verified: &mut BackupVerified,
    info: &BackupInfo,
    base: &BaseRead,
    line: Option<&BackupLine>,
    path: &TimelineHistory,
    stretches: &Stretches,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let start = start(info);
    let reach = start.and_then(|start| stretches.reach(&start, path));
    let reaches = |point: Lsn| reach.is_some_and(|(reach, _)| reach.lsn >= point);
    // What `backup.info` says of its end is good for the time until the backup's own files are read.
    let covered = info.end_xlog.is_some_and(reaches);
    let standby = match &base.own_end {
        Some(own) => own.standby,
        None => info.is_from_standby(),
    };
    let own_end = || start.and_then(|start| stretches.backup_end(start.lsn, path));
    let consistent = match &base.own_end {
        Some(own) => own.min_recovery_point.or_else(own_end).is_some_and(reaches),
        None if standby => covered,
        None => own_end().is_some_and(reaches),
    };
    let blocked = line.is_some_and(|line| line.state == holdings::BackupState::Blocked);
    let mut damaged = base.is_damaged();
    let mut unread =
        base.own_end.is_none() || !base.errors.is_empty() || !(damaged || base.findings.is_empty());
    match reach.map(|(_, ended)| ended) {
        // Its WAL is whole, something else is not.
        _ if consistent => unread |= blocked,
        Some(Ended::Damage(finding)) => {
            damaged = true;
            let at = finding.lsn.unwrap_or_default();
            found.push(outlook::unreachable_consistency(&verified.id, &finding.subject, at));
        }
        // The listing has said it: where the rest may still be on its way, that is no damage.
        Some(Ended::Gap | Ended::Newest) | None if blocked => damaged = true,
        // All the WAL that the backup needs is there by its name.
        Some(Ended::Gap | Ended::Newest) if covered => {
            damaged = true;
            let begin = start.map_or(Lsn::INVALID, |start| start.lsn);
            let end = reach.map_or(begin, |(reach, _)| reach.lsn);
            found.push(outlook::never_ends(&verified.id, begin, end));
        }
        _ => unread = true,
    }
    verified.state = match (damaged, unread) {
        (true, _) => BackupState::Damaged,
        (false, true) => BackupState::Unknown,
        (false, false) => BackupState::Good,
    };
    verified.reach = reach.map(|(reach, _)| reach);
    let mut blocked: Vec<Blocker> = base.findings.iter().map(Blocker::from).collect();
    if let Some((_, Ended::Damage(finding))) = reach {
        blocked.push(Blocker::from(&**finding));
    }
    blocked.append(&mut verified.blocked_by);
    blocked.truncate(SHOWN);
    verified.blocked_by = blocked;
    found
}

#[cfg(test)]
mod tests;
