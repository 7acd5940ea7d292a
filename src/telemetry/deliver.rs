//! Hands the metrics of a finished drill to whoever the job names.

use std::sync::Arc;

use crate::drill::{Code, DrillReport, Error, job::MetricsSpec, selftest::SelftestReport};

use super::{
    metrics,
    push::{self, Login, Patience},
    text::Family,
    textfile,
};

/// The labels that name a drill's series, in the order of the grouping key (`job` is the gateway's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// The name of the job.
    pub drill: String,
    /// As the job says, otherwise the server's name in the archive.
    pub cluster: String,
    /// As the job says, otherwise empty.
    pub namespace: String,
}

impl Grouping {
    /// From a report and its job.
    #[must_use]
    pub fn new(report: &DrillReport, spec: &MetricsSpec) -> Self {
        Self::of(&report.job, &report.server, spec)
    }

    /// From the names of a job and of its server.
    #[must_use]
    pub fn of(job: &str, server: &str, spec: &MetricsSpec) -> Self {
        Self {
            drill: job.to_owned(),
            cluster: spec.cluster.clone().unwrap_or_else(|| server.to_owned()),
            namespace: spec.namespace.clone().unwrap_or_default(),
        }
    }

    /// As label pairs.
    #[must_use]
    pub fn labels(&self) -> [(&'static str, &str); 3] {
        [("drill", &self.drill), ("cluster", &self.cluster), ("namespace", &self.namespace)]
    }
}

/// Delivers to every place that the job names and tells what went wrong. Nothing here changes the
/// verdict: the caller warns. `worst_case` is the forecast of the restore time in seconds, `login` what
/// `spec.basic_auth` names, read.
pub async fn deliver(
    report: &DrillReport,
    worst_case: Option<f64>,
    spec: &MetricsSpec,
    login: Option<&Login>,
) -> Vec<Error> {
    let mut families = metrics::families(report);
    families.push(metrics::forecast(worst_case));
    send(families, Grouping::new(report, spec), spec, login).await
}

/// Delivers a self-test to the same places. The gateway replaces families of the same name only; a
/// textfile is replaced as a whole, so this one goes beside the drill's: `NAME-selftest.prom`.
pub async fn deliver_selftest(
    report: &SelftestReport,
    spec: &MetricsSpec,
    login: Option<&Login>,
) -> Vec<Error> {
    let mut spec = spec.clone();
    if let Some(path) = &mut spec.textfile {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        path.set_file_name(format!("{stem}-selftest.prom"));
    }
    let grouping = Grouping::of(&report.job, &report.server, &spec);
    send(metrics::selftest_families(report), grouping, &spec, login).await
}

async fn send(
    families: Vec<Family>,
    grouping: Grouping,
    spec: &MetricsSpec,
    login: Option<&Login>,
) -> Vec<Error> {
    let families = Arc::new(families);
    let mut errors = Vec::new();
    if let Some(path) = spec.textfile.clone() {
        let (families, grouping) = (Arc::clone(&families), grouping.clone());
        let write = move || textfile::write(&path, &families, &grouping);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error),
            Err(broken) => errors.push(Error::new(Code::Bug, format!("write metrics: {broken}"))),
        }
    }
    if let Some(url) = &spec.pushgateway
        && let Err(error) = push::push(url, &families, &grouping, login, Patience::default()).await
    {
        errors.push(error);
    }
    errors
}
