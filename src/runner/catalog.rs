//! The catalog tier: one listing and the small files that say what it means.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    drill::{CatalogReport, Error, Job, holdings},
    store::SharedStore,
    survey,
    telemetry::Progress,
};

/// Surveys the job's archive and judges what it holds.
///
/// # Errors
/// What keeps the archive from being listed: those of [`survey::survey`].
pub async fn examine(
    store: &SharedStore,
    job: &Job,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<CatalogReport, Error> {
    let catalog = survey::survey(store, &job.archive, progress, cancel).await?;
    Ok(holdings::examine(job, &catalog, Timestamp::now()))
}
