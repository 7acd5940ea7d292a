//! Records that have nothing to say but that they are there and sound, and how transactions ended. They
//! are nearly all of a log, and whether they are sound can be told on many threads at once: a [`Skim`]
//! finds them wherever it begins, and a walk passes over those that stand where it is.

use std::collections::BTreeSet;

use super::page::{PAGE_SIZE, WalRules};
use super::reader::{Reader, Step};
use super::record::{FIRST_CUSTOM, RM_TBLSPC, RM_XACT, RM_XLOG, Record};
use super::scan::TransactionEnd;
use super::segment_pages::SegmentPages;
use super::storage::RM_DBASE;
use super::xact::{self, Ending};
use super::xlog;
use crate::pg::{Lsn, Major, SegmentNumber};

/// Quiet records without another between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Where the record before them ends.
    pub(super) from: Lsn,
    /// Start of the record before them.
    pub(super) previous: Lsn,
    /// Start of the first of them.
    pub(super) first: Lsn,
    /// Start of the last of them.
    pub(super) last: Lsn,
    /// Where the next record may begin.
    pub(super) end: Lsn,
    pub(super) records: u64,
    /// The last of them that ends a transaction.
    pub(super) last_transaction: Option<TransactionEnd>,
    /// The last of them that commits one.
    pub(super) last_commit: Option<TransactionEnd>,
}

impl Quiet {
    /// Where the record before them ends.
    #[must_use]
    pub const fn from(&self) -> Lsn {
        self.from
    }
}

/// Looks for quiet records in one segment while that is decoded.
#[derive(Debug)]
pub struct Skim {
    reader: Reader,
    number: SegmentNumber,
    /// Starts of records that are never passed over.
    asked: Vec<Lsn>,
    /// Where the last record ended, once there is one.
    from: Option<Lsn>,
    open: Option<Open>,
    found: Vec<Quiet>,
    /// Nothing more can be told of this segment.
    over: bool,
}

/// Quiet records that go on, and ends of transactions among them by their records' starts.
#[derive(Debug)]
struct Open {
    quiet: Quiet,
    transaction: Option<(Ending, Lsn)>,
    commit: Option<(Ending, Lsn)>,
}

impl Skim {
    /// Begins with a segment's first page. What begins at places that are `asked` about is left for the
    /// walk.
    #[must_use]
    pub fn new(rules: WalRules, number: SegmentNumber, asked: &BTreeSet<Lsn>) -> Self {
        let size = rules.segment_size;
        let asked = asked.range(number.start(size)..number.end(size)).copied().collect();
        let reader = Reader::searching(rules, number);
        Self { reader, number, asked, from: None, open: None, found: Vec::new(), over: false }
    }

    /// What the segment must agree with.
    #[must_use]
    pub const fn rules(&self) -> &WalRules {
        self.reader.rules()
    }

    /// Reads on to the end of `bytes`, which stand at `offset` in the segment, behind those that were
    /// given to the last [`Self::take`], and may grow until the next.
    pub fn read(&mut self, offset: u64, bytes: &[u8]) {
        if self.over {
            return;
        }
        let size = self.rules().segment_size;
        let here = Lsn(self.number.start(size).0 + offset);
        let whole = bytes.len() as u64 / PAGE_SIZE * PAGE_SIZE;
        let mut pages = Part { offset, bytes, length: size.bytes() };
        let Self { reader, asked, from, open, found, over, .. } = self;
        let major = reader.rules().major;
        let mut part = reader.part(self.number, Lsn(here.0 + whole), &mut pages);
        loop {
            let record = match reader.next(&mut part) {
                Step::Record(record) => record,
                Step::SegmentEnd => return,
                Step::Fault(_) => {
                    *over = true;
                    return;
                }
            };
            let from = from.replace(record.end);
            let ending = match from {
                Some(_) if record.start < here || asked.contains(&record.start) => None,
                Some(from) => quiet(&record, major).map(|ending| (from, ending)),
                // Where the walk stands before the first record, only the walk knows.
                None => None,
            };
            match ending {
                Some((from, ending)) => {
                    open.get_or_insert_with(|| Open::at(from, &record)).add(&record, ending);
                }
                None => found.extend(open.take().map(Open::close)),
            }
        }
    }

    /// What was found since the last time.
    pub fn take(&mut self) -> Vec<Quiet> {
        self.found.extend(self.open.take().map(Open::close));
        std::mem::take(&mut self.found)
    }
}

impl Open {
    const fn at(from: Lsn, record: &Record<'_>) -> Self {
        let quiet = Quiet {
            from,
            previous: record.prev,
            first: record.start,
            last: record.start,
            end: record.end,
            records: 0,
            last_transaction: None,
            last_commit: None,
        };
        Self { quiet, transaction: None, commit: None }
    }

    const fn add(&mut self, record: &Record<'_>, ending: Option<Ending>) {
        self.quiet.records += 1;
        (self.quiet.last, self.quiet.end) = (record.start, record.end);
        if let Some(ending) = ending {
            self.transaction = Some((ending, record.start));
            if ending.committed {
                self.commit = self.transaction;
            }
        }
    }

    fn close(self) -> Quiet {
        let end = |(ending, start): (Ending, Lsn)| ending.at(start);
        Quiet {
            last_transaction: self.transaction.map(end),
            last_commit: self.commit.map(end),
            ..self.quiet
        }
    }
}

/// Whether a record is quiet, and then what it says of a transaction. Everything else is the business of
/// [`super::fold::Fold::apply`] and of those that look at a walk's records.
fn quiet(record: &Record<'_>, major: Major) -> Option<Option<Ending>> {
    match record.rmid {
        RM_XACT => xact::read(record, major).ok(),
        RM_XLOG => xlog::is_page_image(record).then_some(None),
        RM_DBASE | RM_TBLSPC | FIRST_CUSTOM.. => None,
        _ => Some(None),
    }
}

/// The bytes of a segment from an offset on, as far as they are there.
struct Part<'a> {
    offset: u64,
    bytes: &'a [u8],
    length: u64,
}

impl SegmentPages for Part<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        let at = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let rest = at.and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        rest.get(..PAGE_SIZE as usize).unwrap_or_default()
    }

    fn rewind(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
