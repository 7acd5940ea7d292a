//! Findings are data: a check returns all of them and does not stop at the first.

use serde::{Deserialize, Serialize};

use super::{Error, FailureClass};
use crate::pg::Lsn;

/// One defect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub class: FailureClass,
    /// What is damaged: an object key, a WAL segment, a file, an index.
    pub subject: String,
    /// One sentence: what is wrong there.
    pub detail: String,
    /// One sentence: what to do next.
    pub hint: String,
    /// Where in the WAL it begins, if it has such a place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lsn: Option<Lsn>,
}

impl Finding {
    /// A finding without a position in the WAL.
    pub fn new(
        class: FailureClass,
        subject: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { class, subject: subject.into(), detail: detail.into(), hint: hint.into(), lsn: None }
    }

    /// Adds the position in the WAL.
    #[must_use]
    pub const fn at(mut self, lsn: Lsn) -> Self {
        self.lsn = Some(lsn);
        self
    }

    /// The finding in one line; a detail that names the subject itself needs no second one.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { class, subject, detail, .. } = self;
        if detail.starts_with(subject.as_str()) {
            format!("{class}: {detail}")
        } else {
            format!("{class}: {subject}: {detail}")
        }
    }
}

/// What a check says.
#[derive(Debug)]
pub enum CheckOutcome {
    /// It looked and all is well. The text says what was looked at, such as `1,204 files`.
    Passed(String),
    /// It looked and found defects.
    Failed(Vec<Finding>),
    /// It could not be run, and why. Never counts as passed.
    Skipped(String),
    /// It broke while looking.
    Errored(Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_not_said_twice() {
        let of = |detail| {
            Finding::new(FailureClass::TargetUnreachable, "the target", detail, "Do.").summary()
        };
        assert_eq!(of("the target is gone"), "target_unreachable: the target is gone");
        assert_eq!(of("it is gone"), "target_unreachable: the target: it is gone");
    }
}
