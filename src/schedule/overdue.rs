//! Whether a job has gone without a pass for two of its periods. It is asked of the calendar and the clock
//! alone, so that it is seen also where nothing ran at all.

use jiff::{SignedDuration, Timestamp};

use crate::{calendar::Calendar, drill::timing::Timing};

/// Periods without a pass until a job is overdue.
const PERIODS: u32 = 2;

/// What the wait began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The newest drill that passed.
    Pass { started_at: Timestamp, finished_at: Timestamp },
    /// None has passed. The job has been there since then.
    Start(Timestamp),
}

/// From when on a job is overdue: as long after its second slot since the last pass as the drill that
/// passed took, and as its window is long. A job that drills after backups has their distance for its
/// period. `None`: it has none.
#[must_use]
pub fn overdue_at(
    timing: &Timing,
    between_backups: Option<SignedDuration>,
    since: Since,
) -> Option<Timestamp> {
    let (from, took) = match since {
        Since::Pass { started_at, finished_at } => {
            (started_at, finished_at.duration_since(started_at))
        }
        Since::Start(at) => (at, SignedDuration::ZERO),
    };
    let periods_end = match &timing.schedule {
        // A job's expression and zone have been read before.
        Some(schedule) => {
            let calendar = Calendar::parse(schedule, timing.time_zone.as_deref()).ok()?;
            let mut cursor = calendar.cursor(from);
            for _ in 1..PERIODS {
                calendar.advance(&mut cursor)?;
            }
            calendar.advance(&mut cursor)?
        }
        None if timing.after_backup => {
            let period = between_backups.filter(SignedDuration::is_positive)?;
            from.checked_add(period.checked_mul(i32::try_from(PERIODS).ok()?)?).ok()?
        }
        None => return None,
    };
    let window = SignedDuration::try_from(timing.window).unwrap_or_default();
    periods_end.checked_add(took.max(SignedDuration::ZERO)).ok()?.checked_add(window).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn daily() -> Timing {
        Timing { schedule: Some("0 3 * * *".to_owned()), ..Timing::default() }
    }

    fn pass(started: &str, finished: &str) -> Since {
        Since::Pass { started_at: at(started), finished_at: at(finished) }
    }

    #[test]
    fn two_slots_and_the_time_that_a_drill_takes() {
        let passed = pass("02T03:00:05", "02T05:00:05");
        assert_eq!(overdue_at(&daily(), None, passed), Some(at("04T05:00:00")));
        // A slot at which the pass began is not one without a pass.
        let passed = pass("02T03:00:00", "02T03:10:00");
        assert_eq!(overdue_at(&daily(), None, passed), Some(at("04T03:10:00")));
        let window = Timing { window: Duration::from_hours(1), ..daily() };
        assert_eq!(overdue_at(&window, None, passed), Some(at("04T04:10:00")));
    }

    #[test]
    fn a_job_that_never_passed_waits_from_its_beginning() {
        let since = Since::Start(at("02T12:00:00"));
        assert_eq!(overdue_at(&daily(), None, since), Some(at("04T03:00:00")));
    }

    #[test]
    fn working_days_have_their_weekend() {
        let days = Timing { schedule: Some("0 3 * * 1-5".to_owned()), ..Timing::default() };
        // Friday the 6th; Monday and Tuesday are the slots behind it.
        let passed = pass("06T03:00:00", "06T03:00:00");
        assert_eq!(overdue_at(&days, None, passed), Some(at("10T03:00:00")));
    }

    #[test]
    fn backups_are_a_period_too_and_some_jobs_have_none() {
        let after = Timing { after_backup: true, ..Timing::default() };
        let passed = pass("02T03:00:00", "02T04:00:00");
        let day = Some(SignedDuration::from_hours(24));
        assert_eq!(overdue_at(&after, day, passed), Some(at("04T04:00:00")));
        assert_eq!(overdue_at(&after, None, passed), None);
        assert_eq!(overdue_at(&Timing::default(), day, passed), None);
    }

    #[test]
    fn clocks_that_went_back_make_no_job_overdue_sooner() {
        let passed = pass("02T03:00:00", "02T02:00:00");
        assert_eq!(overdue_at(&daily(), None, passed), Some(at("04T03:00:00")));
    }
}
