//! The WAL of all timelines: each segment once, in order, records across segments and forks included.

mod again;
mod alone;
mod copies;
mod known;
mod segment;
mod stretches;
mod systems;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Reading,
    feed::{Feed, Fetched, Listed, Lost},
    interrupted,
    tally::Tally,
    wal_plan::WalPlan,
};
use crate::{
    archive::{BackupInfo, Catalog, wal_index::Runs},
    drill::{
        Error, FailureClass, Finding,
        outlook::{self, Damage},
        verify_report::{Parameters, TimelineVerified},
    },
    pg::{
        Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::{
            quiet::Skim,
            scan::WalDamage,
            walk::{Broken, WalRules, WalWalk},
        },
    },
};

use again::Again;
use known::{Joint, Step, Steps};
pub(super) use known::{KnownWal, NotRead};
use segment::SegmentRead;
pub(super) use stretches::{Ended, Start, Stretches};

/// What all of the WAL must agree with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub major: Major,
    pub system_id: u64,
    pub segment_size: SegmentSize,
}

impl Origin {
    fn rules(self, history: TimelineHistory, ancestors_known: bool) -> WalRules {
        let Self { major, system_id, segment_size } = self;
        WalRules { major, system_id, segment_size, history, ancestors_known }
    }
}

/// Where a timeline comes from.
pub(super) struct Lineage {
    pub history: TimelineHistory,
    pub known: bool,
}

/// A timeline and the last segment before another one forks off.
pub(super) type BeforeFork = (TimelineId, SegmentNumber);

struct Pass<'a> {
    reading: &'a Reading<'a>,
    /// Whose WAL this may be; the first where nothing tells.
    systems: Vec<Origin>,
    catalog: &'a Catalog,
    runs: &'a Runs,
    lineages: BTreeMap<TimelineId, Lineage>,
    /// Where a walk must be kept for a child, and those that were.
    wanted: BTreeSet<BeforeFork>,
    kept: BTreeMap<BeforeFork, Kept>,
    stretches: Stretches,
    tally: &'a mut Tally,
    known: Option<KnownWal<'a>>,
    /// Where recoveries of backups look for a record.
    asked: Arc<BTreeSet<Lsn>>,
    not_read: NotRead,
}

/// A walk at the end of a segment behind which a child goes on.
struct Kept {
    origin: Origin,
    walk: WalWalk,
    stretch: usize,
    /// The segment, and the walk as it was before it.
    last: Option<(Listed, WalWalk)>,
}

/// A run that is being read.
struct Current {
    origin: Origin,
    timeline: TimelineId,
    last: SegmentNumber,
    walk: WalWalk,
    /// The segment before, and the walk as it was before that: to read both once more.
    before: Option<(Listed, WalWalk)>,
    /// The same of the parent's last segment, while none of the run's own has been read.
    parent: Option<(Listed, WalWalk)>,
    records_before: u64,
    joint: Joint,
}

/// Reads every segment but those that `known` has, with regard to the backups that `infos` describe, whose
/// recoveries begin at places that are `asked` about. `systems` has at least one.
///
/// # Errors
/// The caller cancelled, or a thread died.
pub(super) async fn read(
    reading: &Reading<'_>,
    systems: Vec<Origin>,
    catalog: &Catalog,
    infos: &[&BackupInfo],
    asked: BTreeSet<Lsn>,
    known: Option<KnownWal<'_>>,
    tally: &mut Tally,
) -> Result<(Stretches, NotRead), Error> {
    let size = systems.first().map_or(SegmentSize::DEFAULT, |system| system.segment_size);
    let runs = catalog.wal.runs(size);
    let lineages = lineages(catalog, &runs, size);
    let wanted = before_forks(&lineages, size);
    let stretches = Stretches::new(infos, size);
    let kept = BTreeMap::new();
    let asked = Arc::new(asked);
    let skim = skims(&systems, &lineages, Arc::clone(&asked));
    let plan = known.as_ref().map(|known| Arc::clone(&known.plan));
    let not_read = NotRead::default();
    let mut pass = Pass {
        reading,
        systems,
        catalog,
        runs: &runs,
        lineages,
        wanted,
        kept,
        stretches,
        tally,
        known,
        asked,
        not_read,
    };

    let all = |read: Option<Arc<WalPlan>>| listing(catalog, &runs, size, read);
    let feed = Feed::new(reading, size, all(plan.clone())).skimmed(skim);
    let mut steps = Steps::new(reading, plan, all(None), feed);
    let mut current: Option<Current> = None;
    while let Some((listed, mut step)) = steps.next().await {
        let origin = match &mut step {
            Step::Fetched(fetched) => pass.origin(fetched).await,
            Step::Known | Step::Left => None,
        };
        let follows = |c: &Current| c.timeline == listed.timeline && c.last.next() == listed.number;
        let same = |c: &Current| origin.is_none_or(|own| own.system_id == c.origin.system_id);
        let mut run = match current.take() {
            Some(run) if follows(&run) && same(&run) => run,
            other => {
                let entered = origin.and_then(|origin| pass.enter(origin, &listed));
                if let Some(run) = other {
                    let behind = entered.filter(|_| follows(&run));
                    Box::pin(pass.end(run, behind)).await?;
                }
                pass.begin(&listed, origin)
            }
        };
        let number = listed.number;
        if let Err(error) = Box::pin(pass.step(&mut run, listed, step)).await {
            pass.doubt(&run, number);
            return Err(error);
        }
        current = Some(run);
    }
    if let Some(run) = current {
        Box::pin(pass.end(run, None)).await?;
    }
    pass.partials().await?;
    pass.copies().await?;
    Ok((pass.stretches, pass.not_read))
}

