//! Reads all of a timeline's WAL, wherever it begins, and goes on after damage: not what one recovery
//! would replay, but everything that is there.

use super::fault::{Defect, Fault};
use super::fold::Fold;
pub use super::page::WalRules;
use super::reader::{Reader, Step};
use super::record::Record;
use super::scan::{ScanStart, ScanTarget, TransactionEnd, WalDamage, WalSummary, locate};
use super::segment_pages::SegmentPages;
use crate::pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// Records without a fault between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Start of the first record; `None` where there is none yet.
    pub begin: Option<Lsn>,
    /// End of the last record, `MAXALIGN`ed; after `XLOG_SWITCH` the next segment's start.
    pub end: Lsn,
    /// The last commit so far, also of stretches before this one.
    pub last_commit: Option<TransactionEnd>,
}

/// Damage, and what is good before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub damage: WalDamage,
    pub before: Stretch,
}

/// What reading a segment came to.
#[derive(Debug)]
pub struct Walked {
    pub broken: Vec<Broken>,
    /// A record that began earlier is damaged, and the pages before the place where that showed are no
    /// longer there: the segment must be given once more.
    pub again: bool,
}

/// What a good segment adds to a walk that comes to it from the segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Records that end in it.
    pub records: u64,
    /// End of the last of them; `None` where none ends in it.
    pub end: Option<Lsn>,
    /// The last commit of them.
    pub last_commit: Option<TransactionEnd>,
    /// A record begins and ends in it: reading that begins with it knows at its end all that reading
    /// of what is before would know.
    pub whole: bool,
}

/// A walk in progress. Holds at most one unfinished record; a clone is a place to return to.
#[derive(Clone, Debug)]
pub struct WalWalk {
    reader: Reader,
    fold: Fold,
    /// What ends the log unless another segment follows: then it is damage.
    open: Option<WalDamage>,
    timeline_before: Option<TimelineId>,
    begin: Option<Lsn>,
    /// Of the segment that was read last; see [`SegmentFacts::whole`].
    whole: bool,
}

impl WalWalk {
    /// Begins with `segment`, of which the first record must be found: what is left there of a record
    /// of the segment before is passed over.
    #[must_use]
    pub fn new(rules: WalRules, segment: SegmentNumber) -> Self {
        let fold = Fold::new(&ScanStart {
            major: rules.major,
            system_id: rules.system_id,
            segment_size: rules.segment_size,
            start: segment.start(rules.segment_size),
            history: rules.history.clone(),
            target: ScanTarget::Latest,
            exclusive: false,
            min_recovery_point: None,
        })
        .everything();
        let fold = if rules.ancestors_known { fold } else { fold.ancestors_unknown() };
        let reader = Reader::searching(rules, segment);
        Self { reader, fold, open: None, timeline_before: None, begin: None, whole: false }
    }

    /// The major version whose WAL this is.
    #[must_use]
    pub const fn major(&self) -> Major {
        self.reader.rules().major
    }

