//! When a job's drills begin: its part of a resolved job.

use std::time::Duration;

/// What makes a drill of a job begin without anybody asking for it, and what gives way to what. Without a
/// schedule and without `after_backup` nothing does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// An expression that has slots, as written.
    pub schedule: Option<String>,
    /// A zone that exists; `None` is UTC.
    pub time_zone: Option<String>,
    /// A new base backup is a reason for a drill, too.
    pub after_backup: bool,
    /// Drills begin somewhere in this time after a slot; zero is at the slot.
    pub window: Duration,
    /// What has not begun this long after its time is not begun any more; `None` is never too late.
    pub deadline: Option<Duration>,
    pub missed: Missed,
    pub overlap: Overlap,
    /// Who comes first where room is short: the higher number. One is worth an hour of waiting.
    pub priority: i32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            schedule: None,
            time_zone: None,
            after_backup: false,
            window: Duration::ZERO,
            deadline: None,
            missed: Missed::RunOnce,
            overlap: Overlap::Forbid,
            priority: 0,
        }
    }
}

/// What becomes of slots while nobody was there to begin them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// One drill for all of them.
    #[default]
    RunOnce,
    /// The next slot is the next drill.
    Skip,
}

/// What becomes of a slot while the job's drill before it is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Forbid,
    /// It waits; one at most does.
    Queue,
    /// The drill before it is ended.
    Replace,
}
