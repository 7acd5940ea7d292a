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

#[test]
fn who_asks_gets_a_drill_unless_there_is_one() {
    let mut agenda = hourly(Overlap::Replace);
    assert_eq!(agenda.ask("b", at("01:10:00")), Err(NotAsked::Unknown));
    // Not even where a newer slot would end the one that runs.
    assert_eq!(agenda.ask("a", at("01:10:00")), Err(NotAsked::Runs));
    end(&mut agenda, "a");
    assert_eq!(agenda.ask("a", at("01:20:00")), Ok(()));
    assert_eq!(agenda.ask("a", at("01:20:00")), Err(NotAsked::Waits));
    assert_eq!(turn(&mut agenda, "01:20:00"), ["start a hand 01:20"]);
    // The next slot comes as ever.
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:00:00"), ["start a 02:00"]);
}

#[test]
fn who_asks_waits_for_room_like_any_other() {
    let mut agenda = Agenda::new(budgets(1), 7);
    for name in ["a", "b"] {
        agenda.put(entry(name, &Timing::default()), None, at("01:00:00"));
        assert_eq!(agenda.ask(name, at("01:00:00")), Ok(()));
    }
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a hand 01:00"]);
    assert_eq!(agenda.waiting()[0].job.as_ref(), "b");
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:05:00"), ["start b hand 01:00"]);
    let large = Need { disk: 2 << 40, ..Need::default() };
    agenda.set_budgets(Budgets { disk: Some(1 << 40), ..budgets(1) });
    agenda.put(Entry::new("c", &Timing::default(), large).unwrap(), None, at("01:00:00"));
    assert_eq!(agenda.ask("c", at("01:10:00")), Err(NotAsked::TooLarge));
}
