//! One segment, read as what comes next on its timeline.

use std::{collections::BTreeSet, sync::Arc};

use super::{Listed, stretches::BackupEnd};
use crate::{
    drill::Error,
    pg::{
        Lsn,
        wal::{
            checkpoint::Beginning,
            storage::{RM_DBASE, StorageEvent},
            walk::{Broken, WalWalk, Walked},
        },
    },
    verify::{
        Reading,
        feed::{Coming, Fetched, Lost, fetch},
    },
};

/// What a segment says.
#[derive(Default)]
pub(super) struct SegmentRead {
    pub broken: Vec<Broken>,
    pub ends: Vec<BackupEnd>,
    /// What is done to databases as a whole, and where its record begins.
    pub databases: Vec<(Lsn, StorageEvent)>,
    /// The records that begin where recovery of a backup looks for one.
    pub beginnings: Vec<(Lsn, Beginning)>,
    /// See [`crate::pg::wal::walk::Walked::again`].
    pub again: bool,
}

/// Reads one segment; `walk` stays where it was if that is lost. Of the records that begin at places that
/// are `asked` about it tells what they are.
pub(super) async fn read(
    reading: &Reading<'_>,
    walk: &mut WalWalk,
    listed: &Listed,
    fetched: Fetched,
    asked: &Arc<BTreeSet<Lsn>>,
) -> Result<Result<SegmentRead, Lost>, Error> {
    let size = walk.segment_size();
    let mut fetched = fetched;
    loop {
        match fetched {
            Err(lost) => return Ok(Err(lost)),
            Ok(coming) => match scan(walk, listed, coming, asked).await? {
                Err(lost) => return Ok(Err(lost)),
                Ok(Some(read)) => return Ok(Ok(read)),
                // Nothing is left out the second time.
                Ok(None) => fetched = fetch(reading, &listed.object, size).await,
            },
        }
    }
}

/// Reads what comes of a segment; `None`, and `walk` as it was, where it needs a page that was left out.
async fn scan(
    walk: &mut WalWalk,
    listed: &Listed,
    coming: Coming,
    asked: &Arc<BTreeSet<Lsn>>,
) -> Result<Result<Option<SegmentRead>, Lost>, Error> {
    let mut moved = walk.clone();
    let asked = Arc::clone(asked);
    let (timeline, number) = (listed.timeline, listed.number);
    let read = coming.read(move |pages| {
        let (mut ends, mut databases, mut beginnings) = (Vec::new(), Vec::new(), Vec::new());
        let major = moved.major();
        let walked = moved.pages(timeline, number, &mut *pages, |record| {
            if record.rmid == RM_DBASE
                && let Some(event) = record.storage_event(major)
            {
                databases.push((record.start, event));
            }
            if asked.contains(&record.start) {
                beginnings.push((record.start, record.beginning()));
            }
            if let Some(start) = record.ended_backup() {
                ends.push(BackupEnd { start, timeline, segment: number, end: record.end });
            }
        });
        let Walked { broken, again } = walked;
        let read = SegmentRead { broken, ends, databases, beginnings, again };
        (!pages.missed()).then_some((moved, read))
    });
    Ok(read.await?.map(|read| {
        let (moved, read) = read?;
        *walk = moved;
        Some(read)
    }))
}

#[cfg(test)]
mod tests;
