//! Whose turn it is to be read anew: each day a seventh, and what was missed. What no ledger can remember
//! goes round by runs, whenever these are.

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
    /// No run has come to know it, though one may have read it: it goes round. `behind` what is due.
    Round { behind: bool },
}

/// A run by its number: what goes round comes now before and now behind what is due, and of what goes round
/// come now backups first and now WAL. So none of them keeps another one from ever being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(pub u32);

impl Round {
    #[must_use]
    pub const fn standing(self) -> Standing {
        Standing::Round { behind: self.0 % 2 == 1 }
    }

    /// The order of a backup whose last turn was in the run `turn`.
    #[must_use]
    pub fn of_backup(self, turn: u32) -> u32 {
        Self::half(turn, (self.0 / 2) % 2 == 1)
    }

    /// The order of the part of the WAL that is the `place`th from where the last run has stopped.
    #[must_use]
    pub fn of_wal(self, place: usize) -> u32 {
        Self::half(u32::try_from(place).unwrap_or(u32::MAX), (self.0 / 2).is_multiple_of(2))
    }

    fn half(order: u32, second: bool) -> u32 {
        order.min(u32::MAX >> 1) | u32::from(second) << 31
    }
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
