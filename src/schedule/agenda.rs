//! Who drills when: a state machine without a clock.
//!
//! It is told which jobs there are, what time it is, which drills have ended and which backups have
//! appeared, and answers which drills begin, which are to be ended, what was missed and why, and when
//! to ask again. The same calls in the same order give the same answers, also after a restart: where
//! in its window a slot begins follows from the seed, the job's name and the slot.
//!
//! A slot that has come becomes a run in the line (`line`), and a run that fits into what the budgets
//! leave (`room`) becomes a drill. Work grows with what happens, not with the number of jobs.

mod backlog;
mod entry;
mod line;
mod room;
mod seat;
mod spread;
mod turn;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use self::{
    line::Line,
    room::Room,
    seat::{Due, Running, Seat, Waiting},
};
use crate::drill::timing::{Missed, Overlap};

pub use entry::Entry;
pub use room::{Budgets, Need};
pub use turn::{Cancel, Cause, MissedRun, NotAsked, Start, Ticket, Turn, Wait, Why};

/// What begins later than this, in seconds, was not begun because nobody was there.
const TOLERANCE: i64 = 60;

/// Jobs, what they wait for, and what runs. All inner times are seconds of Unix time.
#[derive(Debug)]
pub struct Agenda {
    seed: u64,
    room: Room,
    seats: Vec<Seat>,
    names: HashMap<Arc<str>, u32>,
    /// Seats that nobody sits in.
    empty: Vec<u32>,
    alarms: BinaryHeap<Reverse<Alarm>>,
    line: Line,
    /// Runs that came in this turn.
    fresh: Vec<u32>,
    turn: Turn,
}

/// When to look at a seat, and at what. It counts only if the seat still has that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    at: i64,
    seat: u32,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Slot,
    Backup,
    Deadline,
}

impl Agenda {
    #[must_use]
    pub fn new(budgets: Budgets, seed: u64) -> Self {
        Self {
            seed,
            room: Room::new(budgets),
            seats: Vec::new(),
            names: HashMap::new(),
            empty: Vec::new(),
            alarms: BinaryHeap::new(),
            line: Line::default(),
            fresh: Vec::new(),
            turn: Turn::default(),
        }
    }

    /// Adds a job, or changes the one of that name; a drill of it that runs goes on.
    ///
    /// `last` is the newest slot of it that a drill began for or that was told as missed, from before
    /// a restart: what has come since then was missed. Without it a new job begins with the next slot,
    /// and so does a job whose schedule or time zone has changed.
    pub fn put(&mut self, entry: Entry, last: Option<Timestamp>, now: Timestamp) {
        let number = match self.names.get(&entry.name) {
            Some(number) => *number,
            None => self.sit(&entry),
        };
        let seat = &mut self.seats[number as usize];
        let same = seat.entry.calendar == entry.calendar;
        let from = match (seat.present, seat.due) {
            (true, Some(due)) if same => due.slot - 1,
            (true, _) => second(now),
            (false, _) => last.map_or(second(now), second),
        };
        let before = seat.due;
        seat.take(entry, from, self.seed);
        if let Some(due) = seat.due.filter(|due| Some(*due) != before) {
            self.alarms.push(Reverse(Alarm { at: due.start, seat: number, of: Of::Slot }));
        }
        if !seat.entry.after_backup
            && let Some(trigger) = seat.trigger.take()
        {
            self.turn.miss(&seat.entry.name, Why::Changed, Cause::Backup(instant(trigger.slot)));
        }
        if self.line.remove(number) {
            self.stand_in_line(number);
        }
    }

    /// Forgets a job. What waits is left out; a drill of it that runs goes on to its end.
    pub fn remove(&mut self, name: &str) {
        let Some(number) = self.names.get(name).copied() else { return };
        let seat = &mut self.seats[number as usize];
        let trigger = seat.trigger.take().map(|due| Cause::Backup(instant(due.slot)));
        let waiting = seat.waiting.take().map(|waiting| waiting.cause);
        for cause in trigger.into_iter().chain(waiting) {
            self.turn.miss(&seat.entry.name, Why::Removed, cause);
        }
        seat.leave();
        self.line.remove(number);
        if seat.running.is_none() {
            self.stand_up(number);
        }
    }

