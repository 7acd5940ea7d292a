use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    archive::{Backup, CatalogBuilder},
    pg::{Major, SegmentSize},
    verify::{
        base::BaseRead,
        ledger::Budget,
        sparing::{self, Sparing, Subject},
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

fn at(day: u32) -> Timestamp {
    Timestamp::from_second(i64::from(day) * 86_400).unwrap()
}

/// The first numbers of the stretches of 64 that a run reads on this day for their own sake.
fn read(catalog: &Catalog, ledger: &mut Ledger, day: u32, most: u64) -> Vec<u64> {
    let mut sparing = Sparing { ledger, budget: requests(most) };
    let plan = sparing.plan(&[], catalog, &[origin()], at(day), Duration::ZERO);
    let wal = &plan.wal;
    let edge = |at: usize| at == 0 || at == wal.segments.len() - 1;
    let own = (0..wal.segments.len()).filter(|at| !edge(*at));
    let own = own.filter(|at| wal.segments[*at].turn == Turn::Own);
    let parts: BTreeSet<u64> = own.map(|at| wal.place(at).1.0 / 64).collect();
    parts.into_iter().collect()
}

/// However the runs lie: each goes on where the one before it has stopped.
#[test]
fn what_cannot_be_remembered_is_read_in_turns() {
    // Parts of 64 segments, of which a run holds so many.
    for (parts, held) in [(20, 1), (10, 1), (7, 1), (14, 3), (9, 2)] {
        let without = catalog(64 * parts, |_| false);
        for days in [1, 2, 5, 7, 10, 14, 30] {
            let mut ledger = Ledger::new("a");
            let mut day = 100;
            let mut expected = (1..=parts).cycle();
            for _ in 0..3 * parts {
                let now = read(&without, &mut ledger, day, 2 + held * 64 + 2 * held);
                let mut should: Vec<u64> = expected.by_ref().take(held as usize).collect();
                should.sort_unstable();
                assert_eq!(now, should, "{parts} parts, {held} in a run every {days} days");
                day += days;
            }
        }
    }
    // What has a name and was never read comes before.
    let some = catalog(64 * 20, |number| number / 64 == 10);
    for day in 100..120 {
        assert_eq!(read(&some, &mut Ledger::new("a"), day, 70), [10]);
    }
}

/// A listing of backups, which have no entity tags, oldest first.
fn backups(count: u64) -> Vec<Backup> {
    let mut builder = CatalogBuilder::new("a/");
    for number in 0..count {
        let key = format!("a/base/20261001T{number:06}/data.tar");
        builder.add(&key, 100 * BYTES, None, Some(at(20_000)));
    }
    builder.finish().backups
}

/// Reads what a run with this budget reads; gives the backups, and the parts of the WAL.
fn backups_read(
    backups: &[Backup],
    catalog: &Catalog,
    ledger: &mut Ledger,
    day: u32,
    budget: Budget,
) -> (Vec<usize>, Vec<u64>) {
    let subjects: Vec<Subject<'_>> =
        backups.iter().map(|backup| Subject { backup, line: None, path: None }).collect();
    let mut sparing = Sparing { ledger, budget };
    // The plan keeps of the ledger what the archive lists.
    let listed = Catalog { backups: backups.to_vec(), ..catalog.clone() };
    let plan = sparing.plan(&subjects, &listed, &[origin()], at(day), Duration::ZERO);
    let mut read = Vec::new();
    for (number, (subject, turn)) in subjects.iter().zip(&plan.turns).enumerate() {
        if *turn == sparing::Turn::Read {
            read.push(number);
            sparing.learn(subject, &BaseRead::default(), &listed, at(day));
        }
    }
    let own = plan.wal.segments.iter().enumerate().filter(|(_, one)| one.turn == Turn::Own);
    let parts: BTreeSet<u64> = own.map(|(at, _)| plan.wal.place(at).1.0 / 64).collect();
    (read, parts.into_iter().collect())
}

/// Without entity tags no run comes to know a backup: the newest first, then each older one, then again,
/// and none waits longer than all others take, however the runs lie.
#[test]
fn backups_that_cannot_be_remembered_are_read_in_turns() {
    let no_wal = catalog(0, |_| false);
    for (count, held) in [(1, 1), (5, 1), (7, 1), (14, 1), (9, 2), (8, 3)] {
        let all = backups(count);
        for days in [0, 1, 2, 7, 14] {
            let budget = Budget { bytes: Some(held * 100 * BYTES), ..Budget::default() };
            let mut ledger = Ledger::new("a");
            let mut last = vec![0; count as usize];
            let mut order = Vec::new();
            for run in 1..=4 * count {
                let day = 100 + days * run as u32;
                let (read, _) = backups_read(&all, &no_wal, &mut ledger, day, budget);
                assert_eq!(read.len() as u64, held);
                for number in &read {
                    last[*number] = run;
                }
                order.extend(read);
                let waited = run - last.iter().min().unwrap();
                assert!(waited <= count.div_ceil(held), "{last:?} of {count}, {held} each time");
            }
            let first: Vec<usize> = (0..count as usize).rev().collect();
            assert!(held > 1 || order.starts_with(&first.repeat(4)), "{order:?}");
        }
    }
}

/// Neither backups nor WAL, of which each run holds a piece of one of them, keep the others unread.
#[test]
fn backups_and_wal_that_cannot_be_remembered_share_a_budget() {
    let (all, wal) = (backups(6), catalog(64 * 8, |_| false));
    // The two ends, and then a backup of a hundred thousand bytes or a part of sixty-four thousand.
    let budget = Budget { bytes: Some(2 * BYTES + 110 * BYTES), ..Budget::default() };
    let mut ledger = Ledger::new("a");
    let (mut bases, mut parts) = (vec![0; 6], vec![0; 10]);
    for day in (0..4 * 8 * 6).map(|run| 100 + 7 * run) {
        let (read, own) = backups_read(&all, &wal, &mut ledger, day, budget);
        for number in read {
            bases[number] += 1;
        }
        // The ends are read each time.
        for part in own {
            parts[part as usize] += 1;
        }
    }
    let (least, most) = (bases.iter().min().unwrap(), bases.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 1, "{bases:?}");
    let middle = &parts[2..8];
    let (least, most) = (middle.iter().min().unwrap(), middle.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 1, "{parts:?}");
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
