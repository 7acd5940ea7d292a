//! The WAL of an archive: which segments there are, by timeline, flat in memory.
//!
//! A million segments take some 60 MB: keys are rebuilt from name and codec, entity tags of 32 hex
//! digits are kept as 16 bytes.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Codec, ObjectRef};
use crate::pg::{SegmentNumber, SegmentSize, TimelineId, WalFileName};

pub mod etag;
pub mod runs;
pub mod selection;

use etag::Etag;
pub use runs::{Run, Runs};

/// Every WAL object of a listing. Segments are known by the two numbers in their name: how these
/// make a segment number depends on the segment size, which only a `backup.info` tells.
#[derive(Clone, Debug, Default)]
pub struct WalIndex {
    /// `<prefix>/<server>/wals/`
    folder: Box<str>,
    /// Sorted by `Entry::place` and then as a listing sorts them.
    segments: Vec<Entry>,
    /// So many of them are sorted already.
    settled: usize,
    partials: Vec<Entry>,
    histories: Vec<(TimelineId, ObjectRef)>,
    labels: Vec<(WalFileName, ObjectRef)>,
    /// Segments that are there only in a form that cannot be decoded.
    unreadable: Vec<Place>,
    unreadable_extensions: BTreeSet<String>,
}

/// An object of a listing, not kept yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'a> {
    pub key: &'a str,
    pub size: u64,
    pub etag: Option<&'a str>,
    pub modified: Option<Timestamp>,
    pub codec: Codec,
}

impl Listed<'_> {
    pub fn object(&self) -> ObjectRef {
        let Self { size, modified, codec, .. } = *self;
        ObjectRef {
            key: self.key.to_owned(),
            size,
            etag: self.etag.map(str::to_owned),
            modified,
            codec,
        }
    }
}

/// Timeline and the two numbers of a name.
type Place = (u32, u32, u32);

/// A segment as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    pub timeline: TimelineId,
    pub number: SegmentNumber,
    /// Bytes as stored.
    pub bytes: u64,
    pub codec: Codec,
}

impl StoredSegment {
    /// Whether no segment can have this size: every codec writes some bytes, and what is not
    /// compressed is as long as a segment.
    #[must_use]
    pub const fn is_odd(&self, size: SegmentSize) -> bool {
        self.bytes == 0 || (matches!(self.codec, Codec::Plain) && self.bytes != size.bytes())
    }
}

/// No archiver is set to upload more segments at the same time.
const UPLOADS_AT_ONCE: u64 = 64;

/// 56 bytes an object.
#[derive(Clone, Debug)]
struct Entry {
    timeline: u32,
    log: u32,
    seg: u32,
    codec: Codec,
    size: u64,
    /// Microseconds since 1970; `i64::MIN` where the listing had no time.
    modified: i64,
    etag: Etag,
}

impl Entry {
    const fn place(&self) -> Place {
        (self.timeline, self.log, self.seg)
    }

    fn modified(&self) -> Option<Timestamp> {
        if self.modified == i64::MIN {
            None
        } else {
            Timestamp::from_microsecond(self.modified).ok()
        }
    }

    fn number(&self, size: SegmentSize) -> Option<SegmentNumber> {
        WalFileName::number(self.log, self.seg, size)
    }
}

