//! The `pgassay` program. PostgreSQL starts this same file as the sandbox's helper, so those words
//! are looked at before anything that costs time is set up.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgassay::cmd::main()
}
