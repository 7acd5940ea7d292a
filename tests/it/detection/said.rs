//! What one tool says of one damage.

use std::fmt;

/// The legend of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// It ends with another status than 0, the server goes down, or a report that it prints says so.
    Caught,
    /// It ends well; only the server's log has a line that the sound archive's has not.
    Log,
    /// All is green, and rows or earlier targets are lost.
    Silent,
    /// All is green, and nothing is lost in what it restores or looks at.
    Harmless,
    /// It has nothing to look at, or the damage has no equivalent there.
    NotApplicable,
}

impl Word {
    pub const ALL: [Self; 5] =
        [Self::Caught, Self::Log, Self::Silent, Self::Harmless, Self::NotApplicable];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Log => "log",
            Self::Silent => "silent",
            Self::Harmless => "harmless",
            Self::NotApplicable => "n/a",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word with what the tool printed, or why there is nothing to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub word: Word,
    pub quote: String,
}

impl Said {
    pub fn new(word: Word, quote: impl Into<String>) -> Self {
        Self { word, quote: quote.into() }
    }

    pub fn not_applicable(why: impl Into<String>) -> Self {
        Self::new(Word::NotApplicable, why)
    }
}
