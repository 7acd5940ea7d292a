//! All jobs at a glance.

use std::time::Duration;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{Html, IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Place, distance, moment, shell, to};
use crate::{
    drill::{
        Verdict,
        format::{count, counted, duration},
        trend::Point,
    },
    report::html::{
        chart::sparkline,
        page::{badge, text},
    },
    web::{
        site::Site,
        view::{BeatView, JobView, JobsView, MeasureView, RunningView},
    },
};

/// How often it looks at itself again.
const LOOK: Duration = Duration::from_secs(5);

/// Jobs of one page.
const MOST_ROWS: usize = 200;

/// A service that has just started waits that long for its first look at the reports.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which jobs are shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OverviewQuery {
    /// Part of a name.
    find: String,
    /// From 1.
    page: Option<usize>,
}

pub(super) async fn overview(
    State(site): State<Site>,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Response {
    // Out of time is no error: the page says what it does not know.
    let _ = tokio::time::timeout(PATIENCE, site.recent.loaded()).await;
    let query = query.map(|Query(query)| query).unwrap_or_default();
    render(&site.jobs(), &query).into_response()
}

fn render(view: &JobsView, query: &OverviewQuery) -> Html<String> {
    let find = query.find.to_lowercase();
    let mut jobs: Vec<&JobView> =
        view.jobs.iter().filter(|job| job.job.to_lowercase().contains(&find)).collect();
    // Whoever needs somebody comes first; then by name, as they are.
    jobs.sort_by_key(|job| rank(job));
    let pages = jobs.len().div_ceil(MOST_ROWS).max(1);
    let number = query.page.unwrap_or(1).clamp(1, pages);
    let rows = &jobs[(number - 1) * MOST_ROWS..(number * MOST_ROWS).min(jobs.len())];
    let content = html! {
        @if view.jobs.len() > MOST_ROWS || !query.find.is_empty() { (search(query, jobs.len())) }
        div id="state" data-part {
            (troubles(view))
            @if view.jobs.is_empty() {
                p { "The folder of jobs is empty. Write a job with " code { "pgassay init URL" } "." }
            } @else if rows.is_empty() {
                p { "No job has that in its name." }
            } @else {
                (table(rows, view.at))
            }
            @if pages > 1 { (turn(query, number, pages)) }
            p class="soft" { "as of " (moment(view.at)) }
        }
    };
    shell(Place::Overview, Some(LOOK), "Recovery readiness", &summary(view), &content)
}

/// Overdue, then the worst verdicts, then those that pass.
fn rank(job: &JobView) -> u8 {
    match job.last.as_ref().map(|last| last.verdict) {
        _ if job.overdue => 0,
        _ if job.unknown.is_some() => 1,
        Some("fail") => 1,
        None => 2,
        Some("pass") if job.is_good() => 4,
        Some(_) => 3,
    }
}

fn summary(view: &JobsView) -> Markup {
    let attention = view.attention_count();
    html! {
        p id="summary" data-part role="status" {
            (counted(view.jobs.len() as u64, "job")) ": "
            @if view.history_read_at.is_none() { span class="doubt" { "the reports are being read" } }
            @else if attention > 0 {
                strong class="bad" {
                    (count(attention as u64)) @if attention == 1 { " needs" } @else { " need" } " attention"
                }
            }
            @else if !view.is_whole() { span class="doubt" { "not everything is known" } }
            @else if view.jobs.is_empty() { "nothing is drilled" }
            @else { span class="good" { "every one passed its last drill" } }
        }
    }
}

fn troubles(view: &JobsView) -> Markup {
    html! {
        @if view.stopping { p class="card doubt" { "The service is being stopped: no drill begins any more." } }
        @for problem in &view.history_problems {
            p class="card doubt" { "Reports are not known: " (text(problem)) }
        }
        @for broken in &view.broken_files {
            p class="card bad" {
                code { (text(&broken.file)) } " is broken, "
                @if broken.goes_on { "its job goes on as it was:" } @else { "it is left out:" }
                br;
                (text_lines(&broken.problem))
            }
        }
    }
}

fn search(query: &OverviewQuery, found: usize) -> Markup {
    html! {
        form method="get" action="/" role="search" {
            label for="find" { "Jobs with this in their name" } " "
            input id="find" name="find" value=(text(&query.find));
            " " button { "Find" } " " (counted(found as u64, "job"))
        }
    }
}

fn turn(query: &OverviewQuery, number: usize, pages: usize) -> Markup {
    let at = |page: usize| {
        let find = percent_encoding::utf8_percent_encode(&query.find, super::PLAIN);
        format!("/?find={find}&page={page}")
    };
    html! {
        nav aria-label="More jobs" {
            @if number > 1 { a rel="prev" href=(at(number - 1)) { "before" } }
            span { "page " (number) " of " (pages) }
            @if number < pages { a rel="next" href=(at(number + 1)) { "after" } }
        }
    }
}

/// On a phone each row is a card; roles say what a table is, since a card hides it.
fn table(jobs: &[&JobView], now: Timestamp) -> Markup {
    let head = ["Job", "Last drill", "Last pass", "RTO", "RPO", "Lately", "Next"];
    html! {
        table class="cards" role="table" {
            caption { "Every job, those that need attention first" }
            thead role="rowgroup" {
                tr role="row" { @for name in head { th scope="col" role="columnheader" { (name) } } }
            }
            tbody role="rowgroup" { @for job in jobs { (row(job, now)) } }
        }
    }
}

fn row(job: &JobView, now: Timestamp) -> Markup {
    let last = job.last.as_ref();
    html! {
        tr role="row" data-job=(text(&job.job)) {
            th scope="row" role="rowheader" {
                a href=(to("jobs", &job.job)) { (text(&job.job)) }
                @if !job.in_folder { " " span class="soft" { "(reports alone)" } }
            }
            td role="cell" data-label="Last drill" {
                @if let Some(running) = &job.running { (run(running)) " " }
                @if let Some(why) = &job.unknown { strong class="doubt" { "not known: " (why) } " " }
                @if let Some(last) = last {
                    a href=(to("drills", &last.drill_id)) { (word(last.verdict)) }
                    " " span class="soft" { (distance(last.started_at, now)) }
                    @if last.verdict == "pass" && !job.is_good() { " " strong class="doubt" { "less deep than the job" } }
                } @else if job.unknown.is_some() {}
                @else if job.keeps_reports { span class="doubt" { "never drilled" } }
                @else { span class="doubt" { "no report is kept" } }
            }
            td role="cell" data-label="Last pass" { (last_pass(job, now)) }
            td role="cell" data-label="RTO" {
                (measure(last.and_then(|last| last.rto.as_ref()), job.rto_objective_seconds))
            }
            td role="cell" data-label="RPO" {
                (measure(last.and_then(|last| last.rpo.as_ref()), job.rpo_objective_seconds))
            }
            td role="cell" data-label="Lately" { (lately(&job.recent)) }
            td role="cell" data-label="Next" { (next(job, now)) }
        }
    }
}

/// Line by line, as a terminal has it.
fn text_lines(from_outside: &str) -> Markup {
    html! { @for line in from_outside.lines() { (text(line)) br; } }
}

/// A verdict in its colour.
fn word(verdict: &str) -> Markup {
    let known = Verdict::ALL.into_iter().find(|known| known.name() == verdict);
    html! { @if let Some(known) = known { (badge(known)) } @else { (text(verdict)) } }
}

/// The last pass, and whether that is too long ago. It goes by the clock alone, so that it is said also
/// where nothing ran.
pub(super) fn last_pass(job: &JobView, now: Timestamp) -> Markup {
    html! {
        @match &job.last_pass {
            Some(pass) => a href=(to("drills", &pass.drill_id)) { (distance(pass.finished_at, now)) },
            None if job.unknown.is_some() => span class="soft" { "not known" },
            None => span class="doubt" { "never" },
        }
        @if job.overdue {
            " " strong class="bad" { "nothing has passed for two periods" }
        }
    }
}

fn run(running: &RunningView) -> Markup {
    html! {
        a class="badge run" href=(to("drills", &running.drill_id)) {
            "RUNS" @if let Some(stage) = running.stage() { ": " (stage.stage) }
        }
    }
}

fn measure(measure: Option<&MeasureView>, objective: Option<f64>) -> Markup {
    html! {
        @match measure {
            None => span class="soft" { "–" },
            Some(measure) => {
                // By the objective as it is now.
                @let over = objective.map_or(measure.exceeded, |most| measure.counts && measure.seconds > most);
                span class=[over.then_some("bad")] { (duration(measure.seconds)) }
                @if over { " " strong class="bad" { "over" } }
                @if !measure.counts { " " span class="doubt" { "does not count" } }
            }
        }
        @if let Some(objective) = objective { " " span class="soft" { "of " (duration(objective)) } }
    }
}

/// The verdicts of the newest drills, one bar each, and their restore times.
pub(super) fn lately(beats: &[BeatView]) -> Markup {
    let points: Vec<Point> = beats
        .iter()
        .filter_map(|beat| Some(Point { at: beat.started_at, value: beat.rto_seconds? }))
        .collect();
    let of = |name: Option<&str>| beats.iter().filter(|beat| beat.verdict == name).count();
    let verdicts = Verdict::ALL.map(|verdict| (Some(verdict.name()), verdict.name()));
    let verdicts = verdicts.into_iter().chain([(None, "unreadable")]);
    let counts = verdicts.map(|(name, word)| (of(name), word)).filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let label = format!("the last {}: {}", counted(beats.len() as u64, "drill"), counts.join(", "));
    html! {
        @if beats.is_empty() { span class="soft" { "–" } } @else {
            svg class="beats" viewBox={ "0 0 " (beats.len() * 4) " 10" } preserveAspectRatio="none" role="img"
                aria-label=(label) {
                title { (label) }
                @for (index, beat) in beats.iter().enumerate() {
                    rect class=(colour(beat.verdict)) x=(index * 4) y="0" width="3" height="10" {}
                }
            }
            @if let Some(last) = points.last().filter(|_| points.len() > 1) {
                " " (sparkline(&points, &format!("RTO of these drills, the last {}", duration(last.value))))
            }
        }
    }
}

/// The class of a bar.
fn colour(verdict: Option<&str>) -> &'static str {
    match verdict {
        Some("pass") => "fill-good",
        Some("fail") => "fill-bad",
        _ => "fill-doubt",
    }
}

/// What comes next.
pub(super) fn next(job: &JobView, now: Timestamp) -> Markup {
    html! {
        @if let Some(waiting) = &job.waiting {
            span class="doubt" {
                "waits for " @if waiting.behind_its_own { "the drill before it" } @else { "room" }
                ", " (duration(now.duration_since(waiting.since).as_secs_f64().max(0.0)))
            }
        } @else if let Some(next) = job.next {
            time datetime=(next.start) title=(next.start) { (distance(next.start, now)) }
        } @else if job.after_backup { "after the next backup" }
        @else { span class="soft" { "when somebody asks" } }
    }
}
