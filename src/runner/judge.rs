//! From what was learned to the report: measures, verdict and the one sentence that says why.

use jiff::Timestamp;

use super::course::Course;
use crate::drill::{
    CheckOutcome, DrillReport, FailureClass, Finding, Job, Verdict, involved,
    measure::{self, Rpo, RpoTimes, Rto},
    report::{CheckReport, CheckStatus, ErrorReport, SCHEMA_VERSION},
    verdict::{self, Evidence},
};

/// The report of a drill that has ended.
pub fn conclude(job: &Job, mut course: Course, finished_at: Timestamp) -> DrillReport {
    let engine = "native";
    let rto = measure::rto(course.stages.rto(), job.objectives.rto, engine, job.sandbox.fsync);
    let last_commit = course.reached.as_ref().and_then(|r| r.last_transaction_at);
    let times = RpoTimes {
        newest_wal_archived: course.newest_wal_archived,
        last_commit: last_commit
            .or_else(|| course.promise.as_ref().and_then(|p| p.last_transaction).map(|t| t.at)),
        heartbeat: course.heartbeat,
    };
    let rpo = measure::rpo(times, course.targeted, job.objectives.rpo, course.started_at);
    course.checks.extend(objectives(rto.as_ref(), &rpo));
    let verdict = verdict::fold(Evidence {
        checks: &course.checks,
        errored: !course.errors.is_empty(),
        rto_exceeded: rto.as_ref().is_some_and(|r| r.exceeded),
        rpo_exceeded: rpo.exceeded,
    });
    let reason = reason(verdict, &course, rto.as_ref(), &rpo);
    let location = &job.archive.store;
    let plan = course.plan.as_deref();
    let damaged_object_at = plan.and_then(|plan| involved::newest_object(plan, &course.checks));
    DrillReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: env!("CARGO_PKG_VERSION").to_owned(),
        drill_id: course.drill_id,
        job: course.job,
        labels: course.labels,
        archive_url: format!("s3://{}/{}", location.bucket, location.prefix),
        server: job.archive.server.clone(),
        seed: course.seed,
        started_at: course.started_at,
        finished_at,
        cause: course.cause,
        verdict,
        reason,
        depth: course.depth,
        engine: course.engine,
        backup: course.backup,
        target: course.target,
        window: course.window,
        promise: course.promise,
        reached: course.reached,
        rto,
        rpo: Some(rpo),
        stages: course.stages,
        checks: course.checks,
        row_counts: course.row_counts,
        damaged_object_at,
        errors: course.errors.iter().map(ErrorReport::from).collect(),
        sandbox: course.sandbox,
        notes: course.notes,
    }
}

/// The objectives as checks of their own, so that a breach is a finding with its class.
fn objectives(rto: Option<&Rto>, rpo: &Rpo) -> Vec<CheckReport> {
    let mut checks = Vec::new();
    if let Some((rto, objective)) = rto.and_then(|r| r.objective_seconds.map(|o| (r, o))) {
        let outcome = if rto.exceeded {
            CheckOutcome::Failed(vec![Finding::new(
                FailureClass::RtoExceeded,
                "rto",
                format!("the restore took {:.1} s, the objective is {objective:.0} s", rto.seconds),
                "Look at the stages for the slowest one; take base backups more often to shorten the replay.",
            )])
        } else {
            CheckOutcome::Passed(format!("{:.1} s of {objective:.0} s", rto.seconds))
        };
        checks.push(CheckReport::new("rto", outcome, 0.0));
    }
    if let Some(objective) = rpo.objective_seconds {
        let seconds = rpo.judged.and_then(|evidence| rpo.seconds(evidence));
        let outcome = match seconds {
            None => CheckOutcome::Skipped(rpo.why.clone()),
            Some(_) if rpo.exceeded => CheckOutcome::Failed(rpo.finding().into_iter().collect()),
            Some(seconds) => CheckOutcome::Passed(format!("{seconds:.0} s of {objective:.0} s")),
        };
        checks.push(CheckReport::new("rpo", outcome, 0.0));
    }
    checks
}

fn reason(verdict: Verdict, course: &Course, rto: Option<&Rto>, rpo: &Rpo) -> String {
    let finding = |wanted: fn(FailureClass) -> bool| {
        let mut findings = course.checks.iter().flat_map(|c| &c.findings);
        findings.find(|f| wanted(f.class)).map(Finding::summary)
    };
    match verdict {
        Verdict::Pass => match (&course.reached, &course.promise) {
            (Some(reached), _) => format!(
                "restored to {} on timeline {}, and every check passed",
                reached.end, reached.timeline
            ),
            (None, Some(promise)) => format!(
                "every byte that recovery reads is good, to {} on timeline {}; nothing was restored",
                promise.end, promise.timeline
            ),
            (None, None) => "the catalog holds everything that a restore needs".to_owned(),
        },
        Verdict::Fail => finding(|c| !c.is_breach() && !c.is_environment()).unwrap_or_else(|| {
            let failed = course.checks.iter().find(|c| c.status == CheckStatus::Failed);
            failed.map_or_else(String::new, |c| format!("the check `{}` failed", c.name))
        }),
        Verdict::Breach => {
            let over_rto = rto.filter(|r| r.exceeded).map(|_| "RTO");
            let over_rpo = rpo.exceeded.then_some("RPO");
            let over: Vec<&str> = over_rto.into_iter().chain(over_rpo).collect();
            format!("the backup is sound, but over its {} objective", over.join(" and "))
        }
        Verdict::Inconclusive => course
            .errors
            .first()
            .map(|e| e.message.clone())
            .or_else(|| finding(FailureClass::is_environment))
            .or_else(|| {
                let unknown = course.checks.iter().find(|c| c.status != CheckStatus::Passed);
                unknown
                    .map(|c| format!("the check `{}` did not run to its end: {}", c.name, c.detail))
            })
            .unwrap_or_else(|| "nothing was checked".to_owned()),
    }
}
