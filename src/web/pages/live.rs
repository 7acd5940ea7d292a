//! A drill that runs: its stages advance before the reader's eyes.

use std::time::Duration;

use axum::response::Html;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{Place, moment, shell, to};
use crate::{
    drill::{
        format::{bytes, count, duration, rate},
        stage::Stage,
    },
    report::html::page::{table, text},
    web::view::{CauseView, CheckView, RunningView, StageView},
};

/// How often it looks at itself again.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn page(drill: &RunningView) -> Html<String> {
    let now = Timestamp::now();
    let lead = html! {
        p id="live" data-part role="status" {
            span class="badge run" { "RUNS" } " "
            @if let Some(stage) = drill.stage() { "stage " strong { (stage.stage) } }
        }
        p class="soft" {
            "since " (moment(drill.started_at)) ", "
            @match drill.cause {
                Some(CauseView::Slot { at }) => { "for the slot of " (moment(at)) }
                Some(CauseView::Backup { ended_at }) => { "for the backup that ended at " (moment(ended_at)) }
                None => "since somebody asked for it",
            }
            "; " a href=(to("jobs", &drill.job)) { "the job" }
        }
    };
    let content = html! {
        section id="stages-part" data-part aria-labelledby="stages" {
            h2 id="stages" { "Stages" }
            (stages(drill, now))
        }
        section id="checks-part" data-part aria-labelledby="checks" {
            h2 id="checks" { "Checks" }
            @if drill.checks.is_empty() { p class="soft" { "none has begun" } } @else { (checks(&drill.checks)) }
        }
        section id="notes-part" data-part aria-labelledby="notes" {
            h2 id="notes" { "Notes" }
            @if drill.notes.is_empty() { p class="soft" { "none so far" } }
            ul { @for note in &drill.notes { li { (text(note)) } } }
        }
    };
    shell(Place::Other, Some(LOOK), &drill.job, &lead, &content)
}

/// Those that have begun, and those that are still to come.
fn stages(drill: &RunningView, now: Timestamp) -> Markup {
    let coming = Stage::ALL
        .iter()
        .filter(|stage| drill.stages.iter().all(|begun| begun.stage != stage.name()));
    let rows = html! {
        @for stage in &drill.stages { (begun(stage, now)) }
        @for stage in coming {
            tr class="soft" {
                th scope="row" { (stage.name()) }
                td class="whole" { "to come" } td {} td class="number" {} td {}
            }
        }
    };
    let head =
        [("stage", false), ("state", false), ("how far", false), ("time", true), ("so far", false)];
    table("Stages in their order", &head, &rows)
}

fn begun(stage: &StageView, now: Timestamp) -> Markup {
    let seconds =
        stage.seconds.unwrap_or_else(|| now.duration_since(stage.began_at).as_secs_f64().max(0.0));
    html! {
        tr data-stage=(stage.stage) data-state=(stage.end.unwrap_or("runs")) {
            th scope="row" { (stage.stage) }
            td {
                @match stage.end {
                    Some("done") => { span class="good" { "done" } }
                    Some(end) => { span class="bad" { (end) } }
                    None => { strong { "runs" } }
                }
            }
            td class="bar" {
                @if let Some(share) = stage.share {
                    @let percent = (share * 100.0).round();
                    progress value=(percent) max="100" aria-label={ "Stage " (stage.stage) } { (percent) " %" }
                }
            }
            td class="number" { (duration(seconds)) }
            td class="whole" { (amount(stage, seconds)) }
        }
    }
}

fn amount(stage: &StageView, seconds: f64) -> String {
    if let (Some(at), Some(end)) = (&stage.replay_lsn, &stage.replay_end_lsn) {
        return format!("at {at} of {end}");
    }
    if stage.fetched_bytes == 0 {
        return String::new();
    }
    let total = stage.total_bytes.map_or_else(String::new, |total| format!(" of {}", bytes(total)));
    let rate =
        rate(stage.fetched_bytes, seconds).map_or_else(String::new, |rate| format!(", {rate}"));
    format!("{}{total}{rate}", bytes(stage.fetched_bytes))
}

fn checks(checks: &[CheckView]) -> Markup {
    let class = |status: Option<&str>| match status {
        Some("passed") => "good",
        Some("failed") => "bad",
        Some(_) => "doubt",
        None => "plain",
    };
    let rows = html! {
        @for check in checks {
            tr {
                th scope="row" { (text(&check.check)) }
                td class=(class(check.status)) { (check.status.unwrap_or("runs")) }
                td class="number" { @if let Some(seconds) = check.seconds { (duration(seconds)) } }
                td class="whole" { (done(check)) }
            }
        }
    };
    let head = [("check", false), ("status", false), ("time", true), ("so far", false)];
    table("Checks that have begun", &head, &rows)
}

fn done(check: &CheckView) -> String {
    match (check.done, check.total, check.unit) {
        (Some(done), Some(total), Some("bytes")) => format!("{} of {}", bytes(done), bytes(total)),
        (Some(done), Some(total), Some(unit)) => {
            format!("{} of {} {unit}", count(done), count(total))
        }
        _ => String::new(),
    }
}
