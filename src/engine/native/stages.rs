//! The clock of a drill's stages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::activity::Activity;
use crate::{
    drill::stage::{Stage, StageEnd, StageLog, Volume},
    telemetry::{Progress, progress::ProgressEvent},
};

/// Measures one stage after the other.
#[derive(Debug)]
pub struct StageClock {
    log: StageLog,
    current: Option<(Stage, Instant)>,
    progress: Progress,
    activity: Arc<Activity>,
}

impl StageClock {
    /// Nothing has begun.
    #[must_use]
    pub fn new(progress: Progress, activity: Arc<Activity>) -> Self {
        Self { log: StageLog::default(), current: None, progress, activity }
    }

    /// A stage begins at `at`.
    pub fn begin(&mut self, stage: Stage, at: Instant, total_bytes: Option<u64>) {
        self.activity.touch();
        self.current = Some((stage, at));
        self.progress.emit(ProgressEvent::StageStarted { stage, total_bytes });
    }

    /// The current stage ended at `at`.
    pub fn done(&mut self, at: Instant, volume: Volume) {
        self.end(at, StageEnd::Done, volume);
    }

    /// The current stage, if any, ends without having been finished; gives the record of all.
    #[must_use]
    pub fn finish(mut self) -> StageLog {
        self.end(Instant::now(), StageEnd::Aborted, Volume::default());
        self.log
    }

    /// The stage that is running.
    #[must_use]
    pub fn current(&self) -> Option<Stage> {
        self.current.map(|(stage, _)| stage)
    }

    fn end(&mut self, at: Instant, end: StageEnd, volume: Volume) {
        let Some((stage, begun)) = self.current.take() else { return };
        let duration: Duration = at.saturating_duration_since(begun);
        self.log.push(stage, duration, end, volume);
        self.activity.touch();
        let seconds = duration.as_secs_f64();
        self.progress.emit(ProgressEvent::StageFinished { stage, seconds, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_stage_is_recorded_as_aborted() {
        let mut clock = StageClock::new(Progress::silent(), Arc::new(Activity::new()));
        let at = Instant::now();
        clock.begin(Stage::Fetch, at, None);
        clock.done(at + Duration::from_secs(2), Volume { files: 3, ..Volume::default() });
        clock.begin(Stage::Start, at, None);
        let log = clock.finish();
        assert_eq!(log.0.len(), 2);
        assert_eq!((log.0[0].duration, log.0[0].files), (Duration::from_secs(2), 3));
        assert_eq!((log.0[1].stage, log.0[1].end), (Stage::Start, StageEnd::Aborted));
        assert_eq!(log.rto(), None);
    }
}
