//! The record of a drill's stages. (A *timeline* is only ever PostgreSQL's.)

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A timed step of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Listing, choosing, refusing.
    Plan,
    /// The base backup from the store onto the disk, decoded and verified, and as much WAL as was there by
    /// then.
    Fetch,
    /// PostgreSQL's start up to the first segment asked for.
    Start,
    /// Recovery, while the rest of the WAL is fetched and verified.
    Replay,
    /// From the end of replay to the first successful read-write query.
    Promote,
    /// Making the sandbox fit for looking at (roles, settings): never part of the RTO.
    Mend,
    /// Checks: never part of the RTO.
    Verify,
    /// Removing the sandbox: never part of the RTO.
    Teardown,
    /// Of a rescue: stopping the recovered server and making its folder the operator's.
    HandOver,
}

impl Stage {
    /// Every stage of a drill, in order.
    pub const ALL: [Self; 8] = [
        Self::Plan,
        Self::Fetch,
        Self::Start,
        Self::Replay,
        Self::Promote,
        Self::Mend,
        Self::Verify,
        Self::Teardown,
    ];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Fetch => "fetch",
            Self::Start => "start",
            Self::Replay => "replay",
            Self::Promote => "promote",
            Self::Mend => "mend",
            Self::Verify => "verify",
            Self::Teardown => "teardown",
            Self::HandOver => "hand_over",
        }
    }

    /// Whether a real restore would have spent this time too.
    #[must_use]
    pub const fn counts_for_rto(self) -> bool {
        match self {
            Self::Plan
            | Self::Fetch
            | Self::Start
            | Self::Replay
            | Self::Promote
            | Self::HandOver => true,
            Self::Mend | Self::Verify | Self::Teardown => false,
        }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageEnd {
    Done,
    /// The drill left the stage without finishing it.
    Aborted,
}

/// One finished stage, on the monotonic clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub stage: Stage,
    #[serde(rename = "seconds", with = "seconds")]
    pub duration: Duration,
    pub end: StageEnd,
    /// Bytes taken from the store.
    pub fetched_bytes: u64,
    /// Bytes written to the sandbox.
    pub restored_bytes: u64,
    pub files: u64,
    pub wal_segments: u64,
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// What a stage moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub fetched_bytes: u64,
    pub restored_bytes: u64,
    pub files: u64,
    pub wal_segments: u64,
}

impl Volume {
    /// Nothing was moved.
    pub const NOTHING: Self =
        Self { fetched_bytes: 0, restored_bytes: 0, files: 0, wal_segments: 0 };

    /// What was moved since it was as much as `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            fetched_bytes: self.fetched_bytes - before.fetched_bytes,
            restored_bytes: self.restored_bytes - before.restored_bytes,
            files: self.files - before.files,
            wal_segments: self.wal_segments - before.wal_segments,
        }
    }
}

/// The stages of one drill, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageLog(pub Vec<StageRecord>);

impl StageLog {
    /// Adds a stage that ended.
    pub fn push(&mut self, stage: Stage, duration: Duration, end: StageEnd, volume: Volume) {
        let Volume { fetched_bytes, restored_bytes, files, wal_segments } = volume;
        self.0.push(StageRecord {
            stage,
            duration,
            end,
            fetched_bytes,
            restored_bytes,
            files,
            wal_segments,
        });
    }

    /// Adds the first read-write query to the promotion, which ends with it: the stage for mending
    /// lies between the two and does not count.
    pub fn extend_promote(&mut self, query: Duration) {
        if let Some(record) = self.0.iter_mut().find(|r| r.stage == Stage::Promote) {
            record.duration += query;
        }
    }

    /// Time from the start to the first read-write query, without what only a drill does. `None`
    /// unless the cluster got that far.
    #[must_use]
    pub fn rto(&self) -> Option<Duration> {
        self.0.iter().find(|r| r.stage == Stage::Promote && r.end == StageEnd::Done)?;
        Some(self.0.iter().filter(|r| r.stage.counts_for_rto()).map(|r| r.duration).sum())
    }

    /// Sums over all stages.
    #[must_use]
    pub fn volume(&self) -> Volume {
        self.0.iter().fold(Volume::default(), |sum, r| Volume {
            fetched_bytes: sum.fetched_bytes + r.fetched_bytes,
            restored_bytes: sum.restored_bytes + r.restored_bytes,
            files: sum.files + r.files,
            wal_segments: sum.wal_segments + r.wal_segments,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(stages: &[(Stage, u64, StageEnd)]) -> StageLog {
        let mut log = StageLog::default();
        for (stage, seconds, end) in stages {
            log.push(*stage, Duration::from_secs(*seconds), *end, Volume::default());
        }
        log
    }

    #[test]
    fn rto_counts_what_a_real_restore_would_have_spent() {
        let mut all = log(&[
            (Stage::Plan, 1, StageEnd::Done),
            (Stage::Fetch, 10, StageEnd::Done),
            (Stage::Start, 100, StageEnd::Done),
            (Stage::Replay, 1_000, StageEnd::Done),
            (Stage::Promote, 10_000, StageEnd::Done),
            (Stage::Mend, 100_000, StageEnd::Done),
            (Stage::Verify, 1_000_000, StageEnd::Done),
            (Stage::Teardown, 10_000_000, StageEnd::Done),
        ]);
        assert_eq!(all.rto(), Some(Duration::from_secs(11_111)));
        all.extend_promote(Duration::from_secs(3));
        assert_eq!(all.rto(), Some(Duration::from_secs(11_114)));
    }

    #[test]
    fn no_rto_without_a_finished_promotion() {
        assert_eq!(log(&[(Stage::Fetch, 10, StageEnd::Done)]).rto(), None);
        assert_eq!(log(&[(Stage::Promote, 10, StageEnd::Aborted)]).rto(), None);
    }
}
