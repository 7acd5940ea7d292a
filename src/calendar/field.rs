//! One field of an expression: looked at by crontab(5)'s rules, and written anew as the crate `cron`
//! means it.

use super::refusal::{Refusal, short};

type Read<T> = Result<T, Refusal>;

/// Which field, in the order of six.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Second, Self::Minute, Self::Hour, Self::DayOfMonth, Self::Month, Self::DayOfWeek];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    /// Least and greatest number. Sunday is 0 and 7.
    const fn limits(self) -> (u32, u32) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
        }
    }

    /// What the field takes, for a hint.
    fn takes(self) -> String {
        let (least, greatest) = self.limits();
        let more = match self {
            Self::Month => " or names such as `JAN`",
            Self::DayOfWeek => ", where 0 and 7 are Sunday and 1 is Monday, or names such as `MON`",
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth => "",
        };
        format!("The {} field takes numbers from {least} to {greatest}{more}.", self.name())
    }
}

/// One entry between commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    first: u32,
    last: u32,
    step: u32,
}

/// A field that has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    entries: Vec<Entry>,
    /// It begins with `*` (or `?`): crontab(5) calls it unrestricted, also with a step.
    pub starred: bool,
    /// It has a `*` or a step somewhere: it says how often, not when.
    pub moving: bool,
    kind: Kind,
}

impl Field {
    pub(super) fn read(kind: Kind, text: &str) -> Read<Self> {
        let entries = text
            .split(',')
            .map(|entry| read_entry(kind, entry, text))
            .collect::<Read<Vec<Entry>>>()?;
        Ok(Self {
            entries,
            starred: text.starts_with(['*', '?']),
            moving: text.contains(['*', '?', '/']),
            kind,
        })
    }

    /// As the crate `cron` writes it: plain numbers and ranges, days of the week from 1 = Sunday.
    pub(super) fn for_the_crate(&self) -> String {
        let (least, greatest) = self.kind.limits();
        let mut parts = Vec::new();
        for Entry { first, last, step } in &self.entries {
            if self.kind == Kind::DayOfWeek {
                let days = (*first..=*last).step_by(*step as usize);
                parts.extend(days.map(|day| (day % 7 + 1).to_string()));
            } else if (*first, *last, *step) == (least, greatest, 1) {
                parts.push("*".to_owned());
            } else if first == last {
                parts.push(first.to_string());
            } else if *step == 1 {
                parts.push(format!("{first}-{last}"));
            } else {
                parts.push(format!("{first}-{last}/{step}"));
            }
        }
        parts.join(",")
    }
}

fn read_entry(kind: Kind, entry: &str, whole: &str) -> Read<Entry> {
    let (span, step) = match entry.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (entry, None),
    };
    if entry.is_empty() || span.is_empty() {
        return Err(Refusal::new(
            format!("the {} field `{}` has an empty entry", kind.name(), short(whole)),
            "Write values between the commas, such as `1,15`, and before a step, such as `*/15`.",
        ));
    }
    let (least, greatest) = kind.limits();
    // Seven is Sunday once more: what runs to the end of the week ends with Saturday.
    let end = if kind == Kind::DayOfWeek { 6 } else { greatest };
    let (first, last) = if matches!(span, "*" | "?") {
        (least, end)
    } else if let Some((first, last)) = span.split_once('-') {
        range(kind, value(kind, first, whole)?, value(kind, last, whole)?, span)?
    } else {
        let only = value(kind, span, whole)?;
        // As robfig/cron reads `5/15`: from there to the end.
        if step.is_some() { (only, end.max(only)) } else { (only, only) }
    };
    let step = step.map_or(Ok(1), |step| read_step(kind, step))?;
    Ok(Entry { first, last, step })
}

