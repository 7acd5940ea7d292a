use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    archive::{Codec, ObjectRef},
    pg::wal::scan::TransactionEnd,
};

const ARCHIVE: &str = "s3://b/p/orders";
const START: Lsn = Lsn(0x0300_0000);

fn object(key: &str, etag: Option<&str>) -> ObjectRef {
    ObjectRef {
        key: key.to_owned(),
        size: 1000,
        etag: etag.map(str::to_owned),
        modified: Some("2026-11-22T12:00:00Z".parse().unwrap()),
        codec: Codec::Gzip,
    }
}

fn id(object: &ObjectRef) -> Option<SegmentId> {
    SegmentId::of(object, Identity::of_text("rules"))
}

fn facts() -> SegmentFacts {
    let commit = TransactionEnd {
        lsn: Lsn(START.0 - 300),
        at: Timestamp::from_microsecond(1_790_000_000_123_456).unwrap(),
        xid: 77,
        committed: true,
    };
    let end = Some(Lsn(START.0 + (16 << 20)));
    SegmentFacts { records: 9000, end, last_commit: Some(commit), whole: true }
}

fn written(ledger: &mut Ledger) -> Vec<u8> {
    let mut bytes = Vec::new();
    ledger.write(&mut bytes).unwrap();
    bytes
}

fn again(ledger: &mut Ledger) -> Ledger {
    Ledger::read(written(ledger).as_slice(), ARCHIVE).unwrap()
}

fn backup(read: Day) -> KnownBackup {
    KnownBackup {
        identity: Identity::of_text("a"),
        until: 9,
        read,
        files: 3,
        pages: 2,
        torn_pages: 1,
        own_end: OwnEnd { standby: true, min_recovery_point: Some(Lsn(7)) },
        databases: vec![(1663, 5)],
        checkpoint: Some(Lsn(5)),
        notes: vec!["said".to_owned()],
    }
}

#[test]
fn what_was_good_is_known_until_it_changes() {
    let mut ledger = Ledger::new(ARCHIVE);
    let known = object("a", Some("\"1\""));
    let own = id(&known).unwrap();
    assert_eq!(ledger.segment(own, START), None);
    ledger.good_segment(own, START, &facts(), Day(9));
    let mut ledger = again(&mut ledger);
    assert_eq!(ledger.segment(own, START), Some((Day(9), facts())));
    for other in [
        object("b", Some("\"1\"")),
        object("a", Some("\"2\"")),
        ObjectRef { size: 1001, ..known.clone() },
        ObjectRef { modified: None, ..known.clone() },
    ] {
        assert_eq!(ledger.segment(id(&other).unwrap(), START), None, "{other:?}");
    }
    // Held against something else it may be another matter.
    let elsewhere = SegmentId::of(&known, Identity::of_text("other rules")).unwrap();
    assert_eq!(ledger.segment(elsewhere, START), None);
    ledger.forget_segment(own);
    assert_eq!(ledger.segment(own, START), None);
    assert_eq!(again(&mut ledger).segment(own, START), None);
    // Where nothing can tell a replaced object, none is ever trusted.
    assert_eq!(id(&object("c", None)), None);
    assert_eq!(Identity::of([Some(known), Some(object("c", None))]), None);
}

#[test]
fn an_identity_tells_which_objects_and_in_which_order() {
    let (a, b) = (object("a", Some("1")), object("b", Some("1")));
    let of =
        |objects: &[Option<&ObjectRef>]| Identity::of(objects.iter().map(|o| o.cloned())).unwrap();
    let all = [
        of(&[]),
        of(&[Some(&a)]),
        of(&[Some(&b)]),
        of(&[Some(&a), Some(&b)]),
        of(&[Some(&b), Some(&a)]),
        of(&[Some(&a), None, Some(&b)]),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(all[index + 1..].iter().all(|other| other != one), "{index}");
    }
    assert_eq!(all[3], of(&[Some(&a.clone()), Some(&b)]));
}

#[test]
fn the_newest_word_on_a_segment_counts() {
    let own = id(&object("a", Some("1"))).unwrap();
    let mut ledger = Ledger::new(ARCHIVE);
    ledger.good_segment(own, START, &facts(), Day(1));
    ledger.good_segment(own, START, &facts(), Day(2));
    assert_eq!(again(&mut ledger).segment(own, START).unwrap().0, Day(2));
    ledger.good_segment(own, START, &facts(), Day(3));
    ledger.forget_segment(own);
    assert_eq!(again(&mut ledger).segment(own, START), None);
    // Learned and forgotten in one run.
    let mut ledger = Ledger::new(ARCHIVE);
    ledger.good_segment(own, START, &facts(), Day(1));
    ledger.forget_segment(own);
    assert_eq!(again(&mut ledger).segment(own, START), None);
}

