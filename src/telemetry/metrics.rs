//! What a finished drill exports. `docs/metrics.md` describes every name; a test compares the two.

use crate::drill::{
    DrillReport, FailureClass, Verdict,
    measure::RpoEvidence,
    report::{CheckStatus, SandboxReport},
    selftest::{Outcome, SelftestReport},
    stage::Stage,
};

use super::text::{Family, Sample};

/// The time of the last pass. Exported only by a pass, so that it outlives a run that did not.
pub const LAST_PASS: &str = "pgassay_drill_last_pass_timestamp_seconds";

/// What is said of it.
pub const LAST_PASS_HELP: &str = "When the last drill that passed ended, as a Unix time.";

/// Findings by failure class: the family with most samples, nearly all of them zero.
pub const FINDINGS: &str = "pgassay_drill_findings";

/// Every family of one drill but [`forecast`], which rests on more than its report. A family is there also
/// where it has nothing to say (zeros, or not a number): what one push leaves out, Pushgateway would keep from the push before. The one exception,
/// [`LAST_PASS`], rests on exactly that.
#[must_use]
pub fn families(report: &DrillReport) -> Vec<Family> {
    let mut all = of_the_run(report);
    all.extend(of_objectives(report));
    all.extend(of_volume(report));
    all.extend(of_checks(report));
    all
}

/// The restore time just before the next base backup, in seconds. It goes with every drill, known or not.
#[must_use]
pub fn forecast(worst_case: Option<f64>) -> Family {
    one(
        "pgassay_drill_rto_forecast_seconds",
        "What a restore just before the next base backup would take, by the last drill and those before it; NaN where it is not known.",
        known(worst_case),
    )
}

/// What a self-test exports beside the drills of its job.
#[must_use]
pub fn selftest_families(report: &SelftestReport) -> Vec<Family> {
    let detected = |outcome: &Outcome| match outcome {
        Outcome::Caught => 1.0,
        Outcome::Missed(_) => 0.0,
        // It was not tried: that is neither.
        Outcome::NotApplicable(_) | Outcome::Skipped(_) => f64::NAN,
    };
    vec![
        one(
            "pgassay_drill_selftest_timestamp_seconds",
            "When the last self-test ended, as a Unix time.",
            seconds(report.finished_at),
        ),
        one(
            "pgassay_drill_selftest_false_alarms",
            "Sound archives that the last self-test saw refused.",
            report.false_alarms() as f64,
        ),
        each(
            "pgassay_drill_selftest_detected",
            "1 where the last self-test saw this damage caught, 0 where not; NaN where the archive has nothing to which it could happen.",
            "damage",
            report.damages.iter().map(|d| (d.name.clone(), detected(&d.outcome))),
        ),
    ]
}

fn of_the_run(report: &DrillReport) -> Vec<Family> {
    let finished = seconds(report.finished_at);
    let mut families = vec![
        one(
            "pgassay_drill_last_run_timestamp_seconds",
            "When the last drill ended, as a Unix time.",
            finished,
        ),
        each(
            "pgassay_drill_verdict",
            "Verdict of the last drill: 1 for the one it has, 0 for the others.",
            "verdict",
            Verdict::ALL.map(|v| (v.name().to_owned(), flag(v == report.verdict))),
        ),
        one(
            "pgassay_drill_backup_timestamp_seconds",
            "When the drilled base backup ended, as a Unix time; NaN where none was chosen.",
            known(report.backup.as_ref().and_then(|b| b.end_at).map(seconds)),
        ),
        one(
            "pgassay_drill_recovered_to_timestamp_seconds",
            "Time of the last transaction that recovery replayed, as a Unix time; NaN where it did not get that far.",
            known(report.reached.as_ref().and_then(|r| r.last_transaction_at).map(seconds)),
        ),
        one(
            "pgassay_drill_sandboxes_leaked",
            "Sandboxes that the last drill could not remove; one kept on purpose does not count.",
            flag(report.sandbox.as_ref().is_some_and(leaked)),
        ),
    ];
    if report.verdict == Verdict::Pass {
        families.push(one(LAST_PASS, LAST_PASS_HELP, finished));
    }
    families
}

