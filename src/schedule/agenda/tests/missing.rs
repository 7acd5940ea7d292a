//! Nobody was there when a slot came.

use super::*;

fn restarted(timing: &Timing, last: &str, now: &str) -> Agenda {
    let mut agenda = Agenda::new(budgets(100), 7);
    agenda.put(entry("a", timing), Some(at(last)), at(now));
    agenda
}

#[test]
fn one_drill_for_all_that_were_missed() {
    let mut agenda = restarted(&every("0 * * * *"), "01:00:00", "05:30:00");
    assert_eq!(turn(&mut agenda, "05:30:00"), ["start a 05:00", "missed a 04:00 x3 Folded"]);
    assert_eq!(agenda.wake(), Some(at("06:00:00")));
}

#[test]
fn or_none() {
    let skip = Timing { missed: Missed::Skip, ..every("0 * * * *") };
    let mut agenda = restarted(&skip, "01:00:00", "05:30:00");
    assert_eq!(turn(&mut agenda, "05:30:00"), ["missed a 04:00 x3 Down", "missed a 05:00 x1 Down"]);
    assert_eq!(turn(&mut agenda, "06:00:40"), ["start a 06:00"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "07:01:01"), ["missed a 07:00 x1 Down"]);
}

#[test]
fn or_none_any_more_after_the_deadline() {
    let timing = Timing { deadline: Some(Duration::from_mins(20)), ..every("0 * * * *") };
    let mut agenda = restarted(&timing, "01:00:00", "05:20:00");
    assert_eq!(turn(&mut agenda, "05:20:00"), ["start a 05:00", "missed a 04:00 x3 Folded"]);
    let mut agenda = restarted(&timing, "01:00:00", "05:20:01");
    assert_eq!(
        turn(&mut agenda, "05:20:01"),
        ["missed a 04:00 x3 Deadline", "missed a 05:00 x1 Deadline"]
    );
}

#[test]
fn the_first_slot_of_a_new_job_is_in_the_future() {
    let mut agenda = alone(&every("0 * * * *"), at("05:00:00"));
    assert_eq!(turn(&mut agenda, "05:00:00"), NOTHING);
    assert_eq!(agenda.wake(), Some(at("06:00:00")));
}

/// The newest slot has come, its place in the window not yet: it is not missed.
#[test]
fn a_window_that_is_still_open_is_waited_for() {
    let timing = Timing { window: Duration::from_mins(50), ..every("0 * * * *") };
    let mut agenda = restarted(&timing, "01:00:00", "05:00:01");
    let Some((_, start)) = restarted(&timing, "04:00:00", "05:00:01").next_slot("a") else {
        panic!()
    };
    assert!(start > at("05:00:01"), "{start}");
    assert_eq!(turn(&mut agenda, "05:00:01"), ["start a 04:00", "missed a 03:00 x2 Folded"]);
    end(&mut agenda, "a");
    assert_eq!(agenda.wake(), Some(start));
    assert_eq!(said(&agenda.advance(start)), ["start a 05:00"]);
}

/// Ten years of seconds are passed over at once, and counted so far.
#[test]
fn a_long_time_is_no_work() {
    let mut agenda = Agenda::new(budgets(100), 7);
    let timing = Timing { window: Duration::from_mins(50), ..every("* * * * * *") };
    agenda.put(entry("a", &timing), Some("2016-11-23T00:00:00Z".parse().unwrap()), at("12:00:00"));
    assert_eq!(turn(&mut agenda, "12:00:30"), ["start a 12:00", "missed a 12:00 x10000 Folded"]);
}
