//! The past: what stays worth knowing of a drill once it is a kept report. Reports of every version of
//! pgassay are read: what is new in them is passed over, what they lack is not known.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Verdict, measure::RpoEvidence, report::SCHEMA_VERSION, stage::Stage};
use crate::pg::Lsn;

mod read;

/// Version of [`Past`] itself: raise it with every change, so that remembered ones are read anew.
pub const PAST_VERSION: u32 = 1;

/// One drill, in short. No field may be left out when it is written: remembered ones are told apart by
/// their order alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub drill_id: String,
    pub job: String,
    pub archive_url: String,
    pub server: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub verdict: Verdict,
    /// One sentence: why that verdict.
    pub reason: String,
    /// As reports name it; empty where it is not known, as is the target.
    pub depth: String,
    pub target: String,
    pub backup: Option<PastBackup>,
    /// Where replay ended.
    pub reached: Option<Lsn>,
    /// Time of the last transaction that replay applied.
    pub recovered_to: Option<Timestamp>,
    pub rto: Option<Measure>,
    pub rpo: Option<Measure>,
    pub stages: Vec<PastStage>,
    /// Whether it counted the rows of every table, so that a row floor can rest on it.
    pub counted_rows: bool,
    /// Number of findings by failure class, errors that have one among them.
    pub classes: BTreeMap<String, u64>,
    /// When the newest object that a finding names was stored: the damage was not there before.
    pub damaged_object_at: Option<Timestamp>,
}

/// A restore time or a data loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    pub seconds: f64,
    pub objective_seconds: Option<f64>,
    pub exceeded: bool,
    /// Whether it was measured in a way that can be held against an objective.
    pub counts: bool,
}

/// The base backup of a drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastBackup {
    pub id: String,
    pub end_at: Option<Timestamp>,
    pub begin_lsn: Option<Lsn>,
    pub end_lsn: Option<Lsn>,
    /// Empty where it is not known.
    pub system_id: String,
    pub major: Option<u32>,
    /// As stored.
    pub compressed_bytes: u64,
    pub wal_bytes: u64,
    pub wal_segments: u64,
    /// Time between the archive's base backups, as its listing had it.
    pub interval_seconds: Option<f64>,
}

/// A stage that ended, done or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastStage {
    /// As reports name it: one of another version may not be known here.
    pub stage: String,
    pub seconds: f64,
    pub fetched_bytes: u64,
    pub restored_bytes: u64,
    pub wal_segments: u64,
    pub done: bool,
}

/// Why a kept report has no summary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer pgassay wrote it.
    #[error("it has schema version {0}, and this pgassay reads up to {SCHEMA_VERSION}")]
    Future(u32),
    #[error("it is no report: {0}")]
    NoReport(String),
}

impl Past {
    /// From the JSON of a kept report.
    ///
    /// # Errors
    /// [`Unreadable`]: to be told, since what is behind it is not known to be good or bad.
    pub fn read(report: &[u8]) -> Result<Self, Unreadable> {
        read::report(report)
    }

    /// Whether the backup was good, within its objectives or not.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Breach)
    }

    /// Seconds in a stage, where the drill finished it.
    #[must_use]
    pub fn stage_seconds(&self, stage: Stage) -> Option<f64> {
        let mut done = self.stages.iter().filter(|s| s.done && s.stage == stage.name()).peekable();
        done.peek()?;
        Some(done.map(|s| s.seconds).sum())
    }

    /// The restore time, where it was measured in a way that counts.
    #[must_use]
    pub fn rto_seconds(&self) -> Option<f64> {
        self.rto.filter(|rto| rto.counts).map(|rto| rto.seconds)
    }
}

/// The evidence of this name.
fn evidence(name: &str) -> Option<RpoEvidence> {
    RpoEvidence::ALL.into_iter().find(|evidence| evidence.name() == name)
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