    /// Changes the budgets. Drills that run go on, also where they are more than is allowed now.
    pub fn set_budgets(&mut self, budgets: Budgets) {
        self.room.set(budgets);
        for number in self.line.all() {
            self.line.remove(number);
            self.stand_in_line(number);
        }
    }

    /// A base backup of a job's archive has appeared; `backup` is its time, which tells it from others.
    pub fn backup_appeared(&mut self, name: &str, backup: Timestamp, now: Timestamp) {
        let Some(number) = self.names.get(name).copied() else { return };
        let seat = &mut self.seats[number as usize];
        if !seat.entry.after_backup || !seat.present {
            return;
        }
        if let Some(before) = seat.trigger.take() {
            self.turn.miss(&seat.entry.name, Why::Folded, Cause::Backup(instant(before.slot)));
        }
        let slot = second(backup);
        let start = second(now) + spread::within(seat.entry.window, self.seed, seat.hash, slot);
        seat.trigger = Some(Due { slot, start });
        self.alarms.push(Reverse(Alarm { at: start, seat: number, of: Of::Backup }));
    }

    /// Somebody asks for a drill of a job. It comes into the line at once, and begins with the next
    /// [`Self::advance`] where there is room. Two drills of a job never run beside each other, whatever the
    /// job says of slots that overlap.
    ///
    /// # Errors
    /// Why it will not begin.
    pub fn ask(&mut self, name: &str, now: Timestamp) -> Result<(), NotAsked> {
        let number = self.names.get(name).copied().ok_or(NotAsked::Unknown)?;
        let seat = &self.seats[number as usize];
        match (seat.present, &seat.running, &seat.waiting) {
            (false, ..) => return Err(NotAsked::Unknown),
            (true, Some(_), _) => return Err(NotAsked::Runs),
            (true, None, Some(_)) => return Err(NotAsked::Waits),
            (true, None, None) => {}
        }
        if !self.room.ever_fits(&seat.entry.need) {
            return Err(NotAsked::TooLarge);
        }
        self.request(number, Cause::Hand(now), second(now), second(now));
        Ok(())
    }

    /// A drill has ended, in whatever way. Ask [`Self::advance`] next: somebody may have waited for its
    /// place. A ticket that was given back before changes nothing.
    pub fn finished(&mut self, drill: Ticket) {
        let number = drill.seat;
        let Some(seat) = self.seats.get_mut(number as usize) else { return };
        let Some(running) = seat.running.take_if(|_| seat.drills == drill.number) else { return };
        self.room.leave(&running.need);
        if seat.present {
            self.stand_in_line(number);
        } else {
            self.stand_up(number);
        }
    }

    /// What is to be done at `now`.
    pub fn advance(&mut self, now: Timestamp) -> Turn {
        let now = second(now);
        while let Some(Reverse(alarm)) = self.alarms.peek().copied() {
            if alarm.at > now {
                break;
            }
            self.ring(alarm, now);
        }
        self.begin(now);
        // Those that still wait are looked at when their deadline has passed.
        for number in self.fresh.drain(..) {
            let expires = self.seats[number as usize].waiting.and_then(|waiting| waiting.expires);
            if let Some(expires) = expires {
                self.alarms.push(Reverse(Alarm { at: expires, seat: number, of: Of::Deadline }));
            }
        }
        std::mem::take(&mut self.turn)
    }

    /// When to ask again, if nothing else happens before.
    pub fn wake(&mut self) -> Option<Timestamp> {
        while let Some(Reverse(alarm)) = self.alarms.peek() {
            if self.seats[alarm.seat as usize].has(alarm) {
                return Some(instant(alarm.at));
            }
            self.alarms.pop();
        }
        None
    }

