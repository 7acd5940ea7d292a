//! One job: how it stands, its history, its trends, and the form that starts a drill.

use std::time::Duration;

use axum::{
    Form,
    extract::{Path, State, rejection::FormRejection},
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Place, distance, moment, overview, refused, shell, to};
use crate::{
    drill::{
        Error,
        format::{bytes, counted, duration},
        history::{Measure, Past},
        trend::Trend,
    },
    report::{
        html::{
            page::{badge, table, text},
            review::{charts, detections},
        },
        kept::Wanted,
        past::Told,
        review::forecast,
    },
    service::Ordered,
    web::{
        api::authorised,
        problem::Problem,
        site::Site,
        stores,
        view::{ArchiveView, JobView},
    },
};

/// How often it looks at itself again.
const LOOK: Duration = Duration::from_secs(15);

/// Drills that the table shows and the trends rest on.
const MOST: usize = 200;

pub(super) async fn job(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let Some(view) = site.job(&name) else { return refused(&Problem::no_job(&name)) };
    let past = site.ask(past(&site, &view)).await;
    let now = Timestamp::now();
    let content = html! {
        (standing(&view, now))
        @if site.token.is_some() && view.in_folder { (start_form(&view)) }
        div id="past" data-part {
            @match &past {
                Ok(past) => (history(past, now)),
                Err(problem) => p class="card doubt" { "Its reports cannot be read: " (text(&problem.message)) },
            }
        }
    };
    shell(Place::Other, Some(LOOK), &name, &lead(&view), &content).into_response()
}

/// The newest drills of the job, wherever they are kept.
async fn past(site: &Site, view: &JobView) -> Result<Vec<Told>, Error> {
    let shown = site.desk.shown();
    let wanted = Wanted::job(view.job.clone()).limit(MOST);
    let places = match shown.job(&view.job).map(|shown| &shown.job.report_store) {
        Some(location) => location.iter().collect(),
        None => stores::locations(&shown),
    };
    for location in places {
        let told = site.stores.reader(location).await?.read(&wanted).await?;
        if !told.is_empty() {
            return Ok(told);
        }
    }
    Ok(Vec::new())
}

fn lead(view: &JobView) -> Markup {
    let ArchiveView { id, url, server } = &view.archive;
    html! {
        p class="soft" {
            "archive " code { (text(server)) } " in " code { (text(url)) }
            @if view.in_folder { ", " a href=(to("archives", id)) { "what it holds" } }
        }
    }
}

fn standing(view: &JobView, now: Timestamp) -> Markup {
    html! {
        section id="standing" data-part aria-labelledby="now" {
            h2 id="now" { "Now" }
            @if let Some(running) = &view.running {
                p { a class="badge run" href=(to("drills", &running.drill_id)) { "RUNS" } " since " (moment(running.started_at)) }
            }
            @if let Some(why) = &view.unknown { p { strong class="doubt" { "How it stands is not known: " (why) } } }
            @if let Some(last) = &view.last {
                p { a href=(to("drills", &last.drill_id)) { "The last drill" } " at " (moment(last.started_at)) ": "
                    strong { (last.verdict) } ", " (text(&last.reason)) }
            } @else if view.unknown.is_some() {}
            @else if view.keeps_reports { p class="doubt" { "It was never drilled." } }
            @else { p class="doubt" { "No report of it is kept: the job names no " code { "report.store" } "." } }
            dl {
                dt { "Last pass" } dd { (overview::last_pass(view, now)) }
                dt { "Schedule" }
                dd {
                    @match &view.schedule {
                        Some(schedule) => { code { (text(&schedule.expression)) } ", " (text(&schedule.words)) " (" (text(&schedule.time_zone)) ")" }
                        None => "none",
                    }
                    @if view.after_backup { "; after each new backup" }
                }
                dt { "Next" } dd { (overview::next(view, now)) }
                dt { "Lately" } dd { (overview::lately(&view.recent)) }
            }
        }
    }
}

fn start_form(view: &JobView) -> Markup {
    html! {
        form method="post" action=(to("jobs", &view.job)) class="card" {
            label for="token" { "Start a drill now, with the token of this service" } " "
            input id="token" name="token" type="password" autocomplete="current-password" required;
            " " button { "Start" }
        }
    }
}

fn history(told: &[Told], now: Timestamp) -> Markup {
    let drills: Vec<&Past> = told.iter().filter_map(|told| told.past.as_ref().ok()).collect();
    let trend = Trend::of(&drills, now);
    let rows = html! { @for told in told { (row(told, now)) } };
    let head = [
        ("drill", false),
        ("verdict", false),
        ("RTO", true),
        ("RPO", true),
        ("size", true),
        ("reason", false),
    ];
    html! {
        @if !told.is_empty() {
            section aria-labelledby="trends" {
                h2 id="trends" { "Trends of the last " (counted(drills.len() as u64, "drill")) }
                p { strong { "Worst case: " } (forecast(&trend)) }
                (detections(&trend))
                div class="charts" { (charts("job", &trend)) }
            }
            section id="drills" aria-labelledby="history" {
                h2 id="history" { "History" }
                (table("The newest drills, the newest first", &head, &rows))
            }
        }
    }
}

fn row(told: &Told, now: Timestamp) -> Markup {
    let measure = |measure: Option<Measure>| {
        html! {
            @if let Some(measure) = measure {
                (duration(measure.seconds)) @if !measure.counts { " (does not count)" } @if measure.exceeded { " " strong class="bad" { "over" } }
            } @else { "–" }
        }
    };
    let at = told.id.at();
    html! {
        tr {
            th scope="row" {
                a class="whole" href=(to("drills", told.id.drill_id())) { (moment(at)) } " "
                span class="soft" { (distance(at, now)) }
            }
            @match &told.past {
                Ok(past) => {
                    td { (badge(past.verdict)) }
                    td class="number" { (measure(past.rto)) }
                    td class="number" { (measure(past.rpo)) }
                    td class="number" {
                        @if let Some(backup) = &past.backup { (bytes(backup.compressed_bytes)) } @else { "–" }
                    }
                    td class="wide" { (text(&past.reason)) }
                }
                Err(why) => {
                    td class="doubt" { "unreadable" }
                    td {} td {} td {}
                    td class="wide" { (text(&why.to_string())) }
                }
            }
        }
    }
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct StartForm {
    token: String,
}

pub(super) async fn start(
    State(site): State<Site>,
    Path(name): Path<String>,
    form: Result<Form<StartForm>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(why) => return refused(&Problem::invalid(why.body_text())),
    };
    if let Err(problem) = authorised(&site, &form.token) {
        return refused(&problem);
    }
    match site.desk.drill(&name).await {
        Ok(Ordered::Begun(id)) => Redirect::to(&to("drills", &id)).into_response(),
        Ok(Ordered::Waits) => Redirect::to(&to("jobs", &name)).into_response(),
        Err(why) => refused(&Problem::declined(&name, why)),
    }
}
