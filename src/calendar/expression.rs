//! An expression: a word, five fields or six.

use std::{fmt, str::FromStr as _};

use cron::{Schedule, TimeUnitSpec};

use super::{
    field::{Field, Kind},
    refusal::{Refusal, short},
    sets::{Bits, Sets},
    words,
};

/// Longest expression that is looked at, in bytes.
const LONGEST: usize = 1000;

/// The words of crontab(5) and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const FIELDS: &str = "Write five fields (minute, hour, day of month, month, day of week), such as \
                      `0 4 * * 1-5`; with six, seconds come first.";

/// How an expression is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Minute, hour, day of month, month, day of week: crontab(5), Kubernetes.
    Five,
    /// Seconds before these: CloudNativePG.
    Six,
    /// A word, and the five fields that it stands for.
    Word(&'static str, &'static str),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Five => {
                f.write_str("five fields: minute, hour, day of month, month, day of week")
            }
            Self::Six => f.write_str(
                "six fields, seconds first: second, minute, hour, day of month, month, day of week",
            ),
            Self::Word(word, fields) => write!(f, "the word `{word}`, which stands for `{fields}`"),
        }
    }
}

/// A schedule that has slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    form: Form,
    sets: Sets,
    moving: bool,
}

impl Expression {
    /// # Errors
    /// What is wrong, with the field's name; also an expression that never has a slot.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if text.len() > LONGEST {
            let message = format!("a schedule of {} bytes is too long", text.len());
            return Err(Refusal::new(message, FIELDS));
        }
        let (form, fields) = fields(text)?;
        let fields = Kind::ALL
            .into_iter()
            .zip(fields)
            .map(|(kind, field)| Field::read(kind, field))
            .collect::<Result<Vec<Field>, Refusal>>()?;
        let [_, minute, hour, day, _, weekday] = &fields[..] else {
            return Err(Refusal::new(format!("`{}` is not a schedule", short(text)), FIELDS));
        };
        let moving = minute.moving || hour.moving;
        let either = !day.starred && !weekday.starred;
        let sets = Sets::new(Bits { either, ..bits(&fields, text)? });
        if !sets.ever() {
            return Err(Refusal::new(
                format!("`{}` never comes: no such day is in the calendar", short(text)),
                "Look at its day of month, month and day of week.",
            ));
        }
        let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { text, form, sets, moving })
    }

    /// As written, with single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// What it means, such as `at 04:00 on Monday to Friday`.
    #[must_use]
    pub fn words(&self) -> String {
        words::say(&self.sets.bits)
    }

    /// It says how often rather than when: its hour or its minute has `*` or a step.
    #[must_use]
    pub const fn keeps_rhythm(&self) -> bool {
        self.moving
    }

    pub(super) const fn sets(&self) -> &Sets {
        &self.sets
    }
}

/// The form and six fields.
fn fields(text: &str) -> Result<(Form, [&str; 6]), Refusal> {
    if text.starts_with('@') {
        return word(text);
    }
    if let Some((name, _)) =
        text.split_once('=').filter(|(name, _)| matches!(*name, "TZ" | "CRON_TZ"))
    {
        return Err(Refusal::new(
            format!("a time zone within a schedule (`{name}=`) is not read"),
            "Name the zone beside it: `timeZone: Europe/Berlin` in a job, `--time-zone` otherwise.",
        ));
    }
    let found: Vec<&str> = text.split_ascii_whitespace().collect();
    match found[..] {
        [minute, hour, day, month, weekday] => {
            Ok((Form::Five, ["0", minute, hour, day, month, weekday]))
        }
        [second, minute, hour, day, month, weekday] => {
            Ok((Form::Six, [second, minute, hour, day, month, weekday]))
        }
        [] => Err(Refusal::new("the schedule is empty", FIELDS)),
        _ => {
            let count = found.len();
            let fields = if count == 1 { "field" } else { "fields" };
            Err(Refusal::new(
                format!("`{}` is not a schedule: it has {count} {fields}", short(text)),
                FIELDS,
            ))
        }
    }
}

fn word(text: &str) -> Result<(Form, [&'static str; 6]), Refusal> {
    let lower = text.to_ascii_lowercase();
    if let Some((word, five)) = WORDS.into_iter().find(|(word, _)| *word == lower) {
        let (_, fields) = fields(five)?;
        return Ok((Form::Word(word, five), fields));
    }
    let hint = match lower.split_ascii_whitespace().next() {
        Some("@reboot") => "A service that is started again is no reason for a drill; name a time.",
        Some("@every") => {
            "It has no beginning to count from; write a step, such as `*/15 * * * *` for every 15 \
             minutes."
        }
        _ => {
            "The words are `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and \
             `@annually`."
        }
    };
    Err(Refusal::new(format!("`{}` is not a schedule", short(text)), hint))
}

/// What the crate reads in the fields.
fn bits(fields: &[Field], text: &str) -> Result<Bits, Refusal> {
    let written: Vec<String> = fields.iter().map(Field::for_the_crate).collect();
    let schedule = Schedule::from_str(&written.join(" "))
        .map_err(|_| Refusal::new(format!("`{}` is not a schedule", short(text)), FIELDS))?;
    let collect = |unit: &dyn Fn() -> Vec<u32>| unit().iter().fold(0_u64, |all, n| all | 1 << n);
    Ok(Bits {
        seconds: collect(&|| schedule.seconds().iter().collect()),
        minutes: collect(&|| schedule.minutes().iter().collect()),
        hours: collect(&|| schedule.hours().iter().collect()) as u32,
        days: collect(&|| schedule.days_of_month().iter().collect()) as u32,
        months: collect(&|| schedule.months().iter().collect()) as u16,
        // Its 1 is Sunday, our bit 0.
        weekdays: (collect(&|| schedule.days_of_week().iter().collect()) >> 1) as u8,
        either: false,
    })
}