    /// What has come and not begun, in the order in which it would begin, then what waits for the drill
    /// before it.
    #[must_use]
    pub fn waiting(&self) -> Vec<Wait> {
        let of = |number: u32, behind: bool| {
            let seat = &self.seats[number as usize];
            let waiting = seat.waiting?;
            let (job, since) = (Arc::clone(&seat.entry.name), instant(waiting.since));
            Some(Wait { job, cause: waiting.cause, since, behind_its_own: behind })
        };
        let in_line = self.line.all().into_iter().filter_map(|number| of(number, false));
        let behind = (0..).zip(&self.seats).filter(|(_, seat)| seat.running.is_some());
        in_line.chain(behind.filter_map(|(number, _)| of(number, true))).collect()
    }

    /// The next slot of a job that has not come yet, and when in its window its drill is to begin.
    #[must_use]
    pub fn next_slot(&self, name: &str) -> Option<(Timestamp, Timestamp)> {
        let due = self.seats[*self.names.get(name)? as usize].due?;
        Some((instant(due.slot), instant(due.start)))
    }

    /// What to give [`Self::put`] as `last` after a restart: every slot up to it has begun a drill or was
    /// told as missed. Slots behind one that still waits may be told once more.
    #[must_use]
    pub fn settled(&self, name: &str) -> Option<Timestamp> {
        let seat = &self.seats[*self.names.get(name)? as usize];
        let waiting = seat.waiting.and_then(|waiting| match waiting.cause {
            Cause::Slot(slot) => Some(second(slot)),
            Cause::Backup(_) | Cause::Hand(_) => None,
        });
        let open = waiting.or(seat.due.map(|due| due.slot))?;
        Some(instant(open - 1))
    }

    /// The drill of a job that runs.
    #[must_use]
    pub fn running(&self, name: &str) -> Option<Ticket> {
        let number = *self.names.get(name)?;
        let seat = &self.seats[number as usize];
        seat.running.map(|_| Ticket { seat: number, number: seat.drills })
    }

    fn sit(&mut self, entry: &Entry) -> u32 {
        let number = self.empty.pop().unwrap_or_else(|| {
            self.seats.push(Seat::empty());
            self.seats.len() as u32 - 1
        });
        self.names.insert(Arc::clone(&entry.name), number);
        number
    }

    fn stand_up(&mut self, number: u32) {
        let seat = std::mem::replace(&mut self.seats[number as usize], Seat::empty());
        // Tickets of drills that are long gone must not be those of new ones.
        self.seats[number as usize].drills = seat.drills;
        self.names.remove(&seat.entry.name);
        self.empty.push(number);
    }

    /// The first alarm is due.
    fn ring(&mut self, alarm: Alarm, now: i64) {
        let seat = &mut self.seats[alarm.seat as usize];
        if !seat.has(&alarm) {
            self.alarms.pop();
            return;
        }
        match alarm.of {
            Of::Slot => {
                let Some(due) = seat.due else { return };
                seat.due = seat.next(self.seed);
                let reached = match seat.due {
                    Some(next) if next.start <= now => {
                        let (due, left_out) = backlog::newest(seat, due, now, self.seed);
                        self.turn.missed.extend(left_out);
                        due
                    }
                    _ => due,
                };
                // The alarm of the next slot takes the place of this one: one sift instead of two.
                match (seat.due, self.alarms.peek_mut()) {
                    (Some(next), Some(mut top)) => top.0.at = next.start,
                    (None, Some(top)) => {
                        std::collections::binary_heap::PeekMut::pop(top);
                    }
                    (_, None) => {}
                }
                self.slot_has_come(alarm.seat, reached, now);
            }
            Of::Backup => {
                self.alarms.pop();
                if let Some(due) = self.seats[alarm.seat as usize].trigger.take() {
                    let cause = Cause::Backup(instant(due.slot));
                    self.request(alarm.seat, cause, due.start, now);
                }
            }
            Of::Deadline => {
                self.alarms.pop();
                self.line.remove(alarm.seat);
                self.drop_waiting(alarm.seat, Why::Deadline);
            }
        }
    }

