//! What the tars and the WAL together say of one backup.

use super::{
    base::BaseRead,
    wal::{Ended, Stretches},
};
use crate::{
    archive::{Backup, BackupInfo},
    drill::{
        Finding,
        holdings::{self, BackupLine, Blocker},
        outlook,
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Lsn, TimelineHistory, TimelineId},
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
pub(super) fn start(info: &BackupInfo) -> Option<(TimelineId, Lsn)> {
    Some((info.timeline?, info.replay_start()?))
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
    let reach = start(info).and_then(|start| stretches.reach(start, path));
    let end = info.end_xlog;
    let consistent = reach.zip(end).is_some_and(|((reach, _), end)| reach.lsn >= end);
    let blocked = line.is_some_and(|line| line.state == holdings::BackupState::Blocked);
    let mut damaged = base.is_damaged();
    let mut unread = !base.errors.is_empty() || !(damaged || base.findings.is_empty());
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
