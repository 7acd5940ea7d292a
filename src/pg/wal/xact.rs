//! Ends of transactions, `RM_XACT` (`access/xact.h`, `xactdesc.c`).

use jiff::Timestamp;

use super::field::{i64_at, u32_at};
use super::record::{RM_XACT, Record};
use super::scan::TransactionEnd;
use crate::pg::{Lsn, Major};

const OPERATION_MASK: u8 = 0x70;
const COMMIT: u8 = 0x00;
const ABORT: u8 = 0x20;
const COMMIT_PREPARED: u8 = 0x30;
const ABORT_PREPARED: u8 = 0x40;
const HAS_INFO: u8 = 0x80;

/// Microseconds from 1970 to 2000, the epoch of `TimestampTz`.
const EPOCH: i64 = 946_684_800_000_000;

/// A commit or an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub xid: u32,
    pub committed: bool,
    /// `TimestampTz`: microseconds since 2000-01-01 UTC.
    pub time: i64,
}

impl Ending {
    pub(super) fn of(self, record: &Record<'_>) -> TransactionEnd {
        self.at(record.start)
    }

    /// As the record that begins at `lsn` says it.
    pub(super) fn at(self, lsn: Lsn) -> TransactionEnd {
        let Self { xid, committed, time } = self;
        TransactionEnd { lsn, at: timestamp(time), xid, committed }
    }
}

impl Record<'_> {
    /// The end of a transaction that this record tells of, of a prepared one too.
    #[must_use]
    pub fn transaction_end(&self, major: Major) -> Option<TransactionEnd> {
        let ending = if self.rmid == RM_XACT { read(self, major).ok()? } else { None };
        ending.map(|ending| ending.of(self))
    }
}

/// How the transaction of this record ended; `None` for the other records of this manager. The
/// error is a sentence.
pub(super) fn read(record: &Record<'_>, major: Major) -> Result<Option<Ending>, &'static str> {
    let (committed, prepared) = match record.info & OPERATION_MASK {
        COMMIT => (true, false),
        ABORT => (false, false),
        COMMIT_PREPARED => (true, true),
        ABORT_PREPARED => (false, true),
        _ => return Ok(None),
    };
    let ending = || {
        let time = i64_at(record.main, 0)?;
        let xid = if prepared { prepared_xid(record, major, committed)? } else { record.xid };
        Some(Ending { xid, committed, time })
    };
    ending().map(Some).ok_or("The transaction's end is shorter than its flags say.")
}

/// `ParseCommitRecord` and `ParseAbortRecord` up to `xl_xact_twophase`: who ends a prepared
/// transaction has no transaction of its own.
fn prepared_xid(record: &Record<'_>, major: Major, committed: bool) -> Option<u32> {
    let main = record.main;
    if record.info & HAS_INFO == 0 {
        return None;
    }
    let flags = u32_at(main, 8)?;
    let mut at = if flags & 1 == 0 { 12 } else { 20 };
    let mut skip_list = |flag: u32, item: usize| {
        if flags & flag != 0 {
            let items = u32_at(main, at)? as usize;
            at = at.checked_add(4)?.checked_add(items.checked_mul(item)?)?;
        }
        Some(())
    };
    // Subtransactions, relation files, dropped statistics (from 15), invalidation messages.
    skip_list(1 << 1, 4)?;
    skip_list(1 << 2, 12)?;
    skip_list(1 << 8, if major == Major::V18 { 16 } else { 12 })?;
    if committed {
        skip_list(1 << 3, 16)?;
    }
    if flags & (1 << 4) == 0 {
        return None;
    }
    u32_at(main, at)
}

/// A `TimestampTz` as a point in time; beyond the calendar of [`Timestamp`] its nearest end.
pub(super) fn timestamp(time: i64) -> Timestamp {
    let clamp = if time < 0 { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(EPOCH).and_then(|t| Timestamp::from_microsecond(t).ok()).unwrap_or(clamp)
}

/// The `TimestampTz` that PostgreSQL makes of a target: rounded to microseconds.
pub(super) fn target_time(target: Timestamp) -> i64 {
    let micros = (target.as_nanosecond() + 500).div_euclid(1000) - i128::from(EPOCH);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}
