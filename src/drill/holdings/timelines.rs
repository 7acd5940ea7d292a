//! The archive's timelines, for a person who wonders what happened.

use std::collections::BTreeSet;

use super::{TIMELINES_LISTED, TimelineLine, backups, newest_of};
use crate::{
    drill::plan::Known,
    pg::{TimelineHistory, TimelineId},
};

/// The newest ones, oldest first, and how many there are.
pub(super) fn list(known: &Known<'_>) -> (Vec<TimelineLine>, u64) {
    let catalog = known.catalog;
    let Some(size) = backups::segment_size(known) else { return (Vec::new(), 0) };
    let runs = known.runs(size);
    let mut ids: BTreeSet<TimelineId> = catalog.wal.timelines().into_iter().collect();
    ids.extend(catalog.wal.histories().iter().map(|(timeline, _)| *timeline));
    let (ids, count) = newest_of(ids.into_iter().collect(), TIMELINES_LISTED);
    let lines = ids.into_iter().map(|id| {
        let text = catalog.histories.get(&id);
        let history = text.and_then(|text| TimelineHistory::parse(id, text).ok());
        let parent = history.as_ref().and_then(|history| history.ancestors.last());
        let own = runs.of(id);
        let name = |number: crate::pg::SegmentNumber| number.file_name(id, size);
        let last = runs.newest(id);
        TimelineLine {
            id,
            parent: parent.map(|parent| parent.timeline),
            forked_at: parent.map(|parent| parent.switch),
            has_history: history.is_some(),
            first_segment: own.first().map(|run| name(run.first)),
            last_segment: last.map(name),
            segments: own.iter().map(|run| run.last.0 - run.first.0 + 1).sum(),
            archived_at: last.and_then(|last| catalog.wal.stored_at(id, last, size).flatten()),
        }
    });
    (lines.collect(), count)
}
