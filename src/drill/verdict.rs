//! The verdict: a fold over what the checks said and what was measured.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{class::FailureClass, report::CheckReport, report::CheckStatus};

/// The answer of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    /// Sound, but over RTO or RPO.
    Breach,
    /// The backup is not good.
    Fail,
    /// Could not tell.
    Inconclusive,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Breach, Self::Fail, Self::Inconclusive];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Breach => "breach",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// The exit status.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Breach => 3,
            Self::Inconclusive => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the verdict is made of.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Every required check, the plan and the engine's own findings among them.
    pub checks: &'a [CheckReport],
    /// The sandbox, store or a tool failed.
    pub errored: bool,
    pub rto_exceeded: bool,
    pub rpo_exceeded: bool,
}

/// The rules, in order: a required check failed → `fail`; one was skipped or broke, or the
/// machinery failed → `inconclusive`; over an objective → `breach`; else `pass`. No check at all is
/// `inconclusive`: nothing was proven. A failed check whose findings all belong to the environment
/// is `inconclusive`, one whose findings are all breaches is a `breach`.
#[must_use]
pub fn fold(evidence: Evidence<'_>) -> Verdict {
    let (mut unknown, mut breach) = (evidence.errored || evidence.checks.is_empty(), false);
    for check in evidence.checks {
        match check.status {
            CheckStatus::Passed => {}
            CheckStatus::Skipped | CheckStatus::Errored => unknown = true,
            CheckStatus::Failed => {
                let classes = || check.findings.iter().map(|f| f.class);
                if check.findings.is_empty()
                    || classes().any(|c| !c.is_breach() && !c.is_environment())
                {
                    return Verdict::Fail;
                }
                unknown |= classes().any(FailureClass::is_environment);
                breach |= classes().any(FailureClass::is_breach);
            }
        }
    }
    if unknown {
        Verdict::Inconclusive
    } else if breach || evidence.rto_exceeded || evidence.rpo_exceeded {
        Verdict::Breach
    } else {
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::Finding;

    fn check(status: CheckStatus, classes: &[FailureClass]) -> CheckReport {
        let finding = |class: &FailureClass| Finding::new(*class, "s", "d", "h");
        let findings = classes.iter().map(finding).collect();
        CheckReport { name: "c".into(), status, detail: String::new(), findings, seconds: 0.0 }
    }

    fn verdict(checks: &[CheckReport], errored: bool, rto: bool, rpo: bool) -> Verdict {
        fold(Evidence { checks, errored, rto_exceeded: rto, rpo_exceeded: rpo })
    }

    #[test]
    fn the_table() {
        use CheckStatus::{Errored, Failed, Passed, Skipped};
        use FailureClass::{ArchiveStale, CollationMismatch, InfraError, RtoExceeded, WalGap};
        let passed = || check(Passed, &[]);
        let rows: [(&str, Vec<CheckReport>, [bool; 3], Verdict); 16] = [
            ("all passed", vec![passed()], [false; 3], Verdict::Pass),
            ("nothing was checked", vec![], [false; 3], Verdict::Inconclusive),
            ("one failed", vec![passed(), check(Failed, &[WalGap])], [false; 3], Verdict::Fail),
            ("a failure without findings", vec![check(Failed, &[])], [false; 3], Verdict::Fail),
            (
                "one was skipped",
                vec![passed(), check(Skipped, &[])],
                [false; 3],
                Verdict::Inconclusive,
            ),
            ("one broke", vec![passed(), check(Errored, &[])], [false; 3], Verdict::Inconclusive),
            (
                "failed beats broken",
                vec![check(Errored, &[]), check(Failed, &[WalGap])],
                [false; 3],
                Verdict::Fail,
            ),
            (
                "failed beats the machinery",
                vec![check(Failed, &[WalGap])],
                [true, false, false],
                Verdict::Fail,
            ),
            ("the machinery failed", vec![passed()], [true, false, false], Verdict::Inconclusive),
            ("over RTO", vec![passed()], [false, true, false], Verdict::Breach),
            ("over RPO", vec![passed()], [false, false, true], Verdict::Breach),
            (
                "skipped beats a breach",
                vec![check(Skipped, &[])],
                [false, true, true],
                Verdict::Inconclusive,
            ),
            ("a breach class", vec![check(Failed, &[ArchiveStale])], [false; 3], Verdict::Breach),
            (
                "an environment class",
                vec![check(Failed, &[InfraError])],
                [false; 3],
                Verdict::Inconclusive,
            ),
            (
                "environment beats breach",
                vec![check(Failed, &[CollationMismatch, RtoExceeded])],
                [false; 3],
                Verdict::Inconclusive,
            ),
            (
                "one real class is enough",
                vec![check(Failed, &[CollationMismatch, WalGap])],
                [false; 3],
                Verdict::Fail,
            ),
        ];
        for (name, checks, [errored, rto, rpo], expected) in rows {
            assert_eq!(verdict(&checks, errored, rto, rpo), expected, "{name}");
        }
    }

    #[test]
    fn exit_statuses_are_the_contract() {
        let codes: Vec<(Verdict, u8)> =
            Verdict::ALL.into_iter().map(|v| (v, v.exit_code())).collect();
        let expected = [
            (Verdict::Pass, 0),
            (Verdict::Breach, 3),
            (Verdict::Fail, 1),
            (Verdict::Inconclusive, 4),
        ];
        assert_eq!(codes, expected);
    }
}
