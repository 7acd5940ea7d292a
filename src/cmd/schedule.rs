//! `pgassay schedule`: an expression in words, and its next slots. Looks at nothing but the clock.

use clap::Args;
use jiff::Timestamp;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, Output, usage},
};
use crate::{
    calendar::{Calendar, Expression, Refusal, Zone},
    config::flags,
    report::schedule::{self as view, Explained},
};

const HELP: &str = help!(
    "Says what a schedule means, and when it comes next."
    ""
    "An expression has five fields, as crontab(5) and Kubernetes write them, or six with seconds"
    "first, as CloudNativePG's ScheduledBackup does: `0 4 * * *` is once a day, and with a field"
    "more, `0 4 * * * *`, once an hour. Days of the week go from 0 = Sunday to 7 = Sunday; where day"
    "of month and day of week are both restricted, either is enough."
);

const AFTER: &str = "\
Examples:
  pgassay schedule '0 4 * * 1-5' --time-zone Europe/Berlin
  pgassay schedule '0 0 4 * * *' --from 2026-03-28T00:00:00Z --count 3
  pgassay schedule @daily --output json

When clocks are put forward, a fixed time that they skip comes once, at the end of the gap. When
they are put back, one that they repeat comes once, the first time. With `*` or a step in its hour
or minute a schedule follows the time that passes: `*/15 * * * *` comes every 15 minutes.";

/// Say what a schedule means, and when it comes next
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct ScheduleArgs {
    /// Five fields, six with seconds first, or a word such as `@daily`; in quotes
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Name of the zone whose clocks count, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
    /// List what comes after this time, with its UTC offset; the time itself is left out [default: now]
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// How many slots to list
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// How to print: for people, or as an array of RFC 3339 times
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
}

pub(super) fn run(args: &ScheduleArgs, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let expression = Expression::parse(&args.expression).map_err(failure)?;
    let zone = Zone::named(&args.time_zone).map_err(failure)?;
    let from = match &args.from {
        Some(text) => flags::instant("--from", text)?,
        None => now,
    };
    let calendar = Calendar::new(&expression, zone);
    let slots: Vec<Timestamp> = calendar.slots_after(from).take(args.count as usize).collect();
    let explained =
        Explained { expression: &expression, calendar: &calendar, from, now, slots: &slots };
    match args.output {
        Output::Human => {
            context.console.data(&view::render(&explained, context.console.style()))?;
        }
        Output::Json => context.console.json(&view::json(&explained))?,
    }
    Ok(0)
}

fn failure(refusal: Refusal) -> Failure {
    usage(refusal.message, refusal.hint)
}
