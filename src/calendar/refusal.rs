//! Why a text is no schedule or no time zone.

use std::fmt;

/// A sentence and the next step; who asked adds the place. `Display` is the sentence alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Lower case, without a final period, values in backticks.
    pub message: String,
    /// A full sentence.
    pub hint: String,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// A text for a message: one line, not endless.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    if text.trim().chars().count() > 60 {
        shown.push('…');
    }
    shown
}
