//! The `.backup` files among the WAL: PostgreSQL's own record of each backup of a primary. No recovery
//! asks for them, but they say where a backup ended, which nothing else in the archive says but
//! `backup.info`.

use futures_util::{StreamExt as _, stream};

use super::{Reading, interrupted, tally::Tally};
use crate::{
    archive::{Backup, Catalog, ObjectRef},
    drill::{Code, Error, FailureClass, Finding},
    pg::{SegmentSize, WalFileName, backup_label::BackupHistory},
    restore::codec::decode_small,
    store::{GetRange, read_all},
};

/// A label of ours and two lines more; barman's takes some hundred bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Read at the same time.
const CONCURRENCY: usize = 8;

/// What became of one.
type Read = Result<Result<BackupHistory, String>, Error>;

/// Reads every `.backup` file and holds it against the backup that it is of.
///
/// # Errors
/// The caller cancelled.
pub(super) async fn read(
    reading: &Reading<'_>,
    catalog: &Catalog,
    tally: &mut Tally,
) -> Result<(), Error> {
    let mut files = stream::iter(catalog.wal.labels().to_vec())
        .map(|(name, object)| async move {
            let read = twice(reading, &object).await;
            (name, object, read)
        })
        .buffered(CONCURRENCY);
    loop {
        let next = reading.cancel.run_until_cancelled(files.next()).await;
        let Some(next) = next else { return Err(interrupted()) };
        let Some((name, object, read)) = next else { return Ok(()) };
        tally.volume.objects += 1;
        match read {
            Err(error) => tally.error(error),
            Ok(Err(why)) => tally.attention(unreadable(&object, &why)),
            Ok(Ok(history)) => judge(catalog, &name, &object, &history, tally),
        }
    }
}

/// One that cannot be read is read once more: stores and networks err once.
async fn twice(reading: &Reading<'_>, object: &ObjectRef) -> Read {
    match once(reading, object).await {
        Ok(Err(_)) => once(reading, object).await,
        read => read,
    }
}

async fn once(reading: &Reading<'_>, object: &ObjectRef) -> Read {
    if object.size > MAX_BYTES {
        return Ok(Err(format!("it has {} bytes", object.size)));
    }
    let range = GetRange { if_match: object.etag.as_deref(), ..GetRange::whole(&object.key) };
    let bytes = match read_all(&**reading.store, range, MAX_BYTES as usize).await {
        Ok(bytes) => bytes,
        // Retention removes what it does not need; nobody needs this.
        Err(error) if matches!(error.code, Code::ObjectMissing | Code::ObjectChanged) => {
            return Ok(Err(error.message));
        }
        Err(error) => return Err(error),
    };
    reading.fetched(bytes.len() as u64);
    let text = decode_small(object.codec, &bytes, MAX_BYTES)
        .map_err(|error| format!("it does not decode: {error}"))
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
    Ok(text.and_then(|text| BackupHistory::parse(&text).map_err(|error| error.to_string())))
}

fn unreadable(object: &ObjectRef, why: &str) -> Finding {
    Finding::new(
        FailureClass::WalCorrupt,
        object.key.clone(),
        format!("the record of a backup, which no recovery reads, cannot be read: {why}"),
        "Nothing is lost; find out what wrote or damaged the object.",
    )
}

fn judge(
    catalog: &Catalog,
    name: &WalFileName,
    object: &ObjectRef,
    history: &BackupHistory,
    tally: &mut Tally,
) {
    let Some(backup) = catalog.backups.iter().find(|backup| is_of(backup, history)) else {
        return;
    };
    let Ok(info) = &backup.info else { return };
    if !fits(name, history, info.segment_size.unwrap_or(SegmentSize::DEFAULT)) {
        let why = format!(
            "it begins at {}, which its name does not say",
            history.label.start_wal_location
        );
        tally.attention(unreadable(object, &why));
        return;
    }
    let stop = history.stop_wal_location;
    // Barman asks for the place after a backup by pg_basebackup has ended: it may lie behind.
    if let Some(end) = info.end_xlog
        && end < stop
    {
        tally.catalog(
            Finding::new(
                FailureClass::BackupInfoMismatch,
                format!("base/{}/backup.info", backup.id),
                format!(
                    "`end_xlog` is {end}, but PostgreSQL wrote in `{}` that the backup ended at {stop}",
                    object.key
                ),
                "Find out which tool wrote this `backup.info`, and take a new base backup.",
            )
            .at(stop),
        );
    }
}

/// A backup's start is its own, as is the second in which it was taken: a clone's may have the same
/// start.
fn is_of(backup: &Backup, history: &BackupHistory) -> bool {
    let Ok(info) = &backup.info else { return false };
    let label = &history.label;
    let time = info.label_time().is_some_and(|time| Some(time) == label.start_time.as_deref());
    time && info.timeline == Some(label.timeline)
        && info.replay_start() == Some(label.start_wal_location)
}

fn fits(name: &WalFileName, history: &BackupHistory, size: SegmentSize) -> bool {
    let WalFileName::BackupLabel { timeline, log, seg, offset } = *name else { return false };
    let start = history.label.start_wal_location;
    let number = size.segment_of(start);
    timeline == history.label.timeline
        && WalFileName::number(log, seg, size) == Some(number)
        && u64::from(offset) == start.0 - number.start(size).0
}
