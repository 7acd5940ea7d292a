//! Jobs are added, changed and removed while the agenda runs.

use super::*;

#[test]
fn another_schedule_begins_with_its_next_slot() {
    let mut agenda = alone(&every("0 * * * *"), at("00:30:00"));
    agenda.put(entry("a", &every("*/10 * * * *")), Some(at("00:00:00")), at("00:45:00"));
    assert_eq!(turn(&mut agenda, "00:45:00"), NOTHING);
    assert_eq!(turn(&mut agenda, "00:50:00"), ["start a 00:50"]);
    end(&mut agenda, "a");
    agenda.put(entry("a", &Timing::default()), None, at("00:55:00"));
    assert_eq!(turn(&mut agenda, "03:00:00"), NOTHING);
    assert_eq!(agenda.wake(), None);
}

/// A job that is read again as it was misses nothing and does nothing twice.
#[test]
fn the_same_again_changes_nothing() {
    let timing = every("0 * * * *");
    let mut agenda = alone(&timing, at("00:30:00"));
    for clock in ["00:40:00", "00:50:00", "01:00:00"] {
        agenda.put(entry("a", &timing), None, at(clock));
    }
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    agenda.put(entry("a", &timing), None, at("01:00:00"));
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:30:00"), NOTHING);
    assert_eq!(agenda.alarms.len(), 1);
}

#[test]
fn what_else_changes_counts_from_the_next_slot_on() {
    let mut agenda = alone(&every("0 * * * *"), at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    let queue = Timing { overlap: Overlap::Queue, ..every("0 * * * *") };
    agenda.put(entry("a", &queue), None, at("01:30:00"));
    assert!(agenda.running("a").is_some());
    assert_eq!(turn(&mut agenda, "02:00:00"), NOTHING);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:10:00"), ["start a 02:00"]);
}

#[test]
fn a_new_priority_counts_for_who_waits() {
    let mut agenda = Agenda::new(budgets(1), 7);
    for name in ["a", "b", "c"] {
        agenda.put(entry(name, &every("0 * * * *")), None, at("00:30:00"));
    }
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    let high = Timing { priority: 5, ..every("0 * * * *") };
    agenda.put(entry("c", &high), None, at("01:10:00"));
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "01:20:00"), ["start c 01:00"]);
}

#[test]
fn a_removed_job_is_forgotten_and_its_drill_ends_by_itself() {
    let mut agenda = Agenda::new(budgets(1), 7);
    let after = Timing { after_backup: true, ..every("0 * * * *") };
    for name in ["a", "b"] {
        agenda.put(entry(name, &after), None, at("00:30:00"));
    }
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    agenda.backup_appeared("b", at("01:00:00"), at("01:05:00"));
    agenda.remove("a");
    agenda.remove("b");
    agenda.remove("nobody");
    assert_eq!(
        turn(&mut agenda, "01:10:00"),
        ["missed b backup 01:00 x1 Removed", "missed b 01:00 x1 Removed"]
    );
    assert!(agenda.running("a").is_some());
    // Its room is taken until it has ended.
    agenda.put(entry("c", &every("0 * * * *")), None, at("01:30:00"));
    assert_eq!(turn(&mut agenda, "02:00:00"), NOTHING);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "02:10:00"), ["start c 02:00"]);
    assert_eq!(agenda.names.len(), 1);
}

#[test]
fn a_job_that_comes_back_finds_its_drill_running() {
    let mut agenda = alone(&every("0 * * * *"), at("00:30:00"));
    assert_eq!(turn(&mut agenda, "01:00:00"), ["start a 01:00"]);
    agenda.remove("a");
    agenda.put(entry("a", &every("0 * * * *")), Some(at("01:00:00")), at("01:30:00"));
    assert_eq!(turn(&mut agenda, "02:00:00"), ["missed a 02:00 x1 Overlap"]);
    end(&mut agenda, "a");
    assert_eq!(turn(&mut agenda, "03:00:00"), ["start a 03:00"]);
}

#[test]
fn a_job_that_no_longer_follows_backups_drops_what_was_coming() {
    let timing =
        Timing { after_backup: true, window: Duration::from_hours(1), ..Timing::default() };
    let mut agenda = alone(&timing, at("00:00:00"));
    agenda.backup_appeared("a", at("00:00:00"), at("00:00:00"));
    agenda.put(entry("a", &Timing::default()), None, at("00:00:00"));
    assert_eq!(turn(&mut agenda, "02:00:00"), ["missed a backup 00:00 x1 Changed"]);
}

/// A drill that ends twice, or after another has begun in its place, frees no room of others.
#[test]
fn a_ticket_is_good_for_one_drill() {
    let mut agenda = Agenda::new(budgets(1), 7);
    agenda.put(entry("a", &every("0 * * * *")), None, at("00:30:00"));
    let first = agenda.advance(at("01:00:00")).starts[0].ticket;
    agenda.finished(first);
    agenda.finished(first);
    agenda.remove("a");
    agenda.put(entry("b", &every("0 * * * *")), None, at("01:30:00"));
    assert_eq!(turn(&mut agenda, "02:00:00"), ["start b 02:00"]);
    agenda.finished(first);
    assert!(agenda.running("b").is_some());
}
