//! Every gap of the archive, and which backups it cuts off.

use std::collections::VecDeque;

use super::{GAPS_LISTED, Gap, backups::Looked};
use crate::{
    archive::catalog::Keep,
    drill::plan::{
        Known,
        holes::{Hole, Track},
        route::Route,
        source::Source,
    },
    pg::{SegmentNumber, SegmentSize},
};

/// So many backups that a gap cuts off are named.
const CUT_OFF_LISTED: usize = 10;

/// The newest gaps, oldest first, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pub listed: Vec<Gap>,
    pub count: u64,
}

/// Backups whose recovery goes the same way.
struct Way<'a> {
    route: &'a Route,
    size: SegmentSize,
    /// Where each begins to replay, with its id; the oldest position first.
    from: Vec<(SegmentNumber, &'a str)>,
}

/// Walks each way once, from the oldest backup that goes it.
pub(super) fn find(known: &Known<'_>, looked: &[Looked<'_>]) -> Gaps {
    let mut ways: Vec<Way<'_>> = Vec::new();
    for (source, route) in looked.iter().filter_map(|looked| looked.way.as_ref()) {
        // A backup that is kept for itself has its neighbours' WAL removed on purpose.
        if source.backup.keep != Some(Keep::Standalone) {
            join(&mut ways, source, route);
        }
    }
    let mut gaps = VecDeque::new();
    let mut count = 0;
    let mut seen: Vec<Hole> = Vec::new();
    for way in &mut ways {
        way.from.sort_unstable();
        let Some((oldest, _)) = way.from.first() else { continue };
        let runs = known.runs(way.size);
        let track = Track { history: &way.route.history, runs: &runs, size: way.size };
        for hole in track.holes(*oldest) {
            // Ways that part later have their first gaps in common.
            if seen.contains(&hole) {
                continue;
            }
            count += 1;
            if seen.len() < GAPS_LISTED {
                seen.push(hole);
            }
            if gaps.len() == GAPS_LISTED {
                gaps.pop_front();
            }
            gaps.push_back(gap(way, hole));
        }
    }
    Gaps { listed: gaps.into(), count }
}

fn join<'a>(ways: &mut Vec<Way<'a>>, source: &Source<'a>, route: &'a Route) {
    let from = (source.first_segment(), source.backup.id.as_str());
    let size = source.segment_size;
    let same = |way: &&mut Way<'_>| way.size == size && way.route.history == route.history;
    match ways.iter_mut().find(same) {
        Some(way) => way.from.push(from),
        None => ways.push(Way { route, size, from: vec![from] }),
    }
}

fn gap(way: &Way<'_>, hole: Hole) -> Gap {
    let name = |(timeline, number): (_, SegmentNumber)| number.file_name(timeline, way.size);
    let cut_off = &way.from[..way.from.partition_point(|(from, _)| *from <= hole.last.1)];
    Gap {
        first_segment: name(hole.first),
        last_segment: name(hole.last),
        from_lsn: hole.first.1.start(way.size),
        segments: hole.len(),
        cut_off: cut_off.iter().take(CUT_OFF_LISTED).map(|(_, id)| (*id).to_owned()).collect(),
        cut_off_count: cut_off.len() as u64,
    }
}
