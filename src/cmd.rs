//! The command line.

use std::process::ExitCode;

/// Runs the program and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    // PostgreSQL waits for these: before anything else is set up.
    if let Some(status) = crate::engine::native::exec::dispatch(std::env::args_os()) {
        return status;
    }
    ExitCode::SUCCESS
}
