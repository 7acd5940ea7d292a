//! What a self-test says: which damages of an archive each tier catches.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{FailureClass, Finding, Verdict, report::ErrorReport};

/// Version of the report's JSON. Adding a field does not raise it; changing or removing one does.
pub const SCHEMA_VERSION: u32 = 1;

/// How deep an archive is looked at, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The listing and the small files that say what it means.
    Catalog,
    /// Every byte read, no PostgreSQL.
    Read,
    /// A drill: restored, recovered, examined.
    Restore,
}

impl Tier {
    /// Every tier, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Catalog, Self::Read, Self::Restore];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Read => "read",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a tier must say of a damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// One of these.
    pub classes: Vec<FailureClass>,
    /// `fail` for damage, `inconclusive` for trouble with the store.
    pub verdict: Verdict,
    /// The cheapest tier that can tell.
    pub tier: Tier,
    /// Parts of the damaged objects' names; a finding must hold one of them.
    pub subjects: Vec<String>,
}

/// What one tier said of one archive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    pub tier: Tier,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    pub errors: Vec<ErrorReport>,
    pub seconds: f64,
}

impl Seen {
    /// Whether it says that one of `classes` befell something whose name holds one of `subjects`.
    #[must_use]
    pub fn names(&self, classes: &[FailureClass], subjects: &[String]) -> bool {
        let named = |text: &str| {
            subjects.is_empty() || subjects.iter().any(|subject| text.contains(subject.as_str()))
        };
        let found = self.findings.iter().any(|finding| {
            classes.contains(&finding.class) && (named(&finding.subject) || named(&finding.detail))
        });
        found
            || self.errors.iter().any(|error| {
                error.class.is_some_and(|class| classes.contains(&class)) && named(&error.message)
            })
    }

    /// The classes that it names, each once, in the order in which they come.
    #[must_use]
    pub fn classes(&self) -> Vec<FailureClass> {
        let mut all = Vec::new();
        let findings = self.findings.iter().map(|finding| finding.class);
        for class in findings.chain(self.errors.iter().filter_map(|error| error.class)) {
            if !all.contains(&class) {
                all.push(class);
            }
        }
        all
    }
}

/// How a damage ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "snake_case")]
pub enum Outcome {
    Caught,
    /// One sentence: what was expected and what was said.
    Missed(String),
    /// The archive has nothing to which this could happen.
    NotApplicable(String),
    /// It was not tried, which proves nothing.
    Skipped(String),
}

/// One damage and what was said of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DamageReport {
    /// Stable.
    pub name: String,
    /// What it does, one sentence.
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub seen: Vec<Seen>,
}

/// The sound archive, as it is or in other compressions: every tier must pass it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlReport {
    pub name: String,
    pub what: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub seen: Vec<Seen>,
}

/// One self-test, finished.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelftestReport {
    pub schema_version: u32,
    pub pgassay_version: String,
    pub job: String,
    pub server: String,
    /// A text in JSON, as a drill's seed is.
    #[serde(serialize_with = "as_text")]
    pub seed: u64,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// What was looked at, such as `backup 20261122T190000, 24 WAL segments on timelines 1 and 2`.
    pub archive: String,
    pub tiers: Vec<Tier>,
    pub controls: Vec<ControlReport>,
    pub damages: Vec<DamageReport>,
}

impl SelftestReport {
    fn count(&self, is: fn(&Outcome) -> bool) -> usize {
        self.damages.iter().filter(|damage| is(&damage.outcome)).count()
    }

    #[must_use]
    pub fn caught(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Caught)
    }

    /// Damages that were tried.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Caught | Outcome::Missed(_)))
    }

    /// Sound archives that a tier did not pass.
    #[must_use]
    pub fn false_alarms(&self) -> usize {
        self.controls.iter().filter(|c| matches!(c.outcome, Outcome::Missed(_))).count()
    }

    /// Whether everything that was tried was caught, and something was, and nothing sound was refused.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.tried() > 0 && self.caught() == self.tried() && self.false_alarms() == 0
    }
}

/// Whether a damage was caught: at the cheapest tier that can tell, the expected class with the
/// damaged object's name and the expected verdict; and from there on no tier passes it. A `fail` is
/// never acceptable where only the store was in trouble, an `inconclusive` never where bytes are bad.
#[must_use]
pub fn judge(expected: &Expected, seen: &[Seen]) -> Outcome {
    let Some(first) = seen.iter().find(|seen| seen.tier >= expected.tier) else {
        return Outcome::Skipped(format!("only the {} tier can tell", expected.tier));
    };
    if !first.names(&expected.classes, &expected.subjects) {
        let wanted: Vec<&str> = expected.classes.iter().map(|class| class.name()).collect();
        let said: Vec<&str> = first.classes().iter().map(|class| class.name()).collect();
        let said = if said.is_empty() { "nothing".to_owned() } else { said.join(", ") };
        return Outcome::Missed(format!(
            "the {} tier should say {} of {}, it says {said} and {}",
            first.tier,
            wanted.join(" or "),
            expected.subjects.join(" or "),
            first.verdict
        ));
    }
    if first.verdict != expected.verdict {
        return Outcome::Missed(format!(
            "the {} tier's verdict should be {}, it is {}",
            first.tier, expected.verdict, first.verdict
        ));
    }
    // A deeper tier may stop at something else, such as a server that is not installed here.
    let acceptable = |verdict| match expected.verdict {
        Verdict::Inconclusive => verdict == Verdict::Inconclusive,
        _ => matches!(verdict, Verdict::Fail | Verdict::Inconclusive),
    };
    let deeper = seen.iter().find(|seen| seen.tier > first.tier && !acceptable(seen.verdict));
    if let Some(deeper) = deeper {
        return Outcome::Missed(format!("the {} tier says {}", deeper.tier, deeper.verdict));
    }
    // What a cheaper tier cannot see it must not take for something else either.
    let early = seen.iter().find(|seen| {
        seen.tier < expected.tier
            && expected.verdict == Verdict::Inconclusive
            && seen.verdict == Verdict::Fail
    });
    match early {
        Some(early) => Outcome::Missed(format!(
            "the {} tier says {}, though only the store was in trouble",
            early.tier, early.verdict
        )),
        None => Outcome::Caught,
    }
}

/// Whether a sound archive passes. A breach is no alarm: the archive is sound.
#[must_use]
pub fn judge_control(seen: &[Seen]) -> Outcome {
    let sound = |verdict| matches!(verdict, Verdict::Pass | Verdict::Breach);
    match seen.iter().find(|seen| !sound(seen.verdict)) {
        None => Outcome::Caught,
        Some(seen) => {
            let finding =
                seen.findings.iter().map(|f| format!("{}: {}: {}", f.class, f.subject, f.detail));
            let said = finding.chain(seen.errors.iter().map(|error| error.message.clone())).next();
            Outcome::Missed(format!(
                "false alarm: the {} tier says {} of a sound archive: {}",
                seen.tier,
                seen.verdict,
                said.unwrap_or_default()
            ))
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn as_text<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

#[cfg(test)]
mod tests;
