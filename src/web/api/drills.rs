//! Drills that run, and kept reports of those that are over.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    drill::{Code, Error, Verdict},
    report::kept::Wanted,
    web::{
        problem::Problem,
        site::Site,
        stores,
        view::{DrillView, ErrorView, RunningView},
    },
};

/// Most drills of one answer.
const MOST: usize = 1_000;

/// Drills that are looked at where a verdict is asked for.
const MOST_READ: usize = 10_000;

/// Which drills.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DrillsQuery {
    /// Of this job alone
    job: Option<String>,
    /// `pass`, `breach`, `fail` or `inconclusive`, among the newest 10,000 of each store
    verdict: Option<String>,
    /// That started then or later
    since: Option<Timestamp>,
    /// That started before then
    until: Option<Timestamp>,
    /// The newest so many; 100 if it is not given, 1000 at most
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Drills.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DrillsView {
    /// The oldest first; those that the question may mean.
    running: Vec<RunningView>,
    /// The newest first.
    drills: Vec<DrillView>,
    /// Reports that cannot be read, where no verdict is asked for.
    unreadable: Vec<UnreadableView>,
    /// Why there may be more: stores that cannot be read, a sentence each.
    problems: Vec<String>,
}

/// A report that cannot be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct UnreadableView {
    drill_id: String,
    job: String,
    started_at: Timestamp,
    why: String,
}

/// One drill.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum OneDrill {
    /// It runs.
    Running { drill: RunningView },
    /// It is over: its report, as it is kept. `pgassay report --schema` prints its JSON Schema.
    Over {
        #[schema(value_type = Object)]
        report: Box<RawValue>,
    },
}

/// Drills that run, and those that are over
#[utoipa::path(
    get, path = "/api/v1/drills", tag = "drills", params(DrillsQuery),
    responses(
        (status = OK, body = DrillsView),
        (status = BAD_REQUEST, body = ErrorView),
        (status = BAD_GATEWAY, description = "A store does not give them", body = ErrorView),
        (status = GATEWAY_TIMEOUT, description = "A store does not answer in time", body = ErrorView)
    )
)]
pub(super) async fn list(
    State(site): State<Site>,
    query: Result<Query<DrillsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<DrillsView>, Problem> {
    let Query(query) = query.map_err(|why| Problem::invalid(why.body_text()))?;
    let verdict = query.verdict.as_deref().map(named).transpose()?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` is between 1 and {MOST}")));
    }
    let shown = site.desk.shown();
    let running = shown.running.iter().filter(|running| {
        let of_job = query.job.as_ref().is_none_or(|job| *job == running.drill.job);
        of_job && query.verdict.is_none() && query.until.is_none()
    });
    let mut running: Vec<RunningView> = running.map(RunningView::of).collect();
    // A verdict is no part of a name: reports have to be read for it.
    let names = if verdict.is_some() { MOST_READ } else { limit };
    let wanted = Wanted {
        jobs: query.job.clone().into_iter().collect(),
        since: query.since,
        until: query.until,
        limit: Some(names),
        each: None,
    };
    let verdicts: Vec<Verdict> = verdict.into_iter().collect();
    let (mut told, problems) = site
        .ask(async {
            let (mut told, mut problems) = (Vec::new(), Vec::new());
            for location in stores::locations(&shown) {
                let read = async {
                    site.stores.reader(location).await?.read_ended(&wanted, &verdicts).await
                };
                match read.await {
                    Ok(read) => told.extend(read),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            Ok((told, problems))
        })
        .await?;
    told.sort_by(|a, b| b.id.cmp(&a.id));
    told.truncate(limit);
    let (mut drills, mut unreadable) = (Vec::new(), Vec::new());
    for told in told {
        match told.past {
            Ok(past) => drills.push(DrillView::of(&past)),
            Err(why) => unreadable.push(UnreadableView {
                drill_id: told.id.drill_id().to_owned(),
                job: told.id.job().to_owned(),
                started_at: told.id.at(),
                why: why.to_string(),
            }),
        }
    }
    // One that is over and still tells others so is kept already.
    running.retain(|running| drills.iter().all(|over| over.drill_id != running.drill_id));
    Ok(Json(DrillsView { running, drills, unreadable, problems }))
}

fn named(name: &str) -> Result<Verdict, Problem> {
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.name() == name);
    known.ok_or_else(|| {
        Problem::invalid("`verdict` is one of `pass`, `breach`, `fail` and `inconclusive`")
    })
}

/// One drill
#[utoipa::path(
    get, path = "/api/v1/drills/{drill}", tag = "drills",
    params(("drill" = String, Path, description = "Its id")),
    responses(
        (status = OK, body = OneDrill),
        (status = NOT_FOUND, body = ErrorView),
        (status = BAD_GATEWAY, description = "A store does not give it", body = ErrorView),
        (status = GATEWAY_TIMEOUT, description = "A store does not answer in time", body = ErrorView)
    )
)]
pub(super) async fn one(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Json<OneDrill>, Problem> {
    let shown = site.desk.shown();
    if let Some(running) = shown.drill(&id) {
        return Ok(Json(OneDrill::Running { drill: RunningView::of(running) }));
    }
    let found = site.ask(site.stores.report(&shown, &id)).await?;
    let (kept, bytes) = found.ok_or_else(|| Problem::no_drill(&id))?;
    let torn = |why: serde_json::Error| {
        Error::new(Code::ReportStore, format!("the report {kept} is no JSON: {why}"))
    };
    let report = serde_json::from_slice(&bytes).map_err(torn)?;
    Ok(Json(OneDrill::Over { report }))
}
