//! Which segments a run reads: what is new, whose turn has come, and what joins them to what is known.

use std::collections::BTreeMap;

use super::{
    ledger::{Candidate, Day, Identity, Ledger, PERIOD, Round, SegmentId, Standing, standing},
    wal::{Lineage, Origin, before_forks, lineages},
};
use crate::{
    archive::Catalog,
    pg::{SegmentNumber, TimelineId},
};

/// So many neighbours (as a power of two) come to their turn together: few are read only to join.
const TOGETHER: u32 = 6;

/// A segment of the listing.
type Place = (TimelineId, SegmentNumber);

/// What is known of the segments of a listing, and which of them are read. Eight bytes a segment.
#[derive(Debug, Default)]
pub(super) struct WalPlan {
    /// In the order in which they are read.
    segments: Vec<Planned>,
    /// First and last index of each run, and the segment that it begins with.
    runs: Vec<(usize, usize)>,
    begins: Vec<Place>,
    parts: Vec<Part>,
    rules: BTreeMap<TimelineId, Identity>,
    today: Day,
    /// Other objects that are read in any case: number and bytes.
    others: (u64, u64),
    oldest: Option<Day>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    bytes: u32,
    state: State,
    /// See [`crate::pg::wal::walk::SegmentFacts::whole`].
    whole: bool,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unread,
    /// As [`State::Unread`], and no ledger can remember it.
    Nameless,
    Due,
    Good,
}

/// Why a segment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    No,
    /// For itself.
    Own,
    /// To join it with a neighbour.
    Join,
}

/// Neighbours that are read or left together.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: usize,
    last: usize,
    /// Those between `first` and `last` that are in this state.
    state: State,
    /// Of those that are due, the oldest reading.
    read: Option<Day>,
}

impl Part {
    fn holds(&self, planned: Planned) -> bool {
        planned.state == self.state
    }
}

impl Planned {
    const fn is_unknown(self) -> bool {
        matches!(self.state, State::Unread | State::Nameless)
    }
}

impl WalPlan {
    /// Asks the ledger about every segment of the listing.
    pub(super) fn new(
        ledger: &mut Ledger,
        systems: &[Origin],
        catalog: &Catalog,
        today: Day,
    ) -> Self {
        let mut plan = Self { today, ..Self::default() };
        let Some(system) = systems.first() else { return plan };
        let size = system.segment_size;
        let runs = catalog.wal.runs(size);
        let lineages = lineages(catalog, &runs, size);
        let wanted = before_forks(&lineages, size);
        for (timeline, Lineage { history, known }) in &lineages {
            // Whose a segment is only its bytes tell, and where nobody knows what came before a
            // timeline, what its segments add is not known either.
            if systems.len() == 1 && *known {
                let Origin { major, system_id, segment_size } = system;
                let rules = format!("{system_id} {major:?} {segment_size:?} {history:?}");
                plan.rules.insert(*timeline, Identity::of_text(&rules));
            }
        }
        for run in catalog.wal.timelines().into_iter().flat_map(|timeline| runs.of(timeline)) {
            let (timeline, first) = (run.timeline, plan.segments.len());
            let mut open = [None; 3];
            let mut group = 0;
            for number in (run.first.0..=run.last.0).map(SegmentNumber) {
                if number == run.first || number.0.is_multiple_of(1 << TOGETHER) {
                    open = [None; 3];
                    group =
                        Identity::of_text(&format!("{timeline} {}", number.0 >> TOGETHER)).low();
                }
                let object = catalog.wal.segment(timeline, number, size);
                let rules = plan.rules.get(&timeline);
                let id = object.as_ref().zip(rules).and_then(|(o, rules)| SegmentId::of(o, *rules));
                let known = id.and_then(|id| ledger.segment(id, number.start(size)));
                let bytes = object.map_or(0, |object| object.size);
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                let whole = known.is_some_and(|(_, facts)| facts.whole);
                let standing = standing(group, known.map(|(day, _)| day), today);
                let edge = number == run.first || number == run.last;
                let turn =
                    if edge || wanted.contains(&(timeline, number)) { Turn::Own } else { Turn::No };
                let state = if id.is_some() { State::Unread } else { State::Nameless };
                plan.add(Planned { bytes, state, whole, turn }, standing, &mut open);
            }
            plan.runs.push((first, plan.segments.len() - 1));
            plan.begins.push((timeline, run.first));
        }
        ledger.keep_asked_segments();
        let partials = catalog.wal.partials(size).map(|(_, _, object)| object.size);
        let labels = catalog.wal.labels().iter().map(|(_, object)| object.size);
        // Each copy is read with the one that a restore takes.
        let copies = catalog.wal.copies(size).flat_map(|(timeline, number, object)| {
            let taken = catalog.wal.segment(timeline, number, size);
            std::iter::once(object.size).chain(taken.map(|taken| taken.size))
        });
        let others = partials.chain(labels).chain(copies);
        plan.others = others.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        plan.join();
        plan
    }

