//! Hands the metrics of a finished drill to whoever the job names.

use std::sync::Arc;

use crate::drill::{Code, DrillReport, Error, job::MetricsSpec};

use super::{
    metrics,
    push::{self, Login, Patience},
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
        Self {
            drill: report.job.clone(),
            cluster: spec.cluster.clone().unwrap_or_else(|| report.server.clone()),
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
/// verdict: the caller warns. `login` is what `spec.basic_auth` names, read.
pub async fn deliver(
    report: &DrillReport,
    spec: &MetricsSpec,
    login: Option<&Login>,
) -> Vec<Error> {
    let grouping = Grouping::new(report, spec);
    let families = Arc::new(metrics::families(report));
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
