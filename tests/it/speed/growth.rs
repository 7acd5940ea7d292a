//! How time and memory grow with an archive: `make bench-growth`, which writes its part of
//! `docs/benchmarks.md`. Only a release build says anything.

mod listing;
mod page;
mod planning;
mod reading;

use std::time::Instant;

use crate::support::marked;

/// Between these lines of the page.
const MARKS: [&str; 2] = ["<!-- growth: begin -->\n", "<!-- growth: end -->\n"];

#[test]
#[ignore = "takes minutes: `make bench-growth`"]
fn of_growing_archives() {
    let since = Instant::now();
    let planned = planning::measure();
    let readings = reading::measure();
    let part = page::part(&planned, &readings, since.elapsed());
    println!("{part}");
    marked::write("docs/benchmarks.md", MARKS, &part);
}