fn of_objectives(report: &DrillReport) -> [Family; 6] {
    let (rto, rpo) = (report.rto.as_ref(), report.rpo.as_ref());
    let evidence = |which| rpo.and_then(|rpo| rpo.seconds(which));
    [
        one(
            "pgassay_drill_rto_seconds",
            "Time from the start of the last drill to the first read-write query; NaN where it did not get that far.",
            known(rto.map(|rto| rto.seconds)),
        ),
        one(
            "pgassay_drill_rto_objective_seconds",
            "The job's objective for the restore time; NaN where it states none or none was measured.",
            known(rto.and_then(|rto| rto.objective_seconds)),
        ),
        each(
            "pgassay_drill_rpo_seconds",
            "Age of the newest data at the start of the last drill, by each evidence; NaN where it is not known.",
            "evidence",
            RpoEvidence::ALL.map(|which| (which.name().to_owned(), known(evidence(which)))),
        ),
        one(
            "pgassay_drill_rpo_judged_seconds",
            "The one of pgassay_drill_rpo_seconds that is compared with the objective; NaN where there is none.",
            known(rpo.and_then(|rpo| rpo.judged).and_then(evidence)),
        ),
        one(
            "pgassay_drill_rpo_objective_seconds",
            "The job's objective for the age of the newest data; NaN where it states none or none was measured.",
            known(rpo.and_then(|rpo| rpo.objective_seconds)),
        ),
        each(
            "pgassay_drill_objective_exceeded",
            "1 where the last drill was over this objective, measured in a way that counts.",
            "objective",
            [
                ("rto".to_owned(), flag(rto.is_some_and(|rto| rto.exceeded))),
                ("rpo".to_owned(), flag(rpo.is_some_and(|rpo| rpo.exceeded))),
            ],
        ),
    ]
}

fn of_volume(report: &DrillReport) -> [Family; 4] {
    let volume = report.stages.volume();
    let spent = |stage| {
        let records = report.stages.0.iter().filter(|record| record.stage == stage);
        records.map(|record| record.duration.as_secs_f64()).sum::<f64>()
    };
    [
        each(
            "pgassay_drill_stage_duration_seconds",
            "Time that the last drill spent in each stage; 0 where it did not enter it.",
            "stage",
            // An empty sum of floats is -0.
            Stage::ALL.map(|stage| (stage.name().to_owned(), spent(stage) + 0.0)),
        ),
        one(
            "pgassay_drill_fetched_bytes",
            "Bytes that the last drill took from the object store.",
            volume.fetched_bytes as f64,
        ),
        one(
            "pgassay_drill_restored_bytes",
            "Bytes that the last drill wrote to the sandbox.",
            volume.restored_bytes as f64,
        ),
        one(
            "pgassay_drill_wal_segments",
            "WAL segments that the last drill replayed.",
            volume.wal_segments as f64,
        ),
    ]
}

fn of_checks(report: &DrillReport) -> [Family; 3] {
    let findings = || report.checks.iter().flat_map(|check| &check.findings).map(|f| f.class);
    let errors = || report.errors.iter().filter_map(|error| error.class);
    let of_class = |class: FailureClass| findings().chain(errors()).filter(|c| *c == class).count();
    let passed = |status| status == CheckStatus::Passed;
    let all = !report.checks.is_empty() && report.checks.iter().all(|c| passed(c.status));
    // Never empty: without a sample the checks of the run before would stand at the Pushgateway.
    let mut each_check = vec![("all".to_owned(), flag(all))];
    for check in &report.checks {
        // The format allows a series once; the same check twice has passed if both have.
        match each_check.iter_mut().find(|(name, _)| *name == check.name) {
            Some((_, value)) => *value = value.min(flag(passed(check.status))),
            None => each_check.push((check.name.clone(), flag(passed(check.status)))),
        }
    }
    let statuses =
        [CheckStatus::Passed, CheckStatus::Failed, CheckStatus::Skipped, CheckStatus::Errored];
    [
        each(
            FINDINGS,
            "Findings and classified errors of the last drill, by failure class.",
            "class",
            FailureClass::ALL.iter().map(|c| (c.name().to_owned(), of_class(*c) as f64)),
        ),
        each(
            "pgassay_drill_checks",
            "Checks of the last drill, by how they ended.",
            "status",
            statuses.map(|status| {
                let count = report.checks.iter().filter(|c| c.status == status).count();
                (status.name().to_owned(), count as f64)
            }),
        ),
        each(
            "pgassay_drill_check_passed",
            "1 where this check of the last drill passed, 0 where it failed, broke or was skipped; `all` is 1 where every one passed.",
            "check",
            each_check,
        ),
    ]
}