/// Eight digits.
fn push_hex(text: &mut String, number: u32) {
    for shift in (0..8).rev() {
        let digit = number >> (shift * 4) & 0xF;
        text.extend(char::from_digit(digit, 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

/// The object of an index whose segments lie in folders below `folder`.
fn object(folder: &str, entry: &Entry, suffix: &str) -> ObjectRef {
    let Entry { timeline, log, seg, .. } = entry;
    let extension = entry.codec.extension();
    // The folder's name and a slash, and the segment's.
    let length = folder.len() + 17 + 24 + suffix.len() + extension.len();
    let mut key = String::with_capacity(length);
    key.push_str(folder);
    for (numbers, end) in [(&[*timeline, *log][..], "/"), (&[*timeline, *log, *seg], suffix)] {
        for number in numbers {
            push_hex(&mut key, *number);
        }
        key.push_str(end);
    }
    key.push_str(extension);
    ObjectRef {
        key,
        size: entry.size,
        etag: entry.etag.text(),
        modified: entry.modified(),
        codec: entry.codec,
    }
}

fn place(timeline: TimelineId, number: SegmentNumber, size: SegmentSize) -> Option<Place> {
    let log = u32::try_from(number.0 / size.per_log()).ok()?;
    Some((timeline.0, log, u32::try_from(number.0 % size.per_log()).ok()?))
}

impl WalIndex {
    pub(super) fn new(root: &str) -> Self {
        Self { folder: format!("{root}wals/").into(), ..Self::default() }
    }

    /// Takes in one object. Call [`Self::settle`] after the last.
    pub(super) fn add(&mut self, name: WalFileName, listed: Listed<'_>) {
        let entry = |timeline: TimelineId, log, seg| Entry {
            timeline: timeline.0,
            log,
            seg,
            codec: listed.codec,
            size: listed.size,
            modified: listed.modified.map_or(i64::MIN, Timestamp::as_microsecond),
            etag: Etag::new(listed.etag),
        };
        match name {
            WalFileName::Segment { timeline, log, seg } => {
                self.segments.push(entry(timeline, log, seg));
            }
            WalFileName::Partial { timeline, log, seg } => {
                self.partials.push(entry(timeline, log, seg));
            }
            WalFileName::History { timeline } => self.histories.push((timeline, listed.object())),
            WalFileName::BackupLabel { .. } => self.labels.push((name, listed.object())),
        }
    }

    /// Takes in one object that cannot be decoded.
    pub(super) fn add_unreadable(&mut self, name: &WalFileName, extension: &str) {
        if let WalFileName::Segment { timeline, log, seg } = *name {
            self.unreadable.push((timeline.0, log, seg));
        }
        self.unreadable_extensions.insert(extension.to_owned());
    }

    /// Sorts. Listings come in key order, so this is one pass over what is already sorted.
    ///
    /// Where a segment is there more than once, the first in key order counts: it is the one that
    /// `barman-cloud-wal-restore` takes (an exact match, else the first compressed one it is listed).
    pub(super) fn settle(&mut self) {
        let order = |a: &Entry, b: &Entry| {
            (a.place(), a.codec.extension()).cmp(&(b.place(), b.codec.extension()))
        };
        for entries in [&mut self.segments, &mut self.partials] {
            entries.sort_by(order);
            entries.dedup_by(|a, b| a.place() == b.place() && a.codec == b.codec);
            entries.shrink_to_fit();
        }
        self.settled = self.segments.len();
        self.histories.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        self.histories.dedup_by_key(|(timeline, _)| *timeline);
        self.labels.sort_by(|a, b| a.0.cmp(&b.0));
        self.unreadable.sort_unstable();
        self.unreadable.dedup();
    }

    fn find(
        entries: &[Entry],
        timeline: TimelineId,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<&Entry> {
        #[cfg(test)]
        LOOKED_AT.with(|count| count.set(count.get() + 1));
        let place = place(timeline, number, size)?;
        let first = entries.partition_point(|entry| entry.place() < place);
        entries.get(first).filter(|entry| entry.place() == place)
    }

    /// The complete segment of this number on this timeline.
    #[must_use]
    pub fn segment(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<ObjectRef> {
        Self::find(&self.segments, timeline, number, size)
            .map(|entry| object(&self.folder, entry, ""))
    }

    /// Whether a complete segment of that name was there when the index was last settled.
    pub(super) fn has(&self, timeline: TimelineId, log: u32, seg: u32) -> bool {
        let place = (timeline.0, log, seg);
        let settled = &self.segments[..self.settled];
        settled.binary_search_by(|entry| entry.place().cmp(&place)).is_ok()
    }

    /// The unfinished last segment that a promotion left behind.
    #[must_use]
    pub fn partial(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<ObjectRef> {
        Self::find(&self.partials, timeline, number, size)
            .map(|entry| object(&self.folder, entry, ".partial"))
    }

    /// Every unfinished last segment that a promotion left behind.
    pub fn partials(
        &self,
        size: SegmentSize,
    ) -> impl Iterator<Item = (TimelineId, SegmentNumber, ObjectRef)> {
        self.partials.iter().filter_map(move |entry| {
            let number = entry.number(size)?;
            Some((TimelineId(entry.timeline), number, object(&self.folder, entry, ".partial")))
        })
    }

    /// When a complete segment was stored; the outer `None`: there is no such segment.
    #[must_use]
    pub fn stored_at(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<Option<Timestamp>> {
        Self::find(&self.segments, timeline, number, size).map(Entry::modified)
    }

    /// Whether the segment is there, but only encrypted or compressed in an unknown way.
    #[must_use]
    pub fn is_unreadable(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> bool {
        place(timeline, number, size).is_some_and(|p| self.unreadable.binary_search(&p).is_ok())
    }

    /// Segments whose stored size cannot be that of a segment: empty ones, and uncompressed ones of
    /// another length. PostgreSQL refuses a file that is not exactly one segment long.
    pub fn odd_sizes(&self, size: SegmentSize) -> impl Iterator<Item = StoredSegment> {
        let (mut before, segments) = (None, self.segments.iter());
        segments.filter_map(move |entry| {
            // Of one that is there more than once the first counts.
            let first = before.replace(entry.place()) != Some(entry.place());
            let (bytes, codec) = (entry.size, entry.codec);
            let timeline = TimelineId(entry.timeline);
            let found = StoredSegment { timeline, number: entry.number(size)?, bytes, codec };
            (first && found.is_odd(size)).then_some(found)
        })
    }

    /// Number and stored bytes of the segments before `number`, on whatever timeline.
    #[must_use]
    pub fn stored_before(&self, number: SegmentNumber, size: SegmentSize) -> (u64, u64) {
        let older = |entry: &&Entry| entry.number(size).is_some_and(|own| own < number);
        let older = self.segments.iter().filter(older);
        older.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.size))
    }

    /// The segment that was stored last, and when.
    #[must_use]
    pub fn newest_stored(&self) -> Option<(String, Timestamp)> {
        let newest = self.segments.iter().max_by_key(|entry| entry.modified)?;
        let name = format!("{:08X}{:08X}{:08X}", newest.timeline, newest.log, newest.seg);
        Some((name, newest.modified()?))
    }

    /// Stored bytes of every segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|entry| entry.size).sum()
    }

    /// Complete segments that `barman-cloud-wal-restore` 3.19 passes over for a `.partial` of the same
    /// name: it takes the first of both in key order (`_get_wals_to_download` in `barman/cloud.py`).
    pub fn shadowed(&self, size: SegmentSize) -> impl Iterator<Item = (TimelineId, SegmentNumber)> {
        self.partials.iter().filter_map(move |partial| {
            let (timeline, number) = (TimelineId(partial.timeline), partial.number(size)?);
            let complete = Self::find(&self.segments, timeline, number, size)?;
            (complete.codec.extension() > ".partial").then_some((timeline, number))
        })
    }

    /// The extensions that cannot be decoded, such as `.gpg`.
    #[must_use]
    pub const fn unreadable_extensions(&self) -> &BTreeSet<String> {
        &self.unreadable_extensions
    }

    /// Every unbroken run of complete segments. One pass over the index.
    #[must_use]
    pub fn runs(&self, size: SegmentSize) -> Runs {
        #[cfg(test)]
        LOOKED_AT.with(|count| count.set(count.get() + self.segments.len() as u64));
        let places = self.segments.iter().filter_map(|entry| {
            entry.number(size).map(|number| (TimelineId(entry.timeline), number))
        });
        Runs::collect(places)
    }

    /// Folders (their full key prefixes) of segments that are missing near the newest of a timeline,
    /// while the next one came in after `since`: archivers that upload several at once may have been
    /// listed halfway.
    #[must_use]
    pub fn unsettled_folders(&self, size: SegmentSize, since: Timestamp) -> BTreeSet<String> {
        let (runs, mut folders) = (self.runs(size), BTreeSet::new());
        for timeline in self.timelines() {
            let newest = runs.newest(timeline).map_or(0, |number| number.0);
            for pair in runs.of(timeline).windows(2).rev() {
                let (before, behind) = (pair[0].last, pair[1].first);
                if newest - before.0 > UPLOADS_AT_ONCE {
                    break;
                }
                let stored = self.stored_at(timeline, behind, size).flatten();
                if stored.is_some_and(|at| at > since) {
                    for number in (before.next().0..behind.0).map(SegmentNumber) {
                        let name = number.file_name(timeline, size);
                        folders.insert(format!("{}{}/", self.folder, &name[..16]));
                    }
                }
            }
        }
        folders
    }

    /// The timelines that have complete segments, in order.
    #[must_use]
    pub fn timelines(&self) -> Vec<TimelineId> {
        let mut found = Vec::new();
        let mut rest = self.segments.as_slice();
        while let Some(first) = rest.first() {
            found.push(TimelineId(first.timeline));
            rest = &rest[rest.partition_point(|entry| entry.timeline <= first.timeline)..];
        }
        found
    }

    /// Every history file, by timeline.
    #[must_use]
    pub fn histories(&self) -> &[(TimelineId, ObjectRef)] {
        &self.histories
    }

    /// Every `.backup` file: labels of base backups, written when these end.
    #[must_use]
    pub fn labels(&self) -> &[(WalFileName, ObjectRef)] {
        &self.labels
    }

    /// Number of complete segments, each counted once.
    #[must_use]
    pub fn segment_count(&self) -> u64 {
        self.segments.len() as u64 - self.duplicates().count() as u64
    }

    /// Names of segments that are there more than once, with different extensions.
    pub fn duplicates(&self) -> impl Iterator<Item = String> {
        self.segments
            .windows(2)
            .filter(|pair| pair[0].place() == pair[1].place())
            .map(|pair| format!("{:08X}{:08X}{:08X}", pair[1].timeline, pair[1].log, pair[1].seg))
    }

    /// The copies of segments that are there more than once, but the ones that [`Self::segment`] gives.
    pub fn copies(
        &self,
        size: SegmentSize,
    ) -> impl Iterator<Item = (TimelineId, SegmentNumber, ObjectRef)> {
        let pairs = self.segments.windows(2).filter(|pair| pair[0].place() == pair[1].place());
        pairs.filter_map(move |pair| {
            let number = pair[1].number(size)?;
            Some((TimelineId(pair[1].timeline), number, object(&self.folder, &pair[1], "")))
        })
    }

    /// Bytes that the index holds, without the few boxed entity tags.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        (self.segments.capacity() + self.partials.capacity()) * size_of::<Entry>()
    }
}

#[cfg(test)]
thread_local! {
    /// Entries that this thread's questions have visited, so that tests can bound the work.
    pub(crate) static LOOKED_AT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests;
