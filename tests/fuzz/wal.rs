//! WAL: pages of real segments, changed, with the CRCs of their records made right again.
//!
//! An input is a head of 32 bytes ([`Head`]) and pages: some of one segment, and the first ones of
//! the next. What is missing of the two segments is zeros; the reader never gets more to see.

use std::{cell::RefCell, ops::Range};

use pgassay::{
    archive::Codec,
    pg::{
        Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::{
            scan::{ScanStart, ScanTarget, WalScan, WalSummary},
            tablespace::neutralise_tablespaces,
        },
    },
    restore::codec::decode_small,
};

use crate::{
    engine::{Target, run},
    mutate::{self, Random},
};

const HEAD: usize = 32;
const PAGE: usize = 8192;
const SEGMENT: usize = 1 << 20;
const TIMELINE: TimelineId = TimelineId(1);

/// Where the pages of an input belong.
#[derive(Clone, Copy)]
struct Head {
    start: Lsn,
    system_id: u64,
    major: Major,
    /// Place of the first page in its segment, and how many of this segment there are.
    first: usize,
    count: usize,
    target: u8,
}

impl Head {
    fn read(input: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = input.first_chunk()?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let pages = SEGMENT / PAGE;
        let first = usize::from(short(18)) % pages;
        Some(Self {
            start: Lsn(word(0)),
            system_id: word(8),
            major: Major::from_number(u32::from(short(16)))?,
            first,
            count: usize::from(short(20)).min(pages - first),
            target: head[24],
        })
    }

    /// Bytes of page headers, and of what stands before the page in the log's own count.
    fn header_of(&self, page: usize) -> usize {
        let at_start = if page < self.count { self.first + page == 0 } else { page == self.count };
        if at_start { 40 } else { 24 }
    }
}

/// The pieces in the input of every record, one after another, as far as lengths lead.
fn records(head: Head, input: &[u8]) -> Vec<Vec<Range<usize>>> {
    let pages = (input.len() - HEAD) / PAGE;
    let end = HEAD + pages * PAGE;
    let mut found = Vec::new();
    let in_segment = head.start.0 as usize % SEGMENT;
    let Some(mut at) = in_segment.checked_sub(head.first * PAGE).map(|at| HEAD + at) else {
        return found;
    };
    while at + 8 <= end && found.len() < 5000 {
        let page = (at - HEAD) / PAGE;
        if (at - HEAD).is_multiple_of(PAGE) {
            at += head.header_of(page);
        }
        let Some(length) = input.get(at..at + 4) else { break };
        let mut left = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if left < 24 {
            break;
        }
        let start = at;
        let mut pieces = Vec::new();
        while left > 0 && at < end {
            if (at - HEAD).is_multiple_of(PAGE) {
                at += head.header_of((at - HEAD) / PAGE);
            }
            let page_end = HEAD + ((at - HEAD) / PAGE + 1) * PAGE;
            let here = left.min(page_end - at);
            pieces.push(at..at + here);
            at += here;
            left -= here;
        }
        let switch =
            input.get(start + 16..start + 18).is_some_and(|b| b[1] == 0 && b[0] & 0xF0 == 0x40);
        let complete = left == 0;
        if complete {
            found.push(pieces);
        }
        at = HEAD + (at - HEAD).next_multiple_of(8);
        if switch {
            at = HEAD + head.count * PAGE;
            if at <= start {
                break;
            }
        }
        if !complete {
            break;
        }
    }
    found
}

