//! A year of ten thousand jobs, in seconds: `make bench-year`.
//!
//! The clock is a number here. Calendars and the agenda are those of the program; a drill is a time
//! after which it has ended. Now and then the service is down, everything that it knew but the newest
//! slot of each job is lost, and what has come meanwhile was missed.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends with a panic")]
#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use pgassay::{
    drill::timing::{Missed, Overlap, Timing},
    schedule::agenda::{Agenda, Budgets, Cause, Entry, Need, Ticket, Turn},
    selftest::dice::Dice,
};

const JOBS: usize = 10_000;
const SEED: u64 = 2026;
const BEGIN: &str = "2026-01-01T00:00:00Z";
const DAYS: i64 = 365;
const GIB: u64 = 1 << 30;

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "Asia/Tokyo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
];

/// A schedule like those of drills: of a hundred, five every hour, twenty every six hours, fifty-five
/// every day, sixteen every week, four every month.
fn schedule(dice: &mut Dice) -> String {
    let (minute, hour) = (dice.below(60), dice.below(24));
    match dice.below(100) {
        0..5 => format!("{minute} * * * *"),
        5..25 => format!("{minute} */6 * * *"),
        25..55 => format!("{minute} {hour} * * *"),
        55..80 => format!("{} {minute} {hour} * * *", dice.below(60)),
        80..96 => format!("{minute} {hour} * * {}", dice.below(7)),
        _ => format!("{minute} {hour} {} * *", dice.between(1, 29)),
    }
}

fn entry(number: usize, dice: &mut Dice) -> Entry {
    let timing = Timing {
        schedule: Some(schedule(dice)),
        time_zone: Some((*dice.pick(&ZONES).unwrap()).to_owned()),
        after_backup: false,
        window: Duration::from_mins(*dice.pick(&[0, 0, 10, 30]).unwrap()),
        deadline: dice.pick(&[None, Some(Duration::from_hours(6))]).copied().flatten(),
        missed: *dice.pick(&[Missed::RunOnce, Missed::Skip]).unwrap(),
        overlap: *dice.pick(&[Overlap::Forbid, Overlap::Queue, Overlap::Replace]).unwrap(),
        priority: *dice.pick(&[-3, -1, 0, 0, 1, 3]).unwrap(),
    };
    let need = Need {
        disk: dice.between(1, 200) as u64 * GIB,
        memory: dice.between(1, 8) as u64 * (GIB / 2),
        bandwidth: 0,
    };
    Entry::new(&format!("{number:05}"), &timing, need).unwrap()
}

fn agenda() -> Agenda {
    let drills = NonZeroU32::new(400).unwrap();
    let budgets =
        Budgets { drills, disk: Some(50_000 * GIB), memory: Some(1_000 * GIB), bandwidth: None };
    Agenda::new(budgets, SEED)
}

/// What has happened so far.
#[derive(Default)]
struct Counts {
    starts: u64,
    missed: BTreeMap<&'static str, u64>,
    turns: u64,
    restarts: u64,
}

/// When a drill ends.
#[derive(Clone, Copy, PartialEq, Eq)]
struct End {
    at: Timestamp,
    drill: Ticket,
}

impl Ord for End {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Year {
    entries: Vec<Entry>,
    agenda: Agenda,
    now: Timestamp,
    ends: BinaryHeap<Reverse<End>>,
    last: Vec<Option<Timestamp>>,
    dice: Dice,
    counts: Counts,
}

impl Year {
    fn take(&mut self, turn: Turn) {
        self.counts.turns += 1;
        self.counts.starts += turn.starts.len() as u64;
        for start in turn.starts {
            let job = number(&start.job);
            // From one minute to twenty.
            let takes = SignedDuration::from_secs(self.dice.between(60, 1200).try_into().unwrap());
            self.ends.push(Reverse(End { at: self.now + takes, drill: start.ticket }));
            self.settle(job, start.cause);
        }
        for missed in turn.missed {
            *self.counts.missed.entry(missed.why.words()).or_default() += u64::from(missed.count);
            self.settle(number(&missed.job), missed.cause);
        }
        // Who is told to end needs a second for it.
        for cancel in turn.cancels {
            let at = self.now + SignedDuration::from_secs(1);
            self.ends.push(Reverse(End { at, drill: cancel.ticket }));
        }
    }

