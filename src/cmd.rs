//! The command line: one file for each command. stdout is data, stderr is talk.

mod catalog;
mod check;
mod cli;
mod console;
mod demo;
mod doctor;
mod drill;
mod evidence;
mod format;
mod history;
mod init;
mod job_args;
mod ledger_file;
mod report;
mod rescue;
mod schedule;
mod selftest;
mod serve;
mod signals;
mod store_args;
mod sweep;
mod usage;
mod verify;

use std::{panic, process::ExitCode, time::Duration};

use clap::Parser;
use tokio_util::sync::CancellationToken;

use self::{
    cli::{Cli, Command},
    console::{Console, Failure},
    signals::Parting,
};
use crate::{
    drill::{Code, Error},
    telemetry::log,
};

/// Time for threads that read or write files to end before the program does.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What every command works with.
#[derive(Clone, Debug)]
struct Context {
    console: Console,
    /// Cancelled by the first SIGINT or SIGTERM.
    cancel: CancellationToken,
}

/// Exit status of a command, or why there is none.
type Outcome = Result<u8, Failure>;

/// Runs the program and gives its exit status: 0 pass, 1 fail, 2 usage or configuration, 3 breach,
/// 4 inconclusive, 5 bug, 130 and 143 stopped by a signal after teardown.
#[must_use]
pub fn main() -> ExitCode {
    // PostgreSQL waits for these: before anything else is set up.
    if let Some(status) = crate::engine::native::exec::dispatch(std::env::args_os()) {
        return status;
    }
    panic::set_hook(Box::new(|info| {
        let place =
            info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let what = info.payload_as_str().unwrap_or("no message");
        Console::plain().error(&Failure::Error(
            Error::new(Code::Bug, format!("pgassay met something that cannot be{place}: {what}"))
                .hint(
                    "Nothing is known of the backup. Please report this with `pgassay --version`.",
                ),
        ));
    }));
    let status = panic::catch_unwind(run).unwrap_or(console::EXIT_BUG);
    ExitCode::from(status)
}

fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error),
    };
    let console = Console::new(cli.global.color.into(), cli.global.verbosity());
    let verbosity = cli.global.verbosity();
    // A service has no answer to print: what it says is its log.
    let log_at = if cli.command.is_service() && verbosity == 0 { 1 } else { verbosity };
    log::init(log_at, console.stderr_color());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::io("cannot start the runtime", &error);
            return console.fail(&Failure::Error(error), cli.command.output());
        }
    };
    let status = runtime.block_on(supervised(cli.command, console));
    runtime.shutdown_timeout(SHUTDOWN);
    status
}

/// Runs a command until it ends or a second signal asks for the end at once.
async fn supervised(command: Command, console: Console) -> u8 {
    let cancel = CancellationToken::new();
    let parting = command.parting();
    let signals = match signals::watch(cancel.clone(), console.clone(), parting) {
        Ok(signals) => signals,
        Err(error) => {
            let error = Error::io("cannot watch for signals", &error);
            return console.fail(&Failure::Error(error), command.output());
        }
    };
    let output = command.output();
    let context = Context { console: console.clone(), cancel };
    // A task of its own, so that a panic in it becomes an exit status like everything else.
    let mut work = tokio::spawn(dispatch(command, context));
    tokio::select! {
        done = &mut work => {
            let status = match done {
                Ok(Ok(status)) => status,
                Ok(Err(failure)) => console.fail(&failure, output),
                Err(_) => console::EXIT_BUG,
            };
            match parting {
                // To be stopped is how a service ends.
                Parting::Waits => status,
                // What was measured while being stopped is no measure.
                Parting::CleansUp | Parting::GoesOn => {
                    signals.received().map_or(status, signals::exit_status)
                }
            }
        }
        signal = signals.second() => {
            work.abort();
            signals::exit_status(signal)
        }
    }
}

async fn dispatch(command: Command, context: Context) -> Outcome {
    match command {
        Command::Drill(args) => Box::pin(drill::run(*args, &context)).await,
        Command::Rescue(args) => Box::pin(rescue::run(*args, &context)).await,
        Command::Catalog(args) => Box::pin(catalog::run(*args, &context)).await,
        Command::Verify(args) => Box::pin(verify::run(*args, &context)).await,
        Command::Schedule(args) => schedule::run(&args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::Init(args) => Box::pin(init::run(args, &context)).await,
        Command::Doctor(args) => Box::pin(doctor::run(args, &context)).await,
        Command::Demo(args) => demo::run(args, &context).await,
        Command::Selftest(args) => Box::pin(selftest::run(args, &context)).await,
        Command::Evidence(args) => Box::pin(evidence::run(args, &context)).await,
        Command::Serve(args) => Box::pin(serve::run(args, &context)).await,
        Command::History(args) => Box::pin(history::run(*args, &context)).await,
        Command::Report(args) => Box::pin(report::run(*args, &context)).await,
        Command::Sweep(args) => sweep::run(args, &context).await,
    }
}
