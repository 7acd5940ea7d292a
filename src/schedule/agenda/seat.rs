//! One job's place in the agenda: what comes, what waits, what runs.

use super::{Alarm, Cause, Entry, Need, Of, instant, line::POINT, second, spread};
use crate::calendar::Cursor;

/// Something that comes: the slot, or a backup's time, and when it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub slot: i64,
    pub start: i64,
}

/// A run that has come and not begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub cause: Cause,
    pub since: i64,
    /// The second from which on it is too late.
    pub expires: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// What it took: the job's need may have changed since.
    pub need: Need,
    pub cancelled: bool,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub entry: Entry,
    pub hash: u64,
    /// The job is there; otherwise only its drill still runs.
    pub present: bool,
    pub due: Option<Due>,
    pub trigger: Option<Due>,
    pub waiting: Option<Waiting>,
    pub running: Option<Running>,
    /// How many drills have begun here.
    pub drills: u32,
    cursor: Option<Cursor>,
    /// The slot after the one that is due, where the window had to know it.
    ahead: Option<i64>,
}

impl Seat {
    pub(super) fn empty() -> Self {
        let entry = Entry {
            name: "".into(),
            calendar: None,
            after_backup: false,
            window: 0,
            deadline: None,
            missed: crate::drill::timing::Missed::default(),
            overlap: crate::drill::timing::Overlap::default(),
            priority: 0,
            need: Need::default(),
        };
        Self {
            entry,
            hash: 0,
            present: false,
            due: None,
            trigger: None,
            waiting: None,
            running: None,
            drills: 0,
            cursor: None,
            ahead: None,
        }
    }

    /// A job sits down, or is another one from now on; its slots are those after `from`.
    pub(super) fn take(&mut self, entry: Entry, from: i64, seed: u64) {
        self.hash = spread::hash(&entry.name);
        self.entry = entry;
        self.present = true;
        self.go_to(from);
        self.due = self.next(seed);
    }

    /// The job is gone; what runs is left to run.
    pub(super) fn leave(&mut self) {
        self.present = false;
        self.due = None;
        self.cursor = None;
    }

    /// Slots from now on are those after `from`.
    pub(super) fn go_to(&mut self, from: i64) {
        self.ahead = None;
        self.cursor = self.entry.calendar.as_ref().map(|calendar| calendar.cursor(instant(from)));
    }

    /// The next slot. Its window ends at the slot after it, so that slots never overtake each other.
    pub(super) fn next(&mut self, seed: u64) -> Option<Due> {
        let slot = self.ahead.take().or_else(|| self.advance())?;
        if self.entry.window == 0 {
            return Some(Due { slot, start: slot });
        }
        self.ahead = self.advance();
        let window = self.ahead.map_or(i64::MAX, |ahead| ahead - slot).min(self.entry.window);
        Some(Due { slot, start: slot + spread::within(window, seed, self.hash, slot) })
    }

    fn advance(&mut self) -> Option<i64> {
        let (calendar, cursor) = (self.entry.calendar.as_ref()?, self.cursor.as_mut()?);
        calendar.advance(cursor).map(second)
    }

    /// Whether an alarm is still meant.
    pub(super) fn has(&self, alarm: &Alarm) -> bool {
        let time = match alarm.of {
            Of::Slot => self.due.map(|due| due.start),
            Of::Backup => self.trigger.map(|due| due.start),
            Of::Deadline => self.waiting.and_then(|waiting| waiting.expires),
        };
        time == Some(alarm.at)
    }

    /// Its place in the line.
    pub(super) fn key(&self, waiting: &Waiting) -> i64 {
        waiting.since - i64::from(self.entry.priority) * POINT
    }
}
