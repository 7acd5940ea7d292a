use proptest::prelude::*;

use super::super::record::{RM_TBLSPC, RM_XLOG};
use super::super::testing::{FIRST_SEGMENT, LogWriter, SYSTEM_ID, log, scan, size};
use super::*;

const PAGE: usize = 8192;

fn damage(summary: WalSummary) -> WalDamage {
    summary.damage.expect("damage is found")
}

fn offset(lsn: Lsn) -> usize {
    (lsn.0 % size().bytes()) as usize
}

#[test]
fn records_cross_pages_and_segments() {
    for major in Major::ALL {
        let mut log = LogWriter::new(major);
        for xid in 1..=300_u32 {
            log.main(RM_XLOG, 0x20, 0, &vec![1; (xid as usize * 131) % 20_000]);
            log.commit(xid, i64::from(xid));
        }
        assert!(log.segments().len() > 2);
        let summary = log.scan();
        assert_eq!(summary.damage, None);
        assert_eq!((summary.records, summary.end), (600, log.at()));
        assert_eq!(summary.end_timeline, Some(TimelineId(1)));
        assert_eq!(summary.last_commit.map(|end| end.xid), Some(300));
        assert!(summary.target_reached);
    }
}

#[test]
fn a_record_longer_than_a_segment_is_put_together() {
    let mut log = log();
    log.main(RM_XLOG, 0x20, 0, &vec![9; 3 << 20]);
    log.commit(800, 0);
    let summary = log.scan();
    assert_eq!((summary.damage, summary.records, summary.end), (None, 5, log.at()));
}

#[test]
fn a_header_may_be_split_by_a_page() {
    for room in [8, 16, 24] {
        let mut log = log();
        log.fill_page(room);
        log.commit(900, 5);
        log.commit(901, 5);
        let summary = log.scan();
        assert_eq!((summary.damage, summary.records, summary.end), (None, 6, log.at()));
    }
}

#[test]
fn a_switch_ends_its_segment() {
    let mut log = log();
    log.switch();
    let summary = log.scan();
    assert_eq!((summary.damage.as_ref(), summary.records), (None, 4));
    assert_eq!(summary.open_end, None);
    assert_eq!(summary.end, FIRST_SEGMENT.end(size()));
    log.commit(800, 5);
    assert_eq!(log.scan().records, 5);
}

#[test]
fn every_flipped_byte_of_a_record_is_found() {
    let mut log = log();
    let start = log.commit(703, 1);
    let end = log.at();
    log.commit(704, 1);
    let sound = log.segments();
    for at in offset(start)..offset(start) + 34 {
        for bit in 0..8 {
            let mut segments = sound.clone();
            segments[0][at] ^= 1 << bit;
            let summary = scan(log.scan_start(), &segments);
            assert_eq!(summary.end, start, "byte {at} bit {bit}");
            let damage = damage(summary);
            assert!((start..end).contains(&damage.lsn), "{damage:?}");
            assert_eq!(damage.segment, FIRST_SEGMENT);
            assert_eq!(damage.offset as usize, offset(damage.lsn));
        }
    }
}

#[test]
fn a_damaged_length_is_not_taken_for_an_unfinished_record() {
    // The record is the segment's last, so that an inflated length points beyond the archive.
    let mut log = log();
    log.main(RM_XLOG, 0x20, 0, &vec![1; (1 << 20) - PAGE]);
    log.fill_page(40);
    let start = log.commit(800, 1);
    assert_eq!(log.at(), FIRST_SEGMENT.end(size()));
    for bit in 0..30 {
        let mut segments = log.segments();
        segments[0][offset(start) + bit / 8] ^= 1 << (bit % 8);
        let summary = scan(log.scan_start(), &segments);
        assert_eq!(summary.end, start);
        assert_eq!(damage(summary).lsn, start, "{bit}");
    }
}

#[test]
fn zeros_after_the_last_record_end_the_log_unless_a_segment_follows() {
    let log = log();
    let summary = log.scan();
    assert_eq!((summary.damage, summary.end), (None, log.at()));
    assert_eq!(summary.open_end.map(|end| end.lsn), Some(log.at()));
    let mut longer = log.clone();
    longer.main(RM_XLOG, 0x20, 0, &vec![1; 2 << 20]);
    let mut segments = longer.segments();
    segments[0] = log.segments()[0].clone();
    let summary = scan(log.scan_start(), &segments);
    assert_eq!(summary.end, log.at());
    let damage = damage(summary);
    assert_eq!((damage.lsn, damage.kind), (log.at(), DamageKind::Corrupt));
}

