//! The recoverable window: from the oldest restorable backup's end to the newest WAL.

use std::fmt;

use jiff::Timestamp;

use super::{Known, Window, once, path, range, range::Range, source::Source};
use crate::pg::{Lsn, SegmentNumber, SegmentSize};

/// The window as the newest restorable backup sees it, for refusals before one was chosen.
pub(super) fn of_archive(known: &Known<'_>) -> Window {
    let sources = restorable(known);
    let Some(newest) = sources.iter().max_by_key(|source| source.end_time) else {
        return Window::default();
    };
    match path::follow(known, newest) {
        Ok(path) => {
            let runs = known.runs(newest.segment_size);
            of_range(known, newest, &range::walk(newest, &path.history, &runs))
        }
        Err(_) => Window::default(),
    }
}

/// The window whose end is that of a walk from the chosen backup.
pub(super) fn of_range(known: &Known<'_>, source: &Source<'_>, range: &Range) -> Window {
    let size = source.segment_size;
    let from = once(&known.memo.from, size, || from(known, size));
    Window {
        from_lsn: from.map(|(lsn, _)| lsn),
        from_time: from.map(|(_, at)| at),
        ..until(known, source, range)
    }
}

/// End of the oldest backup that reaches consistency.
fn from(known: &Known<'_>, size: SegmentSize) -> Option<(Lsn, Timestamp)> {
    let runs = known.runs(size);
    let reaches_consistency = |source: &Source<'_>| {
        let run = runs.holding(source.timeline, source.first_segment());
        run.is_some_and(|run| run.last >= source.last_needed())
    };
    let sources = restorable(known).into_iter().filter(|source| source.segment_size == size);
    let oldest = sources.filter(reaches_consistency).min_by_key(|source| source.end_time)?;
    Some((oldest.end, oldest.end_time))
}

/// The end of the window alone.
fn until(known: &Known<'_>, source: &Source<'_>, range: &Range) -> Window {
    let newest = range.last().filter(|(_, number)| *number >= source.last_needed());
    Window {
        from_lsn: None,
        from_time: None,
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
