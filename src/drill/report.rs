//! The report of a drill: everything that is printed, kept and pushed, as one value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    error::Error,
    expectation::Promise,
    finding::{CheckOutcome, Finding},
    job::{Depth, EngineKind},
    measure::{Rpo, Rto},
    plan::Window,
    reached::Reached,
    row_floor::RowCounts,
    stage::StageLog,
    verdict::Verdict,
};
use crate::pg::{Lsn, Major, TimelineId};

/// Version of the report's JSON. Adding a field does not raise it; changing or removing one does.
pub const SCHEMA_VERSION: u32 = 1;

/// One drill, finished. Kept ones of this schema version read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    pub schema_version: u32,
    pub pgassay_version: String,
    /// UUIDv7.
    pub drill_id: String,
    pub job: String,
    pub labels: BTreeMap<String, String>,
    pub archive_url: String,
    pub server: String,
    /// A text in JSON, since many readers keep numbers as doubles and the seed must come back whole.
    #[serde(with = "as_text")]
    pub seed: u64,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// Why it began where nobody asked for it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<DrillCause>,
    pub verdict: Verdict,
    /// One sentence: why that verdict.
    pub reason: String,
    pub depth: Depth,
    pub engine: EngineKind,
    pub backup: Option<BackupSummary>,
    /// The target in words, such as `latest` or `time 2026-11-22T04:00:00Z`.
    pub target: String,
    pub window: Option<Window>,
    pub promise: Option<Promise>,
    pub reached: Option<Reached>,
    pub rto: Option<Rto>,
    pub rpo: Option<Rpo>,
    pub stages: StageLog,
    pub checks: Vec<CheckReport>,
    /// What the check `readAll` counted, where it read every table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_counts: Option<RowCounts>,
    /// When the newest object that a finding names was stored: the damage was not there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged_object_at: Option<Timestamp>,
    /// Errors of the machine, the store or a tool.
    pub errors: Vec<ErrorReport>,
    pub sandbox: Option<SandboxReport>,
    /// Things worth knowing that change nothing: unknown keys, kept files, habits got past.
    pub notes: Vec<String>,
}

/// Why a drill began that nobody asked for by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DrillCause {
    /// A slot of its schedule.
    Slot { at: Timestamp },
    /// A base backup that was new.
    Backup { ended_at: Timestamp },
}

/// The base backup that was drilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupSummary {
    pub id: String,
    pub name: Option<String>,
    pub why: String,
    pub begin_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    pub begin_lsn: Lsn,
    pub end_lsn: Lsn,
    pub timeline: TimelineId,
    /// A text in JSON, as `seed` is.
    #[serde(with = "as_text")]
    pub system_id: u64,
    pub major: Major,
    pub compressed_bytes: u64,
    pub wal_segments: u64,
    pub wal_bytes: u64,
    /// Time between the archive's base backups, where it has two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
}

/// How the sandbox was made and left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    pub path: String,
    /// Version text of the server that recovered, such as `15.18`.
    pub postgres: String,
    /// Whether PostgreSQL ran in a network namespace of its own.
    pub network_isolated: bool,
    pub removed: bool,
    /// Kept on purpose until then.
    pub kept_until: Option<Timestamp>,
    /// Settings that were chosen for recovery, as `name=value`.
    pub settings: Vec<String>,
}

/// Settings that replay's speed depends on.
const SPEED: &[&str] = &[
    "shared_buffers",
    "recovery_prefetch",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "hot_standby",
    "fsync",
];

impl SandboxReport {
    /// The settings that replay's speed depends on, and with it the RTO: name and value.
    pub fn speed(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.settings.iter().filter_map(|setting| setting.split_once('='));
        pairs.filter(|(name, _)| SPEED.contains(name))
    }
}

/// One check, finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    pub name: String,
    pub status: CheckStatus,
    /// What was looked at, or why it was not.
    pub detail: String,
    pub findings: Vec<Finding>,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Passed,
    Failed,
    Skipped,
    Errored,
}

impl CheckStatus {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Errored => "errored",
        }
    }
}

impl CheckReport {
    /// From what a check said.
    #[must_use]
    pub fn new(name: impl Into<String>, outcome: CheckOutcome, seconds: f64) -> Self {
        let (status, detail, findings) = match outcome {
            CheckOutcome::Passed(what) => (CheckStatus::Passed, what, Vec::new()),
            CheckOutcome::Failed(findings) => {
                let detail = findings.first().map_or_else(String::new, |f| f.detail.clone());
                (CheckStatus::Failed, detail, findings)
            }
            CheckOutcome::Skipped(why) => (CheckStatus::Skipped, why, Vec::new()),
            CheckOutcome::Errored(error) => (CheckStatus::Errored, error.message, Vec::new()),
        };
        Self { name: name.into(), status, detail, findings, seconds }
    }
}

/// An [`Error`] as a report keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    pub class: Option<super::FailureClass>,
}

impl From<&Error> for ErrorReport {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            class: error.class,
        }
    }
}

/// Numbers that are texts in JSON.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reports as drills end, for the tests of who renders them.
#[cfg(test)]
#[path = "../../tests/it/sample_report.rs"]
pub mod sample;
