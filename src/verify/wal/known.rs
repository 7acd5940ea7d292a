//! Segments that an earlier run has read: which of them are read again, so that every record that lies
//! across two segments of which one is new is read whole, and what the others add.
//!
//! The first and the last segment of each run of segments and those before a fork are always read:
//! there a walk begins, ends or is handed on. What the ledger knows of a segment holds behind the
//! segment that came before it then: where that one has changed, reading goes on until a segment is as
//! the ledger has it and a record lies whole in it.

use std::sync::Arc;

use super::{Current, Ended, Pass};
use crate::{
    archive::ObjectRef,
    drill::{Code, Error},
    pg::{
        SegmentNumber, SegmentSize, TimelineId,
        wal::walk::{SegmentFacts, WalWalk},
    },
    verify::{
        Reading,
        feed::{Feed, Fetched, Listed, Lost, fetch},
        ledger::{Day, Ledger, SegmentId},
        wal_plan::WalPlan,
    },
};

/// What a run trusts and adds to.
#[derive(Debug)]
pub(in crate::verify) struct KnownWal<'a> {
    pub ledger: &'a mut Ledger,
    pub plan: Arc<WalPlan>,
}

/// What was not read.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::verify) struct NotRead {
    /// Known to be good.
    pub trusted: u64,
    pub trusted_bytes: u64,
    pub oldest: Option<Day>,
    /// Over the budget.
    pub left: u64,
    pub left_bytes: u64,
}

/// How a segment comes into a walk.
pub(super) enum Step {
    Fetched(Fetched),
    /// An earlier run has read it.
    Known,
    /// It does not fit into the budget.
    Left,
}

/// What stands between a walk and a segment that is not read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Joint {
    /// The last segment was as the ledger has it, and a record lay whole in it.
    settled: bool,
    /// The last segment was not read.
    passed: bool,
    /// Records of segments that were not read.
    pub records: u64,
}

impl NotRead {
    pub(super) const fn leave(&mut self, object: &ObjectRef) {
        self.left += 1;
        self.left_bytes += object.size;
    }
}

impl KnownWal<'_> {
    fn id(&self, listed: &Listed) -> Option<SegmentId> {
        SegmentId::of(&listed.object, self.plan.rules(listed.timeline)?)
    }

    fn facts(&mut self, listed: &Listed, size: SegmentSize) -> Option<(Day, SegmentFacts)> {
        let id = self.id(listed)?;
        self.ledger.segment(id, listed.number.start(size))
    }
}

/// Segments in order, of which those that are read come from a [`Feed`].
pub(super) struct Steps<'a, R, A> {
    reading: &'a Reading<'a>,
    plan: Option<Arc<WalPlan>>,
    all: A,
    at: usize,
    feed: Feed<'a, R>,
}

impl<'a, R: Iterator<Item = Listed>, A: Iterator<Item = Listed>> Steps<'a, R, A> {
    /// `all` are the segments of the plan; `read` are those of them that it reads.
    pub(super) fn new(
        reading: &'a Reading<'a>,
        plan: Option<Arc<WalPlan>>,
        all: A,
        feed: Feed<'a, R>,
    ) -> Self {
        Self { reading, plan, all, at: 0, feed }
    }

    pub(super) async fn next(&mut self) -> Option<(Listed, Step)> {
        let listed = self.all.next()?;
        let at = self.at;
        self.at += 1;
        let step = match &self.plan {
            Some(plan) if !plan.is_read(at) && plan.is_known(at) => Step::Known,
            Some(plan) if !plan.is_read(at) => Step::Left,
            // What is on its way may have shown damage.
            _ if self.reading.is_late() => match self.feed.landed().await {
                None | Some((_, Err(Lost::Cancelled))) => Step::Left,
                Some((_, fetched)) => Step::Fetched(fetched),
            },
            _ => match self.feed.next().await?.1 {
                Err(Lost::Cancelled) if self.reading.is_late() => Step::Left,
                fetched => Step::Fetched(fetched),
            },
        };
        Some((listed, step))
    }
}

