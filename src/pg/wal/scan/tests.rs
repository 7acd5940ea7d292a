use proptest::prelude::*;

use super::super::record::{RM_TBLSPC, RM_XACT, RM_XLOG};
use super::super::tablespace::neutralise_tablespaces;
use super::super::testing::{FIRST_SEGMENT, LogWriter, SYSTEM_ID, scan, size};
use super::super::xact::{target_time, timestamp};
use super::*;
use crate::pg::timeline::Ancestor;

const PAGE: usize = 8192;

/// Three commits, then whatever the caller adds.
fn log() -> LogWriter {
    let mut log = LogWriter::new(Major::V15);
    for xid in 700..703 {
        log.commit(xid, i64::from(xid) * 1_000_000);
    }
    log
}

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
    assert_eq!(scan.segment(TimelineId(1), FIRST_SEGMENT, &segments[0]), ScanStep::Continue);
    let beyond = FIRST_SEGMENT.next().next();
    assert_eq!(scan.segment(TimelineId(1), beyond, &segments[1]), ScanStep::Stop);
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
fn time_stops_before_the_first_later_end() {
    let mut log = log();
    let same = log.abort(703, 702_000_000);
    let later = log.commit(704, 800_000_000);
    // Later in the log, earlier by the clock.
    log.commit(705, 1);
    let at = |time, exclusive| log.scan_to(ScanTarget::Time(timestamp(time)), exclusive);
    let inclusive = at(702_000_000, false);
    assert_eq!((inclusive.target_reached, inclusive.end), (true, later));
    assert_eq!(inclusive.last_transaction.map(|end| (end.xid, end.lsn)), Some((703, same)));
    assert_eq!(inclusive.last_commit.map(|end| end.xid), Some(702));
    let exclusive = at(702_000_000, true);
    assert_eq!((exclusive.target_reached, exclusive.records), (true, 2));
    let beyond = at(800_000_000, false);
    assert_eq!((beyond.target_reached, beyond.end), (false, log.at()));
    let nothing = at(0, false);
    assert_eq!((nothing.target_reached, nothing.end), (true, log.scan_start().start));
}

#[test]
fn xid_lsn_and_name_stop_where_postgresql_does() {
    let mut log = LogWriter::new(Major::V15);
    log.commit(10, 1);
    let point = log.restore_point("here");
    let after_point = log.commit(12, 1);
    log.abort(11, 1);
    let end = log.at();
    log.restore_point("here");
    let to = |target, exclusive| {
        let summary = log.scan_to(target, exclusive);
        assert_eq!(summary.damage, None);
        (summary.target_reached, summary.end)
    };
    assert_eq!(to(ScanTarget::Xid(11), false), (true, end));
    assert_eq!(to(ScanTarget::Xid(12), true), (true, after_point));
    assert_eq!(to(ScanTarget::Xid(13), true), (false, log.at()));
    assert_eq!(to(ScanTarget::Lsn(point), true), (true, point));
    assert_eq!(to(ScanTarget::Lsn(point), false), (true, after_point));
    assert_eq!(to(ScanTarget::Lsn(Lsn(point.0 + 1)), true), (true, after_point));
    assert_eq!(to(ScanTarget::Lsn(log.at()), false), (false, log.at()));
    assert_eq!(to(ScanTarget::Name("here".into()), true), (true, after_point));
    assert_eq!(to(ScanTarget::Name("her".into()), true), (false, log.at()));
}

#[test]
fn immediate_needs_the_end_of_this_backup_and_a_record_after_it() {
    let mut log = log();
    log.backup_end(Lsn(0x28));
    assert_eq!(log.scan().consistent_at, None);
    log.backup_end(log.scan_start().start);
    let consistent = log.at();
    let early = log.scan_to(ScanTarget::Immediate, false);
    assert_eq!((early.target_reached, early.consistent_at), (false, Some(consistent)));
    log.switch();
    let summary = log.scan_to(ScanTarget::Immediate, false);
    assert_eq!((summary.target_reached, summary.end), (true, consistent));
    assert_eq!(log.scan().consistent_at, Some(consistent));
}

