use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    archive::CatalogBuilder,
    pg::{Major, SegmentSize},
    verify::{
        ledger::{Budget, choose},
        sparing::Sparing,
    },
};

const BYTES: u64 = 1000;

fn origin() -> Origin {
    Origin { major: Major::V17, system_id: 7, segment_size: SegmentSize::DEFAULT }
}

fn key(number: u64) -> String {
    let name = SegmentNumber(number).file_name(TimelineId(1), SegmentSize::DEFAULT);
    format!("a/wals/{}/{name}", &name[..16])
}

/// So many segments; those that `named` says have entity tags.
fn catalog(count: u64, named: impl Fn(u64) -> bool) -> Catalog {
    let mut builder = CatalogBuilder::new("a/");
    for number in 64..64 + count {
        let at = Some("2026-11-20T12:00:00Z".parse().unwrap());
        builder.add(&key(number), BYTES, named(number).then_some("1"), at);
    }
    builder.finish()
}

fn requests(most: u64) -> Budget {
    Budget { requests: Some(most), ..Budget::default() }
}

/// Indexes of the parts that a run on this day reads.
fn chosen(catalog: &Catalog, day: u32, most: u64) -> Vec<u32> {
    let plan = WalPlan::new(&mut Ledger::new("a"), &[origin()], catalog, Day(day));
    choose(plan.candidates(0), (0, 0), requests(most), None).chosen
}

#[test]
fn what_cannot_be_remembered_is_read_in_turns() {
    // Twenty parts of 64 segments, of which a run holds one, or three.
    let without = catalog(64 * 20, |_| false);
    for (most, days) in [(70, 7 * 20), (3 * 67, 14)] {
        let read = (100..100 + days).flat_map(|day| chosen(&without, day, most));
        assert_eq!(read.collect::<BTreeSet<u32>>(), (0..20).collect(), "{most}");
    }
    // What has a name and was never read comes before.
    let some = catalog(64 * 20, |number| number / 64 == 10);
    for day in 100..120 {
        assert_eq!(chosen(&some, day, 70), [9]);
    }
}

#[test]
fn a_part_that_does_not_fit_is_divided() {
    let catalog = catalog(200, |_| true);
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let plan = |most: u64| {
        let mut ledger = Ledger::new("a");
        let mut sparing = Sparing { ledger: &mut ledger, budget: requests(most) };
        sparing.plan(&[], &catalog, &[origin()], now, Duration::ZERO)
    };
    let read = plan(50).wal.volume().0;
    assert!((35..=50).contains(&read), "{read}");
    assert!(plan(50).finish().1.is_empty());
    // With the two ends there is room for none and its neighbours.
    let errors = format!("{:?}", plan(3).finish().1);
    assert!(errors.contains("198 segments of WAL: each alone"), "{errors}");
    assert_eq!(plan(1000).wal.left(), (0, 0));
}

#[test]
fn copies_and_labels_are_in_the_estimate() {
    let mut builder = CatalogBuilder::new("a/");
    for number in 64..70 {
        builder.add(&key(number), BYTES, Some("1"), None);
    }
    builder.add(&format!("{}.gz", key(66)), 10, Some("1"), None);
    builder.add(&format!("{}.00000028.backup", key(66)), 1, Some("1"), None);
    let catalog = builder.finish();
    let plan = WalPlan::new(&mut Ledger::new("a"), &[origin()], &catalog, Day(100));
    // The two ends, the copy with the one that is taken, and the label.
    assert_eq!(plan.volume(), (5, 3 * BYTES + 11));
}
