//! A self-test's result: for people and as JSON.

use std::fmt::Write as _;

use serde_json::Value;

use super::terminal::{
    Style,
    layout::{Align, Page, Tone},
};
use crate::drill::{
    format::duration,
    selftest::{Outcome, Seen, SelftestReport},
};

/// As text: a table of damages by tier, then what was not caught, and at the very end how many were.
#[must_use]
pub fn render(report: &SelftestReport, style: Style) -> String {
    let mut page = Page::new(style);
    let (word, tone) =
        if report.is_good() { ("GOOD", Tone::Good) } else { ("NOT GOOD", Tone::Bad) };
    page.headline(word, tone, &reason(report));
    page.gap();
    if !report.archive.is_empty() {
        page.field("Archive", &report.archive);
    }
    let tiers: Vec<&str> = report.tiers.iter().map(|tier| tier.name()).collect();
    page.field("Tiers", &tiers.join(", "));
    page.field("Seed", &report.seed.to_string());
    let seconds = report.finished_at.duration_since(report.started_at).as_secs_f64();
    page.field("Took", &duration(seconds));

    let mut heads = vec!["damage"];
    heads.extend(&tiers);
    heads.push("result");
    let aligns = vec![Align::Left; heads.len()];
    let controls = report
        .controls
        .iter()
        .map(|control| (control.name.as_str(), &control.outcome, control.seen.as_slice(), true));
    let damages = report
        .damages
        .iter()
        .map(|damage| (damage.name.as_str(), &damage.outcome, damage.seen.as_slice(), false));
    page.title("What each tier says");
    page.table(
        &heads,
        &aligns,
        controls.chain(damages).map(|(name, outcome, seen, control)| {
            let mut cells = vec![name.to_owned()];
            cells.extend(report.tiers.iter().map(|tier| {
                seen.iter().find(|seen| seen.tier == *tier).map_or_else(String::new, said)
            }));
            let (word, tone) = result(outcome, control);
            cells.push(word);
            (cells, tone)
        }),
    );
    let missed: Vec<(&str, &str, &str)> = report
        .controls
        .iter()
        .map(|c| (c.name.as_str(), c.what.as_str(), &c.outcome))
        .chain(report.damages.iter().map(|d| (d.name.as_str(), d.what.as_str(), &d.outcome)))
        .filter_map(|(name, what, outcome)| match outcome {
            Outcome::Missed(why) => Some((name, what, why.as_str())),
            _ => None,
        })
        .collect();
    if !missed.is_empty() {
        page.title("Not as it should be");
        for (name, what, why) in missed {
            page.item(&format!("{name}: {what}"), Tone::Bad, &[why]);
        }
    }
    page.gap();
    let mut text = page.finish();
    let _ = writeln!(text, "{} of {} damages caught", report.caught(), report.tried());
    text
}

/// Pretty JSON and a newline.
#[must_use]
pub fn json(report: &SelftestReport) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("caught".to_owned(), report.caught().into());
        object.insert("tried".to_owned(), report.tried().into());
        object.insert("false_alarms".to_owned(), report.false_alarms().into());
    }
    value
}

fn reason(report: &SelftestReport) -> String {
    let (caught, tried) = (report.caught(), report.tried());
    match report.false_alarms() {
        0 if tried == 0 => "nothing was damaged, so nothing was proven".to_owned(),
        0 if caught == tried => {
            "every damage was caught at the tier that can tell, and the sound archive passes"
                .to_owned()
        }
        0 => format!("{} of {tried} damages were not caught as they should be", tried - caught),
        1 => "false alarm: a tier refuses a sound archive".to_owned(),
        alarms => format!("false alarms: tiers refuse {alarms} sound archives"),
    }
}

fn said(seen: &Seen) -> String {
    let classes: Vec<&str> = seen.classes().iter().take(2).map(|class| class.name()).collect();
    if classes.is_empty() { seen.verdict.name().to_owned() } else { classes.join(", ") }
}

fn result(outcome: &Outcome, control: bool) -> (String, Tone) {
    match outcome {
        Outcome::Caught if control => ("passes".to_owned(), Tone::Good),
        Outcome::Caught => ("caught".to_owned(), Tone::Good),
        Outcome::Missed(_) if control => ("FALSE ALARM".to_owned(), Tone::Bad),
        Outcome::Missed(_) => ("MISSED".to_owned(), Tone::Bad),
        Outcome::NotApplicable(why) => (format!("not applicable: {why}"), Tone::Plain),
        Outcome::Skipped(why) => (format!("skipped: {why}"), Tone::Doubt),
    }
}

#[cfg(test)]
#[path = "selftest/tests.rs"]
mod tests;
