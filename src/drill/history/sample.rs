//! Past drills, for the tests of what is made of them.

use std::collections::BTreeMap;

use super::*;

/// A drill that passed: of a base backup that ended at `backup_end` without any WAL of its own, from `begin`
/// to `reached`. It measured nothing.
pub fn pass(started_at: Timestamp, backup_end: Timestamp, begin: Lsn, reached: Lsn) -> Past {
    Past {
        drill_id: "d".to_owned(),
        job: "orders".to_owned(),
        archive_url: "s3://home-backups/postgres".to_owned(),
        server: "orders".to_owned(),
        started_at,
        finished_at: started_at,
        verdict: Verdict::Pass,
        reason: "restored to the last record, and every check passed".to_owned(),
        depth: "deep".to_owned(),
        target: "latest".to_owned(),
        backup: Some(PastBackup {
            id: "b".to_owned(),
            end_at: Some(backup_end),
            begin_lsn: Some(begin),
            end_lsn: Some(begin),
            system_id: "7".to_owned(),
            major: Some(17),
            compressed_bytes: 0,
            wal_bytes: 0,
            wal_segments: 0,
            interval_seconds: None,
        }),
        reached: Some(reached),
        recovered_to: Some(started_at),
        rto: None,
        rpo: None,
        stages: Vec::new(),
        counted_rows: false,
        classes: BTreeMap::new(),
        damaged_object_at: None,
    }
}

/// A measure within its objective, in seconds.
pub fn measure(seconds: f64, objective_seconds: Option<f64>) -> Measure {
    Measure { seconds, objective_seconds, exceeded: false, counts: true }
}

/// A stage that was finished.
pub fn stage(name: &str, seconds: f64) -> PastStage {
    PastStage {
        stage: name.to_owned(),
        seconds,
        fetched_bytes: 0,
        restored_bytes: 0,
        wal_segments: 0,
        done: true,
    }
}
