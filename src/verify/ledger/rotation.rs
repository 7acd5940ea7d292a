//! Whose turn it is to be read anew: each day a seventh, and what was missed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Every object is read at least once in so many days.
pub const PERIOD: u32 = 7;

/// Days since 1970, UTC: two runs of one day are one turn, whatever their hours.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Day(pub u32);

impl Day {
    /// The day of a moment; those before 1970 are its first.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.as_second().div_euclid(86_400)).unwrap_or(0))
    }

    /// Such as `2026-11-22`.
    #[must_use]
    pub fn date(self) -> String {
        let at = Timestamp::from_second(i64::from(self.0) * 86_400).unwrap_or(Timestamp::MAX);
        at.strftime("%Y-%m-%d").to_string()
    }
}

/// What the ledger says of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Never read, or replaced since, or without an entity tag that could tell.
    Unread,
    /// Good when it was read, and its turn to be read anew has come.
    Due(Day),
    /// Good when it was read, not long ago.
    Good(Day),
}

/// What was read on this day, today. `group` decides when its turn comes: what is to be read together
/// has the same.
#[must_use]
pub fn standing(group: u64, read: Option<Day>, today: Day) -> Standing {
    match read {
        Some(read) if is_due(group, read, today) => Standing::Due(read),
        Some(read) if read <= today => Standing::Good(read),
        // By a clock that went wrong, which then tells nothing.
        _ => Standing::Unread,
    }
}

/// Whether the group's day of the week has come since it was read: so one that was skipped is caught up
/// with in the next run.
pub(super) fn is_due(group: u64, read: Day, today: Day) -> bool {
    let slot = (group % u64::from(PERIOD)) as u32;
    // The last day until today that is the group's.
    let since = (today.0 % PERIOD + PERIOD - slot) % PERIOD;
    today.0.checked_sub(since).is_some_and(|turn| turn > read.0)
}
