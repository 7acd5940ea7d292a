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