#[test]
fn only_a_run_that_asked_for_all_drops_what_is_not_listed() {
    let mut ledger = Ledger::new(ARCHIVE);
    let ids = ["a", "b"].map(|key| id(&object(key, Some("1"))).unwrap());
    for id in ids {
        ledger.good_segment(id, START, &facts(), Day(1));
    }
    let mut ledger = again(&mut ledger);
    ledger.segment(ids[1], START).unwrap();
    // A run that broke off keeps what it did not come to.
    assert_eq!(again(&mut ledger).segments.len(), 2);
    ledger.keep_asked_segments();
    let mut ledger = again(&mut ledger);
    assert_eq!(ledger.segments.len(), 1);
    assert!(ledger.segment(ids[1], START).is_some());
    ledger.good_backup("one", backup(Day(1)));
    ledger.good_backup("two", backup(Day(1)));
    ledger.keep_backups(|id| id == "two");
    let ledger = again(&mut ledger);
    assert_eq!((ledger.backup("one"), ledger.backup("two")), (None, Some(&backup(Day(1)))));
}

#[test]
fn facts_that_do_not_fit_are_not_kept() {
    let own = id(&object("a", Some("1"))).unwrap();
    for odd in [
        SegmentFacts { records: 1 << 40, ..facts() },
        SegmentFacts { end: Some(Lsn(START.0 - 8)), ..facts() },
    ] {
        let mut ledger = Ledger::new(ARCHIVE);
        ledger.good_segment(own, START, &facts(), Day(1));
        ledger.good_segment(own, START, &odd, Day(2));
        assert_eq!(again(&mut ledger).segment(own, START), None, "{odd:?}");
    }
}

#[test]
fn foreign_and_damaged_files_are_told_apart() {
    let mut ledger = Ledger::new(ARCHIVE);
    ledger.good_segment(id(&object("a", Some("1"))).unwrap(), START, &facts(), Day(1));
    ledger.good_backup("one", backup(Day(1)));
    ledger.measured(1 << 30, 64, 10.0);
    let bytes = written(&mut ledger);
    let refused = |bytes: &[u8]| Ledger::read(bytes, ARCHIVE).unwrap_err();
    let other = Ledger::read(bytes.as_slice(), "s3://b/p/other").unwrap_err();
    assert!(matches!(&other, Unusable::OtherArchive(name) if name == ARCHIVE));
    assert!(!other.begins_anew());
    for foreign in [&b""[..], b"# a file\n", b"{\"format\": \"other\"}\n", b"{}"] {
        let why = refused(foreign);
        assert!(matches!(why, Unusable::Foreign) && !why.begins_anew());
    }
    let newer = refused(b"{\"format\": \"pgassay-ledger\", \"version\": 2}\n");
    assert!(matches!(newer, Unusable::Version(2)) && newer.begins_anew());
    let text = String::from_utf8_lossy(&bytes[..60]).into_owned();
    assert!(text.contains("\"rules\":2,"), "{text}");
    let older: Vec<u8> = bytes.iter().copied().take_while(|b| *b != b'\n').collect();
    let older = String::from_utf8(older).unwrap().replace("\"rules\":2,", "\"rules\":1,") + "\n";
    assert!(matches!(refused(older.as_bytes()), Unusable::Rules));
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(Ledger::read(flipped.as_slice(), ARCHIVE).is_err(), "byte {place}");
        assert!(Ledger::read(&bytes[..place], ARCHIVE).is_err(), "cut at {place}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(refused(&longer), Unusable::Damaged(_)));
    assert_eq!(again(&mut ledger), ledger);
}

#[test]
fn a_million_segments_fit() {
    assert_eq!(size_of::<Entry>(), 48);
}

#[test]
fn what_was_read_tomorrow_is_not_known() {
    assert_eq!(standing(0, Some(Day(11)), Day(10)), Standing::Unread);
    assert_eq!(standing(0, None, Day(10)), Standing::Unread);
    assert_eq!(standing(0, Some(Day(10)), Day(10)), Standing::Good(Day(10)));
    assert_eq!(standing(0, Some(Day(1)), Day(10)), Standing::Due(Day(1)));
}

proptest! {
    /// Whatever the group: with a run each day it is read anew exactly once in seven days.
    #[test]
    fn each_group_has_its_day_of_the_week(group: u64, first in 0_u32..50_000) {
        let mut read = Day(first);
        let mut turns = Vec::new();
        for day in first + 1..first + 29 {
            if rotation::is_due(group, read, Day(day)) {
                read = Day(day);
                turns.push(day);
            }
        }
        prop_assert_eq!(turns.len(), 4);
        prop_assert!(turns[0] <= first + PERIOD);
        prop_assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == PERIOD));
    }

    /// Days without a run are caught up with: nothing is left unread for seven days that end with one.
    #[test]
    fn skipped_days_are_caught_up_with(group: u64, first in 0_u32..50_000, skipped in 1_u32..40) {
        let today = Day(first + skipped);
        let due = rotation::is_due(group, Day(first), today);
        prop_assert!(due || skipped < PERIOD);
        prop_assert!(!rotation::is_due(group, today, today));
    }

    /// Nothing goes over its budget, nothing is lost, and what was left over comes first the next time.
    #[test]
    fn budgets_hold(
        sizes in prop::collection::vec((1_u64..500, 0_u32..4), 0..60),
        fixed in 0_u64..100,
        most in 0_u64..3000,
    ) {
        let candidates: Vec<Candidate> = sizes
            .iter()
            .zip(0..)
            .map(|((bytes, read), index)| {
                let standing = match read { 0 => Standing::Unread, day => Standing::Due(Day(*day)) };
                Candidate { index, order: index, standing, bytes: *bytes, requests: 1 }
            })
            .collect();
        let budget = Budget { bytes: Some(most), ..Budget::default() };
        let choice = choose(candidates.clone(), (fixed, 1), budget, None);
        prop_assert!(choice.bytes <= most.max(fixed));
        let taken: u64 = choice.chosen.iter().map(|i| candidates[*i as usize].bytes).sum();
        prop_assert_eq!(fixed + taken, choice.bytes);
        prop_assert_eq!(choice.chosen.len() + choice.left.len(), candidates.len());
        let large = candidates.iter().filter(|c| fixed + c.bytes > most).count();
        prop_assert_eq!(choice.too_large.len(), large);
        // The first of what was left is what a run without the chosen ones begins with.
        let left = choice.left.iter().copied();
        let next = choose(left, (0, 0), Budget { requests: Some(1), ..Budget::default() }, None);
        prop_assert_eq!(next.chosen.len(), usize::from(!choice.left.is_empty()));
    }
}

