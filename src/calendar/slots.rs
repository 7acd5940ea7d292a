//! The instants at which a schedule has a slot.
//!
//! Clocks that are put forward skip local times, clocks that are put back repeat some. A schedule whose
//! hour and minute are fixed names times of the day: one that is skipped is made good once, at the end
//! of the gap; one that is repeated counts the first time only. A schedule with `*` or a step in its
//! hour or minute says how often: it has a slot whenever the clock shows a time that matches, so what is
//! repeated is there twice and what is skipped is not made good. That is how crontab(5) of Debian has
//! it, for every size of change.

use jiff::Timestamp;

use super::{
    expression::Expression,
    refusal::Refusal,
    sets::Sets,
    zone::{Piece, Zone, instant},
};

/// A schedule in a zone: what has slots. Cheap beside the expression that it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    sets: Sets,
    moving: bool,
    zone: Zone,
}

/// Where somebody is in a calendar. It belongs to the calendar that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    piece: Piece,
    /// Slots up to this second of Unix time are behind.
    after: i64,
}

impl Calendar {
    #[must_use]
    pub fn new(expression: &Expression, zone: Zone) -> Self {
        Self { sets: *expression.sets(), moving: expression.keeps_rhythm(), zone }
    }

    /// From texts; without a zone's name in UTC.
    ///
    /// # Errors
    /// What [`Expression::parse`] and [`Zone::named`] say.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, Refusal> {
        let zone = zone.map_or_else(|| Ok(Zone::utc()), Zone::named)?;
        Ok(Self::new(&Expression::parse(expression)?, zone))
    }

    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first slot after an instant; a slot at the instant itself is not after it. `None` at the end
    /// of time (year 9999).
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.advance(&mut self.cursor(at))
    }

    /// All slots after an instant.
    #[must_use]
    pub fn slots_after(&self, at: Timestamp) -> Slots<'_> {
        Slots { calendar: self, cursor: self.cursor(at) }
    }

    /// A place to go on from with [`Self::advance`].
    #[must_use]
    pub fn cursor(&self, at: Timestamp) -> Cursor {
        // Rounds towards zero: before 1970 that is up.
        let after = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
        Cursor { piece: self.zone.piece(after + 1), after }
    }

    /// The next slot, and the cursor behind it. Many times cheaper than [`Self::next_after`], since the
    /// zone is asked twice a year only.
    pub fn advance(&self, cursor: &mut Cursor) -> Option<Timestamp> {
        let Cursor { piece, after } = cursor;
        loop {
            if let Some(found) = self.within(piece, *after) {
                *after = found;
                return Some(instant(found));
            }
            if piece.end >= Timestamp::MAX.as_second() {
                return None;
            }
            *after = (*after).max(piece.end - 1);
            *piece = self.zone.piece(piece.end);
        }
    }

    /// The newest slot after one instant and not after another. `None` where there is none.
    #[must_use]
    pub fn newest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut found = self.next_after(after).filter(|slot| *slot <= until)?;
        // `next_after` never goes back: half of what is left is asked for each time.
        let (mut low, mut high) = (found.as_second(), until.as_second());
        while low < high {
            let middle = low + (high - low + 1) / 2;
            match self.next_after(instant(middle - 1)).filter(|slot| *slot <= until) {
                Some(slot) => {
                    found = slot;
                    low = slot.as_second().max(middle);
                }
                None => high = middle - 1,
            }
        }
        Some(found)
    }

    /// The first slot after a second of Unix time, in one piece.
    fn within(&self, piece: &Piece, after: i64) -> Option<i64> {
        let from = (after + 1).max(piece.start);
        let mut local = from + piece.offset;
        if !self.moving {
            let opens = piece.opens();
            if from == piece.start && self.sets.next(piece.seen, opens).is_some() {
                return Some(piece.start);
            }
            local = local.max(piece.seen);
        }
        Some(self.sets.next(local, piece.closes())? - piece.offset)
    }
}

/// Slots in their order; [`Calendar::slots_after`].
#[derive(Clone, Debug)]
pub struct Slots<'a> {
    calendar: &'a Calendar,
    cursor: Cursor,
}

impl Iterator for Slots<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.calendar.advance(&mut self.cursor)
    }
}
