//! How the report of a drill, or a review of many, is printed.

use clap::ValueEnum as _;

use super::console::{Failure, Output, usage};
use crate::{
    drill::{DrillReport, Error},
    report::{
        html, json, junit, markdown,
        terminal::{self, Style},
    },
};

/// The forms that reports have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
    Html,
    Markdown,
    Junit,
}

impl Format {
    /// How errors are told.
    pub(super) const fn of_errors(self) -> Output {
        match self {
            Self::Json => Output::Json,
            Self::Human | Self::Html | Self::Markdown | Self::Junit => Output::Human,
        }
    }

    /// One drill. `style` is for people's terminals.
    ///
    /// # Errors
    /// `Bug`: the document cannot be written.
    pub(super) fn drill(self, report: &DrillReport, style: Style) -> Result<String, Error> {
        Ok(match self {
            Self::Human => terminal::render(report, style),
            Self::Json => json::render(report),
            Self::Html => html::drill(report),
            Self::Markdown => markdown::drill(report),
            Self::Junit => junit::drill(report)?,
        })
    }

    /// The form of what knows no more than two of them, such as a plan: `what` says what that is.
    ///
    /// # Errors
    /// `Usage` for the others.
    pub(super) fn plain(self, what: &str) -> Result<Output, Failure> {
        match self {
            Self::Human => Ok(Output::Human),
            Self::Json => Ok(Output::Json),
            Self::Html | Self::Markdown | Self::Junit => {
                let name = self.to_possible_value().map(|value| value.get_name().to_owned());
                let name = name.unwrap_or_default();
                Err(usage(
                    format!("{what} is not printed as `{name}`"),
                    "Take `--output human` or `--output json`.",
                ))
            }
        }
    }
}
