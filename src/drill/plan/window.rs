//! The recoverable window: from the oldest restorable backup's end to the newest WAL.

use std::fmt;

use super::{Known, Window, path, range, range::Range, source::Source};
use crate::{archive::wal_index::Runs, pg::SegmentNumber};

/// The window as the newest restorable backup sees it, for refusals before one was chosen.
pub(super) fn of_archive(known: &Known<'_>) -> Window {
    let sources = restorable(known);
    let Some(newest) = sources.iter().max_by_key(|source| source.end_time) else {
        return Window::default();
    };
    let runs = known.catalog.wal.runs(newest.segment_size);
    match path::follow(known, newest) {
        Ok(path) => of_range(known, newest, &range::walk(newest, &path.history, &runs), &runs),
        Err(_) => Window::default(),
    }
}

/// The window whose end is that of a walk from the chosen backup.
pub(super) fn of_range(
    known: &Known<'_>,
    source: &Source<'_>,
    range: &Range,
    runs: &Runs,
) -> Window {
    let reaches_consistency = |source: &Source<'_>| {
        let run = runs.holding(source.timeline, source.first_segment());
        run.is_some_and(|run| run.last >= source.last_needed())
    };
    let oldest = restorable(known)
        .into_iter()
        .filter(|other| other.segment_size == source.segment_size)
        .filter(reaches_consistency)
        .min_by_key(|other| other.end_time);
    let newest = range.last().filter(|(_, number)| *number >= source.last_needed());
    Window {
        from_lsn: oldest.map(|oldest| oldest.end),
        from_time: oldest.map(|oldest| oldest.end_time),
        to_lsn: newest.map(|(_, number): (_, SegmentNumber)| number.end(source.segment_size)),
        to_time: newest.and_then(|(timeline, number)| {
            known.catalog.wal.stored_at(timeline, number, source.segment_size).flatten()
        }),
    }
}

fn restorable<'a>(known: &Known<'a>) -> Vec<Source<'a>> {
    let backups = known.catalog.backups.iter();
    backups.filter_map(|backup| Source::of(backup, known.now).ok()).collect()
}

/// Both ends, in LSN and time.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(from), Some(to)) = (self.from_lsn, self.to_lsn) else {
            return f.write_str("nothing can be reached from this archive");
        };
        write!(f, "reachable is {from}")?;
        if let Some(at) = self.from_time {
            write!(f, " ({at})")?;
        }
        write!(f, " to {to}")?;
        if let Some(at) = self.to_time {
            write!(f, " (stored {at})")?;
        }
        Ok(())
    }
}
