//! What the program prints, and how it ends.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use crate::{
    config::Problems,
    drill::{Code, Error, error::ErrorKind},
    report::terminal::Style,
    telemetry::progress_bar,
};

pub(super) const EXIT_USAGE: u8 = 2;
pub(super) const EXIT_INCONCLUSIVE: u8 = 4;
pub(super) const EXIT_BUG: u8 = 5;
/// 128 and SIGINT: for an interruption whose signal is not known.
const EXIT_INTERRUPTED: u8 = 130;

/// How data is printed on stdout: for people, or as one JSON document, also for errors.
// Comments on the values would make clap print every option on three lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    #[default]
    Human,
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    Auto,
    Always,
    Never,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    Error(Error),
    /// A job or flags with problems.
    Problems(Problems),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl Failure {
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Problems(_) => EXIT_USAGE,
            Self::Error(error) => match error.code.kind() {
                ErrorKind::Usage => EXIT_USAGE,
                ErrorKind::Environment => EXIT_INCONCLUSIVE,
                ErrorKind::Interrupted => EXIT_INTERRUPTED,
                ErrorKind::Bug => EXIT_BUG,
            },
        }
    }

    /// `{"error": {"code", "message", "hint", "class", "problems"}}`.
    pub(super) fn json(&self) -> Value {
        let (error, problems) = match self {
            Self::Error(error) => (
                json!({
                    "code": error.code.as_str(),
                    "message": error.message,
                    "hint": error.hint,
                    "class": error.class,
                }),
                None,
            ),
            Self::Problems(problems) => {
                let count = problems.problems.len();
                (
                    json!({
                        "code": problems.code().as_str(),
                        "message": problems.summary(),
                        "hint": format!("{count} in `problems`, each with its own hint."),
                        "class": crate::drill::FailureClass::ConfigError,
                    }),
                    Some(problems),
                )
            }
        };
        let mut error = error;
        if let (Some(problems), Some(object)) = (problems, error.as_object_mut()) {
            object.insert("source".to_owned(), json!(problems.source));
            object.insert("problems".to_owned(), json!(problems.problems));
        }
        json!({ "error": error })
    }
}

/// stdout and stderr.
#[derive(Clone, Debug)]
pub(super) struct Console {
    color: Color,
    verbosity: i8,
}

impl Console {
    pub(super) const fn new(color: Color, verbosity: i8) -> Self {
        Self { color, verbosity }
    }

    /// Before the command line is known.
    pub(super) const fn plain() -> Self {
        Self::new(Color::Auto, 0)
    }

    /// Whether `-q` asks for no progress.
    pub(super) const fn is_quiet(&self) -> bool {
        self.verbosity < 0
    }

    pub(super) fn stderr_color(&self) -> bool {
        self.wants_color(io::stderr().is_terminal())
    }

    /// How reports look on stdout.
    pub(super) fn style(&self) -> Style {
        let color = self.wants_color(io::stdout().is_terminal());
        Style { color, ..Style::for_stdout() }
    }

    fn wants_color(&self, terminal: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        }
    }

    /// Data on stdout. A reader that has gone away is no error: it has what it wanted.
    #[expect(clippy::unused_self, reason = "who prints has a console")]
    pub(super) fn data(&self, text: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(|error| Error::io("cannot write to stdout", &error)),
        }
    }

    /// A JSON document on stdout.
    pub(super) fn json(&self, value: &Value) -> Result<(), Error> {
        self.data(&format!("{value:#}\n"))
    }

    /// A line on stderr, unless `-q`.
    pub(super) fn talk(&self, line: &str) {
        if !self.is_quiet() {
            write_stderr(&format!("{line}\n"));
        }
    }

    /// `error[CODE]: message` and `hint: …` on stderr.
    pub(super) fn error(&self, failure: &Failure) {
        let color = self.stderr_color();
        let paint = |text: &str, codes: &str| {
            if color { format!("\u{1b}[{codes}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let text = match failure {
            Failure::Error(error) => {
                let head = paint(&format!("error[{}]", error.code.as_str()), "1;31");
                let hint = error
                    .hint
                    .as_ref()
                    .map_or_else(String::new, |hint| format!("{}: {hint}\n", paint("hint", "1")));
                format!("{head}: {error}\n{hint}")
            }
            Failure::Problems(problems) => {
                let head = paint(&format!("error[{}]", problems.code().as_str()), "1;31");
                format!("{head}: {}\n{problems}\n", problems.summary())
            }
        };
        write_stderr(&text);
    }

    /// Tells a failure in the way that was asked for, and gives its exit status. With JSON, stdout
    /// gets an error object, so that a reader always finds one document there.
    pub(super) fn fail(&self, failure: &Failure, output: Output) -> u8 {
        self.error(failure);
        if output == Output::Json
            && let Err(error) = self.json(&failure.json())
        {
            self.error(&Failure::Error(error));
        }
        failure.exit_status()
    }
}

/// An error of our own making on the command line.
pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::Error(Error::new(Code::Usage, message).hint(hint))
}

/// All at once, below the progress bars. Talk that cannot be written changes nothing.
fn write_stderr(text: &str) {
    progress_bar::above_bars(|| {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_follow_the_kind_of_error() {
        let status = |code| Failure::Error(Error::new(code, "x")).exit_status();
        assert_eq!(status(Code::JobUnreadable), 2);
        assert_eq!(status(Code::AccessDenied), 4);
        assert_eq!(status(Code::Interrupted), 130);
        assert_eq!(status(Code::Bug), 5);
    }

    #[test]
    fn errors_as_json_have_every_problem() {
        let problems = crate::config::parse("kind: DrillJob\n", "a.yaml").unwrap_err();
        let json = Failure::Problems(problems).json();
        assert_eq!(json["error"]["code"], "P003");
        assert_eq!(json["error"]["source"], "a.yaml");
        assert_eq!(json["error"]["problems"][0]["path"], "apiVersion");
        let json = Failure::Error(Error::new(Code::Usage, "x").hint("Y.")).json();
        assert_eq!(
            (&json["error"]["code"], &json["error"]["hint"]),
            (&json!("P001"), &json!("Y."))
        );
    }
}
