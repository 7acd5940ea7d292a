//! Everything: every backup's tars, every segment, and what they come to for each backup.

use jiff::Timestamp;

use super::{
    Reading, base, moved,
    pages::{self, Window},
    reach,
    tally::Tally,
    wal::{self, Origin},
};
use crate::{
    archive::{Backup, BackupInfo, Catalog, catalog::obstacle::Obstacle},
    drill::{
        Error, Job,
        holdings::{self, BackupLine},
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Lsn, Major, SegmentSize, TimelineHistory, TimelineId},
};

/// What is known of a backup before the WAL is read.
struct Candidate<'a> {
    backup: &'a Backup,
    line: Option<&'a BackupLine>,
    verified: BackupVerified,
    base: base::BaseRead,
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
    let listed = holdings::examine(job, catalog, now);
    for finding in &listed.findings {
        // How old an archive is says nothing of its bytes.
        if finding.class.is_breach() {
            tally.attention(finding.clone());
        } else {
            tally.catalog(finding.clone());
        }
    }
    for finding in &listed.attentions {
        tally.attention(finding.clone());
    }
    for note in &listed.notes {
        tally.note(note.clone());
    }

    let mut candidates = Vec::new();
    for backup in &catalog.backups {
        let line = listed.backups.iter().find(|line| line.id == backup.id);
        let mut verified = reach::described(backup, line);
        if !is_candidate(backup, now) {
            tally.backups.push(verified);
            continue;
        }
        let mut base = base::read(reading, backup).await?;
        if let Ok(info) = &backup.info {
            let path = path(catalog, info, line);
            let begin = reach::start(info).map_or(Lsn::INVALID, |(_, begin)| begin);
            let window = Window { begin, path: &path };
            let size = info.segment_size.unwrap_or(SegmentSize::DEFAULT);
            let segments = pages::segments(window, &catalog.wal, size);
            pages::judge(reading, backup, window, segments, &mut base).await?;
        }
        tally.volume.objects += base.objects;
        verified.files = base.files;
        (verified.pages, verified.torn_pages) = (base.pages, base.torn_pages);
        for finding in base.findings.iter().cloned() {
            tally.base(finding);
        }
        for note in &base.notes {
            tally.note(format!("backup `{}`: {note}", backup.id));
        }
        candidates.push(Candidate { backup, line, verified, base });
    }

    let mut stretches = None;
    if let Some(system) = system(catalog) {
        let infos = candidates.iter().filter_map(|c| c.backup.info.as_ref().ok());
        let infos: Vec<&BackupInfo> = infos.collect();
        stretches = Some(wal::read(reading, system, catalog, &infos, tally).await?);
    } else {
        let note = "the WAL was not read: no `backup.info` says which system wrote it";
        tally.note(note.to_owned());
    }
    for candidate in candidates {
        let Candidate { backup, line, mut verified, mut base } = candidate;
        match (&backup.info, &stretches) {
            (Ok(info), Some(stretches)) => {
                let path = path(catalog, info, line);
                let found_before = base.findings.len();
                moved::judge(&backup.id, stretches.databases(info, &path), &mut base);
                for finding in &base.findings[found_before..] {
                    tally.base(finding.clone());
                }
                let found = reach::judge(&mut verified, info, &base, line, &path, stretches);
                for finding in found {
                    tally.wal(finding);
                }
            }
            _ => verified.state = BackupState::Damaged,
        }
        for error in base.errors.drain(..) {
            tally.error(error);
        }
        tally.backups.push(verified);
    }
    tally.backups.sort_by(|a, b| a.id.cmp(&b.id));
    reading.end(since);
    Ok(())
}

/// The timelines that a recovery from this backup to the newest WAL follows.
fn path(catalog: &Catalog, info: &BackupInfo, line: Option<&BackupLine>) -> TimelineHistory {
    let own = info.timeline.unwrap_or(TimelineId(1));
    let reached = line.and_then(|line| line.reach.as_ref()).map_or(own, |reach| reach.timeline);
    let text = catalog.histories.get(&reached);
    let parsed = text.and_then(|text| TimelineHistory::parse(reached, text).ok());
    parsed.filter(|history| history.contains(own)).unwrap_or_else(|| TimelineHistory::root(own))
}

/// Whether a restore would take it, or would if it were not damaged.
fn is_candidate(backup: &Backup, now: Timestamp) -> bool {
    backup.obstacles(now).iter().all(|obstacle| match obstacle {
        Obstacle::NoInfo { .. }
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

/// The system that the newest description names.
fn system(catalog: &Catalog) -> Option<Origin> {
    let infos = catalog.backups.iter().rev().filter_map(|backup| backup.info.as_ref().ok());
    let mut systems = infos.filter_map(|info| {
        Some(Origin {
            major: Major::from_version_num(info.version?)?,
            system_id: info.system_id?,
            segment_size: info.segment_size?,
        })
    });
    systems.next()
}
