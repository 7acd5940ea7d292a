//! Finds records in segments, across pages and segments, as `XLogDecodeNextRecord`
//! (`access/transam/xlogreader.c`) does.

use std::ops::Range;

use super::fault::{Defect, Fault};
use super::field::{u32_at, u64_at};
use super::page::{PAGE_SIZE, PageHeader, SHORT_HEADER, WalRules, page_start};
use super::quiet::Quiet;
use super::record::{
    BlockReference, HEADER, Header, MAX_LENGTH, Parts, Place, RM_XLOG, Record, check_beginning,
    crc, resource_manager_is_valid,
};
use super::scan::DamageKind;
use super::segment_pages::SegmentPages;
use super::xlog;
use crate::pg::{Lsn, SegmentNumber, TimelineHistory};

/// One decoded segment of the right length.
#[derive(Debug)]
pub(super) struct Segment<'p, P> {
    pub start: Lsn,
    pub end: Lsn,
    pages: &'p mut P,
}

impl<P: SegmentPages> Segment<'_, P> {
    /// The page at `address`, or nothing where it lies outside of the segment.
    fn page(&mut self, address: Lsn) -> &[u8] {
        self.pages.page(address.0.saturating_sub(self.start.0))
    }
}

/// What came next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Record(Record<'a>),
    /// The segment is read to its end; a record may be unfinished.
    SegmentEnd,
    Fault(Fault),
}

/// A record whose first bytes are in the buffer.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    start: Lsn,
    total_length: u32,
}

/// The search for the first record of a segment that reading begins with.
#[derive(Clone, Copy, Debug, Default)]
struct Search {
    /// Bytes that must still be left of a record that began earlier, once a page has said how many.
    left: Option<u32>,
}

/// The record that was read last. It stays where it is: it is read millions of times a second, and to
/// hand it on by value took longer than to find it.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub start: Lsn,
    /// See [`Record::end`].
    pub end: Lsn,
    pub rmid: u8,
    /// `xl_info` without the bits of the WAL machinery.
    pub operation: u8,
    /// The page that it lies in; `None` where it was put together in the buffer.
    page: Option<Lsn>,
    /// Where in the page.
    range: Range<usize>,
    parts: Parts,
}

impl Found {
    fn bytes<'a, P: SegmentPages>(
        &self,
        segment: &'a mut Segment<'_, P>,
        buffer: &'a [u8],
    ) -> &'a [u8] {
        match self.page {
            Some(page) => segment.page(page).get(self.range.clone()).unwrap_or_default(),
            None => buffer,
        }
    }
}

/// Where reading stands. Holds at most one unfinished record.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    rules: WalRules,
    /// Where the next record or continuation begins; on a page boundary, before the page's header.
    next: Lsn,
    /// Start of the last record, once there is one.
    previous: Option<Lsn>,
    /// The page whose header was checked last.
    page: Option<(Lsn, PageHeader)>,
    unfinished: Option<Unfinished>,
    buffer: Vec<u8>,
    /// The record that a page with `XLP_FIRST_IS_OVERWRITE_CONTRECORD` replaced; invalid for none,
    /// `None` where nobody can tell: reading began here.
    overwritten: Option<Lsn>,
    /// `next` is the start of a page, and the first record from there on is still to be found.
    search: Option<Search>,
    found: Found,
    blocks: Vec<BlockReference>,
}

impl Reader {
    pub(super) fn new(rules: WalRules, start: Lsn) -> Self {
        Self {
            rules,
            next: start,
            previous: None,
            page: None,
            unfinished: None,
            buffer: Vec::new(),
            overwritten: Some(Lsn::INVALID),
            search: None,
            found: Found::default(),
            blocks: Vec::new(),
        }
    }

    /// Begins at the start of a segment, where a record of the one before may go on: what is left of
    /// it is passed over, as `XLogFindNextRecord` does.
    pub(super) fn searching(rules: WalRules, segment: SegmentNumber) -> Self {
        let start = segment.start(rules.segment_size);
        let mut reader = Self::new(rules, start);
        reader.search(segment);
        reader
    }

    /// Forgets where it stands and begins anew with `segment`.
    pub(super) fn search(&mut self, segment: SegmentNumber) {
        self.next = segment.start(self.rules.segment_size);
        self.previous = None;
        self.page = None;
        self.unfinished = None;
        self.buffer = Vec::new();
        self.overwritten = None;
        self.search = Some(Search::default());
    }

    /// Goes on from here along the path of another timeline.
    pub(super) fn follow(&mut self, history: TimelineHistory) {
        self.rules.history = history;
        self.rules.ancestors_known = true;
        self.page = None;
    }

    /// Whether the first record is still to be found.
    pub(super) const fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// What lies before this stays as it was read, whatever comes behind it.
    pub(super) const fn settled(&self) -> Lsn {
        match self.unfinished {
            Some(unfinished) => unfinished.start,
            None => self.next,
        }
    }

