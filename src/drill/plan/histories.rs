//! History files that contradict each other.

use std::collections::BTreeMap;

use super::Known;
use crate::{
    drill::{FailureClass, Finding},
    pg::{TimelineHistory, TimelineId, timeline::Ancestor},
};

/// Two histories that tell different stories of one timeline's past.
#[derive(Debug)]
pub(super) struct Contradiction {
    /// The newest timeline of the first line in which they differ.
    from: TimelineId,
    /// Whose files differ.
    by: (TimelineId, TimelineId),
    pub finding: Finding,
}

impl Contradiction {
    /// Whether a recovery along this path from `start` on rests on one of the two stories.
    pub(super) fn concerns(&self, path: &TimelineHistory, start: TimelineId) -> bool {
        let told = self.by.0 == path.timeline || self.by.1 == path.timeline;
        told && self.from >= start
    }
}

/// Pairs that disagree, for each timeline the newest one. A promotion copies its parent's history and adds
/// a line (`writeTimeLineHistory` in `access/transam/timeline.c`), so what two files say of the past of
/// a timeline that both name must be the same.
pub(super) fn contradictions(known: &Known<'_>) -> Vec<Contradiction> {
    let parsed: Vec<TimelineHistory> = known
        .catalog
        .histories
        .iter()
        .filter_map(|(timeline, text)| TimelineHistory::parse(*timeline, text).ok())
        .collect();
    // By timeline: who told its past first, and how. Its own file is the best witness.
    let mut told: BTreeMap<TimelineId, (TimelineId, &[Ancestor])> = BTreeMap::new();
    for history in &parsed {
        told.insert(history.timeline, (history.timeline, &history.ancestors));
    }
    let mut found = BTreeMap::new();
    for history in &parsed {
        for (index, ancestor) in history.ancestors.iter().enumerate() {
            let (about, past) = (ancestor.timeline, &history.ancestors[..index]);
            let (witness, known_past) = *told.entry(about).or_insert((history.timeline, past));
            if let Some(from) = first_difference(known_past, past) {
                let finding = finding(about, (witness, known_past), (history.timeline, past));
                let by = (witness, history.timeline);
                found.insert(about, Contradiction { from, by, finding });
            }
        }
    }
    found.into_values().collect()
}

fn first_difference(one: &[Ancestor], other: &[Ancestor]) -> Option<TimelineId> {
    let lines = (0..one.len().max(other.len())).map(|index| (one.get(index), other.get(index)));
    let (a, b) = lines.into_iter().find(|(a, b)| a != b)?;
    a.into_iter().chain(b).map(|ancestor| ancestor.timeline).max()
}

fn finding(
    about: TimelineId,
    (first, one): (TimelineId, &[Ancestor]),
    (second, other): (TimelineId, &[Ancestor]),
) -> Finding {
    let past = |past: &[Ancestor]| match past {
        [] => "the first one".to_owned(),
        past => {
            let forks = past.iter().map(|a| format!("{} until {}", a.timeline, a.switch));
            forks.collect::<Vec<_>>().join(", ")
        }
    };
    Finding::new(
        FailureClass::TimelineDivergence,
        second.history_file_name(),
        format!(
            "it says that what came before timeline {about} was {}, but `{}` says {}: two clusters \
             have written timelines of the same number into this archive",
            past(other),
            first.history_file_name(),
            past(one)
        ),
        "Compare both files with the one in the primary's `pg_wal`, and take a new base backup into a \
         prefix that no other cluster archives to.",
    )
}
