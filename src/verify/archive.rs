//! Everything: every backup's tars, every segment, and what they come to for each backup.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;

use super::{
    Reading, base,
    beginning::{Case, Judged},
    confirm, interrupted, labels, lost, moved,
    pages::{self, Window},
    reach,
    sparing::{Plan, Sparing, Subject, Turn},
    tally::Tally,
    wal::{self, KnownWal, Origin},
};
use crate::{
    archive::{Backup, BackupInfo, Catalog, catalog::obstacle::Obstacle},
    drill::{
        Error, Job,
        format::counted,
        holdings::{self, BackupLine},
        verify_report::{BackupState, BackupVerified},
    },
    pg::{Lsn, Major, SegmentSize, TimelineHistory, TimelineId},
    telemetry::progress::ProgressEvent,
};

/// What is known of a backup before the WAL is read.
struct Candidate<'a> {
    subject: Subject<'a>,
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
    mut sparing: Option<&mut Sparing<'_>>,
    tally: &mut Tally,
) -> Result<(), Error> {
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

    let (mut subjects, mut nameless) = (Vec::new(), Vec::new());
    for backup in &catalog.backups {
        let line = listed.backups.iter().find(|line| line.id == backup.id);
        if is_candidate(backup, now) {
            let path = backup.info.as_ref().ok().map(|info| path(catalog, info, line));
            subjects.push(Subject { backup, line, path });
        } else {
            tally.backups.push(reach::described(backup, line));
            nameless.extend(lost::may_be_complete(backup, now).then_some(backup));
        }
    }
    let systems = systems(catalog);
    let mut plan = match &mut sparing {
        None => Plan::all(&subjects),
        Some(sparing) => {
            let spent = reading.clock.elapsed();
            let plan = sparing.plan(&subjects, catalog, &systems, now, spent);
            reading.progress.emit(ProgressEvent::Note { text: plan.outlook() });
            plan
        }
    };
    let since = reading.begin(match sparing {
        None => catalog.total_bytes,
        Some(_) => plan.used.estimate.bytes,
    });

    // Those too that are not read this time: their WAL counts.
    let infos = subjects.iter().filter_map(|subject| subject.backup.info.as_ref().ok());
    let infos: Vec<&BackupInfo> = infos.collect();
    let mut candidates = Vec::new();
    // Objects of backups that were not read to their end, by their share of the bytes.
    let mut begun = 0;
    for (subject, turn) in subjects.into_iter().zip(std::mem::take(&mut plan.turns)) {
        let Subject { backup, line, .. } = subject;
        let mut verified = reach::described(backup, line);
        let read = match turn {
            Turn::Trust(known) => Some(base::BaseRead::of(known)),
            Turn::Left => None,
            Turn::Read => {
                let mut base = base::BaseRead::default();
                let before = reading.bytes.load(Ordering::Relaxed);
                let read = read_base(reading, catalog, &subject, &mut base).await;
                if let Some(sparing) = &mut sparing {
                    plan.doubt(sparing.ledger, catalog, &systems, &base.doubted);
                }
                match (&read, &mut sparing) {
                    (Ok(()), Some(sparing)) => sparing.learn(&subject, &base, catalog, now),
                    (Err(_), Some(sparing)) => sparing.broke_off(&subject, &base),
                    (_, None) => {}
                }
                match read {
                    Ok(()) => Some(base),
                    Err(error) if !reading.is_late() => return Err(error),
                    Err(_) => {
                        let objects = backup.objects().count() as u64;
                        let bytes = reading.bytes.load(Ordering::Relaxed) - before;
                        begun += share(objects, bytes, backup.total_bytes());
                        plan.leave(objects, backup.total_bytes());
                        base = confirm::cut_off(backup, base);
                        for error in base.errors.drain(..) {
                            tally.error(error);
                        }
                        Some(base).filter(|base| !base.findings.is_empty())
                    }
                }
            }
        };
        let Some(base) = read else {
            verified.state = BackupState::Unknown;
            tally.backups.push(verified);
            continue;
        };
        tally.volume.objects += base.objects;
        verified.files = base.files;
        (verified.pages, verified.torn_pages) = (base.pages, base.torn_pages);
        for finding in base.findings.iter().cloned() {
            tally.base(finding);
        }
        for note in &base.notes {
            tally.note(format!("backup `{}`: {note}", backup.id));
        }
        candidates.push(Candidate { subject, verified, base });
    }

    // A run that is to spare reading leaves out what no restore takes.
    if sparing.is_some() && !nameless.is_empty() {
        let count = counted(nameless.len() as u64, "backup");
        tally.note(format!("{count} without a description left out: no restore takes one"));
    }
    for backup in nameless.into_iter().filter(|_| sparing.is_none()) {
        tally.volume.objects += backup.objects().count() as u64;
        if let Some(finding) = lost::read(reading, backup).await? {
            tally.attention(finding);
        }
    }

    let mut stretches = None;
    let mut asked = BTreeSet::new();
    for Candidate { subject, base, .. } in &candidates {
        if let Some(case) = Case::of(subject.backup, subject.path.as_ref(), base) {
            case.ask(&mut plan, &mut asked);
        }
    }
    if systems.is_empty() {
        let note = "the WAL was not read: no `backup.info` says which system wrote it";
        tally.note(note.to_owned());
    } else {
        let known = sparing
            .as_deref_mut()
            .map(|sparing| KnownWal { ledger: &mut *sparing.ledger, plan: Arc::clone(&plan.wal) });
        let read = wal::read(reading, systems, catalog, &infos, asked, known, tally);
        let (read, not_read) = read.await?;
        plan.passed(&not_read);
        stretches = Some(read);
    }
    match labels::read(reading, catalog, tally).await {
        Err(_) if reading.is_late() => {
            let labels = catalog.wal.labels().iter().map(|(_, object)| object.size);
            plan.leave(labels.len() as u64, labels.sum());
        }
        read => read?,
    }
    for candidate in candidates {
        let Candidate { subject: Subject { backup, line, path }, mut verified, mut base } =
            candidate;
        match (&backup.info, &path, &stretches) {
            (Ok(info), Some(path), Some(stretches)) => {
                let found_before = base.findings.len();
                moved::judge(&backup.id, stretches.databases(info, path), &mut base);
                if let Some(sparing) = &mut sparing
                    && base.findings.len() > found_before
                {
                    sparing.unlearn(&backup.id);
                }
                if let Some(case) = Case::of(backup, Some(path), &base) {
                    let judged = case.judge(reading, stretches, &mut base).await?;
                    if let Some(sparing) = &mut sparing {
                        sparing.begins(&backup.id, &judged);
                    }
                    if let Judged::Damaged(finding) = judged {
                        base.findings.push(finding);
                    }
                }
                for finding in &base.findings[found_before..] {
                    tally.base(finding.clone());
                }
                let found = reach::judge(&mut verified, info, &base, line, path, stretches);
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
    if sparing.is_some() {
        let (used, errors) = plan.finish();
        for error in errors {
            tally.error(error);
        }
        tally.ledger = Some(used);
    }
    if let Some(sparing) = sparing {
        let (bytes, objects) = (reading.bytes.load(Ordering::Relaxed), tally.volume.objects);
        sparing.ledger.measured(bytes, objects + begun, since.elapsed().as_secs_f64());
    }
    reading.end(since);
    Ok(())
}

/// Reads the tars of a backup, and what its pages have to be judged by. After an error `base` has what
/// was seen until then.
async fn read_base(
    reading: &Reading<'_>,
    catalog: &Catalog,
    subject: &Subject<'_>,
    base: &mut base::BaseRead,
) -> Result<(), Error> {
    let backup = subject.backup;
    *base = base::read(reading, backup).await?;
    if base.cut_off {
        return Err(interrupted());
    }
    if let (Ok(info), Some(path)) = (&backup.info, &subject.path) {
        let begin = reach::start(info).map_or(Lsn::INVALID, |start| start.lsn);
        let window = Window { begin, path };
        let size = info.segment_size.unwrap_or(SegmentSize::DEFAULT);
        let segments = pages::segments(window, &catalog.wal, size);
        pages::judge(reading, backup, window, segments, base).await?;
    }
    confirm::read_again(reading, backup, base).await
}

/// How many of a backup's objects were read with so many of its bytes, about.
fn share(objects: u64, bytes: u64, total: u64) -> u64 {
    let share = u128::from(objects) * u128::from(bytes);
    let share = share.div_ceil(u128::from(total.max(1)));
    u64::try_from(share).map_or(objects, |share| share.min(objects))
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

/// The systems that the descriptions name, that of the newest first.
fn systems(catalog: &Catalog) -> Vec<Origin> {
    let infos = catalog.backups.iter().rev().filter_map(|backup| backup.info.as_ref().ok());
    let named = infos.filter_map(|info| {
        Some(Origin {
            major: Major::from_version_num(info.version?)?,
            system_id: info.system_id?,
            segment_size: info.segment_size?,
        })
    });
    let mut systems: Vec<Origin> = Vec::new();
    for origin in named {
        let known = systems.iter().any(|system| system.system_id == origin.system_id);
        // Which segments there are can only be counted in one size.
        let counted = systems.first().is_none_or(|s| s.segment_size == origin.segment_size);
        if !known && counted {
            systems.push(origin);
        }
    }
    systems
}

#[cfg(test)]
mod tests;
