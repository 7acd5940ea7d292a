//! The tables, for the terminal and for `docs/benchmarks.md`.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{planning::Planned, reading::Read};
use crate::support::machine;

/// Everything that a run has to say.
pub fn part(planned: &Planned, readings: &[Read], took: Duration) -> String {
    let mut out = String::new();
    let day = Timestamp::now().strftime("%Y-%m-%d");
    let minutes = took.as_secs_f64() / 60.0;
    writeln!(out, "`make bench-growth` on {day}; it took {minutes:.0} minutes.\n").unwrap();
    out.push_str("| what | |\n|---|---|\n");
    for (name, value) in machine::lines() {
        writeln!(out, "| {name} | {} |", value.replace('|', "/")).unwrap();
    }
    out.push_str(&planning(planned));
    out.push_str(&reading(readings));
    out
}

fn planning(planned: &Planned) -> String {
    let Planned { objects, base, rounds, listing, plan, program } = planned;
    let mut out = format!(
        "\n### The plan of {:.1} TB and {objects} objects\n\nMedians of {rounds} in turn.\n\n\
         | | seconds | objects a second | CPU s | peak MiB |\n|---|---|---|---|---|\n",
        *base as f64 / 1e12
    );
    let mut row = |name: &str, seconds: f64, more: &str| {
        let rate = *objects as f64 / seconds;
        writeln!(out, "| {name} | {seconds:.2} | {rate:.0} | {more} |").unwrap();
    };
    row("the listing alone, by the same client", listing.seconds, "| ");
    row("listing and plan, in the same process", plan.seconds, "| ");
    let more = format!("{:.2} | {}", program.cpu, program.peak >> 20);
    row("`pgassay drill --plan`, a process of its own", program.seconds, &more);
    let ratio = planned.ratio();
    let reached = if ratio < 1.3 { "reached" } else { "**not reached**" };
    writeln!(
        out,
        "\nGoal: the plan within 1.3 times the time of the listing alone. Measured {ratio:.2}: {reached}."
    )
    .unwrap();
    out
}

fn reading(readings: &[Read]) -> String {
    let mut out = String::from(
        "\n### Reading every byte, 5 to 80 GB\n\n`pgassay verify`, one run of each. MB are 10^6 bytes, without \
         compression.\n\n| base backup | GB | GB as stored | pages | seconds | MB/s | time for each byte, beside \
         the smallest | CPU s | CPU s of the server | peak MiB |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let rate = |bytes: u64, seconds: f64| bytes as f64 / 1e6 / seconds;
    for read in readings {
        let Read { codec, bytes, stored, pages, took, server, .. } = read;
        let smallest = readings.iter().find(|other| other.codec == *codec).unwrap();
        let own = rate(*bytes, took.seconds);
        writeln!(
            out,
            "| {codec:?} | {:.1} | {:.1} | {pages} | {:.1} | {own:.0} | {:.2} | {:.1} | {server:.1} | {} |",
            *bytes as f64 / 1e9,
            *stored as f64 / 1e9,
            took.seconds,
            rate(smallest.bytes, smallest.took.seconds) / own,
            took.cpu,
            took.peak >> 20
        )
        .unwrap();
    }
    out.push('\n');
    for Read { codec, bytes, to_nowhere, .. } in readings {
        if let Some(alone) = to_nowhere {
            let rate = rate(*bytes, alone.seconds);
            writeln!(
                out,
                "- {codec:?}: the server makes and sends {rate:.0} MB/s over one connection to a reader that \
                 does nothing with them."
            )
            .unwrap();
        }
    }
    let peaks = || readings.iter().map(|read| read.took.peak >> 20);
    writeln!(
        out,
        "\nGoal: time linear, memory flat. The peaks are between {} and {} MiB.",
        peaks().min().unwrap_or_default(),
        peaks().max().unwrap_or_default()
    )
    .unwrap();
    out
}
