//! Records that have nothing to say but that they are there and sound, and how transactions ended. They
//! are nearly all of a log, and whether they are sound can be told on many threads at once: a [`Skim`]
//! finds them wherever it begins, and a walk passes over those that stand where it is.

use std::collections::BTreeSet;

use super::page::{PAGE_SIZE, WalRules};
use super::reader::{Found, Reader, Segment};
use super::record::{FIRST_CUSTOM, RM_TBLSPC, RM_XACT, RM_XLOG};
use super::scan::TransactionEnd;
use super::segment_pages::SegmentPages;
use super::storage::RM_DBASE;
use super::xact::{self, Ending};
use super::xlog;
use crate::pg::{Lsn, SegmentNumber};

/// Bytes of a record that a skim puts together, at most: longer ones are few, and the walk's business.
const LONGEST: usize = 256 << 10;

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

    /// Where the next record may begin.
    #[must_use]
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// Whether nothing else begins, ends or goes on in the page at `page`: who passes over them does not
    /// read it.
    #[must_use]
    pub const fn fills(&self, page: Lsn) -> bool {
        self.from.0 <= page.0 && page.0 + PAGE_SIZE <= self.end.0
    }
}

/// Looks for quiet records in one segment while that is decoded.
#[derive(Debug)]
pub struct Skim {
    reader: Reader,
    number: SegmentNumber,
    /// Starts of records that are never passed over.
    asked: Vec<Lsn>,
    /// Start and end of the last record, once there is one.
    before: Option<(Lsn, Lsn)>,
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
        Self { reader, number, asked, before: None, over: false }
    }

    /// What the segment must agree with.
    #[must_use]
    pub const fn rules(&self) -> &WalRules {
        self.reader.rules()
    }

    /// Where the segment begins.
    #[must_use]
    pub const fn start(&self) -> Lsn {
        self.number.start(self.rules().segment_size)
    }

    /// Reads the next `bytes`, which stand at `offset` in the segment, and gives the quiet records that
    /// begin and end in them.
    pub fn read(&mut self, offset: u64, bytes: &[u8]) -> Vec<Quiet> {
        let (mut found, mut open) = (Vec::new(), None::<Open>);
        if self.over {
            return found;
        }
        let here = Lsn(self.start().0 + offset);
        let whole = bytes.len() as u64 / PAGE_SIZE * PAGE_SIZE;
        let mut pages = Part { offset, bytes, length: self.rules().segment_size.bytes() };
        let Self { reader, asked, before: last, over, .. } = self;
        let mut part = reader.part(self.number, Lsn(here.0 + whole), &mut pages);
        loop {
            match reader.advance(&mut part) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    *over = true;
                    break;
                }
            }
            let Found { start, end, .. } = *reader.found();
            let before = last.replace((start, end));
            let ending = match before {
                Some(_) if start < here || asked.contains(&start) => None,
                Some(before) => quiet(reader, &mut part).ok().map(|ending| (before, ending)),
                // Where the walk stands before the first record, only the walk knows.
                None => None,
            };
            match ending {
                Some((before, ending)) => {
                    open.get_or_insert_with(|| Open::behind(before, start)).add(start, end, ending);
                }
                None => found.extend(open.take().map(Open::close)),
            }
        }
        found.extend(open.map(Open::close));
        if reader.held() > LONGEST {
            *over = true;
            reader.search(self.number);
        }
        found
    }
}

impl Open {
    /// Begins behind a record that began and ended there, at `first`.
    const fn behind((previous, from): (Lsn, Lsn), first: Lsn) -> Self {
        let quiet = Quiet {
            from,
            previous,
            first,
            last: first,
            end: first,
            records: 0,
            last_transaction: None,
            last_commit: None,
        };
        Self { quiet, transaction: None, commit: None }
    }

    const fn add(&mut self, start: Lsn, end: Lsn, ending: Option<Ending>) {
        self.quiet.records += 1;
        (self.quiet.last, self.quiet.end) = (start, end);
        if let Some(ending) = ending {
            self.transaction = Some((ending, start));
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

/// A record that is not quiet.
struct Loud;

/// What the record that was read says of a transaction, if it is quiet. Everything else is the business
/// of [`super::fold::Fold::apply`] and of those that look at a walk's records.
fn quiet<P: SegmentPages>(
    reader: &Reader,
    segment: &mut Segment<'_, P>,
) -> Result<Option<Ending>, Loud> {
    let Found { rmid, operation, .. } = *reader.found();
    match rmid {
        RM_XACT => xact::read(&reader.record(segment), reader.rules().major).map_err(|_| Loud),
        RM_XLOG if xlog::is_page_image(operation) => Ok(None),
        RM_XLOG | RM_DBASE | RM_TBLSPC | FIRST_CUSTOM.. => Err(Loud),
        _ => Ok(None),
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
