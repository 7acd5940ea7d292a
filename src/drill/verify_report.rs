//! What reading an archive to its last byte has shown, without a recovery.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    finding::Finding,
    holdings::Blocker,
    report::{CheckReport, ErrorReport},
    verdict::Verdict,
};
use crate::pg::{
    Lsn, TimelineId,
    wal::scan::{ParameterFloor, TransactionEnd},
};

/// Version of the report's JSON. Adding a field does not raise it; changing or removing one does.
pub const SCHEMA_VERSION: u32 = 1;

/// So many findings are kept; the rest is counted.
pub const MAX_FINDINGS: usize = 1000;

/// One reading of an archive, finished.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    pub schema_version: u32,
    pub pgassay_version: String,
    pub job: String,
    pub archive_url: String,
    pub server: String,
    pub scope: Scope,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub verdict: Verdict,
    /// One sentence: why that verdict.
    pub reason: String,
    /// Oldest first.
    pub backups: Vec<BackupVerified>,
    pub timelines: Vec<TimelineVerified>,
    /// `catalog`, `base` and `wal`, with every finding.
    pub checks: Vec<CheckReport>,
    /// Findings that were counted only.
    pub more_findings: u64,
    /// Defects that no restore meets, such as damage in WAL from before the oldest backup.
    pub attentions: Vec<Finding>,
    /// Errors of the machine or the store: what they kept from being read is not known.
    pub errors: Vec<ErrorReport>,
    pub notes: Vec<String>,
    pub volume: ReadVolume,
    /// What was not read since an earlier run had, where a ledger was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerUse>,
}

/// What a run took from a ledger, and what its budget kept from being read. `volume` has what was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LedgerUse {
    /// Good when they were read, and unchanged since: not read in this run.
    pub trusted_objects: u64,
    /// As stored.
    pub trusted_bytes: u64,
    pub trusted_backups: u64,
    pub trusted_wal_segments: u64,
    /// The day, by UTC, on which the one that was read longest ago was.
    pub oldest_reading: Option<String>,
    /// What was to be read, before anything was.
    pub estimate: Estimate,
    /// Objects that are not known to be good and did not fit into the budget.
    pub left_objects: u64,
    pub left_bytes: u64,
}

/// What a run was expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    pub objects: u64,
    /// As stored.
    pub bytes: u64,
    /// By the speed of earlier runs.
    pub seconds: Option<f64>,
}

/// What was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every backup and every segment.
    Archive,
    /// What recovery to the job's target reads.
    RecoveryPoint,
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ReadVolume {
    pub objects: u64,
    /// As stored.
    pub bytes: u64,
    pub wal_segments: u64,
    /// Complete WAL records whose CRC holds.
    pub wal_records: u64,
    pub seconds: f64,
}

/// What is known of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// The base and the WAL that it needs are good.
    Good,
    Damaged,
    /// Failed, unfinished or not in this bucket: no restore takes it.
    NotRestorable,
    /// Not all of it could be read.
    Unknown,
}

impl BackupState {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Damaged => "damaged",
            Self::NotRestorable => "not restorable",
            Self::Unknown => "could not tell",
        }
    }
}

/// One base backup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupVerified {
    pub id: String,
    pub name: Option<String>,
    pub state: BackupState,
    pub end_at: Option<Timestamp>,
    pub timeline: Option<TimelineId>,
    pub begin_lsn: Option<Lsn>,
    pub end_lsn: Option<Lsn>,
    /// Bytes as stored.
    pub bytes: u64,
    /// Files in its tars.
    pub files: u64,
    /// Pages of relations in them.
    pub pages: u64,
    /// Of these, torn by being copied while PostgreSQL wrote them: the backup's own WAL makes them anew.
    pub torn_pages: u64,
    /// How far recovery from it gets.
    pub reach: Option<Reach>,
    /// What ends that, unless it is the end of the archive; where the backup is not good, why.
    pub blocked_by: Vec<Blocker>,
}

/// How far recovery gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    pub timeline: TimelineId,
    /// End of the last good record.
    pub lsn: Lsn,
    /// The last commit before that, where one came after the backup's start.
    pub last_commit: Option<Commit>,
}

/// A commit as the WAL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    pub at: Timestamp,
    pub xid: u32,
    /// Start of its record.
    pub lsn: Lsn,
}

impl From<TransactionEnd> for Commit {
    fn from(end: TransactionEnd) -> Self {
        Self { at: end.at, xid: end.xid, lsn: end.lsn }
    }
}

/// One timeline's WAL.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineVerified {
    pub timeline: TimelineId,
    pub first: String,
    pub last: String,
    pub segments: u64,
    /// Bytes as stored.
    pub bytes: u64,
    pub records: u64,
    /// End of its last good record.
    pub end: Option<Lsn>,
    pub last_commit: Option<Commit>,
    /// Segments with damage.
    pub damaged: u64,
    /// Holes between its segments.
    pub gaps: u64,
    /// The highest settings that its parameter changes name, where there are any.
    pub parameters: Option<Parameters>,
    /// Tablespaces made in it, as `oid location`.
    pub tablespaces: Vec<String>,
    /// Ids of resource managers that come from extensions.
    pub custom_resource_managers: Vec<u8>,
}

/// What recovery needs at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameters {
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
}

impl Parameters {
    /// `None` where nothing was said.
    #[must_use]
    pub fn of(floor: ParameterFloor) -> Option<Self> {
        let ParameterFloor {
            max_connections,
            max_worker_processes,
            max_wal_senders,
            max_prepared_transactions,
            max_locks_per_transaction,
        } = floor;
        (floor != ParameterFloor::default()).then_some(Self {
            max_connections,
            max_worker_processes,
            max_wal_senders,
            max_prepared_transactions,
            max_locks_per_transaction,
        })
    }
}

impl VerifyReport {
    /// Every finding that counts.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().flat_map(|check| &check.findings)
    }
}