    fn slot_has_come(&mut self, number: u32, due: Due, now: i64) {
        let seat = &self.seats[number as usize];
        let cause = Cause::Slot(instant(due.slot));
        if now - due.start > TOLERANCE && seat.entry.missed == Missed::Skip {
            self.turn.miss(&seat.entry.name, Why::Down, cause);
            return;
        }
        self.request(number, cause, due.start, now);
    }

    /// Something asks for a drill.
    fn request(&mut self, number: u32, cause: Cause, since: i64, now: i64) {
        let seat = &mut self.seats[number as usize];
        let name = &seat.entry.name;
        // A second after the deadline it is too late.
        let expires = seat.entry.deadline.map(|deadline| since.saturating_add(deadline) + 1);
        if expires.is_some_and(|expires| now >= expires) {
            return self.turn.miss(name, Why::Deadline, cause);
        }
        if !self.room.ever_fits(&seat.entry.need) {
            return self.turn.miss(name, Why::TooLarge, cause);
        }
        let mut waiting = Waiting { cause, since, expires };
        match (&mut seat.running, seat.waiting, seat.entry.overlap) {
            (None, None, _) => self.line.insert(seat.key(&waiting), number),
            (_, Some(before), Overlap::Replace) => {
                self.turn.miss(name, Why::Replaced, before.cause);
                // It keeps its place in the line.
                waiting.since = before.since;
            }
            (_, Some(_), _) | (Some(_), None, Overlap::Forbid) => {
                return self.turn.miss(name, Why::Overlap, cause);
            }
            (Some(_), None, Overlap::Queue) => {}
            (Some(running), None, Overlap::Replace) => {
                if !running.cancelled {
                    running.cancelled = true;
                    let ticket = Ticket { seat: number, number: seat.drills };
                    self.turn.cancels.push(Cancel { ticket, job: Arc::clone(name) });
                }
            }
        }
        seat.waiting = Some(waiting);
        if expires.is_some() {
            self.fresh.push(number);
        }
    }

    /// Begins what fits, in the order of the line.
    fn begin(&mut self, now: i64) {
        if self.line.is_empty() {
            return;
        }
        let (seats, room) = (&self.seats, &mut self.room);
        let starts = self.line.next(now, |number| {
            let seat = &seats[number as usize];
            let since = seat.waiting.map_or(now, |waiting| waiting.since);
            room.enter(&seat.entry.need).map_err(|no_room| (no_room, since))
        });
        for number in starts {
            let seat = &mut self.seats[number as usize];
            let Some(waiting) = seat.waiting.take() else { continue };
            seat.running = Some(Running { need: seat.entry.need, cancelled: false });
            seat.drills = seat.drills.wrapping_add(1);
            self.turn.starts.push(Start {
                ticket: Ticket { seat: number, number: seat.drills },
                job: Arc::clone(&seat.entry.name),
                cause: waiting.cause,
                due: instant(waiting.since),
            });
        }
    }

    /// What waits for a drill of this seat, if anything does, waits for room.
    fn stand_in_line(&mut self, number: u32) {
        let seat = &self.seats[number as usize];
        let Some(waiting) = &seat.waiting else { return };
        if self.room.ever_fits(&seat.entry.need) {
            self.line.insert(seat.key(waiting), number);
        } else {
            self.drop_waiting(number, Why::TooLarge);
        }
    }

    fn drop_waiting(&mut self, number: u32, why: Why) {
        let seat = &mut self.seats[number as usize];
        if let Some(waiting) = seat.waiting.take() {
            self.turn.miss(&seat.entry.name, why, waiting.cause);
        }
    }
}

/// Down to the second: a slot's second has come when it has begun.
fn second(at: Timestamp) -> i64 {
    at.as_second() - i64::from(at.subsec_nanosecond() < 0)
}

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
