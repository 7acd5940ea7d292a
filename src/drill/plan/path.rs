//! The timeline that recovery follows, found by the history files exactly as PostgreSQL does
//! (`validateRecoveryParameters`, `findNewestTimeLine`, `readTimeLineHistory`), and what is wrong
//! with the timelines around it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Known, histories, source::Source};
use crate::{
    archive::wal_index::Runs,
    drill::{
        FailureClass, Finding,
        job::{Target, TargetTimeline},
    },
    pg::{Lsn, SegmentNumber, TimelineHistory, TimelineId},
};

/// The path, and what was seen beside it.
#[derive(Debug)]
pub(super) struct Path {
    pub history: TimelineHistory,
    pub findings: Vec<Finding>,
    pub attentions: Vec<Finding>,
    pub notes: Vec<String>,
}

/// Finds the path. An error is what makes PostgreSQL stop at the start.
pub(super) fn follow(known: &Known<'_>, source: &Source<'_>) -> Result<Path, Vec<Finding>> {
    let mut path = Path {
        history: TimelineHistory::root(source.end_timeline),
        findings: Vec::new(),
        attentions: Vec::new(),
        notes: Vec::new(),
    };
    let target = match known.point.timeline {
        TargetTimeline::Current => source.end_timeline,
        TargetTimeline::Id(id) => id,
        TargetTimeline::Latest => newest(known, source, &mut path),
    };
    path.history = history(known, source, target, &mut path.notes).map_err(|f| vec![f])?;
    if let Some(finding) = not_a_child(source, &path.history) {
        path.findings.push(finding);
        return Err(path.findings);
    }
    let runs = known.runs(source.segment_size);
    before_fork(known, source, &runs, &mut path);
    for contradiction in histories::contradictions(known) {
        let switch = path.history.switch_point(source.timeline);
        let reached = switch.is_some_and(|switch| target_reaches(known, switch));
        if reached && contradiction.concerns(&path.history, source.timeline) {
            path.findings.push(contradiction.finding);
        } else {
            path.attentions.push(contradiction.finding);
        }
    }
    if known.point.timeline == TargetTimeline::Latest {
        strays(known, source, &runs, &mut path);
    }
    Ok(path)
}

/// Segments of a timeline of the path from before it began, as its history file has it. PostgreSQL
/// writes none: the file's switch point is wrong, or another cluster wrote here. Replay never asks
/// for them, and ends where the parent ends without a word.
fn before_fork(known: &Known<'_>, source: &Source<'_>, runs: &Runs, path: &mut Path) {
    let (size, history) = (source.segment_size, &path.history);
    let children = history.ancestors.iter().skip(1).map(|a| a.timeline).chain([history.timeline]);
    let mut findings = Vec::new();
    for (fork, child) in history.ancestors.iter().zip(children) {
        // What lies before the backup is another one's matter.
        let Some(first) = runs.first_from(child, source.first_segment()) else { continue };
        if first >= size.segment_of(fork.switch) || !target_reaches(known, first.start(size)) {
            continue;
        }
        let detail = format!(
            "it says that timeline {child} forked off timeline {} at {}, but the archive has `{}`, \
             which lies before: recovery does not read it",
            fork.timeline,
            fork.switch,
            first.file_name(child, size)
        );
        let finding = Finding::new(
            FailureClass::TimelineDivergence,
            child.history_file_name(),
            detail,
            "Archive the history file again from the primary's `pg_wal`, or find out who wrote the \
             segments of that timeline.",
        );
        findings.push(finding.at(first.start(size)));
    }
    path.findings.extend(findings);
}

