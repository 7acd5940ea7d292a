//! One drill: its stages as they advance, or its report.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use maud::html;

use super::{Place, live, refused, shell, to};
use crate::{
    drill::{Code, DrillReport, Error},
    report::{
        html::{drill as report, page::text},
        json,
    },
    service::Shown,
    web::{problem::Problem, site::Site, view::RunningView},
};

pub(super) async fn drill(State(site): State<Site>, Path(id): Path<String>) -> Response {
    let shown = site.desk.shown();
    if let Some(running) = shown.drill(&id) {
        return live::page(&RunningView::of(running)).into_response();
    }
    let report = match read(&site, &shown, &id).await {
        Ok(report) => report,
        Err(problem) => return refused(&problem),
    };
    let lead = html! {
        (report::lead(&report))
        p { a href=(to("jobs", &report.job)) { "All drills of " (text(&report.job)) } }
    };
    shell(Place::Other, None, &report.job, &lead, &report::content(&report)).into_response()
}

async fn read(site: &Site, shown: &Shown, id: &str) -> Result<DrillReport, Problem> {
    let found = site.ask(site.stores.report(shown, id)).await?;
    let (kept, bytes) = found.ok_or_else(|| Problem::no_drill(id))?;
    json::read(&bytes).map_err(|why| {
        let message = format!("the report {kept} cannot be read: {why}");
        let hint =
            format!("Read it as it is at /api/v1/drills/{id}, or with the pgassay that wrote it.");
        Error::new(Code::ReportStore, message).hint(hint).into()
    })
}