#[test]
fn zeros_before_a_written_page_are_damage() {
    let mut log = log();
    let start = log.main(RM_XLOG, 0x20, 0, &vec![1; 5 * PAGE]);
    log.commit(800, 1);
    let sound = log.segments();
    for page in 0..4 {
        let mut segments = sound.clone();
        segments[0][page * PAGE..(page + 1) * PAGE].fill(0);
        let summary = scan(log.scan_start(), &segments);
        assert!(summary.end <= start);
        assert_eq!(damage(summary).offset as usize, page * PAGE);
    }
    // The rest of a page, from a record on.
    let mut segments = sound;
    segments[0][offset(start)..PAGE].fill(0);
    assert_eq!(damage(scan(log.scan_start(), &segments)).lsn, start);
}

#[test]
fn an_unfinished_record_at_the_archives_end_is_no_damage() {
    let mut log = log();
    let start = log.main(RM_XLOG, 0x20, 0, &vec![1; 2 << 20]);
    let segments = log.segments();
    for kept in 1..segments.len() {
        let summary = scan(log.scan_start(), &segments[..kept]);
        assert_eq!((summary.damage, summary.end, summary.records), (None, start, 3));
    }
    // Cut inside the segment: unwritten pages follow.
    let mut cut = segments[..1].to_vec();
    cut[0][3 * PAGE..].fill(0);
    let summary = scan(log.scan_start(), &cut);
    assert_eq!((summary.damage, summary.end), (None, start));
    // The same, but the log goes on.
    cut.push(segments[1].clone());
    assert_eq!(damage(scan(log.scan_start(), &cut)).offset as usize, 3 * PAGE);
}

#[test]
fn recycled_pages_end_the_log_unless_a_segment_follows() {
    let mut log = log();
    log.fill_page(0);
    let end = log.at();
    let mut segments = log.segments();
    let mut old = LogWriter::new(Major::V15);
    old.main(RM_XLOG, 0x20, 0, &vec![1; 3 * PAGE]);
    // Pages of an older segment, two segments back.
    for page in 1..3 {
        let range = page * PAGE..(page + 1) * PAGE;
        segments[0][range.clone()].copy_from_slice(&old.segments()[0][range]);
        let address = FIRST_SEGMENT.start(size()).0 - (2 << 20) + (page * PAGE) as u64;
        segments[0][page * PAGE + 8..page * PAGE + 16].copy_from_slice(&address.to_le_bytes());
    }
    let summary = scan(log.scan_start(), &segments);
    assert_eq!((summary.damage, summary.end), (None, end));
    segments.push(segments[0].clone());
    let found = damage(scan(log.scan_start(), &segments));
    assert_eq!((found.lsn, found.segment), (end, FIRST_SEGMENT));
}

#[test]
fn a_damaged_address_on_the_last_page_is_not_taken_for_an_old_page() {
    for unfinished in [false, true] {
        let mut log = log();
        if unfinished {
            log.main(RM_XLOG, 0x20, 0, &[1; PAGE]);
        } else {
            log.fill_page(0);
            log.commit(800, 1);
        }
        let mut segments = log.segments();
        // 0x302000 becomes 0x202000.
        segments[0][PAGE + 10] &= 0xEF;
        let found = damage(scan(log.scan_start(), &segments));
        assert_eq!(found.offset as usize, PAGE);
    }
}

#[test]
fn a_segment_that_was_not_begun_for_its_place_is_damage() {
    let mut log = log();
    log.switch();
    log.commit(800, 1);
    let sound = log.segments();
    for bytes in [vec![0; 1 << 20], sound[0].clone()] {
        let mut segments = sound.clone();
        segments[1] = bytes;
        let damage = damage(scan(log.scan_start(), &segments));
        assert_eq!((damage.offset, damage.segment), (0, FIRST_SEGMENT.next()));
    }
}

#[test]
fn foreign_and_short_segments_are_named() {
    let mut log = log();
    log.switch();
    log.commit(800, 1);
    let sound = log.segments();
    let found = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut segments = sound.clone();
        change(&mut segments[1]);
        let found = damage(scan(log.scan_start(), &segments));
        assert_eq!((found.segment, found.offset), (FIRST_SEGMENT.next(), 0));
        found
    };
    let foreign = found(&|bytes| bytes[24] ^= 1);
    assert_eq!(foreign.kind, DamageKind::ForeignSystem);
    assert!(foreign.detail.contains(&(SYSTEM_ID ^ 1).to_string()), "{}", foreign.detail);
    assert_eq!(found(&|bytes| bytes.truncate(1 << 19)).kind, DamageKind::WrongSize);
    assert_eq!(found(&Vec::clear).kind, DamageKind::WrongSize);
    for at in [0, 2, 4, 8, 32, 36] {
        assert_eq!(found(&|bytes| bytes[at] ^= 0x10).kind, DamageKind::Corrupt);
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let mut log = log();
    log.switch();
    log.switch();
    let segments = log.segments();
    let mut scan = WalScan::new(log.scan_start());
    assert_eq!(
        scan.segment(TimelineId(1), FIRST_SEGMENT, segments[0].as_slice()),
        ScanStep::Continue
    );
    let beyond = FIRST_SEGMENT.next().next();
    assert_eq!(scan.segment(TimelineId(1), beyond, segments[1].as_slice()), ScanStep::Stop);
    assert_eq!(damage(scan.finish()).segment, beyond);
}

