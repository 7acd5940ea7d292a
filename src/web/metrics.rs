//! For machines: metrics, and whether the service lives and is ready.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};

use super::{site::Site, view};
use crate::{
    drill::Job,
    telemetry::{
        Grouping,
        metrics::{LAST_PASS, LAST_PASS_HELP, forecast as forecast_family},
        openmetrics::{self, Exported, Labels},
        text::Sample,
    },
};

/// The loop of a service takes a turn every few seconds: one that has not for so long hangs.
const HANGS: SignedDuration = SignedDuration::from_mins(2);

/// `OpenMetrics`: what the newest drill of each job exports, and the service itself.
pub(super) async fn metrics(State(site): State<Site>) -> Response {
    let page = openmetrics::write(families(&site));
    ([(header::CONTENT_TYPE, openmetrics::CONTENT_TYPE)], page).into_response()
}

/// Whether the loop goes on.
pub(super) async fn alive(State(site): State<Site>) -> Response {
    let age = Timestamp::now().duration_since(site.desk.shown().at);
    if age < HANGS {
        return "alive\n".into_response();
    }
    let message = format!("the last turn of the service is {} s ago\n", age.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

/// Whether the pages know what they show, and drills begin.
pub(super) async fn ready(State(site): State<Site>) -> Response {
    let why = if site.desk.shown().stopping {
        "the service is being stopped\n"
    } else if site.recent.reading().at.is_none() {
        "the stores of reports are being read\n"
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// A family of the service: its name and what is said of it.
type Own = (&'static str, &'static str);

const JOBS: Own = ("pgassay_serve_jobs", "Jobs of the folder.");
const BROKEN: Own = ("pgassay_serve_broken_files", "Files of the folder of jobs that hold no job.");
const RUNNING: Own = ("pgassay_serve_drills_running", "Drills that run.");
const WAITING: Own = ("pgassay_serve_drills_waiting", "Drills that have come and not begun.");
const UNREADABLE: Own = (
    "pgassay_serve_report_stores_unreadable",
    "Stores of reports that could not be listed the last time.",
);
const OVERDUE: Own = (
    "pgassay_serve_overdue",
    "1 where nothing has passed for two periods of the job, also where nothing ran; NaN where that is not known, and where it has no period.",
);
const NEXT_START: Own = (
    "pgassay_serve_next_start_timestamp_seconds",
    "When the next drill by schedule begins, as a Unix time; NaN where none will.",
);

/// Names of the service's own families. `docs/metrics.md` describes them; a test compares the two.
pub const NAMES: [&str; 7] =
    [JOBS.0, BROKEN.0, RUNNING.0, WAITING.0, UNREADABLE.0, OVERDUE.0, NEXT_START.0];

fn families(site: &Site) -> Vec<Exported> {
    let shown = site.desk.shown();
    let mut page = Page::default();
    let now = Timestamp::now();
    let reading = site.recent.reading();
    let waiting = shown.jobs.iter().filter(|job| job.waiting.is_some()).count();
    page.one(JOBS, shown.jobs.len());
    page.one(BROKEN, shown.broken.len());
    page.one(RUNNING, shown.running.len());
    page.one(WAITING, waiting);
    page.one(UNREADABLE, reading.problems.len());
    for shown in &shown.jobs {
        let (job, labels) = (&shown.job, labels(&shown.job));
        let standing = site.recent.job(&job.name);
        let overdue_at = view::overdue(job, shown.since, standing.as_deref());
        // Where its reports are not known, neither is this.
        let is_listed = job.report_store.is_none() || reading.at.is_some();
        let is_known = is_listed && !reading.unknown.contains(&job.name);
        let overdue = match overdue_at {
            Some(at) if is_known => f64::from(u8::from(at <= now)),
            _ => f64::NAN,
        };
        page.add(OVERDUE, labels.clone(), overdue);
        let next = shown.next.map_or(f64::NAN, |next| next.start.as_second() as f64);
        page.add(NEXT_START, labels.clone(), next);
        let Some(standing) = standing else { continue };
        if !is_known {
            continue;
        }
        for family in standing.exported().iter().filter(|family| family.name != LAST_PASS) {
            for Sample { label, value } in &family.samples {
                let mut labels = labels.clone();
                labels.extend(label.clone());
                page.add((family.name, family.help), labels, *value);
            }
        }
        let forecast = forecast_family(standing.forecast());
        for sample in &forecast.samples {
            page.add((forecast.name, forecast.help), labels.clone(), sample.value);
        }
        // Of the newest drill that passed, which need not be the newest.
        if let Some(pass) = &standing.last_pass {
            let at = pass.finished_at.as_millisecond() as f64 / 1000.0;
            page.add((LAST_PASS, LAST_PASS_HELP), labels, at);
        }
    }
    page.0.into_values().collect()
}

/// As they are pushed. `job` is the scrape's own.
fn labels(job: &Job) -> Labels {
    let grouping = Grouping::of(&job.name, &job.archive.server, &job.metrics);
    grouping.labels().map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Families in the making, by name.
#[derive(Debug, Default)]
struct Page(BTreeMap<&'static str, Exported>);

impl Page {
    fn one(&mut self, own: Own, value: usize) {
        self.add(own, Vec::new(), value as f64);
    }

    fn add(&mut self, (name, help): Own, labels: Labels, value: f64) {
        let new = || Exported { name, help, samples: Vec::new() };
        self.0.entry(name).or_insert_with(new).samples.push((labels, value));
    }
}
