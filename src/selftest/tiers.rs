//! What each tier says of an archive. A tier gets an ordinary store and an ordinary job.

use std::{collections::BTreeMap, time::Instant};

use tokio_util::sync::CancellationToken;

use crate::{
    drill::{
        CatalogReport, Code, DrillReport, Error, FailureClass, Job, Verdict, VerifyReport,
        error::ErrorKind,
        job::{BackupChoice, Depth, MetricsSpec, Objectives, RecoveryPoint},
        report::ErrorReport,
        selftest::{Seen, Tier},
    },
    runner::{self, DrillRequest},
    store::SharedStore,
    telemetry::Progress,
    verify::{self, VerifyOptions},
};

/// The job that every tier gets: this backup to the end of the archive, without what only a real
/// drill is for. `name` keeps drills that run at the same time apart.
#[must_use]
pub fn job(given: &Job, backup: &str, name: String) -> Job {
    let mut job = given.clone();
    job.name = name;
    job.labels = BTreeMap::new();
    job.recovery_point =
        RecoveryPoint { backup: BackupChoice::Id(backup.to_owned()), ..RecoveryPoint::default() };
    job.objectives = Objectives::default();
    job.checks = Vec::new();
    job.report_store = None;
    job.metrics = MetricsSpec::default();
    job.sandbox.keep_on_failure = None;
    job.depth = Depth::Deep;
    job
}

/// Asks one tier.
///
/// # Errors
/// `Interrupted` only: everything else is something that the tier says.
pub async fn ask(
    tier: Tier,
    store: SharedStore,
    mut job: Job,
    cancel: &CancellationToken,
) -> Result<Seen, Error> {
    let since = Instant::now();
    let mut seen = match tier {
        Tier::Catalog => {
            let said = runner::catalog::examine(&store, &job, &Progress::silent(), cancel).await;
            said.map_or_else(|error| failed(tier, &error), of_catalog)
        }
        Tier::Read => {
            let (options, progress) = (VerifyOptions::default(), Progress::silent());
            let said = Box::pin(verify::verify(&store, &job, options, &progress, cancel)).await;
            said.map_or_else(|error| failed(tier, &error), of_verify)
        }
        Tier::Restore => {
            job.depth = Depth::Deep;
            let request = DrillRequest {
                job,
                seed: Some(0),
                beginning: None,
                progress: Progress::silent(),
                cancel: cancel.clone(),
                helper: None,
            };
            let said = Box::pin(runner::drill_on(store, request)).await;
            said.map_or_else(|error| failed(tier, &error), of_drill)
        }
    };
    seen.seconds = since.elapsed().as_secs_f64();
    if cancel.is_cancelled() {
        return Err(Error::new(Code::Interrupted, "the self-test was interrupted"));
    }
    Ok(seen)
}

fn of_catalog(report: CatalogReport) -> Seen {
    Seen {
        tier: Tier::Catalog,
        verdict: report.verdict,
        findings: report.findings,
        errors: Vec::new(),
        seconds: 0.0,
    }
}

fn of_verify(report: VerifyReport) -> Seen {
    Seen {
        tier: Tier::Read,
        verdict: report.verdict,
        findings: report.checks.into_iter().flat_map(|check| check.findings).collect(),
        errors: report.errors,
        seconds: 0.0,
    }
}

fn of_drill(report: DrillReport) -> Seen {
    Seen {
        tier: Tier::Restore,
        verdict: report.verdict,
        findings: report.checks.into_iter().flat_map(|check| check.findings).collect(),
        errors: report.errors,
        seconds: 0.0,
    }
}

/// A tier that could not even begin knows nothing of the backup.
fn failed(tier: Tier, error: &Error) -> Seen {
    let mut report = ErrorReport::from(error);
    if report.class.is_none() && error.code.kind() == ErrorKind::Environment {
        report.class = Some(FailureClass::InfraError);
    }
    let verdict = Verdict::Inconclusive;
    Seen { tier, verdict, findings: Vec::new(), errors: vec![report], seconds: 0.0 }
}
