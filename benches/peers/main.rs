//! `make bench`: ours and its peers on the same data, in turn, in the same run, and what they took.
//!
//! | argument | meaning |
//! |---|---|
//! | `--quick` | small data, one run of each, to the terminal only: two minutes |
//! | `--only WORD` | only subjects whose title contains the word; to the terminal only |
//!
//! | variable | meaning |
//! |---|---|
//! | `PGASSAY_BENCH_DIR` | where data sets are kept and restores go; a folder that every user can enter. Without it `target/bench` and `/var/tmp/pgassay-bench` |
//! | `PGASSAY_TOOLS` | where `scripts/setup bench` has put its programs |
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up ends with a panic")]

mod bench;
mod data;
mod document;
#[path = "../../tests/it/support/machine.rs"]
mod machine;
#[path = "../../tests/it/support/marked.rs"]
mod marked;
mod measure;
#[path = "../../tests/it/support/peak.rs"]
mod peak;
mod peer;
mod programs;
mod scale;
mod server;
#[path = "../../tests/it/support/shaping.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
mod shaping;
mod subject;
mod subjects;
#[path = "../../tests/it/support/tools.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod tools;
mod worker;

use std::{env, process::ExitCode, time::Instant};

use bench::Bench;

/// Why something could not be measured, in a sentence.
type Outcome<T> = Result<T, String>;

/// Talks to whoever waits.
#[expect(clippy::print_stderr, reason = "a run takes long")]
fn say(what: &str) {
    eprintln!("bench: {what}");
}

#[expect(clippy::print_stdout, reason = "the tables are what it is run for")]
fn print(text: &str) {
    println!("{text}");
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let Some(status) = worker::work(&words) {
        return status;
    }
    // `cargo test --all-targets` starts this, too; only `cargo bench` says so.
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    let quick = words.iter().any(|word| word == "--quick");
    let only = words.iter().skip_while(|word| *word != "--only").nth(1);
    let scale = if quick { scale::QUICK } else { scale::FULL };

    let since = Instant::now();
    let bench = Bench::open(scale);
    let (set_up, since) = (since.elapsed(), Instant::now());
    say(&format!("the data are ready after {:.0} s", set_up.as_secs_f64()));
    let tables = subjects::all(&bench, only.map(String::as_str));
    let took = since.elapsed();
    let page = document::part(&bench, &tables, took);
    print(&page);
    if !quick && only.is_none() {
        document::write(&page);
        say("wrote docs/benchmarks.md");
    }
    say(&format!("measured for {:.0} s", took.as_secs_f64()));
    ExitCode::SUCCESS
}
