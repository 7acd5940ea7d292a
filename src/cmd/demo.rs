//! `pgassay demo`: a whole drill on this machine.

use clap::Args;

use super::{Context, Outcome, console::Output};
use crate::drill::{Code, Error};

/// Try a whole drill on this machine: nothing needed but PostgreSQL
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
}

#[expect(clippy::unused_async, reason = "the drill behind it is asynchronous")]
pub(super) async fn run(_args: DemoArgs, _context: &Context) -> Outcome {
    Err(Error::new(Code::Unsupported, "the demo is not part of this build").into())
}
