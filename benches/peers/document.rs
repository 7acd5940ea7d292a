//! The tables, for the terminal and for `docs/benchmarks.md`.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use crate::{
    bench::Bench,
    data::Cluster,
    machine, marked, programs,
    subject::{Row, Table},
};

/// Between these lines of the page a run writes; the rest is written by hand.
const MARKS: [&str; 2] = ["<!-- measured: begin -->\n", "<!-- measured: end -->\n"];

/// Everything that a run has to say.
pub fn part(bench: &Bench, tables: &[Table], took: Duration) -> String {
    let mut out = String::new();
    let command = if bench.scale.quick { "make bench-quick" } else { "make bench" };
    let day = Timestamp::now().strftime("%Y-%m-%d");
    let minutes = took.as_secs_f64() / 60.0;
    writeln!(out, "`{command}` on {day}; it measured for {minutes:.0} minutes.\n").unwrap();
    out.push_str("| what | |\n|---|---|\n");
    for (name, value) in machine::lines().into_iter().chain(programs::lines(bench)) {
        writeln!(out, "| {name} | {} |", cell(&value)).unwrap();
    }
    out.push('\n');
    out.push_str(&data(bench));
    for table in tables {
        out.push_str(&section(table));
    }
    out
}

/// What was measured on.
fn data(bench: &Bench) -> String {
    let facts = &bench.facts;
    let mut out = String::from(
        "| cluster | archive | files | MB in files | MB of base, stored | WAL segments | MB of WAL, stored |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut add = |name: &str, cluster: &Cluster| {
        for (server, archive) in &cluster.archives {
            writeln!(
                out,
                "| {name} | `{server}` | {} | {} | {} | {} | {} |",
                cluster.volume.files,
                mb(cluster.volume.bytes),
                mb(archive.base),
                archive.segments,
                mb(archive.wal)
            )
            .unwrap();
        }
    };
    add("mixed", &facts.mixed);
    add("small", &facts.small);
    writeln!(out, "\nMB are 10^6 bytes. Making it took {:.0} s.", facts.seconds).unwrap();
    out
}

fn section(table: &Table) -> String {
    let mut out = format!("\n### {}\n\n{}\n\n", table.title, table.counts);
    out.push_str(
        "| | seconds, median [least..most] | of ours | CPU s | peak MB | runs |\n|---|---|---|---|---|---|\n",
    );
    let ours = table.rows.first().and_then(Row::seconds).map(|spread| spread.median);
    for row in &table.rows {
        let (Some(seconds), None) = (row.seconds(), &row.missing) else {
            let why = row.missing.as_deref().unwrap_or("there was no time for it");
            writeln!(out, "| {} | missing: {} | | | | |", row.name, cell(why)).unwrap();
            continue;
        };
        let times = ours.map(|ours| format!("{:.2}", seconds.median / ours));
        writeln!(
            out,
            "| {} | {} [{}..{}] | {} | {} | {} | {} |",
            row.name,
            short(seconds.median),
            short(seconds.least),
            short(seconds.most),
            times.unwrap_or_default(),
            row.cpu().map_or_else(|| "-".into(), |cpu| format!("{cpu:.2}")),
            row.peak().map_or_else(|| "-".into(), mb),
            row.runs.len()
        )
        .unwrap();
    }
    out.push('\n');
    for row in &table.rows {
        writeln!(out, "- {}: {}", row.name, row.how).unwrap();
    }
    for goal in table.goals() {
        writeln!(out, "\n{goal}").unwrap();
    }
    out
}

/// Seconds; of very short ones as much as says something.
fn short(seconds: f64) -> String {
    if seconds < 0.1 { format!("{seconds:.4}") } else { format!("{seconds:.2}") }
}

fn mb(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}

/// Text that does not break a table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

/// Puts it between the marks of the page.
pub fn write(part: &str) {
    marked::write("docs/benchmarks.md", MARKS, part);
}
