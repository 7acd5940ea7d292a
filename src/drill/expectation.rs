//! What the archive promises: first by its listing, then, once the WAL has been read, to the record.

use serde::{Deserialize, Serialize};

use crate::pg::{Lsn, TimelineId};

/// From the listing alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// The timeline that recovery ends on, before it makes a new one.
    pub timeline: TimelineId,
    /// Replay reaches at least the backup's end.
    pub at_least: Lsn,
    /// Replay cannot go beyond the end of the newest planned segment.
    pub at_most: Lsn,
}

/// From the records of the planned range: exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub timeline: TimelineId,
    /// End of the last record that replay applies, aligned as PostgreSQL writes it to the new
    /// timeline's history file.
    pub end: Lsn,
    /// Time and transaction of the last commit or abort in WAL order that replay applies.
    pub last_transaction: Option<LastTransaction>,
}

/// `last completed transaction was at log time …`: a commit or an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransaction {
    pub at: jiff::Timestamp,
    pub xid: u32,
    pub lsn: Lsn,
    pub committed: bool,
}
