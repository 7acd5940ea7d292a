//! What a drill that runs has told so far, for whoever looks at it from outside.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::progress::{ProgressEvent, ProgressSink};
use crate::{
    drill::stage::{Stage, StageEnd},
    pg::Lsn,
};

/// Notes that are remembered, the newest ones.
const MOST_NOTES: usize = 20;

/// Checks that are remembered: a job has some ten.
const MOST_CHECKS: usize = 1_000;

/// How far a drill is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// In the order in which they began; the last one may still run.
    pub stages: Vec<LiveStage>,
    pub checks: Vec<LiveCheck>,
    /// The newest last.
    pub notes: Vec<String>,
}

/// A stage that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveStage {
    pub stage: Stage,
    pub began_at: Timestamp,
    /// `None` while it runs.
    pub seconds: Option<f64>,
    /// How it ended; `None` while it runs.
    pub end: Option<StageEnd>,
    /// Bytes that it will fetch, where that is known.
    pub total_bytes: Option<u64>,
    pub fetched_bytes: u64,
    pub replay: Option<LiveReplay>,
}

/// How far replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveReplay {
    pub start: Lsn,
    /// Start of the segment that was asked for last.
    pub at: Lsn,
    pub end: Lsn,
}

/// A check that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveCheck {
    pub name: String,
    /// How it ended; `None` while it runs.
    pub status: Option<&'static str>,
    pub seconds: Option<f64>,
    /// Done, of how many, in which unit.
    pub progress: Option<(u64, u64, &'static str)>,
}

impl LiveStage {
    /// The share that is done, from 0 to 1, where it can be told. Of a stage that was left there is none:
    /// it goes no further.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        match self.end {
            Some(StageEnd::Done) => return Some(1.0),
            Some(StageEnd::Aborted) => return None,
            None => {}
        }
        let (done, total) = match (self.replay, self.total_bytes) {
            (Some(LiveReplay { start, at, end }), _) => {
                (at.0.saturating_sub(start.0), end.0.saturating_sub(start.0))
            }
            (None, Some(total)) => (self.fetched_bytes, total),
            (None, None) => return None,
        };
        (total > 0).then(|| (done as f64 / total as f64).min(1.0))
    }
}

impl Course {
    fn take(&mut self, event: ProgressEvent, now: Timestamp) {
        match event {
            ProgressEvent::StageStarted { stage, total_bytes } => {
                // A stage that was left without being finished says nothing more.
                if let Some(before) = self.running() {
                    before.seconds = Some(now.duration_since(before.began_at).as_secs_f64());
                    before.end = Some(StageEnd::Aborted);
                }
                self.stages.push(LiveStage {
                    stage,
                    began_at: now,
                    seconds: None,
                    end: None,
                    total_bytes,
                    fetched_bytes: 0,
                    replay: None,
                });
            }
            ProgressEvent::StageFinished { stage, seconds, end } => {
                let found = self.stages.iter_mut().rev().find(|known| known.stage == stage);
                if let Some(known) = found {
                    (known.seconds, known.end) = (Some(seconds), Some(end));
                }
            }
            ProgressEvent::Fetched { bytes } => {
                if let Some(stage) = self.running() {
                    stage.fetched_bytes = bytes;
                }
            }
            ProgressEvent::Replayed { at, start, end } => {
                if let Some(stage) = self.running() {
                    stage.replay = Some(LiveReplay { start, at, end });
                }
            }
            ProgressEvent::CheckStarted { name } => {
                if self.checks.len() < MOST_CHECKS {
                    self.checks.push(LiveCheck {
                        name,
                        status: None,
                        seconds: None,
                        progress: None,
                    });
                }
            }
            ProgressEvent::CheckProgress { name, done, total, unit } => {
                if let Some(check) = self.check(&name) {
                    check.progress = Some((done, total, unit));
                }
            }
            ProgressEvent::CheckFinished { name, status, seconds } => {
                if let Some(check) = self.check(&name) {
                    (check.status, check.seconds) = (Some(status), Some(seconds));
                }
            }
            ProgressEvent::Note { text } => {
                if self.notes.len() == MOST_NOTES {
                    self.notes.remove(0);
                }
                self.notes.push(text);
            }
        }
    }