/// Gives every record the CRC of its bytes: the data first, then the header up to the CRC.
fn repair(input: &mut [u8]) {
    let Some(head) = Head::read(input) else { return };
    for pieces in records(head, input) {
        let bytes: Vec<u8> =
            pieces.iter().flat_map(|piece| &input[piece.clone()]).copied().collect();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[24..]), &bytes[..20]).to_le_bytes();
        let places = pieces.into_iter().flatten().skip(20).take(4);
        for (at, byte) in places.zip(crc) {
            input[at] = byte;
        }
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let Some(head) = Head::read(input).filter(|_| input.len() >= HEAD + PAGE) else {
        *input = other.to_vec();
        return;
    };
    let found = records(head, input);
    match random.below(8) {
        // Where the pages come from stays: all else would be refused at once.
        0 if random.one_in(4) => {
            let at = random.below(HEAD);
            input[at] ^= 1 << random.below(8);
        }
        0 => input[24] = random.next() as u8,
        1 => {
            let page = HEAD + random.below((input.len() - HEAD) / PAGE) * PAGE;
            let at = page + *random.pick(&[0, 2, 2, 4, 8, 16, 16, 24, 32, 36]);
            input[at] ^= 1 << random.below(8);
        }
        2 | 3 if !found.is_empty() => {
            // The headers of a record: length, transaction, link, kind; then blocks and lengths.
            let record = random.pick(&found);
            let most = *random.pick(&[24, 24, 64, 8192]);
            let places: Vec<usize> = record.iter().cloned().flatten().take(most).collect();
            let at = *random.pick(&places);
            input[at] = match random.below(3) {
                0 => input[at] ^ 1 << random.below(8),
                1 => *random.pick(&[0, 1, 2, 20, 32, 33, 127, 128, 252, 253, 254, 255]),
                _ => random.next() as u8,
            };
        }
        4 | 5 if !found.is_empty() => {
            // Another kind: what is read as ends of transactions, checkpoints, tablespaces.
            let record = random.pick(&found);
            let places: Vec<usize> = record.iter().cloned().flatten().skip(16).take(2).collect();
            let kinds = [
                0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0,
            ];
            input[places[0]] = *random.pick(&kinds);
            input[places[1]] = *random.pick(&[0, 0, 1, 1, 1, 5, 5, 10, 128, 255]);
        }
        6 => {
            let mut pages = input.split_off(HEAD);
            mutate::bytes(&mut pages, other.get(HEAD..).unwrap_or_default(), random);
            pages.resize(pages.len().next_multiple_of(PAGE), 0);
            input.append(&mut pages);
        }
        _ => {
            // A record's bytes over those of another.
            if found.len() > 1 {
                let (from, to) = (random.pick(&found).clone(), random.pick(&found).clone());
                let bytes: Vec<u8> = from.into_iter().flatten().map(|at| input[at]).collect();
                for (at, byte) in to.into_iter().flatten().zip(bytes) {
                    input[at] = byte;
                }
            }
        }
    }
}

/// The two segments: always the same bytes, so that a case costs its own pages and not two megabytes.
struct Segments {
    bytes: [Vec<u8>; 2],
    /// What the input before wrote to.
    written: [Range<usize>; 2],
}

thread_local! {
    static SEGMENTS: RefCell<Segments> =
        const { RefCell::new(Segments { bytes: [Vec::new(), Vec::new()], written: [0..0, 0..0] }) };
}

impl Segments {
    fn fill(&mut self, head: Head, input: &[u8]) {
        let size = SegmentSize::new(SEGMENT as u32).unwrap();
        for (bytes, written) in self.bytes.iter_mut().zip(&mut self.written) {
            bytes.resize(SEGMENT, 0);
            bytes[std::mem::take(written)].fill(0);
            bytes[..PAGE].fill(0);
        }
        let pages = &input[HEAD..];
        let (here, next) = pages.split_at((head.count * PAGE).min(pages.len()));
        let next = &next[..next.len().min(SEGMENT)];
        let from = head.first * PAGE;
        self.written = [from..from + here.len(), 0..next.len()];
        let [first, second] = &mut self.bytes;
        first[from..from + here.len()].copy_from_slice(here);
        if head.first > 0 {
            // The first page says whose the segment is.
            let start = size.segment_of(head.start).start(size);
            first[..2].copy_from_slice(&head.major.wal_page_magic().to_le_bytes());
            first[2] = 2;
            first[4..8].copy_from_slice(&TIMELINE.0.to_le_bytes());
            first[8..16].copy_from_slice(&start.0.to_le_bytes());
            first[24..32].copy_from_slice(&head.system_id.to_le_bytes());
            first[32..36].copy_from_slice(&(SEGMENT as u32).to_le_bytes());
            first[36..40].copy_from_slice(&(PAGE as u32).to_le_bytes());
        }
        second[..next.len()].copy_from_slice(next);
    }
}

