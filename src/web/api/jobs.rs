//! Jobs, and drills that somebody asks for.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::bearer;
use crate::{
    service::Ordered,
    web::{
        problem::Problem,
        site::Site,
        view::{ErrorView, JobView, JobsView},
    },
};

/// What became of the request for a drill.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StartedView {
    pub job: String,
    /// `running` or `waiting`.
    pub state: &'static str,
    /// Null while it waits for room.
    pub drill_id: Option<String>,
}

/// Every job
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs",
    responses((status = OK, body = JobsView))
)]
pub(super) async fn list(State(site): State<Site>) -> Json<JobsView> {
    Json(site.jobs())
}

/// One job
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", tag = "jobs",
    params(("job" = String, Path, description = "Its name")),
    responses((status = OK, body = JobView), (status = NOT_FOUND, body = ErrorView))
)]
pub(super) async fn one(
    State(site): State<Site>,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Problem> {
    site.job(&job).map(Json).ok_or_else(|| Problem::no_job(&job))
}

/// Start a drill
///
/// It begins at once where there is room, else as soon as there is. Needs the token of the service.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/drills", tag = "jobs",
    params(("job" = String, Path, description = "Its name")),
    security(("token" = [])),
    responses(
        (status = ACCEPTED, body = StartedView),
        (status = UNAUTHORIZED, description = "No token or a wrong one", body = ErrorView),
        (status = FORBIDDEN, description = "The service has no token", body = ErrorView),
        (status = NOT_FOUND, body = ErrorView),
        (status = CONFLICT, description = "One runs or waits", body = ErrorView),
        (status = SERVICE_UNAVAILABLE, description = "It is being stopped", body = ErrorView)
    )
)]
pub(super) async fn start(
    State(site): State<Site>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorised(&site, bearer(&headers).unwrap_or_default())?;
    let ordered = site.desk.drill(&job).await;
    let started = match ordered.map_err(|why| Problem::declined(&job, why))? {
        Ordered::Begun(id) => StartedView { job, state: "running", drill_id: Some(id) },
        Ordered::Waits => StartedView { job, state: "waiting", drill_id: None },
    };
    Ok((StatusCode::ACCEPTED, Json(started)).into_response())
}

/// Whether whoever gives this token may start drills.
///
/// # Errors
/// There is no token, or it is another one.
pub fn authorised(site: &Site, given: &str) -> Result<(), Problem> {
    let token = site.token.as_ref().ok_or_else(Problem::off)?;
    if token.is(given) { Ok(()) } else { Err(Problem::wrong_token()) }
}