#[test]
fn wrong_continuations_are_damage() {
    let mut log = log();
    let start = log.main(RM_XLOG, 0x20, 0, &vec![1; 3 * PAGE]);
    let sound = log.segments();
    // The flag of a continuation, its length, its address, its timeline.
    for at in [2, 16, 8 + 2, 4] {
        let mut segments = sound.clone();
        segments[0][2 * PAGE + at] ^= 1;
        let summary = scan(log.scan_start(), &segments);
        assert_eq!(summary.end, start);
        assert_eq!(damage(summary).offset as usize, 2 * PAGE, "{at}");
    }
}

#[test]
fn production_may_crash_inside_a_record() {
    let mut log = log();
    let lost = log.crash_inside_record(3 * PAGE);
    log.commit(800, 1);
    let summary = log.scan();
    assert_eq!((summary.damage, summary.records, summary.end), (None, 5, log.at()));
    // A record that names another one is refused by PostgreSQL too.
    let mut wrong = self::log();
    wrong.crash_inside_record(3 * PAGE);
    let mut data = (lost.0 + 8).to_le_bytes().to_vec();
    data.extend([0; 8]);
    let start = wrong.main(RM_XLOG, 0xD0, 0, &data);
    assert_eq!(damage(wrong.scan()).lsn, start);
}

#[test]
fn block_references_are_decoded() {
    // Block 0: image with a hole, applied, and data; block 2: the same relation, made anew.
    let apply = |major| if major == Major::V14 { 0x05 } else { 0x03 };
    for major in Major::ALL {
        let mut body = vec![0, 0x30, 3, 0];
        body.extend([100, 0, 24, 0, apply(major)]);
        body.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 44, 0, 0, 0]);
        body.extend([2, 0xC1, 0, 0, 45, 0, 0, 0]);
        body.extend([253, 7, 0, 252, 9, 0, 0, 0, 255, 2]);
        body.extend([1; 100]);
        body.extend(b"abcxy");
        let mut log = LogWriter::new(major);
        log.record(10, 0, 5, &body);
        let mut seen = 0;
        let mut scan = WalScan::new(log.scan_start());
        scan.segment_with(TimelineId(1), FIRST_SEGMENT, log.segments()[0].as_slice(), |record| {
            seen += 1;
            assert_eq!((record.origin, record.toplevel_xid, record.main), (7, 9, &b"xy"[..]));
            let [first, second] = record.blocks else { panic!("{:?}", record.blocks) };
            assert_eq!((first.id, first.fork, first.block, first.will_init), (0, 0, 44, false));
            assert!(first.image.is_some_and(|image| image.apply && image.hole_length == 8092));
            assert_eq!(record.block_data(first), b"abc");
            assert_eq!((second.id, second.fork, second.block, second.will_init), (2, 1, 45, true));
            assert_eq!((second.relation, second.image), (first.relation, None));
        });
        assert_eq!((seen, scan.finish().damage), (1, None));
    }
}

/// Scans segments one after the other, and checks that nothing is found before what was settled by then;
/// gives how much that was at the end.
fn check_settled(log: &LogWriter, segments: &[Vec<u8>]) -> Lsn {
    let mut scan = WalScan::new(log.scan_start());
    let mut settled = Lsn(0);
    let (mut number, mut patched) = (FIRST_SEGMENT, 0);
    for bytes in segments {
        let step = scan.segment(TimelineId(1), number, bytes.as_slice());
        let patches = &scan.so_far().patches;
        assert!(patches[patched..].iter().all(|patch| patch.lsn >= settled));
        assert!(scan.damage().is_none_or(|damage| damage.lsn >= settled), "{settled}");
        if step == ScanStep::Stop {
            break;
        }
        assert!(scan.settled() >= settled && scan.settled() <= number.end(size()));
        (settled, patched, number) = (scan.settled(), patches.len(), number.next());
    }
    let summary = scan.finish();
    assert!(summary.defect().is_none_or(|defect| defect.lsn >= settled), "{settled}");
    settled
}

#[test]
fn what_is_not_complete_is_not_settled() {
    let mut log = log();
    log.main(RM_XLOG, 0x20, 0, &[9; 100]);
    let long = log.main(RM_XLOG, 0x20, 0, &vec![9; 3 << 20]);
    let behind = log.at();
    log.commit(800, 0);
    let segments = log.segments();
    let mut scan = WalScan::new(log.scan_start());
    for (index, bytes) in segments.iter().enumerate() {
        scan.segment(
            TimelineId(1),
            SegmentNumber(FIRST_SEGMENT.0 + index as u64),
            bytes.as_slice(),
        );
        if size().segment_of(behind).0 > FIRST_SEGMENT.0 + index as u64 {
            assert_eq!(scan.settled(), long);
        }
    }
    // Behind the last record the log looks unwritten, and more of it may follow.
    assert_eq!(scan.settled(), log.at());
}