/// What looks for quiet records, by the rules that a walk of the segment's timeline has. Where the archive
/// holds more than one database system, nobody knows the rules before the segment's first page is there.
fn skims(
    systems: &[Origin],
    lineages: &BTreeMap<TimelineId, Lineage>,
    asked: Arc<BTreeSet<Lsn>>,
) -> impl Fn(&Listed) -> Option<Skim> + Send + use<> {
    let rules = |lineage: &Lineage| match systems {
        [system] => Some(system.rules(lineage.history.clone(), lineage.known)),
        _ => None,
    };
    let rules: BTreeMap<_, _> =
        lineages.iter().map(|(id, lineage)| (*id, rules(lineage))).collect();
    move |listed| {
        let rules = rules.get(&listed.timeline)?.clone()?;
        Some(Skim::new(rules, listed.number, &asked))
    }
}

/// Every segment in order, or those that `plan` reads.
fn listing<'a>(
    catalog: &'a Catalog,
    runs: &'a Runs,
    size: SegmentSize,
    plan: Option<Arc<WalPlan>>,
) -> impl Iterator<Item = Listed> + use<'a> {
    let timelines = catalog.wal.timelines();
    let segments = timelines.into_iter().flat_map(|t| runs.of(t)).flat_map(|run| {
        let timeline = run.timeline;
        (run.first.0..=run.last.0).map(move |number| (timeline, SegmentNumber(number)))
    });
    let read = move |at: &usize| plan.as_ref().is_none_or(|plan| plan.is_read(*at));
    let segments = segments.enumerate().filter(move |(at, _)| read(at));
    segments.filter_map(move |(_, (timeline, number))| {
        let object = catalog.wal.segment(timeline, number, size)?;
        Some(Listed { timeline, number, object })
    })
}

pub(super) fn lineages(
    catalog: &Catalog,
    runs: &Runs,
    size: SegmentSize,
) -> BTreeMap<TimelineId, Lineage> {
    let of = |timeline: TimelineId| {
        let text = catalog.histories.get(&timeline);
        let parsed = text.and_then(|text| TimelineHistory::parse(timeline, text).ok());
        // Segments from before the fork that the file names: one of the two is not true.
        let fits = |history: &TimelineHistory| {
            let fork = history.ancestors.last().map(|fork| size.segment_of(fork.switch));
            runs.of(timeline).first().is_none_or(|run| Some(run.first) >= fork)
        };
        match parsed.filter(fits) {
            Some(history) => Lineage { history, known: true },
            None => Lineage { history: TimelineHistory::root(timeline), known: timeline.0 == 1 },
        }
    };
    catalog.wal.timelines().into_iter().map(|timeline| (timeline, of(timeline))).collect()
}

/// The segments that children go on from.
pub(super) fn before_forks(
    lineages: &BTreeMap<TimelineId, Lineage>,
    size: SegmentSize,
) -> BTreeSet<BeforeFork> {
    lineages.values().filter_map(|lineage| before_fork(&lineage.history, size)).collect()
}

/// The last segment that a timeline shares with its past, and whose it is.
fn before_fork(history: &TimelineHistory, size: SegmentSize) -> Option<BeforeFork> {
    let fork = size.segment_of(history.ancestors.last()?.switch);
    let before = SegmentNumber(fork.0.checked_sub(1)?);
    Some((history.timeline_of_segment(before, size), before))
}

