use jiff::Timestamp;

use super::super::record::{RM_TBLSPC, RM_XACT, RM_XLOG};
use super::super::scan::{ScanStart, ScanTarget, TablespaceCreated};
use super::super::tablespace::neutralise_tablespaces;
use super::super::testing::{FIRST_SEGMENT, LogWriter, log, scan, size};
use super::super::xact::{target_time, timestamp};
use crate::pg::timeline::Ancestor;
use crate::pg::{Lsn, Major, SegmentNumber, TimelineHistory, TimelineId};

const PAGE: usize = 8192;

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
    assert_eq!(log.scan().damage.map(|damage| damage.lsn), Some(switch));
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
    let found = log.scan().damage.unwrap();
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
fn times_round_as_postgresql_does() {
    let time: Timestamp = "2026-01-01T00:00:00.0000015Z".parse().unwrap();
    assert_eq!(timestamp(target_time(time)).to_string(), "2026-01-01T00:00:00.000002Z");
    assert_eq!(timestamp(i64::MAX), Timestamp::MAX);
    assert_eq!(timestamp(i64::MIN), Timestamp::MIN);
}
