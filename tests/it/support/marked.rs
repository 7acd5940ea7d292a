//! Pages of the documentation of which a program writes a part, between two marks.

use std::{fs, path::Path};

/// The page with the part between its marks written anew.
pub fn into_page(page: &str, marks: [&str; 2], part: &str) -> String {
    let (before, rest) = page.split_once(marks[0]).expect("the page has lost its first mark");
    let (_, after) = rest.split_once(marks[1]).expect("the page has lost its second mark");
    format!("{before}{}{part}{}{after}", marks[0], marks[1])
}

/// Writes that part of a page, such as `docs/benchmarks.md`.
pub fn write(page: &str, marks: [&str; 2], part: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, into_page(&text, marks, part)).unwrap();
}
