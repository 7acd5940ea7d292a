//! The ledger: what was read to its last byte and found good, and when, so that what has not changed
//! need not be read again each time.
//!
//! An object is known by its key, entity tag, size and time: a replaced one is another one. Of segments
//! only hashes and what they add to a walk are kept, 48 bytes each, so that a million segments take
//! 48 MB. `verify` may trust a ledger; a drill never does.

mod budget;
mod entry;
mod format;
mod identity;
mod rotation;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};

use self::entry::Entry;
use super::base::OwnEnd;
use crate::pg::{Lsn, SegmentNumber, TimelineId, wal::walk::SegmentFacts};

pub use self::{
    budget::{Budget, Candidate, Choice, Rate, choose},
    format::Unusable,
    identity::{Identity, SegmentId},
    rotation::{Day, PERIOD, Round, Standing, standing},
};

/// A base backup that was read and is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBackup {
    /// Of all of its objects and of the WAL that its pages were judged by.
    pub identity: Identity,
    /// The last segment of that WAL.
    pub until: u64,
    pub read: Day,
    /// What the report says of it.
    pub files: u64,
    pub pages: u64,
    pub torn_pages: u64,
    /// What its judgement takes from the tars.
    pub own_end: OwnEnd,
    pub databases: Vec<(u32, u32)>,
    /// The checkpoint record that its label names, where the WAL did not reach so far as to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Lsn>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is known of one archive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// URL, server and endpoint: a ledger of another archive knows nothing of this one.
    archive: String,
    /// By id.
    backups: BTreeMap<String, KnownBackup>,
    /// Segments of earlier runs, by hash of the key.
    segments: Vec<Entry>,
    /// What this run has learned of others; later entries count.
    learned: Vec<Entry>,
    rate: Option<Rate>,
    /// Runs so far.
    runs: u32,
    /// Backups that no run has come to know, and the run that read each last.
    turns: BTreeMap<String, u32>,
    /// The timeline and number of the segment where the next run goes on with those that no ledger can
    /// remember.
    next: Option<(u32, u64)>,
}

impl Ledger {
    /// One that knows nothing yet of the archive of this name.
    #[must_use]
    pub fn new(archive: &str) -> Self {
        Self { archive: archive.to_owned(), ..Self::default() }
    }

    /// From what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Unusable`] where the bytes are no ledger, are damaged, or are another archive's.
    pub fn read(bytes: impl BufRead, archive: &str) -> Result<Self, Unusable> {
        format::read(bytes, archive)
    }

    /// As a file.
    ///
    /// # Errors
    /// What writing gives.
    pub fn write(&mut self, to: impl Write) -> io::Result<()> {
        self.settle();
        format::write(self, to)
    }

    /// What is known of a backup: it still has to be compared.
    #[must_use]
    pub fn backup(&self, id: &str) -> Option<&KnownBackup> {
        self.backups.get(id)
    }

    /// The backup was read to its last byte and is good.
    pub fn good_backup(&mut self, id: &str, known: KnownBackup) {
        self.comes_first(id);
        self.backups.insert(id.to_owned(), known);
    }

    /// The WAL has the checkpoint record that the backup's label names.
    pub fn begins_well(&mut self, id: &str) {
        if let Some(known) = self.backups.get_mut(id) {
            known.checkpoint = None;
        }
    }

    /// The backup is not good, or not all of it could be read.
    pub fn forget_backup(&mut self, id: &str) {
        self.backups.remove(id);
    }

    /// Keeps of the backups those that the archive lists.
    pub fn keep_backups(&mut self, listed: impl Fn(&str) -> bool) {
        self.backups.retain(|id, _| listed(id));
        self.turns.retain(|id, _| listed(id));
    }

    /// A run begins.
    pub fn begin(&mut self) -> Round {
        self.runs = self.runs.wrapping_add(1);
        Round(self.runs)
    }

    /// The run in which a backup was read last that none has come to know.
    #[must_use]
    pub fn turn(&self, id: &str) -> Option<u32> {
        self.turns.get(id).copied()
    }

    /// This run has read the backup, or begun to, and does not know that it is good: others come before
    /// it is read again.
    pub fn had_turn(&mut self, id: &str) {
        self.turns.insert(id.to_owned(), self.runs);
    }

    /// Where it is not known to be good, the next run begins with it.
    pub fn comes_first(&mut self, id: &str) {
        self.turns.remove(id);
    }

    /// Where reading goes on of segments that no ledger can remember.
    #[must_use]
    pub fn next(&self) -> Option<(TimelineId, SegmentNumber)> {
        self.next.map(|(timeline, number)| (TimelineId(timeline), SegmentNumber(number)))
    }

    /// The next run goes on there.
    pub fn goes_on(&mut self, next: Option<(TimelineId, SegmentNumber)>) {
        self.next = next.map(|(timeline, number)| (timeline.0, number.0));
    }

    /// What is known of a segment that starts at `start`, and when it was read. `None` where it never
    /// was or was replaced since.
    pub fn segment(&mut self, id: SegmentId, start: Lsn) -> Option<(Day, SegmentFacts)> {
        let at = self.find(id)?;
        let entry = &mut self.segments[at];
        if !entry.is_of(id) {
            return None;
        }
        entry.list();
        Some((entry.read, entry.facts(start)?))
    }

    /// The segment that starts at `start` was read behind the one before it and is good.
    pub fn good_segment(&mut self, id: SegmentId, start: Lsn, facts: &SegmentFacts, today: Day) {
        match Entry::of(id, start, facts, today) {
            Some(entry) => self.learn(id, entry),
            None => self.forget_segment(id),
        }
    }

    /// The segment is damaged, could not be read, or says what must be read each time.
    pub fn forget_segment(&mut self, id: SegmentId) {
        self.learn(id, Entry::gone(id));
    }

    /// Keeps of the segments those that were asked for since the ledger was read. For a run that has
    /// asked for all that the archive lists.
    pub fn keep_asked_segments(&mut self) {
        self.segments.retain(Entry::is_listed);
    }

    /// How fast objects were read, for estimates.
    #[must_use]
    pub const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Remembers how long this run took for what it read, without the time for the listing.
    pub fn measured(&mut self, bytes: u64, requests: u64, seconds: f64) {
        let measured = Rate::of(bytes, requests, seconds);
        self.rate = measured.map(|rate| rate.after(self.rate)).or(self.rate);
    }

    fn find(&self, id: SegmentId) -> Option<usize> {
        self.segments.binary_search_by_key(&id.key, |entry| entry.key).ok()
    }

    fn learn(&mut self, id: SegmentId, entry: Entry) {
        match self.find(id) {
            Some(at) => self.segments[at] = entry,
            None => self.learned.push(entry),
        }
    }

    /// Puts what was learned where it belongs.
    fn settle(&mut self) {
        // Stable, so that of one key the last is the newest.
        self.learned.reverse();
        self.learned.sort_by_key(|entry| entry.key);
        self.learned.dedup_by_key(|entry| entry.key);
        self.segments.append(&mut self.learned);
        self.segments.sort_by_key(|entry| entry.key);
        self.segments.retain(|entry| !entry.is_gone());
    }
}

#[cfg(test)]
mod tests;
