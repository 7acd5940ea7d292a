//! Everything: every backup's tars, every segment, and what they come to for each backup.

use jiff::Timestamp;

use super::{
    Reading, base, reach,
    tally::Tally,
    wal::{self, System},
};
use crate::{
    archive::{Backup, Catalog, catalog::obstacle::Obstacle},
    drill::{
        Error, FailureClass, Finding, Job,
        job::{BackupChoice, RecoveryPoint, Target, TargetTimeline},
        plan,
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Major, TimelineHistory},
};

/// What is known of a backup before the WAL is read.
struct Candidate<'a> {
    backup: &'a Backup,
    verified: BackupVerified,
    base: base::BaseRead,
    planned: Vec<Finding>,
    path: Option<TimelineHistory>,
}

/// Reads all that `catalog` lists.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn read(
    reading: &Reading<'_>,
    job: &Job,
    catalog: &Catalog,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<(), Error> {
    let since = reading.begin(catalog.total_bytes);
    if !catalog.backups.iter().any(|backup| is_candidate(backup, now)) {
        let refusal = plan::plan(&job_of(job, None), catalog, now, 0).err();
        let findings = refusal.map(|refusal| refusal.findings).unwrap_or_default();
        if findings.is_empty() {
            let detail = "no base backup can be restored";
            let hint = "Take a base backup and see that it ends.";
            let class = FailureClass::NoRestorableBackup;
            tally.catalog(Finding::new(class, "base/", detail, hint));
        }
        findings.into_iter().for_each(|finding| tally.catalog(finding));
    }
    let mut candidates = Vec::new();
    for backup in &catalog.backups {
        let mut verified = reach::described(backup);
        let (mut planned, path) = planned(job, catalog, backup, now, tally);
        if !is_candidate(backup, now) {
            planned.truncate(5);
            planned.iter().cloned().for_each(|finding| tally.attention(finding));
            verified.blocked_by = planned;
            tally.backups.push(verified);
            continue;
        }
        let base = base::read(reading, backup).await?;
        tally.volume.objects += base.objects;
        for finding in planned.iter().cloned() {
            tally.catalog(finding);
        }
        base.findings.iter().cloned().for_each(|finding| tally.base(finding));
        base.notes.iter().for_each(|note| tally.note(format!("backup `{}`: {note}", backup.id)));
        candidates.push(Candidate { backup, verified, base, planned, path });
    }

    if let Some(system) = system(catalog) {
        let infos = candidates.iter().filter_map(|c| c.backup.info.as_ref().ok());
        let starts = infos.filter_map(reach::start).collect();
        let stretches = wal::read(reading, system, catalog, starts, tally).await?;
        for candidate in candidates {
            let Candidate { backup, mut verified, mut base, planned, path } = candidate;
            let Ok(info) = &backup.info else {
                verified.state = BackupState::Damaged;
                verified.blocked_by = planned;
                tally.backups.push(verified);
                continue;
            };
            let timeline = info.timeline.unwrap_or(crate::pg::TimelineId(1));
            let path = path.unwrap_or_else(|| TimelineHistory::root(timeline));
            let (verified, found) =
                reach::judge(verified, info, &base, &planned, &path, &stretches);
            found.into_iter().for_each(|finding| tally.wal(finding));
            base.errors.drain(..).for_each(|error| tally.error(error));
            tally.backups.push(verified);
        }
    } else {
        let note = "the WAL was not read: no `backup.info` says which system wrote it";
        tally.note(note.to_owned());
        for candidate in candidates {
            let Candidate { mut verified, mut base, planned, .. } = candidate;
            verified.state = BackupState::Damaged;
            verified.blocked_by = planned;
            base.errors.drain(..).for_each(|error| tally.error(error));
            tally.backups.push(verified);
        }
    }
    tally.backups.sort_by(|a, b| a.id.cmp(&b.id));
    reading.end(since);
    Ok(())
}

/// Whether a restore would take it, or would if it were not damaged.
fn is_candidate(backup: &Backup, now: Timestamp) -> bool {
    backup.obstacles(now).iter().all(|obstacle| match obstacle {
        Obstacle::NoInfo
        | Obstacle::Failed(_)
        | Obstacle::Unfinished { .. }
        | Obstacle::Snapshots
        | Obstacle::Incremental
        | Obstacle::UnsupportedVersion(_) => false,
        Obstacle::UnreadableInfo(_)
        | Obstacle::Unsettled(_)
        | Obstacle::IncompleteInfo(_)
        | Obstacle::MissingFile(_)
        | Obstacle::UnreadableFile(_) => true,
    })
}

/// What a drill of this backup to the end of the archive would say before it fetches anything.
fn planned(
    job: &Job,
    catalog: &Catalog,
    backup: &Backup,
    now: Timestamp,
    tally: &mut Tally,
) -> (Vec<Finding>, Option<TimelineHistory>) {
    match plan::plan(&job_of(job, Some(&backup.id)), catalog, now, 0) {
        Ok(plan) => {
            plan.notes.into_iter().for_each(|note| tally.note(note));
            (plan.findings, Some(plan.history))
        }
        Err(refusal) => (refusal.findings, None),
    }
}

fn job_of(job: &Job, backup: Option<&str>) -> Job {
    let backup = backup.map_or(BackupChoice::Latest, |id| BackupChoice::Id(id.to_owned()));
    let recovery_point = RecoveryPoint {
        backup,
        within: None,
        target: Target::Latest,
        exclusive: false,
        timeline: TargetTimeline::Latest,
    };
    Job { recovery_point, ..job.clone() }
}

/// The system that the newest description names.
fn system(catalog: &Catalog) -> Option<System> {
    let infos = catalog.backups.iter().rev().filter_map(|backup| backup.info.as_ref().ok());
    let mut systems = infos.filter_map(|info| {
        Some(System {
            major: Major::from_version_num(info.version?)?,
            system_id: info.system_id?,
            segment_size: info.segment_size?,
        })
    });
    systems.next()
}
