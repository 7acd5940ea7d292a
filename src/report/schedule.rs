//! A schedule explained: what it means, and its next slots.

use jiff::{Timestamp, tz::Offset};
use serde_json::{Value, json};

use super::terminal::{
    Style,
    layout::{Align, Page, Tone},
    time,
};
use crate::{
    calendar::{Calendar, Expression},
    drill::format::duration,
};

/// What is to be explained.
#[derive(Debug)]
pub struct Explained<'a> {
    pub expression: &'a Expression,
    pub calendar: &'a Calendar,
    /// Slots come after it.
    pub from: Timestamp,
    pub now: Timestamp,
    pub slots: &'a [Timestamp],
}

/// For people, with a newline at its end.
#[must_use]
pub fn render(explained: &Explained<'_>, style: Style) -> String {
    let Explained { expression, calendar, from, now, slots } = *explained;
    let zone = calendar.zone();
    let mut page = Page::new(style);
    page.field("Means", &expression.words());
    page.field("Form", &expression.form().to_string());
    page.field("Zone", zone.name());
    if !zone.is_fixed_after(from) {
        page.field("", clocks(expression));
    }
    page.field("After", &time(from));
    page.gap();
    let rows = slots.iter().map(|slot| {
        let offset = zone.offset_at(*slot);
        (vec![local(*slot, offset), time(*slot), distance(now, *slot)], Tone::Plain)
    });
    let aligns = [Align::Left, Align::Left, Align::Left];
    page.table(&["local time", "UTC", "when"], &aligns, rows);
    if slots.is_empty() {
        page.line("there is none left");
    }
    page.finish()
}

/// An array of RFC 3339 times with the zone's offset.
#[must_use]
pub fn json(explained: &Explained<'_>) -> Value {
    let zone = explained.calendar.zone();
    let shown = |slot: &Timestamp| slot.display_with_offset(zone.offset_at(*slot)).to_string();
    json!(explained.slots.iter().map(shown).collect::<Vec<_>>())
}

/// What becomes of the schedule when clocks change.
fn clocks(expression: &Expression) -> &'static str {
    if expression.keeps_rhythm() {
        "when clocks are put back it has slots in both passes of the repeated time; what they skip is \
         not made good"
    } else {
        "a time that clocks skip comes once, at the end of the gap; one that they repeat comes once, \
         the first time"
    }
}

/// Such as `Tue 2026-11-24 04:00:00 +01:00`.
fn local(slot: Timestamp, offset: Offset) -> String {
    let clock = offset.to_datetime(slot);
    let sign = if offset.seconds() < 0 { '-' } else { '+' };
    let minutes = offset.seconds().unsigned_abs() / 60;
    format!(
        "{} {sign}{:02}:{:02}",
        clock.strftime("%a %Y-%m-%d %H:%M:%S"),
        minutes / 60,
        minutes % 60
    )
}

/// `in 3 h`, `3 h ago`.
fn distance(now: Timestamp, slot: Timestamp) -> String {
    let apart = slot.duration_since(now).as_secs_f64();
    if apart < 0.0 {
        format!("{} ago", duration(-apart))
    } else {
        format!("in {}", duration(apart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;

    fn shown(text: &str, zone: &str, from: &str) -> String {
        let expression = Expression::parse(text).unwrap();
        let calendar = Calendar::new(&expression, Zone::named(zone).unwrap());
        let from: Timestamp = from.parse().unwrap();
        let slots: Vec<Timestamp> = calendar.slots_after(from).take(4).collect();
        let now = "2026-03-28T05:00:00Z".parse().unwrap();
        let explained =
            Explained { expression: &expression, calendar: &calendar, from, now, slots: &slots };
        format!("{}{}\n", render(&explained, Style::PLAIN), json(&explained))
    }

    #[test]
    fn explained_for_people_and_as_json() {
        let from = "2026-03-28T00:00:00Z";
        insta::assert_snapshot!(
            [
                shown("30 2 * * *", "Europe/Berlin", from),
                shown("0 30 2 * * 6,7", "UTC", from),
                shown("*/30 * * * *", "America/St_Johns", "2026-11-01T02:20:00Z"),
                shown("@yearly", "Asia/Kathmandu", from),
                shown("@yearly", "UTC", "9998-06-01T00:00:00Z"),
            ]
            .join("\n")
        );
    }
}
