mod accounts;
mod changes;
mod missing;
mod overlapping;
mod room;

use std::{num::NonZeroU32, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::drill::timing::Timing;

const GIB: u64 = 1 << 30;

/// On 2026-11-23, a Monday.
fn at(clock: &str) -> Timestamp {
    format!("2026-11-23T{clock}Z").parse().unwrap()
}

fn budgets(drills: u32) -> Budgets {
    let drills = NonZeroU32::new(drills).unwrap();
    Budgets { drills, disk: None, memory: None, bandwidth: None }
}

fn every(schedule: &str) -> Timing {
    Timing { schedule: Some(schedule.to_owned()), ..Timing::default() }
}

fn entry(name: &str, timing: &Timing) -> Entry {
    Entry::new(name, timing, Need::default()).unwrap()
}

/// One job in an agenda with much room.
fn alone(timing: &Timing, now: Timestamp) -> Agenda {
    let mut agenda = Agenda::new(budgets(100), 7);
    agenda.put(entry("a", timing), None, now);
    agenda
}

/// The drill of a job ends.
#[track_caller]
fn end(agenda: &mut Agenda, name: &str) {
    agenda.finished(agenda.running(name).expect("nothing runs"));
}

/// What a turn says, in words that are short.
fn said(turn: &Turn) -> Vec<String> {
    let of = |cause: &Cause| match cause {
        Cause::Slot(slot) => slot.to_string()[11..16].to_owned(),
        Cause::Backup(time) => format!("backup {}", &time.to_string()[11..16]),
        Cause::Hand(time) => format!("hand {}", &time.to_string()[11..16]),
    };
    let starts =
        turn.starts.iter().map(|start| format!("start {} {}", start.job, of(&start.cause)));
    let cancels = turn.cancels.iter().map(|cancel| format!("cancel {}", cancel.job));
    let missed = turn.missed.iter().map(|missed| {
        let MissedRun { job, why, cause, count } = missed;
        format!("missed {job} {} x{count} {why:?}", of(cause))
    });
    starts.chain(cancels).chain(missed).collect()
}

fn turn(agenda: &mut Agenda, clock: &str) -> Vec<String> {
    said(&agenda.advance(at(clock)))
}

const NOTHING: [&str; 0] = [];

#[test]
fn slots_become_drills_and_the_agenda_says_when_to_wake() {
    let mut agenda = alone(&every("*/30 * * * *"), at("12:00:00"));
    assert_eq!(agenda.wake(), Some(at("12:30:00")));
    assert_eq!(turn(&mut agenda, "12:29:59.9"), NOTHING);
    assert_eq!(turn(&mut agenda, "12:30:00.2"), ["start a 12:30"]);
    assert!(agenda.running("a").is_some());
    assert_eq!(turn(&mut agenda, "12:30:01"), NOTHING);
    assert_eq!(agenda.wake(), Some(at("13:00:00")));
    end(&mut agenda, "a");
    assert!(agenda.running("a").is_none());
    assert_eq!(turn(&mut agenda, "13:00:00"), ["start a 13:00"]);
    assert_eq!(agenda.next_slot("a"), Some((at("13:30:00"), at("13:30:00"))));
    assert_eq!(agenda.next_slot("b"), None);
}

#[test]
fn nothing_starts_without_a_schedule() {
    let mut agenda = alone(&Timing::default(), at("12:00:00"));
    assert_eq!((agenda.wake(), agenda.next_slot("a")), (None, None));
    agenda.backup_appeared("a", at("12:00:00"), at("12:10:00"));
    assert_eq!(turn(&mut agenda, "23:00:00"), NOTHING);
}

#[test]
fn a_window_spreads_the_start_and_stays_the_same() {
    let hourly = Timing { window: Duration::from_mins(30), ..every("0 * * * *") };
    let starts = |seed: u64| -> Vec<Timestamp> {
        let mut agenda = Agenda::new(budgets(100), seed);
        agenda.put(entry("a", &hourly), None, at("00:00:00"));
        let mut starts = Vec::new();
        while let Some(wake) = agenda.wake().filter(|wake| *wake < at("20:00:00")) {
            let turn = agenda.advance(wake);
            assert_eq!((turn.starts.len(), turn.starts[0].due), (1, wake));
            let Cause::Slot(slot) = turn.starts[0].cause else { panic!("{turn:?}") };
            assert!(slot <= wake && wake < slot + SignedDuration::from_mins(30));
            end(&mut agenda, "a");
            starts.push(wake);
        }
        starts
    };
    let (first, other) = (starts(7), starts(8));
    assert_eq!(first, starts(7));
    assert_eq!((first.len(), other.len()), (19, 19));
    assert!(first.iter().zip(&other).filter(|(a, b)| a == b).count() < 3, "{first:?}");
    // After a restart in the middle of a window the slot is where it was.
    let mut agenda = Agenda::new(budgets(100), 7);
    let slot = at("05:00:00");
    agenda.put(entry("a", &hourly), Some(at("04:00:00")), slot);
    assert_eq!(agenda.next_slot("a"), Some((slot, first[4])));
}

/// A window longer than the time between slots ends at the next one.
#[test]
fn slots_do_not_overtake_each_other() {
    let timing = Timing { window: Duration::from_hours(5), ..every("*/10 * * * *") };
    let mut agenda = alone(&timing, at("00:00:00"));
    for _ in 0..100 {
        let (slot, start) = agenda.next_slot("a").unwrap();
        assert!(slot <= start && start < slot + SignedDuration::from_mins(10));
        let turn = agenda.advance(start);
        assert_eq!(turn.starts[0].cause, Cause::Slot(slot));
        end(&mut agenda, "a");
    }
}

#[test]
fn a_new_backup_is_a_reason_too() {
    let timing =
        Timing { after_backup: true, window: Duration::from_mins(10), ..every("0 4 * * *") };
    let mut agenda = alone(&timing, at("12:00:00"));
    agenda.backup_appeared("a", at("12:20:00"), at("12:25:00"));
    let start = agenda.wake().unwrap();
    assert!(at("12:25:00") <= start && start < at("12:35:00"), "{start}");
    // A newer one takes the place of one whose drill has not begun.
    agenda.backup_appeared("a", at("12:24:00"), at("12:25:00"));
    assert_eq!(
        turn(&mut agenda, "12:40:00"),
        ["start a backup 12:24", "missed a backup 12:20 x1 Folded"]
    );
    agenda.backup_appeared("a", at("12:50:00"), at("12:50:00"));
    agenda.backup_appeared("nobody", at("12:50:00"), at("12:50:00"));
    assert_eq!(turn(&mut agenda, "13:00:00"), ["missed a backup 12:50 x1 Overlap"]);
}
