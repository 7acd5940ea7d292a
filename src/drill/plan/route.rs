//! The way from a base backup to the recovery target: the timelines to follow and the segments to
//! read, as far as the listing gives them.

use super::{
    Known, Window, path,
    range::{self, Range},
    source::Source,
    window,
};
use crate::{
    drill::{FailureClass, Finding},
    pg::{SegmentNumber, SegmentSize, TimelineHistory, TimelineId},
};

/// A way that leads at least to consistency.
#[derive(Debug)]
pub(in crate::drill) struct Route {
    pub history: TimelineHistory,
    pub range: Range,
    pub window: Window,
    /// The last segment to read.
    pub stop: SegmentNumber,
    /// What keeps recovery from the target, or leads it astray.
    pub findings: Vec<Finding>,
    /// What may keep another recovery, or another tool, from it.
    pub attentions: Vec<Finding>,
    pub notes: Vec<String>,
}

/// There is no way to consistency, or none to the target.
#[derive(Debug)]
pub(in crate::drill) struct NoWay {
    pub findings: Vec<Finding>,
    /// Where the timelines could be followed: the window that this backup sees.
    pub window: Option<Window>,
}

/// Finds the way that PostgreSQL would go.
pub(in crate::drill) fn find(known: &Known<'_>, source: &Source<'_>) -> Result<Route, NoWay> {
    let path = path::follow(known, source).map_err(|findings| NoWay { findings, window: None })?;
    let runs = known.runs(source.segment_size);
    let range = range::walk(source, &path.history, &runs);
    let window = window::of_range(known, source, &range);
    let judged = range::judge(known, source, &path.history, &range, &window)
        .map_err(|findings| NoWay { findings, window: Some(window.clone()) })?;
    let mut attentions = path.attentions;
    attentions.extend(shadowed(known, source.segment_size, &range));
    Ok(Route {
        history: path.history,
        range,
        window,
        stop: judged.stop,
        findings: [path.findings, judged.findings].concat(),
        attentions,
        notes: [path.notes, judged.notes].concat(),
    })
}

/// Segments that are read here, and that `barman-cloud-wal-restore` would give another object for.
fn shadowed(known: &Known<'_>, size: SegmentSize, range: &Range) -> Option<Finding> {
    let on_way = |at: &(TimelineId, SegmentNumber)| range.holds(at.0, at.1);
    let mut all = known.catalog.wal.shadowed(size).filter(on_way);
    let (timeline, number) = all.next()?;
    let more = all.count();
    let others = if more == 0 { String::new() } else { format!(" and {more} more") };
    let name = number.file_name(timeline, size);
    let finding = Finding::new(
        FailureClass::RestoreToolBug,
        format!("{name}.partial"),
        format!(
            "`{name}`{others} is there complete and as `.partial`; barman-cloud-wal-restore 3.19 takes \
             the partial one, whose name comes first, and recovery ends there without a word"
        ),
        "Restore with `barman-cloud-wal-restore --no-partial`, or remove the `.partial` object.",
    );
    Some(finding.at(number.start(size)))
}
