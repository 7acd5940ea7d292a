//! What the tars and the WAL together say of one backup.

use super::{
    base::BaseRead,
    wal::{Ended, Stretches},
};
use crate::{
    archive::{Backup, BackupInfo},
    drill::{
        Finding, outlook,
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Lsn, TimelineHistory, TimelineId},
};

/// So many findings are shown with a backup.
const SHOWN: usize = 5;

/// A backup of which nothing but its description is known.
pub(super) fn described(backup: &Backup) -> BackupVerified {
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
        reach: None,
        blocked_by: Vec::new(),
    }
}

/// Where replay of a backup begins.
pub(super) fn start(info: &BackupInfo) -> Option<(TimelineId, Lsn)> {
    Some((info.timeline?, info.label_start().or(info.begin_xlog)?))
}

/// Puts together what was found. Gives the findings that only both together show.
pub(super) fn judge(
    mut verified: BackupVerified,
    info: &BackupInfo,
    base: &BaseRead,
    planned: &[Finding],
    path: &TimelineHistory,
    stretches: &Stretches,
) -> (BackupVerified, Vec<Finding>) {
    let mut found = Vec::new();
    let reach = start(info).and_then(|start| stretches.reach(start, path));
    let end = info.end_xlog.unwrap_or_default();
    let consistent = reach.is_some_and(|(reach, _)| reach.lsn >= end);
    let mut unread = !base.errors.is_empty();
    let mut damaged = !base.findings.is_empty();
    match reach.map(|(_, ended)| ended) {
        _ if consistent => {}
        Some(Ended::Unread) | None => unread = true,
        Some(Ended::Damage(finding)) => {
            damaged = true;
            let at = finding.lsn.unwrap_or_default();
            found.push(outlook::unreachable_consistency(&verified.id, &finding.subject, at));
        }
        // The plan has said it: where the rest may still be on its way, that is no damage.
        Some(Ended::Gap(_) | Ended::Newest) => {
            if planned.iter().any(|f| !f.class.is_environment()) {
                damaged = true;
            } else {
                unread = true;
            }
        }
    }
    verified.files = base.files;
    verified.state = match (damaged, unread) {
        (true, _) => BackupState::Damaged,
        (false, true) => BackupState::Unknown,
        (false, false) => BackupState::Good,
    };
    verified.reach = reach.map(|(reach, _)| reach);
    let mut blocked: Vec<Finding> = base.findings.clone();
    if let Some((_, Ended::Damage(finding))) = reach {
        blocked.push((**finding).clone());
    }
    blocked.extend(planned.iter().cloned());
    blocked.truncate(SHOWN);
    verified.blocked_by = blocked;
    (verified, found)
}
