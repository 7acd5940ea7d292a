//! What the agenda answers.

use std::sync::Arc;

use jiff::Timestamp;

/// What is to be done now, and what was left undone since the turn before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Drills to begin, in this order.
    pub starts: Vec<Start>,
    /// Drills to end; what takes their place begins once [`super::Agenda::finished`] has been told.
    pub cancels: Vec<Cancel>,
    pub missed: Vec<MissedRun>,
}

/// One drill of one job, to give back when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) seat: u32,
    /// Of those that began in the seat.
    pub(super) number: u32,
}

/// A drill to end, since a newer slot takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub ticket: Ticket,
    pub job: Arc<str>,
}

/// A drill to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub ticket: Ticket,
    pub job: Arc<str>,
    pub cause: Cause,
    /// When it was to begin: the slot and what its window added.
    pub due: Timestamp,
}

/// Why there is a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A slot of its schedule.
    Slot(Timestamp),
    /// A base backup of this time.
    Backup(Timestamp),
    /// Somebody asked for it then.
    Hand(Timestamp),
}

/// Why a drill that somebody asked for will not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// There is no such job.
    Unknown,
    /// Its drill runs.
    Runs,
    /// Its drill waits already.
    Waits,
    /// It needs more than all drills may take together.
    TooLarge,
}

/// Drills that were not begun for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedRun {
    pub job: Arc<str>,
    pub why: Why,
    /// The newest of them.
    pub cause: Cause,
    /// How many; what is more than 10,000 is not counted.
    pub count: u32,
}

/// Why a drill was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It could not begin before its deadline.
    Deadline,
    /// The job's drill before it was not done, or still waited.
    Overlap,
    /// A newer slot took its place.
    Replaced,
    /// A newer slot of the job stands for it: one drill for all that have come at once.
    Folded,
    /// Nobody was there to begin it, and the job says `missed: skip`.
    Down,
    /// It needs more than all drills may take together.
    TooLarge,
    /// The job was removed while it waited.
    Removed,
    /// The job was changed and does not ask for it any more.
    Changed,
}

impl Why {
    /// For people, after "was not begun because".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Deadline => "its deadline had passed",
            Self::Overlap => "the drill before it was not done",
            Self::Replaced => "a newer slot took its place",
            Self::Folded => "a newer slot stood for it",
            Self::Down => "the scheduler was not running",
            Self::TooLarge => "it needs more than all drills may take together",
            Self::Removed => "the job was removed",
            Self::Changed => "the job was changed",
        }
    }
}

/// A drill that has not begun yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub job: Arc<str>,
    pub cause: Cause,
    pub since: Timestamp,
    /// It waits for the job's drill before it; otherwise for room.
    pub behind_its_own: bool,
}

impl Turn {
    pub(super) fn miss(&mut self, job: &Arc<str>, why: Why, cause: Cause) {
        self.missed.push(MissedRun { job: Arc::clone(job), why, cause, count: 1 });
    }
}