    fn add(&mut self, planned: Planned, standing: Standing, open: &mut [Option<usize>; 3]) {
        let at = self.segments.len();
        let (state, read) = match standing {
            Standing::Unread | Standing::Round { .. } => (planned.state, None),
            Standing::Due(day) => (State::Due, Some(day)),
            Standing::Good(day) => (State::Good, Some(day)),
        };
        self.segments.push(Planned { state, ..planned });
        if let Some(day) = read {
            self.oldest = Some(self.oldest.map_or(day, |oldest| oldest.min(day)));
        }
        if state == State::Good || planned.turn == Turn::Own {
            return;
        }
        let open = &mut open[state as usize];
        if let Some(part) = open.and_then(|part| self.parts.get_mut(part)) {
            part.last = at;
            part.read = part.read.zip(read).map(|(a, b)| a.min(b));
        } else {
            *open = Some(self.parts.len());
            self.parts.push(Part { first: at, last: at, state, read });
        }
    }

    /// Adds what has to be read with what is read: before it a segment in which reading can begin,
    /// behind what is new one that is known to follow it.
    fn join(&mut self) {
        for &(first, last) in &self.runs {
            for at in first..=last {
                let here = self.segments[at];
                if here.turn != Turn::Own {
                    continue;
                }
                // One that is there only as an end may be read apart from what is before.
                let apart = here.state == State::Good && here.whole;
                for before in self.segments[first..at].iter_mut().rev().filter(|_| !apart) {
                    if before.turn != Turn::No || before.is_unknown() {
                        break;
                    }
                    before.turn = Turn::Join;
                    if before.whole {
                        break;
                    }
                }
                let new = here.is_unknown() || at == first;
                for behind in self.segments[at + 1..=last].iter_mut().filter(|_| new) {
                    if behind.turn == Turn::Own || behind.is_unknown() {
                        break;
                    }
                    behind.turn = Turn::Join;
                    if behind.whole {
                        break;
                    }
                }
            }
        }
    }

    /// Reads also the segment of the record at this place, and the next one if the record may end in that:
    /// a run that knows them all the same has to see it.
    pub(super) fn see(&mut self, (timeline, number): Place, near_end: bool) {
        let Some(at) = self.index((timeline, number)) else { return };
        for planned in self.segments.iter_mut().skip(at).take(1 + usize::from(near_end)) {
            if planned.turn == Turn::No && !planned.is_unknown() {
                planned.turn = Turn::Own;
            }
        }
        self.join();
    }

    fn index(&self, (timeline, number): Place) -> Option<usize> {
        let runs = self.begins.iter().zip(&self.runs);
        runs.filter(|((own, _), _)| *own == timeline).find_map(|((_, begin), (first, last))| {
            let at = first + usize::try_from(number.0.checked_sub(begin.0)?).ok()?;
            (at <= *last).then_some(at)
        })
    }

    /// Objects and bytes that are read so far.
    pub(super) fn volume(&self) -> (u64, u64) {
        let read = self.segments.iter().filter(|planned| planned.turn != Turn::No);
        read.fold(self.others, |(count, sum), one| (count + 1, sum + u64::from(one.bytes)))
    }

    /// Objects and bytes that are not read and known to be good, and the day of the oldest reading.
    pub(super) fn trusted(&self) -> (u64, u64, Option<Day>) {
        let known = |one: &&Planned| one.turn == Turn::No && !one.is_unknown();
        let known = self.segments.iter().filter(known);
        let (count, sum) =
            known.fold((0, 0), |(count, sum), one| (count + 1, sum + u64::from(one.bytes)));
        (count, sum, self.oldest.filter(|_| count > 0))
    }

    /// What may be read, with indexes from `first` on. Of what no ledger can remember the part that holds
    /// `next` comes first.
    pub(super) fn candidates(
        &self,
        first: u32,
        round: Round,
        next: Option<Place>,
    ) -> impl Iterator<Item = Candidate> {
        let nameless = || self.parts.iter().filter(|part| part.state == State::Nameless);
        let count = nameless().count().max(1);
        let begin = nameless().position(|part| Some(self.place(part.last)) >= next).unwrap_or(0);
        let mut at = 0;
        self.parts.iter().zip(first..).map(move |(part, index)| {
            let (standing, order) = match part.state {
                State::Nameless => {
                    at += 1;
                    (round.standing(), round.of_wal((at - 1 + count - begin) % count))
                }
                _ => (part.read.map_or(Standing::Unread, Standing::Due), index),
            };
            let (bytes, requests) = self.cost(part);
            Candidate { index, order, standing, bytes, requests }
        })
    }

