//! A slot comes while the drill before it is not done.

use super::*;

fn hourly(overlap: Overlap) -> Agenda {
    let mut agenda = alone(&Timing { overlap, ..every("0 * * * *") }, at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    agenda
}

#[test]
fn forbid_leaves_it_out() {
    let mut agenda = hourly(Overlap::Forbid);
    assert_eq!(turn(&mut agenda, "02:00:00"), ["missed a 02:00 x1 Overlap"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:10:00"), NOTHING);
    assert_eq!(turn(&mut agenda, "03:00:00"), ["start a 03:00"]);
}

#[test]
fn queue_lets_one_wait() {
    let mut agenda = hourly(Overlap::Queue);
    assert_eq!(turn(&mut agenda, "02:00:00"), NOTHING);
    let waiting = agenda.waiting();
    assert_eq!((waiting[0].cause, waiting[0].behind_its_own), (Cause::Slot(at("02:00:00")), true));
    assert_eq!(turn(&mut agenda, "03:00:00"), ["missed a 03:00 x1 Overlap"]);
    // A restart now must not lose the one that waits.
    assert_eq!(agenda.settled("a"), Some(at("01:59:59")));
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "03:10:00"), ["start a 02:00"]);
    assert_eq!(agenda.settled("a"), Some(at("03:59:59")));
    assert_eq!(agenda.waiting(), []);
}

#[test]
fn replace_ends_the_one_that_runs() {
    let mut agenda = hourly(Overlap::Replace);
    assert_eq!(turn(&mut agenda, "02:00:00"), ["cancel a"]);
    // It takes its time to end; it is told once.
    assert_eq!(turn(&mut agenda, "03:00:00"), ["missed a 02:00 x1 Replaced"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "03:00:30"), ["start a 03:00"]);
    assert_eq!(turn(&mut agenda, "04:00:00"), ["cancel a"]);
}

#[test]
fn a_queued_one_has_a_deadline_too() {
    let timing = Timing {
        overlap: Overlap::Queue,
        deadline: Some(Duration::from_mins(20)),
        ..every("0 * * * *")
    };
    let mut agenda = alone(&timing, at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    assert_eq!(turn(&mut agenda, "02:00:00"), NOTHING);
    assert_eq!(agenda.wake(), Some(at("02:20:01")));
    assert_eq!(turn(&mut agenda, "02:20:00"), NOTHING);
    assert_eq!(turn(&mut agenda, "02:20:01"), ["missed a 02:00 x1 Deadline"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:21:00"), NOTHING);
}

/// A drill that is slow to end is not told to end again by what comes after the one that it gave way to.
#[test]
fn a_drill_is_told_to_end_once() {
    let timing = Timing {
        overlap: Overlap::Replace,
        deadline: Some(Duration::from_mins(20)),
        ..every("0 * * * *")
    };
    let mut agenda = alone(&timing, at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    assert_eq!(turn(&mut agenda, "02:00:00"), ["cancel a"]);
    assert_eq!(turn(&mut agenda, "02:20:01"), ["missed a 02:00 x1 Deadline"]);
    assert_eq!(turn(&mut agenda, "03:00:00"), NOTHING);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "03:01:00"), ["start a 03:00"]);
}