impl Pass<'_> {
    fn size(&self) -> SegmentSize {
        self.systems.first().map_or(SegmentSize::DEFAULT, |system| system.segment_size)
    }

    /// Begins a run: behind a fork with what its parent was reading, else afresh.
    fn begin(&mut self, listed: &Listed, origin: Option<Origin>) -> Current {
        let origin = origin.unwrap_or_else(|| self.systems[0]);
        let Listed { timeline, number, .. } = *listed;
        let lineage = &self.lineages[&timeline];
        let before = before_fork(&lineage.history, self.size());
        let kept = before.filter(|(_, last)| last.next() == number);
        let kept = kept.and_then(|before| self.kept.get(&before));
        let kept = kept.filter(|kept| kept.origin.system_id == origin.system_id);
        let parent = kept.and_then(|kept| kept.last.clone());
        let (walk, stretch) = if let Some(kept) = kept {
            (kept.walk.fork(&lineage.history), Some(kept.stretch))
        } else {
            let rules = origin.rules(lineage.history.clone(), lineage.known);
            (WalWalk::new(rules, number), None)
        };
        if self.tally.timelines.last().is_none_or(|known| known.timeline != timeline) {
            let name = number.file_name(timeline, self.size());
            self.tally.timelines.push(TimelineVerified {
                timeline,
                first: name.clone(),
                last: name,
                segments: 0,
                bytes: 0,
                records: 0,
                end: None,
                last_commit: None,
                damaged: 0,
                gaps: self.runs.of(timeline).len().saturating_sub(1) as u64,
                parameters: None,
                tablespaces: Vec::new(),
                custom_resource_managers: Vec::new(),
            });
        }
        self.stretches.open(origin.system_id, timeline, stretch);
        let records_before = walk.summary().records;
        let joint = Joint::default();
        Current {
            origin,
            timeline,
            last: number,
            walk,
            before: None,
            parent,
            records_before,
            joint,
        }
    }

    /// Counts a segment of the listing.
    fn count(&mut self, run: &mut Current, listed: &Listed) {
        run.last = listed.number;
        let size = self.size();
        if let Some(timeline) = self.tally.timelines.last_mut() {
            timeline.segments += 1;
            timeline.bytes += listed.object.size;
            timeline.last = listed.number.file_name(listed.timeline, size);
        }
    }

    async fn segment(
        &mut self,
        run: &mut Current,
        listed: Listed,
        fetched: Fetched,
    ) -> Result<(), Error> {
        let (number, size) = (listed.number, self.size());
        let start = run.walk.clone();
        let read = self.read(&mut run.walk, &listed, fetched).await?;
        if matches!(read, Err(Lost::Cancelled)) && self.reading.is_late() {
            return self.leave(run, &listed).await;
        }
        self.count(run, &listed);
        self.reading.fetched(listed.object.size);
        self.tally.volume.objects += 1;
        self.tally.volume.wal_segments += 1;
        match read {
            Err(Lost::Cancelled) => return Err(interrupted()),
            Err(Lost::Once(_)) if !self.reading.is_late() => {
                self.forget(run, number, number);
                return Err(interrupted());
            }
            Err(Lost::Unread(error) | Lost::Once(error)) => {
                self.tally.error(error);
                self.forget(run, number, number);
                self.close(run, Ended::Unread);
            }
            Err(Lost::Damaged(why)) => {
                self.forget(run, number, number);
                let what = format!("the segment cannot be decoded: {why}");
                let damage = Damage::undecodable(&listed.object.key, number, size, &what);
                self.damaged(run, &damage);
            }
            Ok(read) => self.take(run, &listed, start, read).await?,
        }
        let here = (listed.timeline, number);
        if self.wanted.contains(&here) {
            let last = run.before.clone().filter(|(last, _)| last.number == number);
            let (origin, walk, stretch) = (run.origin, run.walk.clone(), self.stretches.refer());
            self.kept.insert(here, Kept { origin, walk, stretch, last });
        }
        Ok(())
    }

    async fn read(
        &self,
        walk: &mut WalWalk,
        listed: &Listed,
        fetched: Fetched,
    ) -> Result<Result<SegmentRead, Lost>, Error> {
        segment::read(self.reading, walk, listed, fetched, &self.asked).await
    }

    /// Takes what a segment says; `start` is the walk as it was before.
    async fn take(
        &mut self,
        run: &mut Current,
        listed: &Listed,
        mut start: WalWalk,
        mut read: SegmentRead,
    ) -> Result<(), Error> {
        let (number, size) = (listed.number, self.size());
        let mut once = false;
        if read.broken.is_empty() {
            self.learn(run, listed, &mut start);
        } else {
            let first = read.broken.iter().map(|broken| broken.damage.segment).min();
            self.forget(run, first.unwrap_or(number), number);
            for WalDamage { timeline, segment, .. } in read.broken.iter().map(|b| &b.damage) {
                self.forget_all(*timeline, *segment, *segment);
            }
            (read, once) = match self.look_again(run, &start, listed, read).await? {
                Again::Read(read) => (read, false),
                Again::Missed(first) => (first, true),
            };
        }
        self.stretches.backups_ended(read.ends);
        self.stretches.changed(listed, read.databases);
        self.stretches.begun(listed, read.beginnings);
        for broken in read.broken {
            let Broken { damage, before } = &broken;
            let object = self.catalog.wal.segment(damage.timeline, damage.segment, size);
            let name = || damage.segment.file_name(damage.timeline, size);
            let key = object.map_or_else(name, |object| object.key);
            let damage = Damage::in_object(damage, key, size);
            self.stretches.update(before);
            if once && damage.class != FailureClass::WalLevelMinimal {
                self.close(run, Ended::Unread);
            } else {
                self.damaged(run, &damage);
            }
        }
        self.stretches.update(&run.walk.stretch());
        run.before = Some((listed.clone(), start));
        run.parent = None;
        Ok(())
    }

    fn damaged(&mut self, run: &Current, damage: &Damage) {
        if damage.class == FailureClass::WalLevelMinimal {
            return self.minimal(run, damage.lsn);
        }
        let last = self.stretches.last_commit().or(run.walk.stretch().last_commit);
        let finding = damage.finding(last.map(|commit| commit.at));
        if let Some(timeline) = self.tally.timelines.last_mut() {
            timeline.damaged += 1;
        }
        self.found(run.timeline, damage.segment, finding.clone());
        self.close(run, Ended::Damage(Box::new(finding)));
    }

    /// Older backups recover up to there, and the newest one should lie behind it.
    fn minimal(&mut self, run: &Current, at: Lsn) {
        let finding = outlook::minimal_wal(at);
        let history = &self.lineages[&run.timeline].history;
        if self.stretches.is_needed_by_newest(history, at) {
            self.tally.wal(finding.clone());
        } else {
            self.tally.attention(finding.clone());
        }
        self.close(run, Ended::Damage(Box::new(finding)));
    }

    /// A finding where a recovery could read the segment, else something to know.
    fn found(&mut self, timeline: TimelineId, segment: SegmentNumber, finding: Finding) {
        let history = &self.lineages[&timeline].history;
        if self.stretches.is_needed(history, segment.end(self.size())) {
            self.tally.wal(finding);
        } else {
            self.tally.attention(finding);
        }
    }

    /// Ends the stretch; what comes next on the timeline is another one.
    fn close(&mut self, run: &Current, ended: Ended) {
        self.stretches.close(ended);
        self.stretches.open(run.origin.system_id, run.timeline, None);
    }

    /// Ends a run; `behind` says what stands in the next segment's place.
    async fn end(&mut self, mut run: Current, behind: Option<Finding>) -> Result<(), Error> {
        self.tail(&mut run).await?;
        let more = self.runs.first_from(run.timeline, run.last.next()).is_some();
        self.stretches.close(match behind {
            Some(finding) => Ended::Damage(Box::new(finding)),
            None if more => Ended::Gap,
            None => Ended::Newest,
        });
        let summary = run.walk.summary();
        let records = summary.records - run.records_before;
        self.tally.volume.wal_records += records.saturating_sub(run.joint.records);
        let Some(timeline) = self.tally.timelines.last_mut() else { return Ok(()) };
        timeline.records += records;
        if records > 0 {
            timeline.end = Some(summary.end);
        }
        timeline.last_commit = summary.last_commit.map(Into::into).or(timeline.last_commit);
        timeline.parameters = Parameters::of(summary.parameters).or(timeline.parameters);
        for made in summary.tablespaces.iter().take(100) {
            let made = format!("{} {}", made.oid, made.location);
            if !timeline.tablespaces.contains(&made) {
                timeline.tablespaces.push(made);
            }
        }
        let custom = &mut timeline.custom_resource_managers;
        custom.extend(&summary.custom_resource_managers);
        custom.sort_unstable();
        custom.dedup();
        Ok(())
    }
}