fn varied(lengths: &[u16]) -> LogWriter {
    let mut log = LogWriter::new(Major::V16);
    for (index, length) in (0..).zip(lengths) {
        log.main(RM_XLOG, 0x20, 0, &vec![3; usize::from(*length)]);
        log.commit(index, i64::from(index));
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_damage_ends_before_it(
        lengths in prop::collection::vec(0_u16..30_000, 40..80),
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        let log = varied(&lengths);
        let written = (log.at().0 - FIRST_SEGMENT.start(size()).0) as usize;
        let sound = log.scan();
        let mut bytes = log.segments().concat();
        let at = at.index(written);
        let end = (at + noise.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let segments: Vec<_> = bytes.chunks(1 << 20).map(<[u8]>::to_vec).collect();
        let summary = scan(log.scan_start(), &segments);
        // Padding and unused header fields apart, what was read is what was there before.
        prop_assert!(summary.records <= sound.records);
        prop_assert!(summary.end <= sound.end);
        if summary.records < sound.records {
            prop_assert!(summary.damage.is_some());
            prop_assert!(summary.end.0 <= FIRST_SEGMENT.start(size()).0 + end as u64 + 8);
        }
    }

    #[test]
    fn nothing_is_found_before_what_is_settled(
        lengths in prop::collection::vec(0_u16..60_000, 40..120),
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..60),
        zeros in 0..30_000_usize,
    ) {
        let mut log = LogWriter::new(Major::V16);
        for (index, length) in (0..).zip(&lengths) {
            match index % 9 {
                4 => _ = log.crash_inside_record(usize::from(*length).max(9000)),
                7 => {
                    let path = vec![b'x'; usize::from(*length) % 20_000 + 1];
                    log.main(RM_TBLSPC, 0, index, &[&77_u32.to_le_bytes()[..], &path, b"\0"].concat());
                }
                _ => _ = log.main(RM_XLOG, 0x20, 0, &vec![3; usize::from(*length)]),
            }
            log.commit(index, i64::from(index));
        }
        let mut bytes = log.segments().concat();
        let settled = check_settled(&log, &log.segments());
        prop_assert_eq!(settled, log.at());
        let at = at.index(bytes.len());
        let end = (at + noise.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let end = (at + zeros).min(bytes.len());
        bytes[at..end].fill(0);
        let segments: Vec<_> = bytes.chunks(1 << 20).map(<[u8]>::to_vec).collect();
        check_settled(&log, &segments);
    }

    #[test]
    fn any_cut_ends_at_a_record(
        lengths in prop::collection::vec(0_u16..30_000, 40..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let log = varied(&lengths);
        let mut bytes = log.segments().concat();
        let cut = cut.index(bytes.len()) / PAGE * PAGE;
        let whole = cut.next_multiple_of(1 << 20);
        bytes.truncate(whole);
        bytes[cut..].fill(0);
        let mut starts = vec![log.scan_start().start];
        let mut scan = WalScan::new(log.scan_start());
        for (number, bytes) in (FIRST_SEGMENT.0..).zip(bytes.chunks(1 << 20)) {
            scan.segment_with(TimelineId(1), SegmentNumber(number), bytes, |r| starts.push(r.end));
        }
        let summary = scan.finish();
        prop_assert_eq!(Some(&summary.end), starts.last());
        prop_assert_eq!(summary.damage, None);
        prop_assert!(summary.end.0 <= FIRST_SEGMENT.start(size()).0 + cut.max(40) as u64);
    }

    #[test]
    fn noise_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..20_000),
        header in any::<bool>(),
        valid_crc in any::<bool>(),
        rmid in any::<u8>(),
        info in any::<u8>(),
    ) {
        let mut log = LogWriter::new(Major::V15);
        if valid_crc {
            log.record(rmid, info, 1, &noise[..noise.len().min(300)]);
        }
        let at = log.at();
        let mut segments = log.segments();
        let from = if header { offset(at) } else { 0 };
        let to = (from + noise.len()).min(1 << 20);
        segments[0][from..to].copy_from_slice(&noise[..to - from]);
        let summary = scan(log.scan_start(), &segments);
        prop_assert!(summary.end <= FIRST_SEGMENT.end(size()));
        let _ = scan_length(&log, &noise);
    }
}

fn scan_length(log: &LogWriter, bytes: &[u8]) -> WalSummary {
    scan(log.scan_start(), &[bytes.to_vec()])
}