/// Whether the sandbox stands although nobody asked for that.
fn leaked(sandbox: &SandboxReport) -> bool {
    !sandbox.removed && sandbox.kept_until.is_none()
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn known(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn one(name: &'static str, help: &'static str, value: f64) -> Family {
    Family { name, help, samples: vec![Sample { label: None, value }] }
}

fn each(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: impl IntoIterator<Item = (String, f64)>,
) -> Family {
    let sample = |(text, value)| Sample { label: Some((label, text)), value };
    Family { name, help, samples: values.into_iter().map(sample).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{drill::report::sample, telemetry::text};

    fn value(report: &DrillReport, series: &str) -> f64 {
        let text = text::write(&families(report), &[]);
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    #[test]
    fn a_pass_as_text() {
        let text = text::write(&families(&sample::pass()), &[]);
        // The list of classes grows; what a class looks like is told by the first one.
        let class = "pgassay_drill_findings{class=";
        let mut classes = text.lines().filter(|line| line.starts_with(class));
        assert_eq!(classes.next(), Some(&*format!("{class}\"wal_missing_for_consistency\"}} 0")));
        assert_eq!(classes.count() + 1, FailureClass::ALL.len());
        let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with(class)).collect();
        insta::assert_snapshot!(rest.join("\n"));
    }

    #[test]
    fn every_run_exports_the_same_families_but_the_last_pass() {
        let names = |r: &DrillReport| families(r).iter().map(|f| f.name).collect::<Vec<_>>();
        let mut pass = names(&sample::pass());
        assert!(pass.contains(&LAST_PASS));
        pass.retain(|name| *name != LAST_PASS);
        for report in [sample::breach(), sample::fail(), sample::inconclusive()] {
            assert_eq!(names(&report), pass);
        }
        for report in sample::all() {
            for family in families(&report) {
                assert!(!family.samples.is_empty(), "{} would keep old values", family.name);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_a_number() {
        let report = sample::inconclusive();
        for series in [
            "pgassay_drill_rto_seconds",
            "pgassay_drill_rto_objective_seconds",
            "pgassay_drill_rpo_seconds{evidence=\"heartbeat\"}",
            "pgassay_drill_rpo_judged_seconds",
            "pgassay_drill_recovered_to_timestamp_seconds",
        ] {
            assert!(value(&report, series).is_nan(), "{series}");
        }
        let exact = |series: &str, expected: f64| {
            assert!((value(&report, series) - expected).abs() < 1e-9, "{series}");
        };
        exact("pgassay_drill_check_passed{check=\"all\"}", 0.0);
        exact("pgassay_drill_findings{class=\"object_store_error\"}", 1.0);
        exact("pgassay_drill_objective_exceeded{objective=\"rto\"}", 0.0);
        exact("pgassay_drill_sandboxes_leaked", 1.0);
    }

    #[test]
    fn what_a_self_test_did_not_try_is_not_a_number() {
        let text = text::write(&selftest_families(&sample::selftest()), &[]);
        for line in [
            "pgassay_drill_selftest_timestamp_seconds 1795320300",
            "pgassay_drill_selftest_false_alarms 0",
            "pgassay_drill_selftest_detected{damage=\"wal_noise\"} 1",
            "pgassay_drill_selftest_detected{damage=\"wal_twice\"} 0",
            "pgassay_drill_selftest_detected{damage=\"history_missing\"} NaN",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn one_verdict_is_set_and_kept_sandboxes_do_not_leak() {
        for report in sample::all() {
            let set: Vec<&str> = Verdict::ALL
                .iter()
                .map(|v| v.name())
                .filter(|name| {
                    value(&report, &format!("pgassay_drill_verdict{{verdict=\"{name}\"}}")) > 0.5
                })
                .collect();
            assert_eq!(set, [report.verdict.name()]);
        }
        assert!(value(&sample::fail(), "pgassay_drill_sandboxes_leaked") < 0.5);
        assert!(value(&sample::fail(), "pgassay_drill_findings{class=\"wal_gap\"}") > 0.5);
        assert!(value(&sample::fail(), "pgassay_drill_check_passed{check=\"all\"}") < 0.5);
    }

    #[test]
    fn a_check_that_ran_twice_is_one_series() {
        let mut report = sample::pass();
        let mut again = report.checks[1].clone();
        again.status = CheckStatus::Failed;
        report.checks.push(again);
        assert!(value(&report, "pgassay_drill_check_passed{check=\"page_checksums\"}") < 0.5);
    }
}
