//! A recovery point: the one base backup and the WAL that recovery to the target reads.

use super::{
    Reading, base,
    base::BaseRead,
    beginning::second,
    confirm,
    feed::{Coming, Feed, Listed, Lost, fetch},
    interrupted, moved,
    pages::{self, Window},
    reach,
    tally::Tally,
};
use crate::{
    archive::BackupInfo,
    drill::{
        DrillPlan, Error, Finding,
        beginning::{self, Begins},
        expectation::Promise,
        outlook::{self, Damage, Outlook},
        own_files::OwnFiles,
        plan::PlannedSegment,
        verify_report::{BackupState, Reach},
    },
    pg::{
        Lsn,
        wal::{
            checkpoint::Beginning,
            scan::{DamageKind, ScanStart, ScanStep, WalScan, WalSummary},
        },
    },
    restore::{seen_once, two_readings, wal::Pieces},
};

/// What the bytes of a recovery point say.
#[derive(Debug, Default)]
pub struct PointRead {
    /// What is wrong with the tars and the files in them.
    pub base: Vec<Finding>,
    /// What is wrong with the WAL, or keeps recovery from the target.
    pub wal: Vec<Finding>,
    /// What could not be read: nothing is known of it.
    pub errors: Vec<Error>,
    pub notes: Vec<String>,
    /// What recovery would reach; `None` where it would not become consistent.
    pub promise: Option<Promise>,
    pub files: u64,
    pub objects: u64,
    pub wal_segments: u64,
    pub wal_records: u64,
    /// Taken from the store.
    pub bytes: u64,
    last_commit: Option<crate::pg::wal::scan::TransactionEnd>,
}

/// Reads the base backup and the WAL of `plan`.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn read_point(
    reading: &Reading<'_>,
    plan: &DrillPlan,
) -> Result<PointRead, Error> {
    let mut base = base::read(reading, &plan.backup).await?;
    if base.cut_off {
        return Err(interrupted());
    }
    let info = plan.backup.info.as_ref().ok();
    let begin = info.and_then(BackupInfo::replay_start).unwrap_or_default();
    // Only a standby's backup is consistent where its own pg_control says so.
    let min_recovery_point = base.own_files.as_ref().and_then(OwnFiles::min_recovery_point);
    // A standby's base that could not be read does not say where it is consistent.
    let known = base.own_files.is_some() || !info.is_some_and(BackupInfo::is_from_standby);
    let start = outlook::scan_start(plan, begin, min_recovery_point);
    let window = Window { begin, path: &plan.history };
    pages::judge(reading, &plan.backup, window, planned(plan), &mut base).await?;
    confirm::read_again(reading, &plan.backup, &mut base).await?;
    let mut read = PointRead { objects: base.objects, files: base.files, ..PointRead::default() };
    let checkpoint = base.checkpoint.unwrap_or(begin);
    let begins = Begins { start: begin, checkpoint };
    let log = wal(reading, plan, start, begins.places(), &mut read).await?;
    if let Some(Log { summary, beginnings, .. }) = &log {
        let events = summary.databases.iter().map(|(at, event)| (*at, event));
        moved::judge(&plan.backup.id, events, &mut base);
        let at = |lsn| beginnings.iter().find(|(at, _)| *at == lsn).map(|(_, record)| *record);
        let asked = base.checkpoint.and(summary.consistent_at);
        let found =
            asked.and_then(|end| beginning::judge(&plan.backup.id, begins, plan.major, end, at));
        if let Some((found, info)) = found.zip(info) {
            match second(reading, &plan.backup, info, checkpoint, &found).await? {
                None => base.findings.push(found),
                Some(error) => base.errors.push(error),
            }
        }
    }
    let BaseRead { findings, errors, notes, .. } = base;
    read.base = findings;
    read.errors.extend(errors);
    read.notes = notes;
    if let Some(Log { summary, damage, .. }) = log {
        read.wal_records = summary.records;
        read.last_commit = summary.last_commit;
        match outlook::wal(plan, &summary, damage.as_ref(), &mut read.wal) {
            Outlook::Replay { .. } => read.promise = Some(outlook::promise(plan, &summary)),
            Outlook::Refused(refusal) if known => read.wal.extend(refusal.findings),
            Outlook::Inconsistent(finding) if known => read.wal.push(finding),
            Outlook::Damaged | Outlook::Refused(_) | Outlook::Inconsistent(_) => {}
        }
    }
    read.bytes = reading.bytes.load(std::sync::atomic::Ordering::Relaxed);
    Ok(read)
}

