//! Whatever happens: every slot is accounted for once, and no budget is ever overdrawn.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SCHEDULES: [&str; 6] =
    ["*/5 * * * *", "*/20 * * * *", "0 * * * *", "30 2 * * *", "0 */6 * * *", "7,37 1-23/2 * * *"];
const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "America/New_York"];

fn timing() -> impl Strategy<Value = Timing> {
    let overlap = prop_oneof![Just(Overlap::Forbid), Just(Overlap::Queue), Just(Overlap::Replace)];
    let missed = prop_oneof![Just(Missed::RunOnce), Just(Missed::Skip)];
    let minutes = |range: std::ops::Range<u64>| range.prop_map(Duration::from_mins);
    (
        proptest::sample::select(&SCHEDULES[..]),
        proptest::sample::select(&ZONES[..]),
        prop_oneof![Just(Duration::ZERO), minutes(1..90)],
        proptest::option::of(minutes(1..300)),
        missed,
        overlap,
        -3..4_i32,
    )
        .prop_map(|(schedule, zone, window, deadline, missed, overlap, priority)| Timing {
            time_zone: Some(zone.to_owned()),
            window,
            deadline,
            missed,
            overlap,
            priority,
            ..every(schedule)
        })
}

/// Something that happens: so many seconds pass, and then the running drill of that number ends; or the
/// service was down for the time.
#[derive(Clone, Debug)]
enum Step {
    Passes { seconds: i64, ends: Option<usize> },
    ToWake { ends: Option<usize> },
}

fn step() -> impl Strategy<Value = Step> {
    let ends = || proptest::option::of(0..8_usize);
    prop_oneof![
        4 => ends().prop_map(|ends| Step::ToWake { ends }),
        3 => (0..3_000_i64, ends()).prop_map(|(seconds, ends)| Step::Passes { seconds, ends }),
        1 => (0..400_000_i64, ends()).prop_map(|(seconds, ends)| Step::Passes { seconds, ends }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_slot_is_accounted_for_once(
        jobs in proptest::collection::vec((timing(), 0..6_u64), 1..8),
        steps in proptest::collection::vec(step(), 1..80),
        drills in 1..4_u32,
        // Both changes of the clock are within reach.
        begin in prop_oneof![Just("2026-03-27T00:00:00Z"), Just("2026-10-23T00:00:00Z")],
    ) {
        let budgets = Budgets { memory: Some(5), ..budgets(drills) };
        let mut agenda = Agenda::new(budgets, 11);
        let begin: Timestamp = begin.parse().unwrap();
        let mut now = begin;
        let mut calendars = HashMap::new();
        for (number, (timing, memory)) in jobs.iter().enumerate() {
            let need = Need { memory: *memory, ..Need::default() };
            let entry = Entry::new(&number.to_string(), timing, need).unwrap();
            calendars.insert(Arc::clone(&entry.name), (entry.calendar.clone().unwrap(), *memory));
            agenda.put(entry, None, now);
        }
        let mut running: Vec<Arc<str>> = Vec::new();
        let mut accounts: HashMap<Arc<str>, u32> = HashMap::new();
        for step in steps {
            let ends = match step {
                Step::Passes { seconds, ends } => {
                    now += SignedDuration::from_secs(seconds);
                    ends
                }
                Step::ToWake { ends } => {
                    now = agenda.wake().unwrap().max(now);
                    ends
                }
            };
            if let Some(ended) = ends.filter(|_| !running.is_empty()) {
                let name = running.remove(ended % running.len());
                end(&mut agenda, &name);
            }
            let turn = agenda.advance(now);
            for start in &turn.starts {
                prop_assert!(!running.contains(&start.job), "{} runs twice", start.job);
                prop_assert!(start.due <= now);
                running.push(Arc::clone(&start.job));
                *accounts.entry(Arc::clone(&start.job)).or_default() += 1;
            }
            for missed in &turn.missed {
                *accounts.entry(Arc::clone(&missed.job)).or_default() += missed.count;
            }
            for cancelled in &turn.cancels {
                prop_assert!(running.contains(&cancelled.job));
            }
            prop_assert!(running.len() <= drills as usize);
            prop_assert!(running.iter().map(|name| calendars[name].1).sum::<u64>() <= 5);
            // Asked again, there is nothing more.
            prop_assert_eq!(agenda.advance(now), Turn::default());
            let waiting = agenda.waiting();
            for (name, (calendar, memory)) in &calendars {
                let (next, _) = agenda.next_slot(name).unwrap();
                let slots = calendar.slots_after(begin).take_while(|slot| *slot < next).count();
                let waits = waiting.iter().filter(|wait| wait.job == *name).count();
                prop_assert!(waits <= 1);
                let known = accounts.get(name).copied().unwrap_or_default() as usize + waits;
                prop_assert_eq!(known, slots, "job {} at {}, memory {}", name, now, memory);
                prop_assert!(agenda.wake().unwrap() > now);
            }
            // Nobody waits where there is room for everybody.
            let free = 5 - running.iter().map(|name| calendars[name].1).sum::<u64>();
            let idle = running.len() < drills as usize;
            let fits = |wait: &&Wait| !wait.behind_its_own && calendars[&wait.job].1 <= free;
            let first = waiting.iter().find(|wait| !wait.behind_its_own);
            prop_assert!(!idle || !first.is_some_and(|wait| fits(&wait)), "{first:?} could begin");
        }
    }

    /// What is decided after a restart is what would have been decided without it, where nothing ran or
    /// waited.
    #[test]
    fn a_restart_changes_nothing(
        timing in timing(),
        turns in 1..20_usize,
        again in 0..20_usize,
        told in any::<bool>(),
    ) {
        let begin: Timestamp = "2026-03-27T00:00:00Z".parse().unwrap();
        let mut agenda = Agenda::new(budgets(4), 11);
        let mut last = None;
        agenda.put(entry("a", &timing), None, begin);
        for index in 0..turns {
            let now = agenda.wake().unwrap();
            let turn = agenda.advance(now);
            prop_assert_eq!((turn.starts.len(), turn.missed.len()), (1, 0));
            end(&mut agenda, "a");
            if let Cause::Slot(slot) = turn.starts[0].cause {
                last = Some(slot);
            }
            if index == again {
                let settled = agenda.settled("a");
                agenda = Agenda::new(budgets(4), 11);
                agenda.put(entry("a", &timing), if told { last } else { settled }, now);
            }
        }
        let mut whole = Agenda::new(budgets(4), 11);
        whole.put(entry("a", &timing), None, begin);
        for _ in 0..turns {
            let now = whole.wake().unwrap();
            whole.advance(now);
            end(&mut whole, "a");
        }
        prop_assert_eq!(agenda.next_slot("a"), whole.next_slot("a"));
    }
}
