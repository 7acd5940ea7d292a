//! What recovery really reached, as the recovered cluster's own files and log tell it.

use serde::Serialize;

use crate::pg::{Lsn, TimelineId};

/// The outcome of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The timeline that replay ended on: the parent in the new timeline's history file.
    pub timeline: TimelineId,
    /// The timeline that the promotion made.
    pub new_timeline: TimelineId,
    /// The switch point in the new timeline's history file: the end of the last replayed record.
    pub end: Lsn,
    /// The server log's `last completed transaction was at log time`.
    pub last_transaction_at: Option<jiff::Timestamp>,
}