impl Pass<'_> {
    /// Takes the next segment into its run.
    pub(super) async fn step(
        &mut self,
        run: &mut Current,
        listed: Listed,
        step: Step,
    ) -> Result<(), Error> {
        let fetched = match step {
            Step::Fetched(fetched) => fetched,
            Step::Left => {
                return self.leave(run, &listed).await;
            }
            Step::Known => {
                let size = self.size();
                let known = self.known.as_mut().and_then(|known| known.facts(&listed, size));
                let ready = run.joint.settled && run.walk.follows(listed.number);
                if let Some((day, facts)) = known.filter(|_| ready) {
                    self.pass(run, &listed, day, &facts);
                    return Ok(());
                }
                if self.reading.is_late() {
                    return self.leave(run, &listed).await;
                }
                fetch(self.reading, &listed.object, size).await
            }
        };
        self.segment(run, listed, fetched).await
    }

    /// Goes past a segment that is known.
    fn pass(&mut self, run: &mut Current, listed: &Listed, day: Day, facts: &SegmentFacts) {
        self.count(run, listed);
        self.not_read.trusted += 1;
        self.not_read.trusted_bytes += listed.object.size;
        self.not_read.oldest = Some(self.not_read.oldest.map_or(day, |oldest| oldest.min(day)));
        run.walk.pass(listed.timeline, listed.number, facts);
        run.joint = Joint { passed: true, records: run.joint.records + facts.records, ..run.joint };
        (run.before, run.parent) = (None, None);
        self.stretches.update(&run.walk.stretch());
    }

    /// Goes past a segment of which nothing is known.
    pub(super) async fn leave(&mut self, run: &mut Current, listed: &Listed) -> Result<(), Error> {
        self.tail(run).await?;
        self.count(run, listed);
        self.not_read.leave(&listed.object);
        self.doubt(run, listed.number);
        run.joint = Joint { records: run.joint.records, ..Joint::default() };
        self.close(run, Ended::Unread);
        run.walk.skip(listed.number);
        run.parent = None;
        Ok(())
    }

    /// The segment is not read after all. Where what is before it has changed, what is known of it no
    /// longer holds, and the next run would find both known and not ask what joins them.
    pub(super) fn doubt(&mut self, run: &Current, number: SegmentNumber) {
        if !run.joint.settled && run.walk.follows(number) {
            self.forget_all(run.timeline, number, number);
        }
    }

    /// Remembers what a segment has shown that was read without damage. `start` is the walk as it was
    /// before.
    pub(super) fn learn(&mut self, run: &mut Current, listed: &Listed, start: &mut WalWalk) {
        let (timeline, number) = (listed.timeline, listed.number);
        let first = number.start(self.size());
        let Some(own) = &mut self.known else { return };
        let passed = std::mem::take(&mut run.joint.passed);
        run.joint.settled = false;
        let Some(id) = own.id(listed) else { return };
        let known = own.ledger.segment(id, first).map(|(_, facts)| facts);
        if let Some(facts) = run.walk.facts_since(start, number) {
            own.ledger.good_segment(id, first, &facts, own.plan.today());
            run.joint.settled = facts.whole && known == Some(facts);
            return;
        }
        // Read without what came before it: then the ledger's word on it stands.
        let same = known.filter(|facts| facts.whole && run.walk.agrees(facts, number));
        match same {
            Some(facts) if passed => {
                let mut then = start.clone();
                then.pass(timeline, number, &facts);
                run.walk.count_as(&then, start);
                run.joint.settled = true;
            }
            Some(_) if !start.follows(number) => run.joint.settled = true,
            _ => {
                own.ledger.forget_segment(id);
                if passed {
                    let what =
                        format!("`{}` was read apart from what is before", listed.object.key);
                    self.tally.error(Error::new(Code::Bug, what));
                }
            }
        }
    }

    /// Nothing is known any more of the segments from `first` to `last`.
    pub(super) fn forget(&mut self, run: &mut Current, first: SegmentNumber, last: SegmentNumber) {
        run.joint = Joint { records: run.joint.records, ..Joint::default() };
        self.forget_all(run.timeline, first, last);
    }

    pub(super) fn forget_all(
        &mut self,
        timeline: TimelineId,
        first: SegmentNumber,
        last: SegmentNumber,
    ) {
        let size = self.size();
        let Some(own) = &mut self.known else { return };
        for number in (first.0..=last.0).map(SegmentNumber) {
            if let Some(object) = self.catalog.wal.segment(timeline, number, size)
                && let Some(id) = own.id(&Listed { timeline, number, object })
            {
                own.ledger.forget_segment(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