fn scan(head: Head, target: ScanTarget, exclusive: bool, segments: &[Vec<u8>; 2]) -> WalSummary {
    let size = SegmentSize::new(SEGMENT as u32).unwrap();
    let mut scan = WalScan::new(ScanStart {
        major: head.major,
        system_id: head.system_id,
        segment_size: size,
        start: head.start,
        history: TimelineHistory::root(TIMELINE),
        target,
        exclusive,
        min_recovery_point: None,
    });
    let first = size.segment_of(head.start);
    let (mut visited, mut previous) = (0, None);
    for (bytes, number) in segments.iter().zip([first, SegmentNumber(first.0.saturating_add(1))]) {
        scan.segment_with(TIMELINE, number, bytes.as_slice(), |record| {
            assert!(record.start >= head.start && record.end.0 >= record.start.0 + 24);
            assert!(previous.is_none_or(|previous| previous == record.prev));
            let parts = record.blocks.iter().map(|block| record.block_data(block).len());
            assert!(parts.sum::<usize>() + record.main.len() < record.length());
            previous = Some(record.start);
            visited += 1;
        });
    }
    let summary = scan.finish();
    assert_eq!(summary.records, visited);
    assert!(summary.end >= head.start);
    for damage in [&summary.damage, &summary.open_end].into_iter().flatten() {
        assert!(damage.offset < SEGMENT as u64);
        assert_eq!(damage.lsn.0, damage.segment.start(size).0 + damage.offset);
        assert!(damage.lsn >= summary.end || damage.segment <= size.segment_of(summary.end));
    }
    summary
}

fn check(input: &[u8]) -> String {
    let Some(head) = Head::read(input) else { return "no head".into() };
    SEGMENTS.with_borrow_mut(|segments| {
        segments.fill(head, input);
        examine(head, &mut segments.bytes)
    })
}

fn examine(head: Head, segments: &mut [Vec<u8>; 2]) -> String {
    let size = SegmentSize::new(SEGMENT as u32).unwrap();
    let latest = scan(head, ScanTarget::Latest, false, segments);
    let target = match head.target % 6 {
        0 => None,
        1 => Some(ScanTarget::Immediate),
        2 => Some(ScanTarget::Time("2026-11-22T23:28:50Z".parse().unwrap())),
        3 => Some(ScanTarget::Lsn(Lsn(head.start.0.saturating_add(u64::from(head.target) << 8)))),
        4 => Some(ScanTarget::Xid(700 + u32::from(head.target))),
        _ => Some(ScanTarget::Name("here".into())),
    };
    let mut reached = String::new();
    if let Some(target) = target {
        let to_target = scan(head, target, head.target >= 128, segments);
        assert!(to_target.records <= latest.records && to_target.end <= latest.end);
        reached = format!(" target {} {}", head.target % 6, to_target.target_reached);
    }
    // What is served to replay holds the same records, and no tablespace's location.
    let first = size.segment_of(head.start);
    for (bytes, number) in
        segments.iter_mut().zip([first, SegmentNumber(first.0.saturating_add(1))])
    {
        neutralise_tablespaces(bytes, number, size, &latest.patches);
    }
    let served = scan(head, ScanTarget::Latest, false, segments);
    assert_eq!(
        (served.records, served.end, &served.damage),
        (latest.records, latest.end, &latest.damage)
    );
    assert!(served.tablespaces.iter().all(|created| created.location.is_empty()));
    assert!(served.patches.is_empty());
    let ended =
        latest.damage.as_ref().or(latest.open_end.as_ref()).map_or("", |d| d.detail.as_str());
    format!(
        "{ended} {} {:?} {} {}{reached}",
        latest.consistent_at.is_some(),
        latest.last_transaction.map(|end| end.committed),
        "x".repeat(latest.tablespaces.len().min(3)),
        latest.minimal_wal_at.is_some(),
    )
}

#[test]
fn wal() {
    let seed = |bytes: &[u8]| decode_small(Codec::Gzip, bytes, 1 << 20).unwrap();
    let seeds = vec![
        seed(include_bytes!("seeds/wal-14-backup.gz")),
        seed(include_bytes!("seeds/wal-14-border.gz")),
        seed(include_bytes!("seeds/wal-15-backup.gz")),
        seed(include_bytes!("seeds/wal-18-backup.gz")),
    ];
    for seed in &seeds {
        let head = Head::read(seed).unwrap();
        let latest = SEGMENTS.with_borrow_mut(|segments| {
            segments.fill(head, seed);
            scan(head, ScanTarget::Latest, false, &segments.bytes)
        });
        // The walk of this file finds what the reader finds, or repairs would be in vain.
        assert_eq!(latest.damage, None);
        assert!(latest.records > 10);
        assert_eq!(records(head, seed).len() as u64, latest.records);
        let mut repaired = seed.clone();
        repair(&mut repaired);
        assert!(repaired == *seed);
    }
    run(&Target {
        name: "wal",
        seeds,
        mutate,
        repair: |input| repair(input),
        check,
        most_memory: 8 << 20,
        most_bytes: HEAD + 24 * PAGE,
    });
}
