//! A month of three jobs, for the tests of who renders it.

use jiff::SignedDuration;

use super::*;
use crate::{
    drill::{
        history::{Measure, sample},
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
        let begin = Lsn((24 * day + 100) * GIB);
        let mut past = sample::pass(started, backup_end, begin, Lsn(begin.0 + 2 * GIB));
        past.drill_id = format!("01933d2e-6f00-7abc-8def-{day:012}");
        job.clone_into(&mut past.job);
        past.finished_at = started + SignedDuration::from_mins(9);
        if let Some(backup) = &mut past.backup {
            backup.id = format!("202611{:02}T020000", day + 1);
            backup.compressed_bytes = (12 + day / 4) * GIB;
            backup.interval_seconds = Some(86_400.0);
        }
        let noise = [0.0, 3.0, 1.0, 4.0, 2.0][usize::try_from(day % 5).unwrap_or(0)];
        let (fetch, replay) = (100.0 + 2.0 * day as f64 + noise, 20.0 + noise);
        past.rto = Some(sample::measure(fetch + replay, Some(600.0)));
        let rpo = sample::measure(90.0, Some(60.0));
        past.rpo = Some(Measure { exceeded: day == 3, ..rpo });
        past.stages = [("fetch", fetch), ("replay", replay), ("verify", 300.0)]
            .map(|(name, seconds)| sample::stage(name, seconds))
            .to_vec();
        past
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