    fn running(&mut self) -> Option<&mut LiveStage> {
        self.stages.last_mut().filter(|stage| stage.end.is_none())
    }

    fn check(&mut self, name: &str) -> Option<&mut LiveCheck> {
        self.checks.iter_mut().rev().find(|check| check.name == name && check.status.is_none())
    }
}

/// Remembers what a drill tells.
#[derive(Debug, Default)]
pub struct Live(Mutex<Course>);

impl Live {
    /// As it is now.
    #[must_use]
    pub fn course(&self) -> Course {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ProgressSink for Live {
    fn event(&self, event: ProgressEvent) {
        let now = Timestamp::now();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(event, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn course(events: impl IntoIterator<Item = (i64, ProgressEvent)>) -> Course {
        let mut course = Course::default();
        for (second, event) in events {
            course.take(event, at(second));
        }
        course
    }

    fn begin(stage: Stage, total_bytes: Option<u64>) -> ProgressEvent {
        ProgressEvent::StageStarted { stage, total_bytes }
    }

    fn end(stage: Stage, seconds: f64, end: StageEnd) -> ProgressEvent {
        ProgressEvent::StageFinished { stage, seconds, end }
    }

    #[test]
    fn stages_advance_and_say_how_far_they_are() {
        let course = course([
            (0, begin(Stage::Plan, None)),
            (2, end(Stage::Plan, 1.5, StageEnd::Done)),
            // Behind the end of its stage: nobody is meant.
            (2, ProgressEvent::Fetched { bytes: 7 }),
            (3, begin(Stage::Fetch, Some(400))),
            (4, ProgressEvent::Fetched { bytes: 100 }),
            // Fetch was left, and did not say so.
            (9, begin(Stage::Replay, None)),
            (9, ProgressEvent::Replayed { start: Lsn(1000), at: Lsn(4000), end: Lsn(5000) }),
        ]);
        let told: Vec<_> =
            course.stages.iter().map(|s| (s.stage, s.seconds, s.end, s.share())).collect();
        assert_eq!(
            told,
            [
                (Stage::Plan, Some(1.5), Some(StageEnd::Done), Some(1.0)),
                (Stage::Fetch, Some(6.0), Some(StageEnd::Aborted), None),
                (Stage::Replay, None, None, Some(0.75)),
            ]
        );
        assert_eq!((course.stages[0].fetched_bytes, course.stages[1].fetched_bytes), (0, 100));
    }

    #[test]
    fn a_stage_that_says_that_it_was_left_is_not_done() {
        let course = course([
            (0, begin(Stage::Fetch, Some(400))),
            (4, ProgressEvent::Fetched { bytes: 400 }),
            (5, end(Stage::Fetch, 5.0, StageEnd::Aborted)),
            (6, begin(Stage::Teardown, None)),
        ]);
        let fetch = &course.stages[0];
        assert_eq!((fetch.seconds, fetch.end), (Some(5.0), Some(StageEnd::Aborted)));
        assert_eq!((fetch.share(), course.stages[1].end), (None, None));
    }

    #[test]
    fn a_check_that_runs_twice_is_told_twice() {
        let start = || ProgressEvent::CheckStarted { name: "sql".to_owned() };
        let progress = |done| ProgressEvent::CheckProgress {
            name: "sql".to_owned(),
            done,
            total: 10,
            unit: "rows",
        };
        let end =
            |status| ProgressEvent::CheckFinished { name: "sql".to_owned(), status, seconds: 1.0 };
        let course = course([
            (0, start()),
            (1, progress(10)),
            (1, end("passed")),
            (2, start()),
            (3, progress(4)),
        ]);
        let told: Vec<_> = course.checks.iter().map(|c| (c.status, c.progress)).collect();
        assert_eq!(told, [(Some("passed"), Some((10, 10, "rows"))), (None, Some((4, 10, "rows")))]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let notes = (0..100).map(|n| (n, ProgressEvent::Note { text: n.to_string() }));
        let checks = (0..2_000).map(|n| (n, ProgressEvent::CheckStarted { name: n.to_string() }));
        let course = course(notes.chain(checks));
        assert_eq!((course.notes.len(), course.notes.last().unwrap().as_str()), (20, "99"));
        assert_eq!(course.checks.len(), MOST_CHECKS);
    }
}
