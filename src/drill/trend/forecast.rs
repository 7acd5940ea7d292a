//! The worst case of the restore time: an outage just before the next base backup, when the most WAL has
//! to be replayed.
//!
//! A restore takes what does not depend on the WAL (fetching the base backup, starting, promoting) and so
//! much for each byte of WAL. Both are measured by every drill. What WAL there is just before the next base
//! backup follows from its rate and from the interval between base backups.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Line, Point, WalGrowth, median, theil_sen};
use crate::drill::{history::Past, stage::Stage};

/// Less WAL than a segment says nothing of the rate of replay.
const LEAST_WAL: f64 = (16 << 20) as f64;

/// What is farther away is no forecast.
const HORIZON_DAYS: f64 = 3_650.0;

/// Where the restore time goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The restore time just before the next base backup.
    pub worst_case_seconds: f64,
    /// Of it what the base backup takes, and what replay does.
    pub base_seconds: f64,
    pub replay_seconds: f64,
    /// What the worst case was thought to be at each drill.
    pub points: Vec<Point>,
    pub line: Option<Line>,
    pub backup_interval_seconds: f64,
    pub wal_bytes_per_hour: f64,
    /// Seconds of replay for each byte of WAL.
    pub replay_seconds_per_byte: f64,
    pub objective_seconds: Option<f64>,
    /// When the worst case goes over the objective, as it has grown so far; now, where it is over already.
    pub crosses_at: Option<Timestamp>,
}

/// What is missing for a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoForecast {
    /// No sound drill measured a restore time.
    NoRestoreTime,
    /// No drill replayed as much as a segment.
    NoReplayRate,
    NoWalRate,
    /// Two base backups have to be known.
    NoBackupInterval,
}

impl NoForecast {
    /// One clause.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoRestoreTime => "no sound drill measured a restore time",
            Self::NoReplayRate => "no sound drill replayed as much as a segment of WAL",
            Self::NoWalRate => "the rate of WAL is not known",
            Self::NoBackupInterval => "the interval between base backups is not known",
        }
    }
}

/// One drill's part of it.
struct Measured<'a> {
    past: &'a Past,
    rto: f64,
    replay: f64,
    /// WAL that was replayed, in bytes.
    wal: Option<f64>,
}

impl<'a> Measured<'a> {
    fn of(past: &'a Past) -> Option<Self> {
        let rto = past.rto_seconds().filter(|_| past.is_sound())?;
        let begin = past.backup.as_ref().and_then(|backup| backup.begin_lsn);
        let wal = past.reached.zip(begin).map(|(end, begin)| end.0.saturating_sub(begin.0) as f64);
        let replay = past.stage_seconds(Stage::Replay).unwrap_or(0.0).min(rto);
        Some(Self { past, rto, replay, wal })
    }

    /// Seconds for each byte.
    fn rate(&self) -> Option<f64> {
        Some(self.replay / self.wal.filter(|wal| *wal >= LEAST_WAL)?)
    }
}

/// `past` is sorted by time.
pub(super) fn forecast(
    past: &[&Past],
    wal: Option<&WalGrowth>,
    now: Timestamp,
) -> Result<Forecast, NoForecast> {
    let measured: Vec<Measured<'_>> = past.iter().filter_map(|past| Measured::of(past)).collect();
    let newest = measured.last().ok_or(NoForecast::NoRestoreTime)?;
    let usual =
        median(measured.iter().filter_map(Measured::rate)).ok_or(NoForecast::NoReplayRate)?;
    let wal = wal.ok_or(NoForecast::NoWalRate)?;
    let interval = interval(past).ok_or(NoForecast::NoBackupInterval)?;
    let worst = |one: &Measured<'_>| {
        // The rate of WAL as it was then, so that its growth is seen.
        let before = wal.series.points.iter().rev().find(|point| point.at <= one.past.started_at);
        let per_hour = before.map_or(wal.bytes_per_hour, |point| point.value);
        let replay = one.rate().unwrap_or(usual) * per_hour * interval / 3_600.0;
        Point { at: one.past.started_at, value: one.rto - one.replay + replay }
    };
    let points: Vec<Point> = measured.iter().map(worst).collect();
    let line = theil_sen(&points);
    let base_seconds = newest.rto - newest.replay;
    let replay_seconds = usual * wal.bytes_per_hour * interval / 3_600.0;
    // Along the line; from the newest drill where there is none.
    let worst_case_seconds = line
        .map(|line| line.at(now))
        .filter(|seconds| *seconds > 0.0)
        .unwrap_or(base_seconds + replay_seconds);
    let objective_seconds = newest.past.rto.and_then(|rto| rto.objective_seconds);
    let crosses_at = objective_seconds.and_then(|objective| {
        if worst_case_seconds > objective {
            return Some(now);
        }
        let slope = line?.slope_per_day;
        let days = (objective - worst_case_seconds) / slope;
        if slope <= 0.0 || days > HORIZON_DAYS {
            return None;
        }
        now.checked_add(SignedDuration::try_from_secs_f64(days * 86_400.0).ok()?).ok()
    });
    Ok(Forecast {
        worst_case_seconds,
        base_seconds,
        replay_seconds,
        points,
        line,
        backup_interval_seconds: interval,
        wal_bytes_per_hour: wal.bytes_per_hour,
        replay_seconds_per_byte: usual,
        objective_seconds,
        crosses_at,
    })
}

/// Seconds between base backups: as the newest report has it from the archive's listing; else between the
/// backups that were drilled, which is longer where drills are rarer than backups.
fn interval(past: &[&Past]) -> Option<f64> {
    let listed = past.iter().rev().find_map(|past| past.backup.as_ref()?.interval_seconds);
    listed.filter(|seconds| *seconds > 0.0).or_else(|| {
        let mut ends: Vec<Timestamp> =
            past.iter().filter_map(|past| past.backup.as_ref()?.end_at).collect();
        ends.sort_unstable();
        ends.dedup();
        median(ends.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64()))
    })
}