fn planned(plan: &DrillPlan) -> impl Iterator<Item = Listed> + use<'_> {
    plan.wal.iter().map(|segment| {
        let PlannedSegment { timeline, number, object } = segment;
        Listed { timeline, number, object }
    })
}

/// What the WAL says.
struct Log {
    summary: WalSummary,
    damage: Option<Damage>,
    beginnings: Beginnings,
}

/// The records at places that were asked about.
type Beginnings = Vec<(Lsn, Beginning)>;

#[derive(Clone)]
struct Scan {
    wal: WalScan,
    /// Where recovery looks for a record.
    asked: [Lsn; 2],
    found: Beginnings,
}

/// Reads the planned segments up to the target. `None` where one could not be read before.
async fn wal(
    reading: &Reading<'_>,
    plan: &DrillPlan,
    start: ScanStart,
    asked: [Lsn; 2],
    read: &mut PointRead,
) -> Result<Option<Log>, Error> {
    let size = plan.segment_size;
    let mut feed = Feed::new(reading, size, planned(plan));
    let mut scan = Scan { wal: WalScan::new(start), asked, found: Vec::new() };
    // The last segment, and the one before it, each with the scan as it was before.
    let (mut before, mut earlier) = (None::<(Listed, Scan)>, None);
    let mut damage = None;
    while let Some((listed, fetched)) = feed.next().await {
        reading.fetched(listed.object.size);
        read.objects += 1;
        read.wal_segments += 1;
        let here = scan.clone();
        let stepped = match fetched {
            Ok(coming) => step_over(scan, &listed, coming).await?,
            Err(lost) => Err(lost),
        };
        let mut step;
        (scan, step) = match stepped {
            Ok(stepped) => stepped,
            Err(Lost::Cancelled | Lost::Once(_)) => return Err(interrupted()),
            Err(Lost::Unread(error)) => {
                read.errors.push(error);
                return Ok(None);
            }
            Err(Lost::Damaged(why)) => {
                let why = format!("the segment cannot be decoded: {why}");
                let key = &listed.object.key;
                damage = Some(Damage::undecodable(key, listed.number, size, &why));
                scan = here;
                break;
            }
        };
        if let Some(found) = scan.wal.damage().cloned() {
            let again: Vec<(Listed, Scan)> = match before.take() {
                Some(before) if found.segment < listed.number => {
                    vec![before, (listed.clone(), here.clone())]
                }
                _ => vec![(listed.clone(), here.clone())],
            };
            let key = &listed.object.key;
            let stands = |scan: &Scan| scan.wal.damage().is_some();
            match look_again(reading, plan, again, stands).await? {
                Again::Damaged => {}
                Again::Sound(sound) => {
                    read.errors.push(two_readings(key, &found.detail));
                    (scan, step) = *sound;
                }
                // The record that says so has a CRC.
                Again::Unread(_) if found.kind == DamageKind::MinimalWal => {}
                Again::Unread(error) => {
                    read.errors.push(seen_once(key, &found.detail, Some(&error)));
                    return Ok(None);
                }
            }
        }
        earlier = before.replace((listed, here));
        if step == ScanStep::Stop {
            break;
        }
    }
    drop(feed);
    if let Some(last) = before {
        match Box::pin(tail(reading, plan, scan, earlier, last, read)).await? {
            Some(judged) => scan = judged,
            None => return Ok(None),
        }
    }
    let beginnings = scan.found;
    let summary = scan.wal.finish();
    let found = summary.damage.as_ref().map(|damage| {
        let name = || damage.segment.file_name(damage.timeline, size);
        let key = plan.wal.segment(damage.segment).map_or_else(name, |planned| planned.object.key);
        Damage::in_object(damage, key, size)
    });
    Ok(Some(Log { summary, damage: found.or(damage), beginnings }))
}

