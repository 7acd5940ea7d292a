//! One drill: its stages as they advance, or its report.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use maud::html;
use tokio::time::timeout;

use super::{PATIENCE, Place, live, refused, shell, to};
use crate::{
    drill::{Code, DrillReport, Error},
    report::html::{drill as report, page::text},
    web::{problem::Problem, site::Site, view::RunningView},
};

pub(super) async fn drill(State(site): State<Site>, Path(id): Path<String>) -> Response {
    let shown = site.desk.shown();
    if let Some(running) = shown.running.iter().find(|running| running.drill.drill_id == id) {
        return live::page(&RunningView::of(running)).into_response();
    }
    let read = timeout(PATIENCE, read(&site, &id)).await.unwrap_or_else(|_| {
        let message = "the store of reports does not answer";
        Err(Problem::from(Error::new(Code::ReportStore, message)))
    });
    let report = match read {
        Ok(report) => report,
        Err(problem) => return refused(&problem),
    };
    let lead = html! {
        (report::lead(&report))
        p { a href=(to("jobs", &report.job)) { "All drills of " (text(&report.job)) } }
    };
    shell(Place::Other, None, &report.job, &lead, &report::content(&report)).into_response()
}

async fn read(site: &Site, id: &str) -> Result<DrillReport, Problem> {
    let found = site.stores.find(&site.desk.shown(), id).await?;
    let (reader, kept) = found.ok_or_else(|| Problem::no_drill(id))?;
    let bytes = reader.store().find(&kept).await?.ok_or_else(|| Problem::no_drill(id))?;
    serde_json::from_slice(&bytes).map_err(|why| {
        let message = format!("the report {kept} cannot be read: {why}");
        Error::new(Code::ReportStore, message)
            .hint("Read it as it is at /api/v1/drills, or with the pgassay that wrote it.")
            .into()
    })
}
