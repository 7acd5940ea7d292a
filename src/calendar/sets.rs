//! What an expression matches, as bits, and the search for the next local second that it does.
//!
//! A local second is the reading of a zone's clock, counted from 1970-01-01T00:00:00 on that clock.

use super::civil::{DAY, date, day_number, days_in, weekday};

/// Bit `n` stands for the value `n`; bit 0 of the days of the week is Sunday.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    pub seconds: u64,
    pub minutes: u64,
    pub hours: u32,
    pub days: u32,
    pub months: u16,
    pub weekdays: u8,
    /// Both day fields are restricted: a day that either names is meant.
    pub either: bool,
}

/// Bits, and what is made of them once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sets {
    pub bits: Bits,
    /// Days of a month that begins with that day of the week, before its length is known.
    matching: [u32; 7],
    /// The first matching second of a day.
    first: u32,
}

/// Months of 400 years, after which weekdays and leap days come again.
const CYCLE: u32 = 400 * 12;

impl Sets {
    pub(super) fn new(bits: Bits) -> Self {
        let mut matching = [0; 7];
        for (begins, days) in matching.iter_mut().enumerate() {
            for day in 1..=31 {
                let named = bits.days >> day & 1 == 1;
                let of_week = bits.weekdays >> ((begins + day - 1) % 7) & 1 == 1;
                let hit = if bits.either { named || of_week } else { named && of_week };
                *days |= u32::from(hit) << day;
            }
        }
        let sets = Self { bits, matching, first: 0 };
        Self { first: sets.time_from(0).unwrap_or(0), ..sets }
    }

    /// The days of a month that match.
    fn days_of(&self, year: i32, month: u32, begins: i64) -> u32 {
        self.matching[weekday(begins) as usize] & (u32::MAX >> (31 - days_in(year, month)))
    }

    /// Whether any day ever matches.
    pub(super) fn ever(&self) -> bool {
        let months = (0..CYCLE).map(|month| (2000 + (month / 12).cast_signed(), month % 12 + 1));
        months
            .filter(|(_, month)| self.bits.months >> month & 1 == 1)
            .any(|(year, month)| self.days_of(year, month, day_number(year, month, 1)) != 0)
    }

    /// The first matching second of a day at or after `second`.
    fn time_from(&self, second: u32) -> Option<u32> {
        let bits = &self.bits;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let least = |hours: u32| {
            let hour = hours.trailing_zeros();
            hour * 3600 + bits.minutes.trailing_zeros() * 60 + bits.seconds.trailing_zeros()
        };
        if bits.hours >> hour & 1 == 1 {
            if bits.minutes >> minute & 1 == 1 {
                let seconds = bits.seconds & (u64::MAX << second);
                if seconds != 0 {
                    return Some(hour * 3600 + minute * 60 + seconds.trailing_zeros());
                }
            }
            let minutes = bits.minutes & (u64::MAX << (minute + 1));
            if minutes != 0 {
                let minute = minutes.trailing_zeros();
                return Some(hour * 3600 + minute * 60 + bits.seconds.trailing_zeros());
            }
        }
        let hours = bits.hours & (u32::MAX << (hour + 1));
        (hours != 0).then(|| least(hours))
    }

    /// The first matching local second at or after `from` and before `end`. The work grows with the
    /// months between, not with the days.
    pub(super) fn next(&self, from: i64, end: i64) -> Option<i64> {
        if from >= end {
            return None;
        }
        let today = from.div_euclid(DAY);
        let (mut year, mut month, day) = date(today);
        let mut begins = today - i64::from(day) + 1;
        let mut wanted = u32::MAX << day;
        loop {
            if self.bits.months >> month & 1 == 1 {
                let mut days = self.days_of(year, month, begins) & wanted;
                if days >> day & 1 == 1 && begins + i64::from(day) - 1 == today {
                    if let Some(time) = self.time_from(from.rem_euclid(DAY) as u32) {
                        let found = today * DAY + i64::from(time);
                        return (found < end).then_some(found);
                    }
                    days &= !(1 << day);
                }
                if days != 0 {
                    let found = begins + i64::from(days.trailing_zeros()) - 1;
                    let found = found * DAY + i64::from(self.first);
                    return (found < end).then_some(found);
                }
            }
            begins += i64::from(days_in(year, month));
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            wanted = u32::MAX;
            if begins * DAY >= end {
                return None;
            }
        }
    }
}
