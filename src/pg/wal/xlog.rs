//! Records of the log itself, `RM_XLOG` (`catalog/pg_control.h`, `access/xlog_internal.h`). The
//! fields read here stand at the same offsets in 14 to 18.

use super::field::{u32_at, u64_at};
use super::record::Record;
use super::scan::ParameterFloor;
use crate::pg::{Lsn, TimelineId};

pub(super) const CHECKPOINT_SHUTDOWN: u8 = 0x00;
pub(super) const CHECKPOINT_ONLINE: u8 = 0x10;
pub(super) const SWITCH: u8 = 0x40;
pub(super) const BACKUP_END: u8 = 0x50;
const PARAMETER_CHANGE: u8 = 0x60;
const RESTORE_POINT: u8 = 0x70;
const END_OF_RECOVERY: u8 = 0x90;
pub(super) const OVERWRITE_CONTRECORD: u8 = 0xD0;
const PAGE_IMAGE_FOR_HINT: u8 = 0xA0;
/// A page that is logged whole, mostly of a file that was written without WAL.
pub(super) const PAGE_IMAGE: u8 = 0xB0;
/// From 17.
pub(super) const CHECKPOINT_REDO: u8 = 0xE0;

/// What a record of the log says to recovery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogEvent<'a> {
    /// A shutdown checkpoint or the end of a recovery: the timeline from here on.
    Timeline {
        this: TimelineId,
        previous: TimelineId,
    },
    /// A checkpoint taken on this timeline.
    OnlineCheckpoint {
        timeline: TimelineId,
    },
    /// The end of the backup that started at this position.
    BackupEnd {
        start: Lsn,
    },
    ParameterChange {
        floor: ParameterFloor,
        minimal: bool,
    },
    RestorePoint {
        name: &'a [u8],
    },
}

/// What `record` says, `None` where it is of no account here. The error is a sentence.
pub(super) fn read<'a>(record: &Record<'a>) -> Result<Option<LogEvent<'a>>, &'static str> {
    let main = record.main;
    let event = match record.operation() {
        // `CheckPoint`: redo, ThisTimeLineID, PrevTimeLineID; `xl_end_of_recovery`: end_time and
        // the same two.
        CHECKPOINT_SHUTDOWN | END_OF_RECOVERY => timeline(main),
        CHECKPOINT_ONLINE => {
            u32_at(main, 8).map(|this| LogEvent::OnlineCheckpoint { timeline: TimelineId(this) })
        }
        BACKUP_END => u64_at(main, 0).map(|start| LogEvent::BackupEnd { start: Lsn(start) }),
        PARAMETER_CHANGE => parameter_change(main),
        RESTORE_POINT => restore_point(main),
        _ => return Ok(None),
    };
    event.map(Some).ok_or("The record is shorter than its kind allows.")
}

/// Whether records of this kind hold nothing but images of pages (`XLOG_FPI`, `XLOG_FPI_FOR_HINT`).
pub(super) const fn is_page_image(operation: u8) -> bool {
    matches!(operation, PAGE_IMAGE | PAGE_IMAGE_FOR_HINT)
}

fn timeline<'a>(main: &[u8]) -> Option<LogEvent<'a>> {
    let (this, previous) = (u32_at(main, 8)?, u32_at(main, 12)?);
    Some(LogEvent::Timeline { this: TimelineId(this), previous: TimelineId(previous) })
}

/// `xl_parameter_change`; the two flags after `wal_level` say nothing to recovery.
fn parameter_change<'a>(main: &[u8]) -> Option<LogEvent<'a>> {
    let floor = ParameterFloor {
        max_connections: u32_at(main, 0)?,
        max_worker_processes: u32_at(main, 4)?,
        max_wal_senders: u32_at(main, 8)?,
        max_prepared_transactions: u32_at(main, 12)?,
        max_locks_per_transaction: u32_at(main, 16)?,
    };
    Some(LogEvent::ParameterChange { floor, minimal: u32_at(main, 20)? == 0 })
}

/// `xl_restore_point`: a time and a name of at most `MAXFNAMELEN` (64) bytes with its final zero.
fn restore_point(main: &[u8]) -> Option<LogEvent<'_>> {
    let name = main.get(8..)?.split(|byte| *byte == 0).next()?;
    Some(LogEvent::RestorePoint { name })
}
