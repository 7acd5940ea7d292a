//! Slots beside those of a search that is too simple to be wrong: every minute is looked at.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

use super::super::*;

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kathmandu",
];

/// How long slots are compared.
const DAYS: i64 = 8;

/// A field: what it is in the text, and the values it matches.
type Field = (String, Vec<i8>);

fn field(least: i8, greatest: i8) -> impl Strategy<Value = Field> {
    let all: Vec<i8> = (least..=greatest).collect();
    let value = least..=greatest;
    let list = proptest::collection::vec(value.clone(), 1..4).prop_map(|values| {
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        (text.join(","), values)
    });
    let range = (value.clone(), value.clone(), 1..4_i8).prop_map(|(a, b, step)| {
        let (first, last) = (a.min(b), a.max(b));
        let text =
            if step == 1 { format!("{first}-{last}") } else { format!("{first}-{last}/{step}") };
        (text, (first..=last).step_by(step.cast_unsigned().into()).collect())
    });
    let stepped = all.clone();
    let step = (2..=greatest).prop_map(move |step| {
        (
            format!("*/{step}"),
            stepped.iter().copied().step_by(step.cast_unsigned().into()).collect(),
        )
    });
    prop_oneof![3 => Just(("*".to_owned(), all)), 3 => list, 2 => range, 1 => step]
}

#[derive(Clone, Debug)]
struct Five {
    fields: Vec<Field>,
}

impl Five {
    fn text(&self) -> String {
        self.fields.iter().map(|field| field.0.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn matches(&self, local: civil::DateTime) -> bool {
        let has = |index: usize, value: i8| self.fields[index].1.contains(&value);
        let day = has(2, local.day());
        let weekday = local.weekday().to_sunday_zero_offset();
        let week = has(4, weekday) || (weekday == 0 && has(4, 7));
        let starred = |index: usize| self.fields[index].0.starts_with('*');
        let days = if starred(2) || starred(4) { day && week } else { day || week };
        has(0, local.minute()) && has(1, local.hour()) && has(3, local.month()) && days
    }

    fn moving(&self) -> bool {
        self.fields[..2].iter().any(|field| field.0.contains(['*', '/']))
    }
}

fn five() -> impl Strategy<Value = Five> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6))
        .prop_map(|(a, b, c, d, e)| Five { fields: vec![a, b, c, d, e] })
}

/// Every slot after `from` within some days, by looking at every minute of them and of the two days
/// before.
fn looked_at(five: &Five, zone: &TimeZone, from: Timestamp, days: i64) -> Vec<Timestamp> {
    let minute = SignedDuration::from_mins(1);
    let mut at = from - SignedDuration::from_hours(48);
    let until = from + SignedDuration::from_hours(24 * days);
    let mut highest = civil::DateTime::MIN;
    let mut found = Vec::new();
    while at <= until {
        let local = zone.to_datetime(at);
        let matched = if five.moving() {
            five.matches(local)
        } else {
            // What has been skipped since the minute before.
            let mut skipped = zone.to_datetime(at - minute) + minute;
            let mut hit = local > highest && five.matches(local);
            while skipped < local {
                hit |= skipped > highest && five.matches(skipped);
                skipped += minute;
            }
            hit
        };
        highest = highest.max(local);
        if matched && at > from {
            found.push(at);
        }
        at += minute;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn slots_are_those_of_looking_at_every_minute(
        five in five(),
        zone in proptest::sample::select(&ZONES[..]),
        // A minute of 2026.
        start in 0..525_600_i64,
        // Before the next change of the clock, in minutes.
        near in proptest::option::of(0..4_000_i64),
    ) {
        let Ok(calendar) = Calendar::parse(&five.text(), Some(zone)) else {
            // Days that never come are refused.
            prop_assume!(false);
            unreachable!();
        };
        let mut from = Timestamp::from_second(1_767_225_600 + start * 60).unwrap();
        let rules = TimeZone::get(zone).unwrap();
        let now = rules.to_offset(from);
        let change = rules.following(from).take(4).find(|change| change.offset() != now);
        if let (Some(minutes), Some(change)) = (near, change) {
            from = change.timestamp() - SignedDuration::from_mins(minutes);
        }
        let wanted = looked_at(&five, &rules, from, DAYS);
        let until = from + SignedDuration::from_hours(24 * DAYS);
        let found: Vec<Timestamp> =
            calendar.slots_after(from).take_while(|slot| *slot <= until).collect();
        let apart = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        prop_assert_eq!(apart, None, "`{}` in {} after {}", five.text(), zone, from);
        prop_assert_eq!(found.len(), wanted.len(), "`{}` in {} after {}", five.text(), zone, from);
        prop_assert_eq!(calendar.newest(from, until), wanted.last().copied());
    }

    /// Asked anew at each slot, and in between, the answers are the same.
    #[test]
    fn asking_again_changes_nothing(
        five in five(),
        zone in proptest::sample::select(&ZONES[..]),
        start in 0..315_360_000_i64,
    ) {
        let Ok(calendar) = Calendar::parse(&five.text(), Some(zone)) else { return Ok(()) };
        let from = Timestamp::from_second(1_767_225_600 + start).unwrap();
        let mut at = from;
        for slot in calendar.slots_after(from).take(50) {
            prop_assert!(slot > at);
            prop_assert_eq!(calendar.next_after(at), Some(slot));
            let between = at + slot.duration_since(at) / 2;
            prop_assert_eq!(calendar.next_after(between), Some(slot));
            at = slot;
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[@0-9*/,?LW#A-Za-z -]{0,24}") {
        if let Ok(expression) = Expression::parse(&text) {
            prop_assert!(!expression.words().is_empty());
            let again = Expression::parse(expression.text()).unwrap();
            prop_assert_eq!(again, expression);
        }
    }
}
