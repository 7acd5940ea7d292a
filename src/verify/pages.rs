//! Pages of a base backup that fail by their own bytes, judged by the WAL behind its start and, where
//! that leaves something open, by its catalogs. What is read for that is read a second time; without
//! a bad page nothing is.

use super::{
    Reading,
    base::BaseRead,
    feed::{Feed, Listed, Lost},
    interrupted,
};
use crate::{
    archive::{Backup, WalIndex},
    drill::{Code, Error, FailureClass},
    pg::{
        Lsn, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::{
            record::Record,
            scan::{ScanStart, ScanStep, ScanTarget, WalScan},
        },
    },
    restore::{
        FetchFailure,
        base::look_into,
        pages::{BackupWindow, PageJudge, PageVerdict, Suspects},
        wal::Pieces,
    },
    telemetry::progress::ProgressEvent,
};

/// Decoded WAL that is read behind the backup's own for what is still open then. The rest the catalogs
/// must tell: there may be weeks of it, and there is a reading for each backup.
const MOST_BEHIND: u64 = 256 << 20;

/// Where the WAL of a backup begins, and the path that it is read along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub begin: Lsn,
    pub path: &'a TimelineHistory,
}

/// Judges the pages that [`super::base::read`] saw, and takes the answer into `base`.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn judge(
    reading: &Reading<'_>,
    backup: &Backup,
    window: Window<'_>,
    segments: impl Iterator<Item = Listed>,
    base: &mut BaseRead,
) -> Result<(), Error> {
    let Some(own) = &base.own_files else { return Ok(()) };
    let (control, min_recovery_point) = (own.control, own.min_recovery_point());
    let verdict = match std::mem::take(&mut base.watched).judged_by(&control) {
        Ok(suspects) if suspects.is_empty() => {
            Ok(PageVerdict::clean(suspects.checked, suspects.checksums))
        }
        Ok(suspects) => {
            base.prints = suspects.prints();
            let start = ScanStart {
                major: control.major().ok_or_else(unsupported)?,
                system_id: control.system_identifier,
                segment_size: control.wal_segment_size,
                start: window.begin,
                history: window.path.clone(),
                target: ScanTarget::Latest,
                exclusive: false,
                min_recovery_point,
            };
            by_the_wal(reading, backup, segments, start, suspects, base).await
        }
        Err(error) => Err(error),
    };
    match verdict {
        Ok(verdict) => {
            base.notes.extend(verdict.notes());
            base.pages = verdict.checked.pages;
            base.torn_pages = verdict.torn;
            base.findings.extend(verdict.findings);
        }
        Err(error) if error.code == Code::Interrupted => return Err(error),
        Err(error) => base.errors.push(error),
    }
    Ok(())
}

fn unsupported() -> Error {
    Error::new(Code::Unsupported, "the major version of `pg_control` is not known")
        .class(FailureClass::BackupUnsupported)
}

async fn by_the_wal(
    reading: &Reading<'_>,
    backup: &Backup,
    segments: impl Iterator<Item = Listed>,
    start: ScanStart,
    suspects: Suspects,
    base: &mut BaseRead,
) -> Result<PageVerdict, Error> {
    let (major, size) = (start.major, start.segment_size);
    let min_recovery_point = start.min_recovery_point;
    let judged = BackupWindow { major, start: start.start, min_recovery_point };
    let count = suspects.count();
    let mut judge = PageJudge::new(suspects, judged);
    let asked = suspects_note(backup, count);
    reading.progress.emit(ProgressEvent::Note { text: asked });
    let mut scan = WalScan::new(start);
    let mut behind = 0;
    let mut feed = Feed::new(reading, size, segments);
    while let Some((listed, fetched)) = feed.next().await {
        reading.fetched(listed.object.size);
        base.judged_to = Some(listed.number);
        let here = (listed.timeline, listed.number);
        let coming = match fetched {
            Ok(coming) => coming,
            Err(lost) => {
                without(lost, here, &mut feed, base).await?;
                break;
            }
        };
        let work = move |pages: &mut Pieces| {
            let see = |record: &Record<'_>| judge.record(record);
            let step = scan.segment_with(here.0, here.1, pages, see);
            (scan, judge, step)
        };
        let (done, end) = coming.read_on(work).await?;
        let step;
        (scan, judge, step) = done;
        if let Err(lost) = end {
            // What its records have shown by then is true all the same.
            without(lost, here, &mut feed, base).await?;
            break;
        }
        let damaged = scan.damage().map(|damage| (damage.timeline, damage.segment));
        base.doubted.extend(damaged.into_iter().flat_map(|at| [at, here]));
        behind += u64::from(judge.is_window_over()) * size.bytes();
        if step == ScanStep::Stop || judge.is_done() || behind > MOST_BEHIND {
            break;
        }
    }
    drop(feed);
    let mut judged = judge.finish();
    let look = match judged.questions() {
        None => None,
        Some(look) => {
            let count = |bytes| reading.fetched(bytes);
            let looked = look_into(reading.store, backup, look, &count, reading.cancel).await;
            Some(looked.map_err(|failure| match failure {
                FetchFailure::Store(error) | FetchFailure::Local(error) => error,
                FetchFailure::Cancelled => interrupted(),
                // Sound at the first reading.
                FetchFailure::Damaged(findings) => {
                    let what = findings.first().map_or("", |finding| finding.detail.as_str());
                    Error::new(Code::BodyIncomplete, format!("at the second reading: {what}"))
                        .class(FailureClass::ObjectReadIncomplete)
                }
            })?)
        }
    };
    Ok(judged.verdict(look))
}

/// A segment could not be read: the pages are judged by those before it where it is damaged.
async fn without<I: Iterator<Item = Listed>>(
    lost: Lost,
    here: (TimelineId, SegmentNumber),
    feed: &mut Feed<'_, I>,
    base: &mut BaseRead,
) -> Result<(), Error> {
    match lost {
        Lost::Cancelled => {
            while let Some((listed, fetched)) = feed.landed().await {
                let end = match fetched {
                    Ok(coming) => coming.read(|_| ()).await?,
                    Err(lost) => Err(lost),
                };
                if matches!(end, Err(Lost::Once(_))) {
                    base.doubted.push((listed.timeline, listed.number));
                }
            }
            Err(interrupted())
        }
        Lost::Unread(error) => Err(error),
        Lost::Once(error) => {
            base.doubted.push(here);
            Err(error)
        }
        // Found as damage of the WAL itself.
        Lost::Damaged(_) => {
            base.doubted.push(here);
            Ok(())
        }
    }
}

fn suspects_note(backup: &Backup, pages: u64) -> String {
    format!(
        "backup `{}`: {pages} pages fail by their own bytes; its WAL is read to tell torn pages from damage",
        backup.id
    )
}

/// The segments from the backup's first one on, as far as there are any.
pub(super) fn segments<'a>(
    window: Window<'a>,
    wal: &'a WalIndex,
    size: SegmentSize,
) -> impl Iterator<Item = Listed> + use<'a> {
    let first = size.segment_of(window.begin).0;
    (first..).map_while(move |number| {
        let number = SegmentNumber(number);
        let timeline = window.path.timeline_of_segment(number, size);
        let object = wal.segment(timeline, number, size)?;
        Some(Listed { timeline, number, object })
    })
}
