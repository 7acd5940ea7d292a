//! Several slots of a job have come at once: nobody was there for a while. The newest one counts.

use std::sync::Arc;

use super::{
    Cause, MissedRun, Why, instant,
    seat::{Due, Seat},
    second,
};
use crate::drill::timing::Missed;

/// Slots are counted up to this many.
const COUNTED: u32 = 10_000;

/// Takes the seat past all slots whose time to begin has come. `first` is the oldest of them. Gives the
/// newest, and the others as missed. The work does not grow with the time that has passed, but for the
/// count.
pub(super) fn newest(seat: &mut Seat, first: Due, now: i64, seed: u64) -> (Due, Option<MissedRun>) {
    let Some(calendar) = seat.entry.calendar.clone() else { return (first, None) };
    let newest_until = |until: i64| {
        calendar.newest(instant(first.slot), instant(until)).map_or(first.slot, second)
    };
    let due = |seat: &mut Seat, slot: i64| {
        seat.go_to(slot - 1);
        seat.next(seed).unwrap_or(first)
    };
    let mut reached = due(seat, newest_until(now));
    if reached.start > now {
        // The newest slot has come, but not yet its place in the window: it is the next one.
        reached = due(seat, newest_until(reached.slot - 1));
    }
    seat.due = seat.next(seed);
    if reached.slot == first.slot {
        return (first, None);
    }
    let before = instant(reached.slot);
    let between = calendar.slots_after(instant(first.slot)).take_while(|slot| *slot < before);
    let count = 1 + between.take(COUNTED as usize - 1).count() as u32;
    let too_late = seat.entry.deadline.is_some_and(|deadline| now - reached.start > deadline);
    let why = match seat.entry.missed {
        Missed::Skip => Why::Down,
        Missed::RunOnce if too_late => Why::Deadline,
        Missed::RunOnce => Why::Folded,
    };
    let cause = Cause::Slot(instant(newest_until(reached.slot - 1)));
    let missed = MissedRun { job: Arc::clone(&seat.entry.name), why, cause, count };
    (reached, Some(missed))
}
