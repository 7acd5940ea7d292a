//! The command line.

use std::process::ExitCode;

/// Runs the program and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
