//! Trends of a year that is made up.

use jiff::SignedDuration;

use super::*;
use crate::{drill::history::sample, pg::Lsn};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn at(hours: i64) -> Timestamp {
    let midnight: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    midnight.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// Drills at midnight of a day: base backups of 100 MiB and one more each day end twelve hours before;
/// 1 GiB of WAL an hour; 100 s for the base backup, 10 s for each GiB of WAL, 5 s for looking at it.
fn drill(day: i64) -> Past {
    let hours = day * 24;
    let lsn = |hours: i64| Lsn(u64::try_from(hours + 1_000).unwrap() * GIB);
    let mut past = sample::pass(at(hours), at(hours - 12), lsn(hours - 12), lsn(hours));
    past.drill_id = format!("d{day}");
    past.finished_at = at(hours + 1);
    let backup = past.backup.as_mut().unwrap();
    backup.id = format!("b{day}");
    backup.compressed_bytes = 100 * MIB + u64::try_from(day).unwrap() * MIB;
    past.rto = Some(sample::measure(220.0, Some(600.0)));
    past.rpo = Some(sample::measure(60.0, None));
    past.stages = [("fetch", 100.0), ("replay", 120.0), ("verify", 5.0)]
        .map(|(name, seconds)| sample::stage(name, seconds))
        .to_vec();
    past
}

fn trend(past: &[Past], now: i64) -> Trend {
    Trend::of(&past.iter().rev().collect::<Vec<_>>(), at(now))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

#[test]
fn a_steady_month() {
    let past: Vec<Past> = (1..=30).map(drill).collect();
    let trend = trend(&past, 31 * 24);
    assert_eq!((trend.verdicts.pass, trend.verdicts.all()), (30, 30));
    let rto = trend.rto.unwrap();
    assert!(near(rto.median, 220.0) && near(rto.line.unwrap().slope_per_day, 0.0));
    assert_eq!(
        trend.stages.iter().map(|s| s.stage.name()).collect::<Vec<_>>(),
        ["fetch", "replay", "verify"]
    );
    let size = trend.size.unwrap().series;
    assert!(near(size.line.unwrap().slope_per_day, MIB as f64), "{size:?}");
    let wal = trend.wal.unwrap();
    assert!(
        near(wal.bytes_per_hour, GIB as f64) && near(wal.series.line.unwrap().slope_per_day, 0.0)
    );
    let forecast = trend.forecast.unwrap();
    // Backups a day apart: 24 GiB of WAL at 10 s each, and 100 s.
    assert!(near(forecast.worst_case_seconds, 340.0), "{forecast:?}");
    assert!(near(forecast.base_seconds, 100.0) && near(forecast.replay_seconds, 240.0));
    assert!(near(forecast.backup_interval_seconds, 86_400.0));
    assert_eq!(forecast.crosses_at, None);
    assert_eq!((trend.slow, trend.detections), (vec![], vec![]));
    assert_eq!(trend.rto_objective, Held { held: 30, missed: 0, objective_seconds: Some(600.0) });
    assert_eq!(trend.rpo_objective, Held { held: 0, missed: 0, objective_seconds: None });
}

#[test]
fn the_day_it_crosses_the_objective() {
    // The base backup takes ten seconds more each day: 340 s on day 0, 600 s on day 26.
    let mut past: Vec<Past> = (1..=20).map(drill).collect();
    for (day, past) in past.iter_mut().enumerate() {
        let more = 10.0 * (day as f64 + 1.0);
        past.rto.as_mut().unwrap().seconds += more;
        past.stages[0].seconds += more;
    }
    let forecast = trend(&past, 20 * 24).forecast.unwrap();
    assert!(near(forecast.line.unwrap().slope_per_day, 10.0));
    assert!(near(forecast.worst_case_seconds, 540.0));
    assert_eq!(forecast.crosses_at, Some(at(26 * 24)));
    // Once it has, that is said, and never where it gets better.
    assert_eq!(trend(&past, 27 * 24).forecast.unwrap().crosses_at, Some(at(27 * 24)));
    for (day, past) in past.iter_mut().enumerate() {
        past.rto.as_mut().unwrap().seconds = 420.0 - 10.0 * day as f64;
    }
    assert_eq!(trend(&past, 20 * 24).forecast.unwrap().crosses_at, None);
    for past in &mut past {
        past.rto.as_mut().unwrap().objective_seconds = None;
    }
    assert_eq!(trend(&past, 40 * 24).forecast.unwrap().crosses_at, None);
}

#[test]
fn more_wal_makes_the_worst_case_worse() {
    let mut past: Vec<Past> = (1..=10).map(drill).collect();
    // Twice as much WAL at the same rate of replay.
    for past in &mut past {
        let backup = past.backup.as_mut().unwrap();
        for lsn in [&mut backup.begin_lsn, &mut backup.end_lsn, &mut past.reached] {
            *lsn = lsn.map(|lsn| Lsn(lsn.0 * 2));
        }
        past.stages[1].seconds *= 2.0;
        past.rto.as_mut().unwrap().seconds += 120.0;
    }
    assert!(near(trend(&past, 240).forecast.unwrap().worst_case_seconds, 580.0));
    // The archive's own listing knows better how far backups lie apart.
    past[9].backup.as_mut().unwrap().interval_seconds = Some(43_200.0);
    assert!(near(trend(&past, 240).forecast.unwrap().worst_case_seconds, 340.0));
}

#[test]
fn what_a_forecast_lacks_is_said() {
    let without = |change: &dyn Fn(&mut Past)| {
        let mut past: Vec<Past> = (1..=6).map(drill).collect();
        past.iter_mut().for_each(change);
        trend(&past, 7 * 24).forecast.unwrap_err()
    };
    assert_eq!(without(&|past| past.verdict = Verdict::Fail), NoForecast::NoRestoreTime);
    assert_eq!(
        without(&|past| past.rto.as_mut().unwrap().counts = false),
        NoForecast::NoRestoreTime
    );
    assert_eq!(without(&|past| past.reached = None), NoForecast::NoReplayRate);
    assert_eq!(
        without(&|past| past.backup.as_mut().unwrap().begin_lsn = past.reached),
        NoForecast::NoReplayRate
    );
    assert_eq!(
        without(&|past| {
            past.recovered_to = None;
            past.backup.as_mut().unwrap().end_lsn = None;
        }),
        NoForecast::NoWalRate
    );
    assert_eq!(
        without(&|past| past.backup.as_mut().unwrap().end_at = None),
        NoForecast::NoBackupInterval
    );
    assert_eq!(trend(&[], 0).forecast, Err(NoForecast::NoRestoreTime));
}

#[test]
fn a_stage_that_was_slow() {
    let with_last = |replay: f64, spread: f64, drills: i64| {
        let mut past: Vec<Past> = (1..=drills).map(drill).collect();
        for (n, past) in past.iter_mut().enumerate() {
            past.stages[1].seconds += if n % 2 == 0 { spread } else { -spread };
        }
        past.last_mut().unwrap().stages[1].seconds = replay;
        trend(&past, 0).slow
    };
    let slow = with_last(200.0, 1.0, 11);
    assert_eq!(slow.len(), 1);
    assert_eq!((slow[0].stage, slow[0].seconds, slow[0].median), (Stage::Replay, 200.0, 120.0));
    // Within what it spreads anyway, by too little, and with too little to compare with.
    assert_eq!(with_last(200.0, 30.0, 11), []);
    assert_eq!(with_last(140.0, 1.0, 11), []);
    assert_eq!(with_last(200.0, 1.0, 5), []);
    // A slow one among the earlier ones hides nothing.
    let mut past: Vec<Past> = (1..=10).map(drill).collect();
    past[4].stages[1].seconds = 9_000.0;
    past[9].stages[1].seconds = 300.0;
    assert_eq!(trend(&past, 0).slow.len(), 1);
    // The newest drill failed: its times say nothing, and older ones are no news.
    past[9].verdict = Verdict::Fail;
    assert_eq!(trend(&past, 0).slow, []);
}

#[test]
fn a_damage_is_detected_once() {
    let mut past: Vec<Past> = (1..=5).map(drill).collect();
    for past in &mut past[2..] {
        past.verdict = Verdict::Fail;
        past.damaged_object_at = Some(at(40));
    }
    past[4].damaged_object_at = Some(at(100));
    let found = trend(&past, 0).detections;
    let said: Vec<_> =
        found.iter().map(|d| (d.drill_id.as_str(), d.present_at, d.seconds)).collect();
    // The drill of day 3 ended at hour 73, that of day 5 at 121.
    assert_eq!(said, [("d3", at(40), 33.0 * 3_600.0), ("d5", at(100), 21.0 * 3_600.0)]);
}

#[test]
fn a_backup_counts_once_and_another_system_not_at_all() {
    let mut past: Vec<Past> = (1..=4).map(drill).collect();
    past[3].backup = past[2].backup.clone();
    assert_eq!(trend(&past, 0).size.unwrap().series.points.len(), 3);
    past[0].backup.as_mut().unwrap().system_id = "8".to_owned();
    past[0].reached = Some(Lsn(u64::MAX));
    assert!(near(trend(&past, 0).wal.unwrap().bytes_per_hour, GIB as f64));
}
