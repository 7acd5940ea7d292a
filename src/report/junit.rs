//! JUnit XML, as CI systems read it: a test case for each check of a drill, or for each job of a review.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::drill::{
    DrillReport, Error, Verdict,
    error::Code,
    format::printable,
    report::{CheckReport, CheckStatus},
    review::Review,
};

/// One drill: a case for each check, and one for the verdict, so that an inconclusive drill is never green.
///
/// # Errors
/// `Bug`: the document cannot be written.
pub fn drill(report: &DrillReport) -> Result<String, Error> {
    let mut suite = TestSuite::new(printable(&report.job));
    suite.add_test_case(verdict(report.verdict, &report.reason));
    for check in &report.checks {
        suite.add_test_case(of_check(check));
    }
    suite.set_time(Duration::from_secs_f64(
        report.finished_at.duration_since(report.started_at).as_secs_f64().max(0.0),
    ));
    write(suite)
}

/// A span of time: a case for each job by its last drill, and for each job that was never drilled.
///
/// # Errors
/// `Bug`: the document cannot be written.
pub fn review(review: &Review) -> Result<String, Error> {
    let mut suite = TestSuite::new("recovery readiness");
    for job in &review.jobs {
        let mut case = verdict(job.last.verdict, &job.last.reason);
        case.name = printable(&job.job).into();
        if job.last.verdict == Verdict::Pass && job.trend.verdicts.all() == 0 {
            case.status =
                refused(NonSuccessKind::Failure, "stale", "there was no drill in this time");
        }
        if !job.attention.is_empty() {
            let said: Vec<String> = job.attention.iter().map(|said| printable(said)).collect();
            case.set_system_out(said.join("\n"));
        }
        suite.add_test_case(case);
    }
    for job in &review.never_drilled {
        let status =
            refused(NonSuccessKind::Failure, "never_drilled", "there is no report of this job");
        suite.add_test_case(TestCase::new(printable(&job.job), status));
    }
    write(suite)
}

fn write(suite: TestSuite) -> Result<String, Error> {
    let mut report = Report::new("pgassay");
    report.add_test_suite(suite);
    let text = report.to_string();
    text.map_err(|error| Error::new(Code::Bug, format!("cannot write JUnit XML: {error}")))
}

fn verdict(verdict: Verdict, reason: &str) -> TestCase {
    let status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Breach | Verdict::Fail => refused(NonSuccessKind::Failure, verdict.name(), reason),
        Verdict::Inconclusive => refused(NonSuccessKind::Error, verdict.name(), reason),
    };
    TestCase::new("verdict", status)
}

fn of_check(check: &CheckReport) -> TestCase {
    let status = match check.status {
        CheckStatus::Passed => TestCaseStatus::success(),
        CheckStatus::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(printable(&check.detail));
            status
        }
        CheckStatus::Errored => refused(NonSuccessKind::Error, "errored", &check.detail),
        CheckStatus::Failed => {
            let class = check.findings.first().map_or("failed", |finding| finding.class.name());
            let mut status = refused(NonSuccessKind::Failure, class, &check.detail);
            let findings: Vec<String> = check
                .findings
                .iter()
                .map(|finding| printable(&format!("{}. {}", finding.summary(), finding.hint)))
                .collect();
            status.set_description(findings.join("\n"));
            status
        }
    };
    let mut case = TestCase::new(printable(&check.name), status);
    case.set_time(Duration::try_from_secs_f64(check.seconds).unwrap_or_default());
    case
}

fn refused(kind: NonSuccessKind, class: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(class).set_message(printable(message));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{report::sample, review};

    #[test]
    fn a_failed_drill() {
        insta::assert_snapshot!(drill(&sample::fail()).unwrap());
    }

    #[test]
    fn a_drill_that_could_not_tell_is_an_error() {
        let text = drill(&sample::inconclusive()).unwrap();
        assert!(text.contains("tests=\"1\"") && text.contains("errors=\"1\""), "{text}");
        let text = drill(&sample::pass()).unwrap();
        assert!(text.contains("failures=\"0\" errors=\"0\""), "{text}");
    }

    #[test]
    fn a_month() {
        insta::assert_snapshot!(super::review(&review::sample::review()).unwrap());
    }
}