/// Reads the last segment once more where only the end of the log shows that something is wrong: the log
/// breaks off in a record that cannot be one, or in space that was never written. Gives the scan that
/// counts; `None` where no second reading could be had.
async fn tail(
    reading: &Reading<'_>,
    plan: &DrillPlan,
    scan: Scan,
    earlier: Option<(Listed, Scan)>,
    last: (Listed, Scan),
    read: &mut PointRead,
) -> Result<Option<Scan>, Error> {
    let breaks_off = |scan: &Scan| scan.wal.clone().finish();
    let summary = breaks_off(&scan);
    let Some(seen) = summary.defect().filter(|_| scan.wal.damage().is_none()) else {
        return Ok(Some(scan));
    };
    let key = last.0.object.key.clone();
    let earlier = earlier.filter(|_| seen.segment < last.0.number);
    let again = earlier.into_iter().chain([last]).collect();
    let stands = |scan: &Scan| breaks_off(scan).defect().is_some();
    match look_again(reading, plan, again, stands).await? {
        Again::Damaged => Ok(Some(scan)),
        Again::Sound(sound) => {
            read.errors.push(two_readings(&key, &seen.detail));
            Ok(Some(sound.0))
        }
        Again::Unread(error) => {
            read.errors.push(seen_once(&key, &seen.detail, Some(&error)));
            Ok(None)
        }
    }
}

/// What the second reading of what seems damaged shows.
enum Again {
    Damaged,
    Sound(Box<(Scan, ScanStep)>),
    /// It could not be had.
    Unread(Error),
}

/// Reads the last segments once more. `stands` says whether a scan shows the damage.
async fn look_again(
    reading: &Reading<'_>,
    plan: &DrillPlan,
    again: Vec<(Listed, Scan)>,
    stands: impl Fn(&Scan) -> bool,
) -> Result<Again, Error> {
    let mut state: Option<(Scan, ScanStep)> = None;
    for (listed, scan) in again {
        let scan = state.map_or(scan, |(scan, _)| scan);
        let stepped = match fetch(reading, &listed.object, plan.segment_size).await {
            Ok(coming) => step_over(scan, &listed, coming).await?,
            Err(lost) => Err(lost),
        };
        match stepped {
            Ok(stepped) => state = Some(stepped),
            Err(Lost::Cancelled | Lost::Once(_)) => return Err(interrupted()),
            Err(Lost::Damaged(_)) => return Ok(Again::Damaged),
            Err(Lost::Unread(error)) => return Ok(Again::Unread(error)),
        }
    }
    let sound = state.filter(|(scan, _)| !stands(scan));
    Ok(sound.map_or(Again::Damaged, |sound| Again::Sound(Box::new(sound))))
}

async fn step_over(
    mut scan: Scan,
    listed: &Listed,
    coming: Coming,
) -> Result<Result<(Scan, ScanStep), Lost>, Error> {
    let (timeline, number) = (listed.timeline, listed.number);
    let work = move |pages: &mut Pieces| {
        let Scan { wal, asked, found } = &mut scan;
        let step = wal.segment_with(timeline, number, pages, |record| {
            if asked.contains(&record.start) {
                found.push((record.start, record.beginning()));
            }
        });
        (scan, step)
    };
    coming.read(work).await
}

/// Reads a recovery point into a report.
///
/// # Errors
/// As [`read_point`].
pub(super) async fn report(
    reading: &Reading<'_>,
    plan: &DrillPlan,
    tally: &mut Tally,
) -> Result<(), Error> {
    let since = reading.begin(plan.base_bytes + plan.wal_bytes);
    let read = read_point(reading, plan).await?;
    reading.end(since);
    for finding in plan.findings.iter().cloned() {
        tally.catalog(finding);
    }
    for note in plan.notes.iter().cloned() {
        tally.note(note);
    }
    tally.note(plan.why.clone());
    let mut verified = reach::described(&plan.backup, None);
    let sound = read.base.is_empty() && read.wal.is_empty();
    verified.state = match (sound, read.promise.is_some() && read.errors.is_empty()) {
        (false, _) => BackupState::Damaged,
        (true, true) => BackupState::Good,
        (true, false) => BackupState::Unknown,
    };
    verified.files = read.files;
    verified.reach = read.promise.as_ref().map(|promise| Reach {
        timeline: promise.timeline,
        lsn: promise.end,
        last_commit: read.last_commit.map(Into::into),
    });
    verified.blocked_by = read.base.iter().chain(&read.wal).take(5).map(Into::into).collect();
    tally.backups.push(verified);
    for finding in read.base {
        tally.base(finding);
    }
    for finding in read.wal {
        tally.wal(finding);
    }
    for error in read.errors {
        tally.error(error);
    }
    for note in read.notes {
        tally.note(note);
    }
    tally.volume.objects += read.objects;
    tally.volume.wal_segments += read.wal_segments;
    tally.volume.wal_records += read.wal_records;
    Ok(())
}