#[test]
fn new_objects_come_first_and_then_the_oldest() {
    let candidate =
        |index, standing| Candidate { index, order: index, standing, bytes: 10, requests: 1 };
    let candidates = [
        candidate(0, Standing::Due(Day(5))),
        candidate(1, Standing::Good(Day(9))),
        candidate(2, Standing::Due(Day(3))),
        candidate(3, Standing::Unread),
    ];
    let most = |requests| Budget { requests: Some(requests), ..Budget::default() };
    let chosen = |requests| choose(candidates, (0, 0), most(requests), None).chosen;
    assert_eq!((chosen(1), chosen(2), chosen(3)), (vec![3], vec![2, 3], vec![0, 2, 3]));
    let all = choose(candidates, (0, 0), Budget::default(), None);
    assert_eq!((all.chosen, all.bytes, all.requests), (vec![0, 2, 3], 30, 3));
}

#[test]
fn time_is_estimated_by_what_was_measured() {
    let rate = Rate::of(6000, 60, 60.0).unwrap();
    assert!((rate.seconds(500, 1) - 5.0).abs() < 1e-9 && (rate.seconds(1, 5) - 5.0).abs() < 1e-9);
    assert_eq!(Rate::of(0, 0, 1.0), None);
    let candidate = |index| Candidate {
        index,
        order: index,
        standing: Standing::Unread,
        bytes: 300,
        requests: 1,
    };
    let budget = Budget { time: Some(std::time::Duration::from_secs(7)), ..Budget::default() };
    let choice = choose((0..4).map(candidate), (0, 0), budget, Some(rate));
    assert_eq!((choice.chosen.len(), choice.left.len()), (2, 2));
}

#[test]
fn a_day_is_one_of_utc() {
    let day = |text: &str| Day::of(text.parse().unwrap());
    assert_eq!(day("1970-01-02T00:00:00Z"), Day(1));
    assert_eq!(day("2026-11-22T23:59:59Z"), Day(day("2026-11-23T00:00:00Z").0 - 1));
    assert_eq!(day("1960-01-01T00:00:00Z"), Day(0));
    assert_eq!(day("2026-11-22T23:59:59Z").date(), "2026-11-22");
}

#[test]
fn a_speed_does_not_go_down_with_what_was_read() {
    let mut ledger = Ledger::new(ARCHIVE);
    // Many small objects: a hundred each second.
    ledger.measured(1 << 30, 6000, 60.0);
    let rate = ledger.rate().unwrap();
    // A few segments say nothing, whatever they waited for.
    ledger.measured(1 << 20, 3, 20.0);
    assert_eq!(ledger.rate(), Some(rate));
    // One large backup: hardly an object a minute, and ten times the bytes.
    ledger.measured(10 << 30, 1, 60.0);
    let then = ledger.rate().unwrap();
    assert!(then.bytes_per_second > 9.0 * rate.bytes_per_second, "{then:?}");
    assert!((then.requests_per_second - rate.requests_per_second / 2.0).abs() < 1e-9, "{then:?}");
    ledger.measured(1 << 30, 6000, 60.0);
    let again = ledger.rate().unwrap();
    assert!((again.requests_per_second - rate.requests_per_second).abs() < 1e-9, "{again:?}");
}
