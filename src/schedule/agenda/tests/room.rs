//! Who begins where room is short.

use super::*;

/// Jobs that come on the hour, each with a priority and so much memory.
fn crowd(budgets: Budgets, jobs: &[(&str, i32, u64)]) -> Agenda {
    let mut agenda = Agenda::new(budgets, 7);
    for (name, priority, memory) in jobs {
        let timing = Timing { priority: *priority, ..every("0 * * * *") };
        let need = Need { memory: *memory, ..Need::default() };
        agenda.put(Entry::new(name, &timing, need).unwrap(), None, at("00:30:00"));
    }
    agenda
}

fn with_memory(drills: u32, memory: u64) -> Budgets {
    Budgets { memory: Some(memory), ..budgets(drills) }
}

#[test]
fn no_more_drills_than_allowed_and_the_higher_priority_first() {
    let mut agenda = crowd(budgets(2), &[("low", -1, 0), ("a", 0, 0), ("b", 0, 0), ("high", 9, 0)]);
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start high 01:00", "start a 01:00"]);
    let names =
        |agenda: &Agenda| agenda.waiting().iter().map(|w| w.job.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&agenda), ["b", "low"]);
    assert!(!agenda.waiting()[0].behind_its_own);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:10:00"), ["start b 01:00"]);
    end(&mut agenda, "high");
    assert_eq!(turn(&mut agenda, "01:10:00"), ["start low 01:00"]);
}

/// A point of priority is an hour of waiting: the low one waits no longer than that.
#[test]
fn waiting_counts_as_priority() {
    let mut agenda = crowd(budgets(1), &[("busy", 0, 0), ("low", -2, 0), ("high", 0, 0)]);
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start busy 01:00"]);
    end(&mut agenda, "busy");
    assert_eq!(turn(&mut agenda, "01:59:00"), ["start high 01:00"]);
    end(&mut agenda, "high");
    let mut began = Vec::new();
    for hour in 2..6 {
        for minute in ["00", "20", "40"] {
            let turn = agenda.advance(at(&format!("0{hour}:{minute}:00")));
            for start in turn.starts {
                began.push(format!("{hour}:{minute} {}", start.job));
                end(&mut agenda, &start.job);
            }
        }
    }
    assert_eq!(began[..3], ["2:00 busy", "2:20 high", "2:40 low"]);
}

#[test]
fn small_ones_pass_a_large_one_for_an_hour_and_not_longer() {
    let mut agenda = crowd(
        with_memory(10, 8 * GIB),
        &[("a", 0, 2 * GIB), ("b", 0, 2 * GIB), ("large", 0, 8 * GIB), ("z", 0, 2 * GIB)],
    );
    // In the order of their seats; the large one does not fit beside them.
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00", "start b 01:00", "start z 01:00"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:30:00"), NOTHING);
    assert_eq!(
        turn(&mut agenda, "02:00:00"),
        [
            "start a 02:00",
            "missed b 02:00 x1 Overlap",
            "missed large 02:00 x1 Overlap",
            "missed z 02:00 x1 Overlap"
        ]
    );
    end(&mut agenda, "a");
    // From now on the large one has waited long enough: who comes later waits behind it.
    assert_eq!(
        turn(&mut agenda, "03:00:00"),
        ["missed b 03:00 x1 Overlap", "missed large 03:00 x1 Overlap", "missed z 03:00 x1 Overlap"]
    );
    end(&mut agenda, "b");
    assert_eq!(turn(&mut agenda, "03:01:00"), NOTHING);
    end(&mut agenda, "z");
    assert_eq!(turn(&mut agenda, "03:02:00"), ["start large 01:00"]);
    assert_eq!(turn(&mut agenda, "03:03:00"), NOTHING);
    end(&mut agenda, "large");
    assert_eq!(turn(&mut agenda, "03:04:00"), ["start a 03:00"]);
}

#[test]
fn what_never_fits_is_said_at_once() {
    let mut agenda = crowd(with_memory(10, 4 * GIB), &[("a", 0, 8 * GIB), ("b", 0, GIB)]);
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start b 01:00", "missed a 01:00 x1 TooLarge"]);
    assert_eq!(agenda.waiting(), []);
}

#[test]
fn a_run_that_waits_too_long_is_missed() {
    let mut agenda = crowd(budgets(1), &[("a", 0, 0)]);
    let timing = Timing { deadline: Some(Duration::from_mins(10)), ..every("0 * * * *") };
    agenda.put(entry("late", &timing), None, at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    assert_eq!(agenda.wake(), Some(at("01:10:01")));
    assert_eq!(turn(&mut agenda, "01:10:01"), ["missed late 01:00 x1 Deadline"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:11:00"), NOTHING);
    assert_eq!(turn(&mut agenda, "02:00:00"), ["start a 02:00"]);
}

#[test]
fn budgets_can_change() {
    let mut agenda =
        crowd(with_memory(1, 8 * GIB), &[("a", 0, GIB), ("b", 0, GIB), ("c", 0, 8 * GIB)]);
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    agenda.set_budgets(with_memory(2, 4 * GIB));
    assert_eq!(turn(&mut agenda, "01:10:00"), ["start b 01:00", "missed c 01:00 x1 TooLarge"]);
    agenda.set_budgets(with_memory(1, GIB));
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:00:00").len(), 2);
    assert!(agenda.running("a").is_none());
}

/// Runs that do not fit are looked at up to a bound: a long line costs no more than a short one.
#[test]
fn every_budget_counts() {
    let one = |need: Need, budgets: Budgets| {
        let mut agenda = Agenda::new(budgets, 7);
        for name in ["a", "b"] {
            let entry = Entry::new(name, &every("0 * * * *"), need).unwrap();
            agenda.put(entry, None, at("00:30:00"));
        }
        agenda.advance(at("01:00:00")).starts.len()
    };
    let (need, none) = (Need::default(), budgets(9));
    assert_eq!(one(Need { disk: u64::MAX, ..need }, none), 2);
    assert_eq!(one(Need { disk: 3, ..need }, Budgets { disk: Some(6), ..none }), 2);
    assert_eq!(one(Need { disk: 3, ..need }, Budgets { disk: Some(5), ..none }), 1);
    assert_eq!(one(Need { memory: 3, ..need }, Budgets { memory: Some(5), ..none }), 1);
    assert_eq!(one(Need { bandwidth: 3, ..need }, Budgets { bandwidth: Some(5), ..none }), 1);
}