    /// The size of its segments.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.reader.rules().segment_size
    }

    /// Goes on from here on a timeline that forked off within the next segment: a record that crosses
    /// into it is read with its beginning.
    #[must_use]
    pub fn fork(&self, history: &TimelineHistory) -> Self {
        let mut child = self.clone();
        child.reader.follow(history.clone());
        child.fold.follow(history.clone());
        child
    }

    /// As [`Self::pages`], of a whole segment.
    pub fn segment(
        &mut self,
        timeline: TimelineId,
        number: SegmentNumber,
        bytes: &[u8],
        visit: impl FnMut(&Record<'_>),
    ) -> Vec<Broken> {
        self.pages(timeline, number, bytes, visit).broken
    }

    /// Reads one decoded segment and shows its records, but for those that the pages give as quiet by the
    /// same rules. One that does not follow the one before
    /// begins anew, as does what comes after damage: at the next segment, or at this one where the
    /// damaged record began earlier. Behind a turn to `wal_level=minimal` it goes on at the next
    /// record.
    pub fn pages(
        &mut self,
        timeline: TimelineId,
        number: SegmentNumber,
        mut pages: impl SegmentPages,
        mut visit: impl FnMut(&Record<'_>),
    ) -> Walked {
        let mut found = Vec::new();
        self.whole = false;
        if let Some(mut damage) = self.open.take() {
            damage.detail.push_str(" Later segments exist, so the log did not end there.");
            found.push(self.broken(damage));
            self.search(number);
        }
        if self.reader.next_segment() != number {
            self.search(number);
        }
        let mut again = false;
        while let Some(damage) = self.read(timeline, number, &mut pages, &mut visit, &mut found) {
            again = damage.segment < number;
            found.push(self.broken(damage));
            self.search(if again { number } else { number.next() });
            if !again || !pages.rewind() {
                break;
            }
            again = false;
        }
        self.timeline_before = Some(timeline);
        Walked { broken: found, again }
    }

    fn read(
        &mut self,
        timeline: TimelineId,
        number: SegmentNumber,
        pages: &mut impl SegmentPages,
        visit: &mut impl FnMut(&Record<'_>),
        found: &mut Vec<Broken>,
    ) -> Option<WalDamage> {
        let size = self.reader.rules().segment_size;
        let before = self.timeline_before;
        let place = |fault: Fault| locate(fault, size, (timeline, number), before);
        let skimmed = pages.skimmed_by() == Some(self.reader.rules());
        let mut segment = match self.reader.enter(number, pages) {
            Ok(segment) => segment,
            Err(fault) => return Some(place(fault).0),
        };
        loop {
            if skimmed && let Some(quiet) = self.reader.pass(&mut segment, |_| true) {
                self.whole = true;
                if self.begin.is_none() {
                    self.begin = Some(quiet.first);
                    self.fold.resume(quiet.first);
                }
                self.fold.pass_quiet(&quiet);
                continue;
            }
            match self.reader.next(&mut segment) {
                Step::SegmentEnd => return None,
                Step::Record(record) => {
                    self.whole |= record.start >= number.start(size);
                    if self.begin.is_none() {
                        self.begin = Some(record.start);
                        self.fold.resume(record.start);
                    }
                    let summary = self.fold.summary();
                    let (end, last_commit) = (summary.end, summary.last_commit);
                    if let Err(fault) = self.fold.apply(&record, visit) {
                        return Some(place(fault).0);
                    }
                    if self.fold.take_minimal() {
                        // No recovery passes it, but one may begin behind it.
                        let damage = place(Defect::minimal_wal().at(record.start)).0;
                        let before = Stretch { begin: self.begin.take(), end, last_commit };
                        found.push(Broken { damage, before });
                    }
                }
                Step::Fault(fault) => {
                    let (damage, unwritten) = place(fault);
                    if !unwritten {
                        return Some(damage);
                    }
                    self.open = Some(damage);
                    return None;
                }
            }
        }
    }

    /// Whether everything up to the start of this segment is known to be without a fault.
    #[must_use]
    pub fn follows(&self, number: SegmentNumber) -> bool {
        self.begin.is_some() && self.open.is_none() && self.reader.next_segment() == number
    }

    /// What the segment that was read last has added since `before`, the walk as it was at its start.
    /// `None` where that was not read behind the one before it, was not good, or said what counts for
    /// more than its place: what recovery needs at least, or where a backup ends.
    #[must_use]
    pub fn facts_since(&self, before: &Self, number: SegmentNumber) -> Option<SegmentFacts> {
        let joined = |walk: &Self, at| walk.follows(at) && !walk.reader.is_searching();
        let (own, then) = (self.fold.summary(), before.fold.summary());
        let good = joined(before, number) && joined(self, number.next());
        if !good || self.fold.lasting() != before.fold.lasting() {
            return None;
        }
        let records = own.records - then.records;
        Some(SegmentFacts {
            records,
            end: (records > 0).then_some(own.end),
            last_commit: own.last_commit.filter(|_| own.last_commit != then.last_commit),
            whole: self.whole,
        })
    }

    /// Whether the segment that was read last is as `facts` have it, as far as reading that began with
    /// it can tell.
    #[must_use]
    pub fn agrees(&self, facts: &SegmentFacts, number: SegmentNumber) -> bool {
        let end = self.fold.summary().end;
        self.follows(number.next())
            && self.whole == facts.whole
            && facts.end.is_none_or(|e| e == end)
    }

    /// Goes past a segment that is not read, with what is known of it. Behind it a record that began
    /// in it is not known, so the next segment that is read must be one that is `whole`.
    pub fn pass(&mut self, timeline: TimelineId, number: SegmentNumber, facts: &SegmentFacts) {
        self.fold.pass(facts);
        self.reader.search(number.next());
        self.timeline_before = Some(timeline);
    }

    /// Goes past a segment of which nothing is known: what lies behind it is read afresh.
    pub fn skip(&mut self, number: SegmentNumber) {
        self.search(number.next());
    }

    /// Counts the segment that was read last as `passed`, a walk that went past it, has it: behind
    /// [`Self::pass`] it is read without the record that began before it. `before` is the walk as it
    /// was at the segment's start; reading it from there comes to the same then.
    pub fn count_as(&mut self, passed: &Self, before: &mut Self) {
        before.fold.count_before(&self.fold, &passed.fold);
        self.fold.count_as(&passed.fold);
    }

    /// Ends a run of segments: the next one is not there, or was not read. A record that the run
    /// breaks off in is no damage unless it cannot be one.
    pub fn end_run(&mut self) -> Option<Broken> {
        let fault = match self.open {
            Some(_) => None,
            None => self.reader.check_unfinished().err(),
        }?;
        let rules = self.reader.rules();
        let number = rules.segment_size.segment_of(fault.lsn);
        let timeline = self.timeline_before.unwrap_or(rules.history.timeline);
        let (damage, _) = locate(fault, rules.segment_size, (timeline, number), None);
        Some(self.broken(damage))
    }

    /// Where the last segment looks as if it had never been written further; see
    /// [`WalSummary::open_end`].
    #[must_use]
    pub const fn open_end(&self) -> Option<&WalDamage> {
        self.open.as_ref()
    }

    /// The records since the last hole.
    #[must_use]
    pub const fn stretch(&self) -> Stretch {
        let summary = self.fold.summary();
        Stretch { begin: self.begin, end: summary.end, last_commit: summary.last_commit }
    }

    /// What all records so far say; `end` is that of the last one.
    #[must_use]
    pub const fn summary(&self) -> &WalSummary {
        self.fold.summary()
    }

    const fn broken(&self, damage: WalDamage) -> Broken {
        Broken { damage, before: self.stretch() }
    }

    fn search(&mut self, segment: SegmentNumber) {
        self.open = None;
        self.begin = None;
        self.reader.search(segment);
    }
}

#[cfg(test)]
mod tests;
