//! A job as the agenda knows it.

use std::sync::Arc;

use super::Need;
use crate::{
    calendar::{Calendar, Refusal},
    drill::{
        Job,
        timing::{Missed, Overlap, Timing},
    },
};

/// A job's name, when it drills, and what a drill of it needs. Durations are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Arc<str>,
    pub calendar: Option<Calendar>,
    pub after_backup: bool,
    pub window: i64,
    pub deadline: Option<i64>,
    pub missed: Missed,
    pub overlap: Overlap,
    pub priority: i32,
    pub need: Need,
}

impl Entry {
    /// # Errors
    /// The schedule or the zone of `timing` is none; one that `config` has read is.
    pub fn new(name: &str, timing: &Timing, need: Need) -> Result<Self, Refusal> {
        let zone = timing.time_zone.as_deref();
        let calendar = timing.schedule.as_deref().map(|text| Calendar::parse(text, zone));
        let seconds = |duration: std::time::Duration| duration.as_secs().cast_signed();
        Ok(Self {
            name: name.into(),
            calendar: calendar.transpose()?,
            after_backup: timing.after_backup,
            window: seconds(timing.window),
            deadline: timing.deadline.map(seconds),
            missed: timing.missed,
            overlap: timing.overlap,
            priority: timing.priority,
            need,
        })
    }

    /// Of a resolved job.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(job: &Job) -> Result<Self, Refusal> {
        Self::new(&job.name, &job.timing, Need::of(job))
    }
}
