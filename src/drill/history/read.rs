//! From a report's JSON to its summary. Only what a summary holds is looked at, and all but who, when
//! and the verdict may be missing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};

use super::{Measure, Past, PastBackup, PastStage, Unreadable, evidence};
use crate::{
    drill::{Verdict, measure::RpoEvidence, report::SCHEMA_VERSION},
    pg::Lsn,
};

pub(super) fn report(json: &[u8]) -> Result<Past, Unreadable> {
    match serde_json::from_slice::<Report>(json) {
        Ok(report) => match report.schema_version {
            0 => Err(Unreadable::NoReport("its schema version is 0".to_owned())),
            1..=SCHEMA_VERSION => Ok(report.into()),
            newer => Err(Unreadable::Future(newer)),
        },
        // What a newer version changed may be what does not read.
        Err(error) => match serde_json::from_slice::<Version>(json) {
            Ok(version) if version.schema_version > SCHEMA_VERSION => {
                Err(Unreadable::Future(version.schema_version))
            }
            _ => Err(Unreadable::NoReport(error.to_string())),
        },
    }
}

#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

#[derive(Deserialize)]
struct Report {
    schema_version: u32,
    drill_id: String,
    job: String,
    started_at: Timestamp,
    verdict: Verdict,
    finished_at: Option<Timestamp>,
    #[serde(default)]
    archive_url: String,
    #[serde(default)]
    server: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    depth: String,
    #[serde(default)]
    target: String,
    backup: Option<Backup>,
    reached: Option<Reached>,
    rto: Option<Rto>,
    rpo: Option<Rpo>,
    #[serde(default)]
    stages: Vec<Stage>,
    #[serde(default)]
    checks: Vec<Check>,
    #[serde(default)]
    errors: Vec<Classed>,
    damaged_object_at: Option<Timestamp>,
    row_counts: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Backup {
    id: String,
    end_at: Option<Timestamp>,
    begin_lsn: Option<Lsn>,
    end_lsn: Option<Lsn>,
    #[serde(default)]
    system_id: String,
    major: Option<u32>,
    #[serde(default)]
    compressed_bytes: u64,
    #[serde(default)]
    wal_bytes: u64,
    #[serde(default)]
    wal_segments: u64,
    interval_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Reached {
    end: Option<Lsn>,
    last_transaction_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Rto {
    seconds: f64,
    objective_seconds: Option<f64>,
    #[serde(default)]
    exceeded: bool,
    #[serde(default = "yes")]
    fsync: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Rpo {
    archived_wal_seconds: Option<f64>,
    last_commit_seconds: Option<f64>,
    heartbeat_seconds: Option<f64>,
    judged: Option<String>,
    objective_seconds: Option<f64>,
    #[serde(default)]
    exceeded: bool,
}

#[derive(Deserialize)]
struct Stage {
    #[serde(rename = "stage")]
    name: String,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    end: String,
    #[serde(default)]
    fetched_bytes: u64,
    #[serde(default)]
    restored_bytes: u64,
    #[serde(default)]
    wal_segments: u64,
}

#[derive(Deserialize)]
struct Check {
    #[serde(default)]
    findings: Vec<Classed>,
}

/// A class of another version has a name, too.
#[derive(Deserialize)]
struct Classed {
    class: Option<String>,
}

impl From<Report> for Past {
    fn from(report: Report) -> Self {
        let mut classes = BTreeMap::new();
        let found = report.checks.into_iter().flat_map(|check| check.findings);
        for class in found.chain(report.errors).filter_map(|classed| classed.class) {
            *classes.entry(class).or_insert(0) += 1;
        }
        Self {
            drill_id: report.drill_id,
            job: report.job,
            archive_url: report.archive_url,
            server: report.server,
            started_at: report.started_at,
            finished_at: report.finished_at.unwrap_or(report.started_at),
            verdict: report.verdict,
            reason: report.reason,
            depth: report.depth,
            target: report.target,
            backup: report.backup.map(PastBackup::from),
            reached: report.reached.as_ref().and_then(|reached| reached.end),
            recovered_to: report.reached.and_then(|reached| reached.last_transaction_at),
            rto: report.rto.map(Measure::from),
            rpo: report.rpo.and_then(Rpo::measure),
            stages: report.stages.into_iter().map(PastStage::from).collect(),
            counted_rows: report.row_counts.is_some(),
            classes,
            damaged_object_at: report.damaged_object_at,
        }
    }
}

impl From<Backup> for PastBackup {
    fn from(backup: Backup) -> Self {
        let Backup { id, end_at, begin_lsn, end_lsn, system_id, major, .. } = backup;
        let Backup { compressed_bytes, wal_bytes, wal_segments, interval_seconds, .. } = backup;
        // Reports write a position that they do not know as zero.
        let known = |lsn: Option<Lsn>| lsn.filter(|lsn| *lsn != Lsn::INVALID);
        Self {
            id,
            end_at,
            begin_lsn: known(begin_lsn),
            end_lsn: known(end_lsn),
            system_id,
            major,
            compressed_bytes,
            wal_bytes,
            wal_segments,
            interval_seconds,
        }
    }
}

impl From<Rto> for Measure {
    fn from(rto: Rto) -> Self {
        let Rto { seconds, objective_seconds, exceeded, fsync } = rto;
        Self { seconds, objective_seconds, exceeded, counts: fsync }
    }
}

impl Rpo {
    fn measure(self) -> Option<Measure> {
        let seconds = match evidence(&self.judged?)? {
            RpoEvidence::ArchivedWal => self.archived_wal_seconds,
            RpoEvidence::LastCommit => self.last_commit_seconds,
            RpoEvidence::Heartbeat => self.heartbeat_seconds,
        };
        let Self { objective_seconds, exceeded, .. } = self;
        Some(Measure { seconds: seconds?, objective_seconds, exceeded, counts: true })
    }
}

impl From<Stage> for PastStage {
    fn from(stage: Stage) -> Self {
        let Stage { name, seconds, end, fetched_bytes, restored_bytes, wal_segments } = stage;
        let done = end == "done";
        Self { stage: name, seconds, fetched_bytes, restored_bytes, wal_segments, done }
    }
}