/// Sunday begins a week as 0 and ends one as 7.
fn range(kind: Kind, first: u32, last: u32, span: &str) -> Read<(u32, u32)> {
    let (first, last) = match (kind, first, last) {
        (Kind::DayOfWeek, 7, last) if last < 7 => (0, last),
        (Kind::DayOfWeek, first, 0) if first > 0 => (first, 7),
        other => (other.1, other.2),
    };
    if first <= last {
        return Ok((first, last));
    }
    let (least, greatest) = kind.limits();
    Err(Refusal::new(
        format!("the {} range `{}` ends before it begins", kind.name(), short(span)),
        format!("Write two ranges, such as `{first}-{greatest},{least}-{last}`."),
    ))
}

fn read_step(kind: Kind, text: &str) -> Read<u32> {
    let (_, greatest) = kind.limits();
    match number(text) {
        Some(step) if (1..=greatest).contains(&step) => Ok(step),
        _ => Err(Refusal::new(
            format!("`{}` is no step of the {} field", short(text), kind.name()),
            format!(
                "Steps go from 1 to {greatest} and begin anew with each {}; what is longer needs a \
                 larger field.",
                match kind {
                    Kind::Second => "minute",
                    Kind::Minute => "hour",
                    Kind::Hour => "day",
                    Kind::DayOfMonth => "month",
                    Kind::Month => "year",
                    Kind::DayOfWeek => "week",
                }
            ),
        )),
    }
}

fn value(kind: Kind, text: &str, whole: &str) -> Read<u32> {
    let (least, greatest) = kind.limits();
    if let Some(number) = number(text) {
        if (least..=greatest).contains(&number) {
            return Ok(number);
        }
        return Err(Refusal::new(
            format!("`{}` is out of range in the {} field", short(text), kind.name()),
            kind.takes(),
        ));
    }
    if let Some(number) = named(kind, text) {
        return Ok(number);
    }
    let days = matches!(kind, Kind::DayOfMonth | Kind::DayOfWeek);
    let upper = text.to_ascii_uppercase();
    if days && (upper.contains(['L', 'W', '#'])) && !text.is_empty() {
        return Err(Refusal::new(
            format!(
                "the {} field `{}` uses `L`, `W` or `#`, which crontab(5) does not know",
                kind.name(),
                short(whole)
            ),
            kind.takes(),
        ));
    }
    let message = if text.is_empty() {
        format!("the {} field `{}` has an empty value", kind.name(), short(whole))
    } else {
        format!("`{}` is no value of the {} field", short(text), kind.name())
    };
    Err(Refusal::new(message, kind.takes()))
}

