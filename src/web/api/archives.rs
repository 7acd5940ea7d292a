//! Archives, and what they hold.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    drill::{CatalogReport, Error, Job},
    service::Shown,
    web::{
        catalogs::Outcome,
        problem::Problem,
        site::Site,
        view::{ArchiveView, ErrorView},
    },
};

/// Archives.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ArchivesView {
    pub archives: Vec<ArchiveLine>,
}

/// One archive.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ArchiveLine {
    #[serde(flatten)]
    pub archive: ArchiveView,
    /// Jobs of the folder that drill it.
    pub jobs: Vec<String>,
    /// When it was listed last; null where nobody has asked yet.
    pub examined_at: Option<Timestamp>,
    /// By that listing: `pass`, `breach`, `fail` or `inconclusive`.
    pub verdict: Option<&'static str>,
    /// What can be reached without a break, by that listing.
    pub window_from: Option<Timestamp>,
    pub window_to: Option<Timestamp>,
    pub gap_count: Option<u64>,
    /// Why the last listing failed.
    pub problem: Option<String>,
}

/// It is being listed for the first time.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ReadingView {
    /// `reading`
    state: &'static str,
}

/// Every archive of the folder's jobs
///
/// What was seen of each when somebody last asked for it; asking for one lists it.
#[utoipa::path(
    get, path = "/api/v1/archives", tag = "archives",
    responses((status = OK, body = ArchivesView))
)]
pub(super) async fn list(State(site): State<Site>) -> Json<ArchivesView> {
    Json(lines(&site))
}

/// What an archive holds
///
/// Lists it, at most once a minute. The answer is what `pgassay catalog --output json` prints.
#[utoipa::path(
    get, path = "/api/v1/archives/{archive}", tag = "archives",
    params(("archive" = String, Path, description = "Its id, as the list has it")),
    responses(
        (status = OK, description = "The catalog", body = Object),
        (status = ACCEPTED, description = "It is still being listed: ask again", body = ReadingView),
        (status = NOT_FOUND, body = ErrorView),
        (status = BAD_GATEWAY, description = "The store does not give it", body = ErrorView)
    )
)]
pub(super) async fn one(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&site.desk.shown(), &id).ok_or_else(|| Problem::no_archive(&id))?;
    let looked = site.catalogs.look(&id, &job).await;
    match looked.outcome.as_deref() {
        None => Ok((StatusCode::ACCEPTED, Json(ReadingView { state: "reading" })).into_response()),
        Some(Ok(report)) => Ok(Json(report).into_response()),
        Some(Err(error)) => Err(Problem::of(error)),
    }
}

/// A job whose archive has this id.
pub fn find(shown: &Shown, id: &str) -> Option<Arc<Job>> {
    let of_it = |job: &&Arc<Job>| ArchiveView::of(job).id == id;
    shown.jobs.iter().map(|shown| &shown.job).find(of_it).cloned()
}

/// Every archive, with what is known of it.
pub fn lines(site: &Site) -> ArchivesView {
    let mut archives: BTreeMap<(String, String), ArchiveLine> = BTreeMap::new();
    for job in site.desk.shown().jobs.iter().map(|shown| &shown.job) {
        let archive = ArchiveView::of(job);
        let key = (archive.server.clone(), archive.url.clone());
        let known = |id: &str| site.catalogs.known(id);
        let line = archives.entry(key).or_insert_with(|| ArchiveLine::of(archive, known));
        line.jobs.push(job.name.clone());
    }
    ArchivesView { archives: archives.into_values().collect() }
}

impl ArchiveLine {
    fn of(archive: ArchiveView, known: impl Fn(&str) -> Option<Outcome>) -> Self {
        let outcome = known(&archive.id);
        let report: Option<&CatalogReport> =
            outcome.as_deref().and_then(|outcome| outcome.as_ref().ok());
        Self {
            archive,
            jobs: Vec::new(),
            examined_at: report.map(|report| report.examined_at),
            verdict: report.map(|report| report.verdict.name()),
            window_from: report.and_then(|report| report.window.from_time),
            window_to: report.and_then(|report| report.window.to_time),
            gap_count: report.map(|report| report.gap_count),
            problem: outcome
                .as_deref()
                .and_then(|known| known.as_ref().err())
                .map(Error::to_string),
        }
    }
}