    fn settle(&mut self, job: usize, cause: Cause) {
        if let Cause::Slot(slot) = cause {
            self.last[job] = self.last[job].max(Some(slot));
        }
    }

    /// Until then, event by event.
    fn go_on(&mut self, until: Timestamp) {
        loop {
            let wake = self.agenda.wake().unwrap();
            let next = self.ends.peek().map_or(wake, |Reverse(end)| wake.min(end.at));
            if next >= until {
                return;
            }
            self.now = next;
            while let Some(Reverse(End { at, drill })) = self.ends.peek().copied()
                && at <= next
            {
                self.ends.pop();
                self.agenda.finished(drill);
            }
            let turn = self.agenda.advance(next);
            self.take(turn);
        }
    }

    /// Down for so long, and back.
    fn restart(&mut self, hours: i64) {
        self.counts.restarts += 1;
        self.now += SignedDuration::from_hours(hours);
        self.ends.clear();
        self.agenda = agenda();
        for (entry, last) in self.entries.iter().zip(&self.last) {
            self.agenda.put(entry.clone(), *last, self.now);
        }
        let turn = self.agenda.advance(self.now);
        self.take(turn);
    }
}

fn number(name: &Arc<str>) -> usize {
    name.parse().unwrap()
}

fn main() {
    // `cargo test --benches` runs it, too: then on less.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let (jobs, days) = if quick { (JOBS / 100, 30) } else { (JOBS, DAYS) };
    let began = Instant::now();
    let mut dice = Dice::new(SEED, "jobs");
    let entries: Vec<Entry> = (0..jobs).map(|number| entry(number, &mut dice)).collect();
    let begin: Timestamp = BEGIN.parse().unwrap();
    let end = begin + SignedDuration::from_hours(24 * days);
    let read = began.elapsed();

    let began = Instant::now();
    let slots: u64 = entries
        .iter()
        .map(|entry| {
            let slots = entry.calendar.as_ref().unwrap().slots_after(begin);
            slots.take_while(|slot| *slot < end).count() as u64
        })
        .sum();
    let calendars = began.elapsed();

    let began = Instant::now();
    let mut year = Year {
        agenda: agenda(),
        now: begin,
        ends: BinaryHeap::new(),
        last: vec![Some(begin); jobs],
        dice: Dice::new(SEED, "drills"),
        counts: Counts::default(),
        entries,
    };
    year.restart(0);
    for day in (20..days).step_by(20) {
        year.go_on(begin + SignedDuration::from_hours(24 * day));
        let hours = year.dice.between(1, 72);
        year.restart(hours.try_into().unwrap());
    }
    year.go_on(end);
    let whole = began.elapsed();

    let Counts { starts, missed, turns, restarts } = &year.counts;
    let lost: u64 = missed.values().sum();
    let waits = year.agenda.waiting().len() as u64;
    // What waited when the service went down and was not told before is not in these counts.
    assert!(starts + lost + waits <= slots && (starts + lost + waits) * 100 > slots * 99);
    println!("{jobs} jobs in {} time zones, {days} days, {restarts} times begun anew", ZONES.len());
    println!("read the schedules       {:>8.2} s", read.as_secs_f64());
    println!(
        "calendars alone          {:>8.2} s, {slots} slots, {:.0} ns a slot",
        calendars.as_secs_f64(),
        calendars.as_nanos() as f64 / slots as f64
    );
    println!(
        "calendars and agenda     {:>8.2} s, {turns} turns, {:.0} ns a slot",
        whole.as_secs_f64(),
        whole.as_nanos() as f64 / slots as f64
    );
    println!("drills begun             {starts:>8}");
    println!("slots without a drill    {lost:>8}");
    for (why, count) in missed {
        println!("  {count:>12} because {why}");
    }
}
