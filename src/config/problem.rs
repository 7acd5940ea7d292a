//! What is wrong with a job: a place, a sentence, a hint.

use std::fmt;

use serde::Serialize;

use crate::drill::{Code, Error, FailureClass};

/// One problem. `Display` is one line, and a second one with the hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The field, such as `spec.archive.url`, or the flag, such as `--s3-url`.
    pub path: String,
    /// Line in the document, from 1; absent for flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Lower case, without a final period, values in backticks.
    pub message: String,
    /// The next step, one sentence.
    pub hint: String,
}

/// Every problem of one document or command line; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The file's name as given, or `command line`.
    pub source: String,
    pub problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(source: &str, mut problems: Vec<Problem>) -> Self {
        if problems.is_empty() {
            problems.push(Problem {
                path: String::new(),
                line: None,
                column: None,
                message: "the document could not be read".to_owned(),
                hint: "Write one with `pgassay init`.".to_owned(),
            });
        }
        Self { source: source.to_owned(), problems }
    }

    /// A job's problems and those of flags have different codes.
    #[must_use]
    pub fn code(&self) -> Code {
        let in_document = self.problems.iter().any(|problem| problem.line.is_some());
        if in_document { Code::JobInvalid } else { Code::Usage }
    }

    /// How many there are, and where.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.problems.len() {
            1 => format!("1 problem in `{}`", self.source),
            count => format!("{count} problems in `{}`", self.source),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let (Some(line), Some(column)) = (problem.line, problem.column) {
                write!(f, "{}:{line}:{column}: ", self.source)?;
            }
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            write!(f, "{}\n  hint: {}", problem.message, problem.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let message = format!("{}\n{problems}", problems.summary());
        Self::new(problems.code(), message).class(FailureClass::ConfigError)
    }
}

/// The known word that `typed` was probably meant to be.
pub(super) fn did_you_mean<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect()
    };
    let wanted = plain(typed);
    known
        .into_iter()
        .map(|word| (distance(&wanted, &plain(word)), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let known = ["pushgateway", "noProgress", "url", "server"];
        assert_eq!(did_you_mean("pushGatway", known), Some("pushgateway"));
        assert_eq!(did_you_mean("no_progress", known), Some("noProgress"));
        assert_eq!(did_you_mean("ulr", known), Some("url"));
        assert_eq!(did_you_mean("serverName", known), None);
        assert_eq!(did_you_mean("bandwidth", known), None);
    }
}
