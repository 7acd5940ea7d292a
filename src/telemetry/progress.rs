//! Progress as events; who shows them decides how.

use std::{fmt, sync::Arc};

use crate::{
    drill::stage::{Stage, StageEnd},
    pg::Lsn,
};

/// Something that a person who waits would like to know.
#[derive(Clone, Debug, PartialEq)]
pub enum ProgressEvent {
    /// A stage begins; `total_bytes` where it is known.
    StageStarted { stage: Stage, total_bytes: Option<u64> },
    /// Bytes taken from the store so far in this stage.
    Fetched { bytes: u64 },
    /// Replay has asked for the segment that starts here, on its way to `end`.
    Replayed { at: Lsn, start: Lsn, end: Lsn },
    /// A stage ended, or was left without being finished.
    StageFinished { stage: Stage, seconds: f64, end: StageEnd },
    /// A check begins.
    CheckStarted { name: String },
    /// How far a check is, in a unit such as `bytes` or `relations`. `total` may be an estimate.
    CheckProgress { name: String, done: u64, total: u64, unit: &'static str },
    /// A check ended with this status word.
    CheckFinished { name: String, status: &'static str, seconds: f64 },
    /// One line of talk.
    Note { text: String },
}

/// Receives events; must not block.
pub trait ProgressSink: Send + Sync {
    fn event(&self, event: ProgressEvent);
}

/// A shared handle to whoever shows progress.
#[derive(Clone)]
pub struct Progress(Arc<dyn ProgressSink>);

impl Progress {
    /// Events go to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self(sink)
    }

    /// Events go nowhere.
    #[must_use]
    pub fn silent() -> Self {
        struct Silent;
        impl ProgressSink for Silent {
            fn event(&self, _: ProgressEvent) {}
        }
        Self(Arc::new(Silent))
    }

    /// Tells one event.
    pub fn emit(&self, event: ProgressEvent) {
        self.0.event(event);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
