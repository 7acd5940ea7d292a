//! The stages of a drill, one below the other, each where it lies in time.

use maud::{Markup, html};

use super::page::table;
use crate::drill::{
    format::{bytes, duration, rate},
    stage::{StageEnd, StageLog},
};

/// As a table with a bar in each row. Stages follow one another without a gap.
#[must_use]
pub fn waterfall(stages: &StageLog) -> Markup {
    let total: f64 = stages.0.iter().map(|record| record.duration.as_secs_f64()).sum();
    let mut from = 0.0;
    let rows = stages.0.iter().map(|record| {
        let seconds = record.duration.as_secs_f64();
        let begin = from;
        from += seconds;
        let (kind, word) = match (record.end, record.stage.counts_for_rto()) {
            (StageEnd::Aborted, _) => ("aborted", "aborted"),
            (StageEnd::Done, true) => ("counts", "counts for the RTO"),
            (StageEnd::Done, false) => ("aside", "does not count"),
        };
        let fetched = record.fetched_bytes;
        let speed = rate(fetched, seconds).filter(|_| fetched > 0);
        let label = format!("{} after the start, for {}", duration(begin), duration(seconds));
        // A stage that was too short to be seen is seen all the same.
        let wide = percent(seconds, total).max(0.5);
        html! {
            tr {
                th scope="row" { (record.stage.name()) }
                td class="bar" {
                    svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(label) {
                        title { (label) }
                        rect class=(kind) x=(percent(begin, total).min(100.0 - wide)) y="0" width=(wide) height="10" {}
                    }
                }
                td class="number" { (duration(seconds)) }
                td class="number" { @if fetched > 0 { (bytes(fetched)) } @else { "–" } }
                td class="number" { (speed.unwrap_or_else(|| "–".to_owned())) }
                td class="whole" { @if kind == "aborted" { span class="bad" { (word) } } @else { (word) } }
            }
        }
    });
    let rows: Vec<Markup> = rows.collect();
    let head = [
        ("stage", false),
        ("when", false),
        ("time", true),
        ("fetched", true),
        ("rate", true),
        ("RTO", false),
    ];
    table("Stages, in the order in which they ended", &head, &html! { @for row in &rows { (row) } })
}

fn percent(part: f64, total: f64) -> f64 {
    if total > 0.0 { (part / total * 1_000.0).round() / 10.0 } else { 0.0 }
}
