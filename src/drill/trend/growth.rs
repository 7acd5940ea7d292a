//! How base backups and WAL grow.

use jiff::Timestamp;
use serde::Serialize;

use super::{Point, Series};
use crate::{drill::history::Past, pg::Lsn};

/// Shorter spans say nothing of an hour.
const LEAST_SPAN: f64 = 600.0;

/// The size of base backups as they are stored, in bytes; each backup once, however often it was drilled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    #[serde(flatten)]
    pub series: Series,
}

/// WAL that the database writes, in bytes an hour, by the positions that recoveries reached and the times
/// of their last transactions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WalGrowth {
    /// Of the whole time.
    pub bytes_per_hour: f64,
    /// Between one drill and the next.
    #[serde(flatten)]
    pub series: Series,
}

/// `past` is sorted by time, here and below.
pub(super) fn size(past: &[&Past]) -> Option<Growth> {
    let mut points: Vec<(Timestamp, &str, u64)> = past
        .iter()
        .filter_map(|past| past.backup.as_ref())
        .filter(|backup| backup.compressed_bytes > 0)
        .filter_map(|backup| Some((backup.end_at?, backup.id.as_str(), backup.compressed_bytes)))
        .collect();
    points.sort_unstable();
    points.dedup_by_key(|(_, id, _)| *id);
    let points = points.into_iter().map(|(at, _, bytes)| Point { at, value: bytes as f64 });
    Some(Growth { series: Series::of(points.collect())? })
}

/// Of the newest database system that was drilled.
pub(super) fn wal(past: &[&Past]) -> Option<WalGrowth> {
    let newest = past.iter().rev().find_map(|past| past.backup.as_ref())?;
    let mut marks: Vec<(Lsn, Timestamp)> = past
        .iter()
        .filter(|past| past.backup.as_ref().is_some_and(|b| b.system_id == newest.system_id))
        .flat_map(|past| marks(past))
        .collect();
    marks.sort_unstable();
    // A position is only ever later; where clocks or timelines say otherwise, nothing can be told.
    let mut forward: Vec<(Lsn, Timestamp)> = Vec::new();
    for mark in marks {
        if forward.last().is_none_or(|last| seconds(last.1, mark.1) >= LEAST_SPAN) {
            forward.push(mark);
        }
    }
    let rate = |a: &(Lsn, Timestamp), b: &(Lsn, Timestamp)| {
        (b.0.0 - a.0.0) as f64 / seconds(a.1, b.1) * 3_600.0
    };
    let (first, last) = (forward.first()?, forward.last()?);
    let points = forward.windows(2).map(|w| Point { at: w[1].1, value: rate(&w[0], &w[1]) });
    let series = Series::of(points.collect())?;
    Some(WalGrowth { bytes_per_hour: rate(first, last), series })
}

/// Positions of which the time is known: the end of the base backup and that of replay.
fn marks(past: &Past) -> impl Iterator<Item = (Lsn, Timestamp)> {
    let backup = past.backup.as_ref();
    let end = backup.and_then(|backup| Some((backup.end_lsn?, backup.end_at?)));
    let reached = past.reached.and_then(|lsn| Some((lsn, past.recovered_to?)));
    end.into_iter().chain(reached)
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
