//! A schedule in English.

use super::sets::Bits;

/// As many times of the day are named one by one.
const NAMED_TIMES: usize = 6;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// A week is said from Monday on.
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Such as `at 04:00 on Monday to Friday`.
pub(super) fn say(bits: &Bits) -> String {
    let days = days(bits);
    match times(bits) {
        // Without a day, `at 04:00` could be once.
        Times::Named(times) if days.is_empty() => format!("{times} every day"),
        Times::Named(times) | Times::Often(times) => format!("{times}{days}"),
    }
}

enum Times {
    Named(String),
    Often(String),
}

fn times(bits: &Bits) -> Times {
    let (seconds, minutes, hours) =
        (values(bits.seconds, 0), values(bits.minutes, 0), values(bits.hours.into(), 0));
    if let [second] = seconds[..]
        && minutes.len() * hours.len() <= NAMED_TIMES
    {
        let clock = |hour: u32, minute: u32| match second {
            0 => format!("{hour:02}:{minute:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}"),
        };
        let all = hours.iter().flat_map(|hour| minutes.iter().map(|minute| clock(*hour, *minute)));
        return Times::Named(format!("at {}", join(&all.collect::<Vec<_>>())));
    }
    let every_hour = hours.len() == 24;
    if seconds == [0] {
        return Times::Often(match rhythm(&minutes, 60, "minute") {
            Some(rhythm) => format!("{rhythm}{}", between(&hours)),
            None if every_hour => format!("at {} of every hour", counted("minute", &minutes)),
            None => format!("at {} of {}", counted("minute", &minutes), counted("hour", &hours)),
        });
    }
    let rhythm_of_seconds = rhythm(&seconds, 60, "second");
    if minutes.len() == 60 {
        return Times::Often(match rhythm_of_seconds {
            Some(rhythm) => format!("{rhythm}{}", between(&hours)),
            None => {
                format!("at {} of every minute{}", counted("second", &seconds), between(&hours))
            }
        });
    }
    let seconds =
        rhythm_of_seconds.unwrap_or_else(|| format!("at {}", counted("second", &seconds)));
    let of = if every_hour { "every hour".to_owned() } else { counted("hour", &hours) };
    Times::Often(format!("{seconds} in {} of {of}", counted("minute", &minutes)))
}

/// `every 15 minutes`, where the values come round evenly from zero.
fn rhythm(values: &[u32], round: u32, noun: &str) -> Option<String> {
    let step = match values {
        [0, second, ..] => *second,
        _ => return None,
    };
    let even = round.is_multiple_of(step)
        && values.len() as u32 == round / step
        && (0..).zip(values).all(|(index, value)| *value == index * step);
    even.then(|| if step == 1 { format!("every {noun}") } else { format!("every {step} {noun}s") })
}

/// What is left to say of the hours after a rhythm.
fn between(hours: &[u32]) -> String {
    match (hours, hours.first(), hours.last()) {
        (all, _, _) if all.len() == 24 => String::new(),
        (run, Some(first), Some(last)) if (last - first) as usize + 1 == run.len() => {
            format!(" from {first:02}:00 to {last:02}:59")
        }
        _ => format!(" in {}", counted("hour", hours)),
    }
}

fn days(bits: &Bits) -> String {
    let (days, months) = (values(bits.days.into(), 1), values(bits.months.into(), 1));
    // Sunday last.
    let weekdays = values(u64::from(bits.weekdays >> 1 | (bits.weekdays & 1) << 6), 0);
    let every_month = months.len() == 12;
    let of_months = if every_month {
        "the month".to_owned()
    } else {
        listed(&months, |month| MONTHS[month as usize - 1].to_owned())
    };
    let of_week = listed(&weekdays, |day| WEEKDAYS[day as usize].to_owned());
    let of_month = format!("{} of {of_months}", counted("day", &days));
    let in_months = if every_month { String::new() } else { format!(" in {of_months}") };
    match (days.len() == 31, weekdays.len() == 7) {
        (true, true) if every_month => String::new(),
        (true, true) => format!(" every day{in_months}"),
        // Where either is enough, one that is every day leaves the other nothing to add.
        (true, false) | (false, true) if bits.either => format!(" every day{in_months}"),
        (true, false) => format!(" on {of_week}{in_months}"),
        (false, true) => format!(" on {of_month}"),
        (false, false) if bits.either => {
            let days = counted("day", &days);
            if every_month {
                format!(" on {days} of the month or on {of_week}")
            } else {
                format!(" on {days} or on {of_week}{in_months}")
            }
        }
        (false, false) => format!(" on {of_month} where that is {}", either(&of_week)),
    }
}

/// A list of alternatives.
fn either(list: &str) -> String {
    list.replace(" and ", " or ")
}

/// `day 1`, `days 1 and 15`, `days 1 to 7`, `every 2nd day from 1 to 31`.
fn counted(noun: &str, values: &[u32]) -> String {
    if let [first, second, .., last] = *values
        && let step = second - first
        && step > 1
        && values.len() > 3
        && values.windows(2).all(|pair| pair[1] - pair[0] == step)
    {
        return format!("every {} {noun} from {first} to {last}", ordinal(step));
    }
    let plural = if values.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", listed(values, |value| value.to_string()))
}

/// Values with `name` for each; three and more in a row are a range.
fn listed(values: &[u32], name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    let mut rest = values;
    while let [first, ..] = *rest {
        let run = (first..).zip(rest).take_while(|(wanted, found)| wanted == *found).count();
        let (row, after) = rest.split_at(run);
        match row {
            [_, _, .., last] if run > 2 => {
                parts.push(format!("{} to {}", name(first), name(*last)));
            }
            row => parts.extend(row.iter().map(|value| name(*value))),
        }
        rest = after;
    }
    join(&parts)
}

/// `a, b and c`.
fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// The numbers of the bits that are set, from `least` on.
fn values(bits: u64, least: u32) -> Vec<u32> {
    (least..64).filter(|bit| bits >> bit & 1 == 1).collect()
}

#[cfg(test)]
mod tests {
    use crate::calendar::Expression;

    #[test]
    fn in_words() {
        let all = [
            "0 4 * * 1-5",
            "0 4 * * *",
            "0 4,16 * * *",
            "0 */6 * * *",
            "15,45 2 * * SUN",
            "*/15 * * * *",
            "*/15 9-17 * * MON-FRI",
            "*/7 * * * *",
            "* * * * *",
            "0 * * * *",
            "30 * * * *",
            "5,35 * * * *",
            "0 9-17 * * *",
            "*/5 */2 * * *",
            "1-5 0,6,9-11 * * *",
            "0 0 1 * *",
            "0 0 1,15 * *",
            "0 0 1-7 * *",
            "0 0 */2 * *",
            "0 0 */2 * 1",
            "0 0 */2 * 1-3",
            "0 0 13 * 5",
            "0 0 1,15 6-8 6,7",
            "0 0 1-31 * 1",
            "0 0 1 1 *",
            "0 0 1 1,7 *",
            "0 0 * 6 *",
            "0 0 * 1-3,12 5-7",
            "0 0 29 2 *",
            "0 0 4 * * *",
            "30 0 4 * * *",
            "*/10 * * * * *",
            "* * * * * *",
            "*/10 30 4 * * *",
            "15 * * * * *",
            "0,30 * 8-9 * * *",
            "5-7 0 * * * *",
            "@daily",
            "@hourly",
            "@weekly",
            "@monthly",
            "@yearly",
        ];
        let said: Vec<String> = all
            .iter()
            .map(|text| format!("{text:22} {}", Expression::parse(text).unwrap().words()))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