/// Probes ids one by one from the backup's, and notices what a missing one hides.
fn newest(known: &Known<'_>, source: &Source<'_>, path: &mut Path) -> TimelineId {
    let catalog = known.catalog;
    let mut newest = source.end_timeline;
    while let Some(next) = newest.0.checked_add(1).map(TimelineId) {
        if !catalog.histories.contains_key(&next) {
            break;
        }
        newest = next;
    }
    let listed = || catalog.wal.histories().iter();
    let with_history: BTreeSet<TimelineId> =
        listed().map(|(id, _)| *id).filter(|id| *id > newest).collect();
    let with_wal = catalog.wal.timelines().into_iter().filter(|id| *id > newest);
    let mut hidden = with_history.clone();
    hidden.extend(with_wal);
    let (Some(first), Some(last)) = (hidden.first(), hidden.last()) else { return newest };

    let missing = TimelineId(newest.0.saturating_add(1));
    let why = match catalog.unreadable_histories.get(&missing) {
        Some(why) => format!("cannot be used: {why}"),
        None => "is not in the archive".to_owned(),
    };
    let hides = if first == last {
        format!("timeline {first}")
    } else {
        format!("timelines {first} to {last}")
    };
    let detail = format!(
        "the history file of timeline {missing} {why}, so recovery ends on timeline {newest} and what \
         is on {hides} is lost"
    );
    if *known.target == Target::Immediate {
        path.notes.push(detail);
    } else {
        path.findings.push(Finding::new(
            FailureClass::TimelineHistoryMissing,
            missing.history_file_name(),
            detail,
            "Archive the history file again from the primary's `pg_wal`, and take a new base backup.",
        ));
    }
    newest
}

fn history(
    known: &Known<'_>,
    source: &Source<'_>,
    target: TimelineId,
    notes: &mut Vec<String>,
) -> Result<TimelineHistory, Finding> {
    let catalog = known.catalog;
    let file = target.history_file_name();
    let hint = "Archive the history file again from the primary's `pg_wal`, and take a new base \
                backup.";
    if let Some(text) = catalog.histories.get(&target) {
        return TimelineHistory::parse(target, text).map_err(|error| {
            let detail = format!("the history file of timeline {target} cannot be used: {error}");
            Finding::new(FailureClass::TimelineHistoryMissing, &file, detail, hint)
        });
    }
    if target == source.end_timeline && source.timeline == source.end_timeline || target.0 == 1 {
        // A backup that starts on its timeline needs nothing of where that came from.
        if target.0 > 1 {
            notes.push(format!("`{file}` is not in the archive; this backup does not need it"));
        }
        return Ok(TimelineHistory::root(target));
    }
    let unreadable = catalog.unreadable_histories.get(&target);
    let has_wal = catalog.wal.timelines().contains(&target);
    if unreadable.is_some() || has_wal || target == source.end_timeline {
        let why = unreadable.map_or("it is not in the archive", String::as_str);
        let detail = format!("the history file of timeline {target} cannot be used: {why}");
        return Err(Finding::new(FailureClass::TimelineHistoryMissing, file, detail, hint));
    }
    let mut ids: BTreeSet<TimelineId> = catalog.histories.keys().copied().collect();
    ids.extend(catalog.wal.timelines());
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Err(Finding::new(
        FailureClass::TargetUnreachable,
        format!("timeline {target}"),
        format!("there is no timeline {target} in this archive; there are: {}", ids.join(", ")),
        "Correct `recoveryPoint.timeline`.",
    ))
}

/// `requested timeline … is not a child of this server's history`.
fn not_a_child(source: &Source<'_>, history: &TimelineHistory) -> Option<Finding> {
    let begins = history.timeline_at(source.begin);
    let ends = history.timeline_at(Lsn(source.end.0.saturating_sub(1)));
    // The end of a standby's backup may lie on a later timeline of its primary.
    let end_fits = ends == source.timeline || ends == source.end_timeline;
    if begins == source.timeline && (end_fits || source.info.is_from_standby()) {
        return None;
    }
    let id = &source.backup.id;
    let detail = match history.switch_point(source.timeline) {
        Some(switch) => format!(
            "timeline {} forked off timeline {} at {switch}, before backup `{id}` ended at {}",
            history.timeline, source.timeline, source.end
        ),
        None => format!(
            "timeline {} does not come from timeline {}, which backup `{id}` is of",
            history.timeline, source.timeline
        ),
    };
    Some(Finding::new(
        FailureClass::TimelineDivergence,
        history.timeline.history_file_name(),
        detail,
        "Find out who wrote that timeline into this archive; recover with `recoveryPoint.timeline` \
         set to the right one, or take a new base backup.",
    ))
}