    /// The segment that comes next.
    pub(super) const fn next_segment(&self) -> SegmentNumber {
        self.rules.segment_size.segment_of(self.next)
    }

    pub(super) const fn rules(&self) -> &WalRules {
        &self.rules
    }

    /// Checks that a segment is the one that comes next, has the right length and begins well.
    pub(super) fn enter<'p, P: SegmentPages>(
        &mut self,
        number: SegmentNumber,
        pages: &'p mut P,
    ) -> Result<Segment<'p, P>, Fault> {
        let (size, length) = (self.rules.segment_size, pages.length());
        let mut segment = Segment { start: number.start(size), end: number.end(size), pages };
        let expected = size.segment_of(self.next);
        if number != expected {
            let detail = format!("The log goes on at {}, not in this segment.", self.next);
            return Err(Defect::corrupt(detail).at(segment.start));
        }
        if length != size.bytes() {
            let detail = format!("The segment has {length} bytes, not {}.", size.bytes());
            let defect = Defect { kind: DamageKind::WrongSize, unwritten: false, detail };
            return Err(defect.at(segment.start));
        }
        // `ReadPageInternal`: the first page identifies the file, wherever reading begins.
        let first = segment.start;
        self.page_header(&mut segment, first)?;
        Ok(segment)
    }

    /// The part of a segment before `end`, where that is all that is there yet of it. Its first page is
    /// checked where reading begins with it.
    pub(super) const fn part<'p, P: SegmentPages>(
        &self,
        number: SegmentNumber,
        end: Lsn,
        pages: &'p mut P,
    ) -> Segment<'p, P> {
        Segment { start: number.start(self.rules.segment_size), end, pages }
    }

    /// Passes over quiet records, if such come next and are `wanted`. They must have been found by the same
    /// rules.
    pub(super) fn pass<P: SegmentPages>(
        &mut self,
        segment: &mut Segment<'_, P>,
        wanted: impl FnOnce(&Quiet) -> bool,
    ) -> Option<Quiet> {
        if self.search.is_some() || self.unfinished.is_some() || self.next >= segment.end {
            return None;
        }
        let quiet = segment.pages.quiet(self.next)?;
        if quiet.from != self.next || self.previous != Some(quiet.previous) || !wanted(&quiet) {
            return None;
        }
        self.overwritten.get_or_insert(Lsn::INVALID);
        self.previous = Some(quiet.last);
        self.next = quiet.end;
        Some(quiet)
    }

    /// The next complete record of this segment.
    pub(super) fn next<'a, P: SegmentPages>(
        &'a mut self,
        segment: &'a mut Segment<'_, P>,
    ) -> Step<'a> {
        match self.advance(segment) {
            Ok(true) => Step::Record(self.record(segment)),
            Ok(false) => Step::SegmentEnd,
            Err(fault) => Step::Fault(fault),
        }
    }

    /// Goes on to the next complete record of this segment; `false` where there is none.
    pub(super) fn advance<P: SegmentPages>(
        &mut self,
        segment: &mut Segment<'_, P>,
    ) -> Result<bool, Fault> {
        if !self.find(segment)? {
            return Ok(false);
        }
        let Self { rules, next, previous, buffer, overwritten, found, blocks, .. } = self;
        let bytes = found.bytes(segment, buffer);
        let start = found.start;
        let corrupt = |detail: String| Err(Defect::corrupt(detail).at(start));
        let Some(header) = Header::read(bytes) else {
            return corrupt("The record is shorter than its header.".into());
        };
        let computed = crc(bytes);
        if computed != header.crc {
            return corrupt(format!(
                "The record's CRC is {computed:08X}, but its header says {:08X}.",
                header.crc
            ));
        }
        (found.rmid, found.operation) = (header.rmid, header.info & 0xF0);
        let of_the_log = header.rmid == RM_XLOG;
        if of_the_log && found.operation == xlog::SWITCH {
            // The rest of the segment is unused.
            found.end = Lsn(found.end.0.next_multiple_of(rules.segment_size.bytes()));
        }
        if let Err(detail) = found.parts.read(bytes, rules.major, blocks) {
            return corrupt(detail.into());
        }
        if of_the_log && found.operation == xlog::OVERWRITE_CONTRECORD {
            // `xlogrecovery_redo` dies where they differ.
            let named = u64_at(found.parts.main(bytes), 0).map(Lsn);
            if let Some(overwritten) = *overwritten
                && named != Some(overwritten)
            {
                return corrupt(format!(
                    "The record says that it replaces an unfinished one at {}, which was at \
                     {overwritten}.",
                    named.unwrap_or_default()
                ));
            }
            *overwritten = Some(Lsn::INVALID);
        }
        overwritten.get_or_insert(Lsn::INVALID);
        *previous = Some(start);
        *next = found.end;
        Ok(true)
    }

    /// Bytes of an unfinished record that are kept.
    pub(super) const fn held(&self) -> usize {
        if self.unfinished.is_some() { self.buffer.len() } else { 0 }
    }

    /// The record that [`Self::advance`] has come to.
    pub(super) const fn found(&self) -> &Found {
        &self.found
    }

    /// As [`Self::found`], with all that it says.
    pub(super) fn record<'a, P: SegmentPages>(
        &'a self,
        segment: &'a mut Segment<'_, P>,
    ) -> Record<'a> {
        let Found { start, end, .. } = self.found;
        let place = Place { start, end, timeline: self.rules.history.timeline_at(start) };
        let bytes = self.found.bytes(segment, &self.buffer);
        self.found.parts.record(bytes, place, &self.blocks)
    }

    /// Finds the next record's bytes; `false` where none ends in this segment.
    fn find<P: SegmentPages>(&mut self, segment: &mut Segment<'_, P>) -> Result<bool, Fault> {
        loop {
            if self.next >= segment.end {
                return Ok(false);
            }
            if let Some(search) = self.search {
                self.pass_over(segment, search)?;
                continue;
            }
            let found = match self.unfinished {
                Some(unfinished) => self.go_on(segment, unfinished)?,
                None => self.begin(segment)?,
            };
            if found {
                return Ok(true);
            }
        }
    }

    /// Passes over the part that the page at `next` has of a record that began before the search.
    fn pass_over<P: SegmentPages>(
        &mut self,
        segment: &mut Segment<'_, P>,
        search: Search,
    ) -> Result<(), Fault> {
        let page = self.next;
        let header = self.page_header(segment, page)?;
        let corrupt = |detail: String| Defect::corrupt(detail).at(page);
        if !header.continues {
            if let Some(left) = search.left
                && !header.overwrites
            {
                return Err(corrupt(format!(
                    "The page does not continue the record before it, of which {left} bytes are left."
                )));
            }
            self.search = None;
            return Ok(());
        }
        let remaining = header.remaining;
        if remaining == 0 || search.left.is_some_and(|left| left != remaining) {
            let left = search.left.map_or_else(String::new, |left| format!(" instead of {left}"));
            return Err(corrupt(format!(
                "The page says that {remaining} bytes{left} are left of the record before it."
            )));
        }
        let room = PAGE_SIZE - header.length;
        if u64::from(remaining) > room {
            self.search = Some(Search { left: Some(remaining - room as u32) });
            self.next = Lsn(page.0 + PAGE_SIZE);
        } else {
            self.search = None;
            self.next = Lsn(page.0 + header.length + u64::from(remaining)).max_align();
        }
        Ok(())
    }

    /// Reads the record that begins at `next`: all of it, or its part on this page.
    fn begin<P: SegmentPages>(&mut self, segment: &mut Segment<'_, P>) -> Result<bool, Fault> {
        let page = page_start(self.next);
        let header = self.page_header(segment, page)?;
        let first = Lsn(page.0 + header.length);
        let start = if self.next == page { first } else { self.next };
        let corrupt = |detail: String| Defect::corrupt(detail).at(start);
        if start < first || !start.0.is_multiple_of(8) {
            return Err(corrupt(format!("No record can begin at {start}.")));
        }
        if start == first && header.continues {
            return Err(corrupt("The page continues a record that does not reach it.".into()));
        }
        let page_end = Lsn(page.0 + PAGE_SIZE);
        let at = (start.0 - page.0) as usize;
        let rest = segment.page(page).get(at..).unwrap_or_default();
        let total_length = u32_at(rest, 0).unwrap_or_default();
        let checked = match Header::read(rest) {
            Some(header) => self.check_header(header, start),
            None => check_length(total_length),
        };
        if let Err(detail) = checked {
            // Pages are zeroed before records go into them.
            let unwritten = rest.iter().all(|byte| *byte == 0);
            let unwritten = unwritten && !self.goes_on(segment, page_end);
            let defect = Defect { kind: DamageKind::Corrupt, unwritten, detail };
            return Err(defect.at(start));
        }
        let length = total_length as usize;
        if length <= rest.len() {
            (self.found.start, self.found.page) = (start, Some(page));
            self.found.end = Lsn(start.0 + u64::from(total_length)).max_align();
            self.found.range = at..at + length;
            return Ok(true);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(rest);
        self.unfinished = Some(Unfinished { start, total_length });
        self.next = page_end;
        Ok(false)
    }

    /// Adds this page's part of an unfinished record.
    fn go_on<P: SegmentPages>(
        &mut self,
        segment: &mut Segment<'_, P>,
        unfinished: Unfinished,
    ) -> Result<bool, Fault> {
        let Unfinished { start, total_length } = unfinished;
        let page = self.next;
        let header = self.page_header(segment, page)?;
        if header.overwrites {
            // Production crashed inside the record and went on here without it.
            self.overwritten = Some(start);
            self.unfinished = None;
            return Ok(false);
        }
        let corrupt = |detail: String| Defect::corrupt(detail).at(page);
        if !header.continues {
            let detail = format!("The page does not continue the record that began at {start}.");
            return Err(corrupt(detail));
        }
        let missing = (total_length as usize).saturating_sub(self.buffer.len());
        let remaining = header.remaining as usize;
        if remaining == 0 || remaining != missing {
            return Err(corrupt(format!(
                "The page says that {remaining} bytes are left of the record that began at \
                 {start}, which lacks {missing}."
            )));
        }
        let first = header.length as usize;
        let here = remaining.min((PAGE_SIZE - header.length) as usize);
        let had_header = self.buffer.len() >= HEADER;
        let part = segment.page(page).get(first..first + here);
        self.buffer.extend_from_slice(part.unwrap_or_default());
        if !had_header && let Some(header) = Header::read(&self.buffer) {
            self.check_header(header, start).map_err(|detail| Defect::corrupt(detail).at(start))?;
        }
        if here < remaining {
            self.next = Lsn(page.0 + PAGE_SIZE);
            return Ok(false);
        }
        self.unfinished = None;
        (self.found.start, self.found.page) = (start, None);
        self.found.end = Lsn(page.0 + header.length + here as u64).max_align();
        Ok(true)
    }

    /// Whether the record that the log breaks off in, if any, can be one: a damaged length passes for
    /// a record that the end cut off. Not asked where production itself left it behind.
    pub(super) fn check_unfinished(&mut self) -> Result<(), Fault> {
        let Some(Unfinished { start, total_length }) = self.unfinished else { return Ok(()) };
        check_beginning(&self.buffer, total_length, self.rules.major, &mut self.blocks)
            .map_err(|detail| Defect::corrupt(detail.into()).at(start))
    }

    /// `ValidXLogRecordHeader`.
    fn check_header(&self, header: Header, start: Lsn) -> Result<(), String> {
        check_length(header.total_length)?;
        if !resource_manager_is_valid(header.rmid, self.rules.major) {
            return Err(format!("The record's resource manager {} does not exist.", header.rmid));
        }
        match self.previous {
            Some(previous) if header.prev != previous => Err(format!(
                "The record says that {} is the start of the one before it, which was at \
                 {previous}.",
                header.prev
            )),
            // The first record read: only the direction is known.
            None if header.prev >= start => {
                Err(format!("The record says that {} comes before it.", header.prev))
            }
            _ => Ok(()),
        }
    }

    /// The header of a page, checked once.
    fn page_header<P: SegmentPages>(
        &mut self,
        segment: &mut Segment<'_, P>,
        address: Lsn,
    ) -> Result<PageHeader, Fault> {
        if let Some((checked, header)) = self.page
            && checked == address
        {
            return Ok(header);
        }
        match self.rules.check(segment.page(address), address) {
            Ok(header) => {
                self.page = Some((address, header));
                Ok(header)
            }
            Err(mut defect) => {
                defect.unwritten = defect.unwritten
                    && !self.continues_on(segment.page(address))
                    && !self.goes_on(segment, Lsn(address.0 + PAGE_SIZE));
                if defect.unwritten {
                    self.check_unfinished()?;
                }
                Err(defect.at(address))
            }
        }
    }

    /// Whether a page that seems to be of an older segment holds what comes next all the same.
    fn continues_on(&self, page: &[u8]) -> bool {
        if let Some(unfinished) = self.unfinished {
            let missing = (unfinished.total_length as usize).saturating_sub(self.buffer.len());
            return u32_at(page, 16).is_some_and(|remaining| remaining as usize == missing);
        }
        let first = page.get(SHORT_HEADER as usize..).and_then(Header::read);
        first.is_some_and(|header| Some(header.prev) == self.previous)
    }

    /// Whether any page of the segment from `page` on was written for its place. WAL is written in
    /// order, so that what looks unwritten before such a page was lost.
    fn goes_on<P: SegmentPages>(&self, segment: &mut Segment<'_, P>, page: Lsn) -> bool {
        let addresses = (page.0..segment.end.0).step_by(PAGE_SIZE as usize).map(Lsn);
        addresses.into_iter().any(|address| self.rules.written(segment.page(address), address))
    }
}

fn check_length(total_length: u32) -> Result<(), String> {
    if (total_length as usize) < HEADER {
        return Err(format!("The record's length is {total_length}, less than its header's."));
    }
    if total_length > MAX_LENGTH {
        return Err(format!("The record's length is {total_length}, which cannot be."));
    }
    Ok(())
}