    /// Where the next run goes on with what no ledger can remember: with the first of these parts, by their
    /// place among the candidates, that lies behind `next`, where this run has begun.
    pub(super) fn first_of_round(
        &self,
        parts: impl Iterator<Item = u32>,
        next: Option<Place>,
    ) -> Option<Place> {
        let parts = parts.map(|part| self.parts[part as usize]);
        let nameless = parts.filter(|part| part.state == State::Nameless);
        let places = nameless.map(|part| (self.place(part.first), self.place(part.last)));
        let first = places.min_by_key(|(first, last)| (Some(*last) < next, *first));
        first.map(|(first, _)| first)
    }

    /// The segment of this index.
    fn place(&self, at: usize) -> Place {
        let run = self.runs.partition_point(|(first, _)| *first <= at).saturating_sub(1);
        let (timeline, number) = self.begins[run];
        (timeline, SegmentNumber(number.0 + (at - self.runs[run].0) as u64))
    }

    /// Bytes and requests that a part takes, with the neighbours that it is joined with.
    fn cost(&self, part: &Part) -> (u64, u64) {
        let (mut bytes, mut requests) = (0, 0);
        for at in part.first.saturating_sub(1)..=part.last + 1 {
            let Some(planned) = self.segments.get(at) else { continue };
            let near = [at.wrapping_sub(1), at, at + 1].into_iter().any(|at| {
                let held = (part.first..=part.last).contains(&at);
                held && self.segments.get(at).is_some_and(|one| part.holds(*one))
            });
            if near && planned.turn == Turn::No {
                bytes += u64::from(planned.bytes);
                requests += 1;
            }
        }
        (bytes, requests)
    }

    /// Divides the parts that do not fit, by bytes and requests, until they do: their segments still
    /// join. What does not fit alone stays as it is.
    pub(super) fn divide(&mut self, fits: impl Fn(u64, u64) -> bool) {
        let mut stack: Vec<Part> = std::mem::take(&mut self.parts).into_iter().rev().collect();
        while let Some(part) = stack.pop() {
            let (bytes, requests) = self.cost(&part);
            if part.first == part.last || fits(bytes, requests) {
                self.parts.extend((requests > 0).then_some(part));
                continue;
            }
            let middle = usize::midpoint(part.first, part.last);
            stack.push(Part { first: middle + 1, ..part });
            stack.push(Part { last: middle, ..part });
        }
    }

    /// How many segments these parts hold, by their place among the candidates.
    pub(super) fn held(&self, parts: impl Iterator<Item = u32>) -> u64 {
        let parts = parts.map(|part| self.parts[part as usize]);
        let held = parts.map(|part| {
            let all = &self.segments[part.first..=part.last];
            all.iter().filter(|one| part.holds(**one)).count() as u64
        });
        held.sum()
    }

    /// Reads these parts too, by their place among the candidates.
    pub(super) fn choose(&mut self, parts: impl Iterator<Item = u32>) {
        for part in parts {
            let part = self.parts[part as usize];
            for planned in &mut self.segments[part.first..=part.last] {
                if part.holds(*planned) {
                    planned.turn = Turn::Own;
                }
            }
        }
        self.join();
    }

    /// Segments that are not read though their last reading is too long ago: number and bytes.
    pub(super) fn stale(&self) -> (u64, u64) {
        let old = |part: &&Part| part.read.is_some_and(|day| self.today.0 - day.0 > PERIOD);
        let left = self.parts.iter().filter(old).flat_map(|part| {
            let all = self.segments[part.first..=part.last].iter();
            all.filter(|one| part.holds(**one) && one.turn == Turn::No)
        });
        left.fold((0, 0), |(count, sum), one| (count + 1, sum + u64::from(one.bytes)))
    }

    /// Segments of which nothing is known and that are not read: number and bytes.
    pub(super) fn left(&self) -> (u64, u64) {
        self.sum(|one| one.turn == Turn::No && one.is_unknown())
    }

    /// Those of [`Self::left`] of which no ledger ever knows anything.
    pub(super) fn left_nameless(&self) -> (u64, u64) {
        self.sum(|one| one.turn == Turn::No && one.state == State::Nameless)
    }

    fn sum(&self, which: impl Fn(&Planned) -> bool) -> (u64, u64) {
        let all = self.segments.iter().filter(|one| which(one));
        all.fold((0, 0), |(count, sum), one| (count + 1, sum + u64::from(one.bytes)))
    }

    pub(super) fn is_read(&self, at: usize) -> bool {
        self.segments.get(at).is_none_or(|planned| planned.turn != Turn::No)
    }

    pub(super) fn is_known(&self, at: usize) -> bool {
        self.segments.get(at).is_some_and(|planned| !planned.is_unknown())
    }

    /// What the segments of a timeline are held against; `None` where none of them is ever trusted.
    pub(super) fn rules(&self, timeline: TimelineId) -> Option<Identity> {
        self.rules.get(&timeline).copied()
    }

    pub(super) const fn today(&self) -> Day {
        self.today
    }
}

#[cfg(test)]
mod tests;