/// Whether the recovery may go on beyond this position.
fn target_reaches(known: &Known<'_>, position: Lsn) -> bool {
    match *known.target {
        Target::Immediate => false,
        Target::Lsn(lsn) => lsn > position,
        Target::Latest | Target::Time(_) | Target::Xid(_) | Target::Name(_) => true,
    }
}

/// Newest segment and when it was stored.
type Tip = (SegmentNumber, Option<Timestamp>);

/// Timelines that go on where the path does not. A restore to the latest timeline loses what is on
/// them, silently.
fn strays(known: &Known<'_>, source: &Source<'_>, runs: &Runs, path: &mut Path) {
    let (wal, size) = (&known.catalog.wal, source.segment_size);
    let tip = |timeline: TimelineId| -> Option<Tip> {
        let number = runs.newest(timeline)?;
        Some((number, wal.stored_at(timeline, number, size).flatten()))
    };
    let history = path.history.clone();
    let on_path = || history.ancestors.iter().map(|a| a.timeline).chain([history.timeline]);

    for (index, fork) in history.ancestors.iter().enumerate() {
        if fork.timeline < source.timeline {
            continue;
        }
        // The fork's own segment may be complete on both: a primary archives it when it stops.
        let Some((parent, parent_at)) =
            tip(fork.timeline).filter(|(number, _)| *number > size.segment_of(fork.switch))
        else {
            continue;
        };
        let child = on_path().nth(index + 1).unwrap_or(history.timeline);
        let later = on_path().skip(index + 1).filter_map(tip);
        // A primary that was left behind at a failover may have archived some segments more; then
        // the new one has gone on since, both in position and in time.
        let overtaken = later.clone().any(|(number, at)| {
            number > parent && at.is_some() && parent_at.is_some() && at > parent_at
        });
        let beyond = parent.file_name(fork.timeline, size);
        if overtaken {
            path.notes.push(format!(
                "timeline {} has segments up to `{beyond}`, beyond {} where timeline {child} forked \
                 off: a primary that was left behind wrote them, and no recovery reads them",
                fork.timeline, fork.switch
            ));
            continue;
        }
        let detail = format!(
            "timeline {child} forked off timeline {} at {}, but that goes on to `{beyond}`: recovery \
             to the latest timeline follows {child} and loses what came after the fork",
            fork.timeline, fork.switch
        );
        if !target_reaches(known, fork.switch) {
            path.notes.push(detail);
            continue;
        }
        let finding = Finding::new(
            FailureClass::TimelineDivergence,
            child.history_file_name(),
            detail,
            "Find out who wrote that timeline into this archive, often a restored cluster that was \
             left to archive; recover with `timeline: current` until it is removed.",
        );
        path.findings.push(finding.at(fork.switch));
    }

    let path_at = on_path().filter_map(tip).filter_map(|(_, at)| at).max();
    let siblings = wal
        .timelines()
        .into_iter()
        .filter(|id| *id > source.timeline && *id < history.timeline && !history.contains(*id));
    for sibling in siblings {
        let Some(Ok(own)) =
            known.catalog.histories.get(&sibling).map(|text| TimelineHistory::parse(sibling, text))
        else {
            continue;
        };
        // One that this backup cannot lead to is another backup's matter.
        let Some(fork) = own.switch_point(source.timeline).filter(|at| *at >= source.end) else {
            continue;
        };
        let at = tip(sibling).and_then(|(_, at)| at);
        if at.is_some() && at > path_at && target_reaches(known, fork) {
            let detail = format!(
                "timeline {sibling}, which forked off at {fork}, is still written to, but recovery \
                 to the latest timeline follows {}",
                history.timeline
            );
            let finding = Finding::new(
                FailureClass::TimelineDivergence,
                sibling.history_file_name(),
                detail,
                "Find out which of the two timelines is production's; recover with \
                 `recoveryPoint.timeline` set to it.",
            );
            path.findings.push(finding.at(fork));
        } else {
            path.notes.push(format!("timeline {sibling} was abandoned at {fork}"));
        }
    }
}