#[test]
fn a_backup_from_a_standby_is_consistent_at_its_minimum() {
    let mut log = LogWriter::new(Major::V16);
    log.main(RM_XLOG, 0x20, 0, b"one");
    log.backup_end(log.scan_start().start);
    let second = log.main(RM_XLOG, 0x20, 0, b"two");
    let after = log.commit(5, 1);
    log.commit(6, 1);
    let to = |point: Lsn| {
        let start = ScanStart {
            target: ScanTarget::Immediate,
            min_recovery_point: Some(point),
            ..log.scan_start()
        };
        let summary = scan(start, &log.segments());
        assert!(summary.target_reached);
        assert_eq!(summary.consistent_at, Some(summary.end));
        summary.end
    };
    assert_eq!(to(Lsn(second.0 + 1)), after);
    assert_eq!(to(after), after);
    // A record of the transaction manager ends it without a record after it.
    assert_eq!(to(Lsn(after.0 + 1)).0, after.0 + 40);
}

#[test]
fn a_target_before_consistency_is_found_but_not_consistent() {
    let mut log = log();
    log.backup_end(log.scan_start().start);
    let summary = log.scan_to(ScanTarget::Xid(701), false);
    assert_eq!((summary.target_reached, summary.consistent_at), (true, None));
}

#[test]
fn the_highest_parameters_and_minimal_wal_are_kept() {
    let mut log = log();
    let mut change = |values: [u32; 6]| {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        log.main(RM_XLOG, 0x60, 0, &[&data[..], &[0, 0]].concat())
    };
    change([100, 8, 10, 0, 64, 1]);
    let minimal = change([50, 9, 0, 7, 64, 0]);
    let summary = log.scan();
    let floor = summary.parameters;
    assert_eq!((floor.max_connections, floor.max_worker_processes), (100, 9));
    assert_eq!((floor.max_wal_senders, floor.max_prepared_transactions), (10, 7));
    assert_eq!((floor.max_locks_per_transaction, summary.minimal_wal_at), (64, Some(minimal)));
}

#[test]
fn timelines_turn_where_the_history_says() {
    let mut log = log();
    let switch = log.at();
    let mut data = [0; 16];
    data[8] = 2;
    data[12] = 1;
    log.timeline = 2;
    log.main(RM_XLOG, 0x90, 0, &data);
    log.main(RM_XLOG, 0x20, 0, &vec![1; 2 * PAGE]);
    let ancestors = vec![Ancestor { timeline: TimelineId(1), switch }];
    let history = TimelineHistory { timeline: TimelineId(2), ancestors };
    let start = ScanStart { history, ..log.scan_start() };
    let summary = scan(start.clone(), &log.segments());
    assert_eq!((summary.damage, summary.end), (None, log.at()));
    assert_eq!(summary.end_timeline, Some(TimelineId(2)));
    // The same log does not lie on a path that forks one page later, nor on timeline 1 alone.
    let ancestors = vec![Ancestor { timeline: TimelineId(1), switch: Lsn(switch.0 + 8192) }];
    let history = TimelineHistory { timeline: TimelineId(2), ancestors };
    assert!(scan(ScanStart { history, ..start }, &log.segments()).damage.is_some());
    assert_eq!(damage(log.scan()).lsn, switch);
}

#[test]
fn custom_resource_managers_are_listed_from_15() {
    let mut log = log();
    log.main(200, 0, 0, b"x");
    let start = log.main(128, 0, 0, b"x");
    log.main(200, 0, 0, b"x");
    assert_eq!(log.scan().custom_resource_managers, [128, 200]);
    let mut log = LogWriter::new(Major::V14);
    log.commit(1, 1);
    log.main(128, 0, 0, b"x");
    let found = damage(log.scan());
    assert!(found.lsn < start && found.detail.contains("128"), "{found:?}");
    let mut log = LogWriter::new(Major::V18);
    log.main(22, 0, 0, b"x");
    assert!(log.scan().damage.is_some());
}