/// Digits alone, few enough to be a value.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The first three letters of a name, or all of it.
fn named(kind: Kind, text: &str) -> Option<u32> {
    let (names, first): (&[&str], u32) = match kind {
        Kind::Month => (&MONTHS, 1),
        Kind::DayOfWeek => (&WEEKDAYS, 0),
        Kind::Second | Kind::Minute | Kind::Hour | Kind::DayOfMonth => return None,
    };
    let text = text.to_ascii_lowercase();
    let is = |name: &&str| *name == text || name[..3] == text;
    (first..).zip(names).find(|(_, name)| is(name)).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_text(kind: Kind, text: &str) -> Result<String, String> {
        Field::read(kind, text).map(|field| field.for_the_crate()).map_err(|r| r.message)
    }

    /// The crate counts from 1 = Sunday.
    #[test]
    fn days_of_the_week_are_counted_anew() {
        for (ours, theirs) in [
            ("0", "1"),
            ("7", "1"),
            ("1", "2"),
            ("6", "7"),
            ("*", "1,2,3,4,5,6,7"),
            ("?", "1,2,3,4,5,6,7"),
            ("1-5", "2,3,4,5,6"),
            ("5-7", "6,7,1"),
            ("0-7", "1,2,3,4,5,6,7,1"),
            ("0-6", "1,2,3,4,5,6,7"),
            ("7-2", "1,2,3"),
            ("6-0", "7,1"),
            ("0-0", "1"),
            ("7-7", "1"),
            ("*/2", "1,3,5,7"),
            ("*/3", "1,4,7"),
            ("1-5/2", "2,4,6"),
            ("5-7/2", "6,1"),
            ("1/2", "2,4,6"),
            ("7/2", "1"),
            ("0,6", "1,7"),
            ("1,3-5,7", "2,4,5,6,1"),
            ("SUN", "1"),
            ("mon", "2"),
            ("Saturday", "7"),
            ("MON-FRI", "2,3,4,5,6"),
            ("FRI-SUN", "6,7,1"),
            ("SUN-SAT", "1,2,3,4,5,6,7"),
            ("SAT-SUN", "7,1"),
            ("MON,WED,fri", "2,4,6"),
            ("MON-5", "2,3,4,5,6"),
            ("MON-FRI/2", "2,4,6"),
        ] {
            assert_eq!(crate_text(Kind::DayOfWeek, ours).as_deref(), Ok(theirs), "{ours}");
        }
    }

    #[test]
    fn other_fields_stay_as_they_are() {
        for (kind, ours, theirs) in [
            (Kind::Minute, "*", "*"),
            (Kind::Minute, "?", "*"),
            (Kind::Minute, "0-59", "*"),
            (Kind::Minute, "*/15", "0-59/15"),
            (Kind::Minute, "5/20", "5-59/20"),
            (Kind::Minute, "007", "7"),
            (Kind::Hour, "1-5,22", "1-5,22"),
            (Kind::DayOfMonth, "*/10", "1-31/10"),
            (Kind::DayOfMonth, "31/2", "31"),
            (Kind::Month, "jan-MAR,december", "1-3,12"),
        ] {
            assert_eq!(crate_text(kind, ours).as_deref(), Ok(theirs), "{ours}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (kind, text, wanted) in [
            (Kind::Minute, "60", "`60` is out of range in the minute field"),
            (Kind::Hour, "24", "`24` is out of range in the hour field"),
            (Kind::DayOfMonth, "0", "`0` is out of range in the day of month field"),
            (Kind::DayOfMonth, "32", "`32` is out of range in the day of month field"),
            (Kind::Month, "13", "`13` is out of range in the month field"),
            (Kind::DayOfWeek, "8", "`8` is out of range in the day of week field"),
            (Kind::Second, "-1", "the second field `-1` has an empty value"),
            (Kind::Minute, "99999999999", "`99999999999` is no value of the minute field"),
            (Kind::Hour, "MON", "`MON` is no value of the hour field"),
            (Kind::Month, "MON", "`MON` is no value of the month field"),
            (Kind::Hour, "22-4", "the hour range `22-4` ends before it begins"),
            (Kind::DayOfWeek, "FRI-MON", "the day of week range `FRI-MON` ends before it begins"),
            (Kind::Minute, "*/0", "`0` is no step of the minute field"),
            (Kind::Minute, "*/90", "`90` is no step of the minute field"),
            (Kind::Minute, "1/", "`` is no step of the minute field"),
            (Kind::Minute, "1/2/3", "`2/3` is no step of the minute field"),
            (Kind::Minute, "/5", "the minute field `/5` has an empty entry"),
            (Kind::Minute, "1,,2", "the minute field `1,,2` has an empty entry"),
            (Kind::Minute, "1-", "the minute field `1-` has an empty value"),
            (Kind::Minute, "*-5", "`*` is no value of the minute field"),
            (Kind::Minute, "1-2-3", "`2-3` is no value of the minute field"),
            (
                Kind::DayOfMonth,
                "L",
                "the day of month field `L` uses `L`, `W` or `#`, which crontab(5) does not know",
            ),
            (
                Kind::DayOfMonth,
                "15W",
                "the day of month field `15W` uses `L`, `W` or `#`, which crontab(5) does not know",
            ),
            (
                Kind::DayOfWeek,
                "MON#2",
                "the day of week field `MON#2` uses `L`, `W` or `#`, which crontab(5) does not know",
            ),
            (
                Kind::DayOfWeek,
                "5L",
                "the day of week field `5L` uses `L`, `W` or `#`, which crontab(5) does not know",
            ),
        ] {
            assert_eq!(crate_text(kind, text).unwrap_err(), wanted, "{text}");
        }
    }
}
