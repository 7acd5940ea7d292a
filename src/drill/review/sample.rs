//! A month of three jobs, for the tests of who renders it.

use jiff::SignedDuration;

use super::*;
use crate::{
    drill::{
        history::{Measure, PastBackup, PastStage},
        trend::Verdicts,
    },
    pg::Lsn,
};

const GIB: u64 = 1 << 30;

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Daily drills of a database that grows.
pub fn month(job: &str) -> Vec<Past> {
    let day = |day: u64| {
        let started = at("2026-11-01T04:00:00Z");
        let started = started + SignedDuration::from_hours(24 * i64::try_from(day).unwrap_or(0));
        let backup_end = started - SignedDuration::from_hours(2);
        let stage = |stage: &str, seconds: f64| PastStage {
            stage: stage.to_owned(),
            seconds,
            fetched_bytes: 0,
            restored_bytes: 0,
            wal_segments: 0,
            done: true,
        };
        let noise = [0.0, 3.0, 1.0, 4.0, 2.0][usize::try_from(day % 5).unwrap_or(0)];
        let (fetch, replay) = (100.0 + 2.0 * day as f64 + noise, 20.0 + noise);
        Past {
            drill_id: format!("01933d2e-6f00-7abc-8def-{day:012}"),
            job: job.to_owned(),
            archive_url: "s3://home-backups/postgres".to_owned(),
            server: "orders".to_owned(),
            started_at: started,
            finished_at: started + SignedDuration::from_mins(9),
            verdict: Verdict::Pass,
            reason: "restored to the last record, and every check passed".to_owned(),
            depth: "deep".to_owned(),
            target: "latest".to_owned(),
            backup: Some(PastBackup {
                id: format!("202611{:02}T020000", day + 1),
                end_at: Some(backup_end),
                begin_lsn: Some(Lsn((24 * day + 100) * GIB)),
                end_lsn: Some(Lsn((24 * day + 100) * GIB + 4_096)),
                system_id: "7".to_owned(),
                major: Some(17),
                compressed_bytes: (12 + day / 4) * GIB,
                wal_bytes: GIB,
                wal_segments: 64,
                interval_seconds: Some(86_400.0),
            }),
            reached: Some(Lsn((24 * day + 102) * GIB)),
            recovered_to: Some(started),
            rto: Some(Measure {
                seconds: fetch + replay,
                objective_seconds: Some(600.0),
                exceeded: false,
                counts: true,
            }),
            rpo: Some(Measure {
                seconds: 90.0,
                objective_seconds: Some(60.0),
                exceeded: day == 3,
                counts: true,
            }),
            stages: vec![stage("fetch", fetch), stage("replay", replay), stage("verify", 300.0)],
            counted_rows: false,
            classes: std::collections::BTreeMap::new(),
            damaged_object_at: None,
        }
    };
    (0..30).map(day).collect()
}

/// One job that grows, one that fails since the 20th, one that was not drilled for long.
pub fn review() -> Review {
    let now = at("2026-12-01T00:00:00Z");
    let grows = month("orders-nightly");
    let mut fails = month("payments & <refunds>");
    for past in &mut fails[20..] {
        past.verdict = Verdict::Fail;
        past.reason = "wal_gap: 000000030000001700000005: the segment is <missing>".to_owned();
        past.damaged_object_at = Some(at("2026-11-20T13:00:00Z"));
        past.rto = None;
    }
    let mut old = month("stock").remove(0);
    old.started_at = at("2026-09-01T04:00:00Z");
    let since = at("2026-11-01T00:00:00Z");
    let job = |past: &[Past], before: &[&Past]| {
        let past: Vec<&Past> = past.iter().collect();
        JobReview::of(&past, before, since, now).expect("there are drills")
    };
    Review {
        schema_version: SCHEMA_VERSION,
        made_at: now,
        since,
        until: now,
        trends_since: at("2026-09-02T00:00:00Z"),
        jobs: vec![job(&grows, &[]), job(&fails, &[]), job(&[], &[&old])],
        never_drilled: vec![NeverDrilled {
            job: "archive-2019".to_owned(),
            archive_url: "s3://home-backups/old".to_owned(),
            server: "old".to_owned(),
        }],
        unreadable: vec![UnreadableReport {
            job: "stock".to_owned(),
            drill_id: "01933d2e".to_owned(),
            at: at("2026-11-09T00:00:00Z"),
            why: "it has schema version 2, and this pgassay reads up to 1".to_owned(),
        }],
    }
}

/// So that nobody wonders what a month is.
pub fn verdicts() -> Verdicts {
    Verdicts::of(&month("x"))
}
