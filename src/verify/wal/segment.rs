//! One segment, read as what comes next on its timeline.

use super::{Listed, stretches::BackupEnd};
use crate::{
    drill::{Code, Error},
    pg::{
        Lsn,
        wal::{
            storage::{RM_DBASE, StorageEvent},
            walk::{Broken, WalWalk},
        },
    },
    restore::wal::Buffers,
};

/// What a segment says.
#[derive(Default)]
pub(super) struct SegmentRead {
    pub broken: Vec<Broken>,
    pub ends: Vec<BackupEnd>,
    /// What is done to databases as a whole, and where its record begins.
    pub databases: Vec<(Lsn, StorageEvent)>,
}

/// Reads one segment off the threads that run futures.
pub(super) async fn scan(
    walk: &mut WalWalk,
    listed: &Listed,
    bytes: Vec<u8>,
    buffers: &Buffers,
) -> Result<SegmentRead, Error> {
    let (mut moved, buffers) = (walk.clone(), buffers.clone());
    let (timeline, number) = (listed.timeline, listed.number);
    let work = move || {
        let (mut ends, mut databases) = (Vec::new(), Vec::new());
        let major = moved.major();
        let broken = moved.segment(timeline, number, &bytes, |record| {
            if record.rmid == RM_DBASE
                && let Some(event) = record.storage_event(major)
            {
                databases.push((record.start, event));
            }
            if let Some(start) = record.ended_backup() {
                ends.push(BackupEnd { start, timeline, segment: number, end: record.end });
            }
        });
        buffers.give(bytes);
        (moved, SegmentRead { broken, ends, databases })
    };
    let (moved, read) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Bug, format!("reading WAL ended: {error}")))?;
    *walk = moved;
    Ok(read)
}