#[test]
fn tablespaces_are_neutralised_wherever_their_records_lie() {
    let data = [&77_u32.to_le_bytes()[..], b"/srv/fast disk\0"].concat();
    for room in (8..=80).step_by(8) {
        for last_page in [false, true] {
            let mut log = LogWriter::new(Major::V17);
            if last_page {
                log.main(RM_XLOG, 0x20, 0, &vec![1; (1 << 20) - PAGE]);
            }
            log.fill_page(room);
            let lsn = log.main(RM_TBLSPC, 0x00, 5, &data);
            log.main(RM_TBLSPC, 0x10, 5, &77_u32.to_le_bytes());
            log.commit(5, 1);
            let mut segments = log.segments();
            let before = log.scan();
            let location = "/srv/fast disk".to_owned();
            assert_eq!(before.tablespaces, [TablespaceCreated { lsn, oid: 77, location }]);
            for (index, bytes) in segments.iter_mut().enumerate() {
                let number = SegmentNumber(FIRST_SEGMENT.0 + index as u64);
                neutralise_tablespaces(bytes, number, size(), &before.patches);
            }
            let after = scan(log.scan_start(), &segments);
            assert_eq!((after.damage, after.records), (None, before.records), "{room}");
            assert_eq!(after.tablespaces[0].location, "");
            assert_eq!(after.patches, []);
        }
    }
}

#[test]
fn a_tablespace_after_the_target_is_neutralised_too() {
    let mut log = log();
    log.main(RM_TBLSPC, 0x00, 5, &[&77_u32.to_le_bytes()[..], b"/srv/x\0"].concat());
    let summary = log.scan_to(ScanTarget::Xid(701), false);
    assert_eq!((summary.tablespaces.len(), summary.patches.len(), summary.records), (0, 5, 2));
}

#[test]
fn prepared_transactions_keep_their_own_xid() {
    for major in Major::ALL {
        let stats = match major {
            Major::V14 => vec![],
            Major::V18 => [&1_u32.to_le_bytes()[..], &[9; 16]].concat(),
            _ => [&1_u32.to_le_bytes()[..], &[9; 12]].concat(),
        };
        let flags: u32 = if stats.is_empty() { 0x1F } else { 0x11F };
        for (info, invalidations) in
            [(0xB0, [&1_u32.to_le_bytes()[..], &[9; 16]].concat()), (0xC0, vec![])]
        {
            let data = [
                &5_i64.to_le_bytes()[..],
                &flags.to_le_bytes(),
                &[9; 8],
                &2_u32.to_le_bytes(),
                &[9; 8],
                &1_u32.to_le_bytes(),
                &[9; 12],
                &stats,
                &invalidations,
                &4242_u32.to_le_bytes(),
            ]
            .concat();
            let mut log = LogWriter::new(major);
            log.main(RM_XACT, info, 0, &data);
            let summary = log.scan();
            assert_eq!(summary.last_transaction.map(|end| end.xid), Some(4242), "{major} {info:X}");
            assert_eq!(summary.last_commit.is_some(), info == 0xB0);
            let reached = log.scan_to(ScanTarget::Xid(4242), false).target_reached;
            assert!(reached);
        }
    }
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
        scan.segment_with(TimelineId(1), FIRST_SEGMENT, &log.segments()[0], |record| {
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

#[test]
fn times_round_as_postgresql_does() {
    let time: Timestamp = "2026-01-01T00:00:00.0000015Z".parse().unwrap();
    assert_eq!(timestamp(target_time(time)).to_string(), "2026-01-01T00:00:00.000002Z");
    assert_eq!(timestamp(i64::MAX), Timestamp::MAX);
    assert_eq!(timestamp(i64::MIN), Timestamp::MIN);
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
