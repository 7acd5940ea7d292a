//! Drills of clean archives: the rows are the source's.

use crate::support::{drill::Drill, fixture};

#[test]
fn latest_follows_the_timeline_switch_and_the_rows_match() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", &archive.rows_of("end"));
    let answer = drill.run(&[]);
    answer.expect("pass", 0);
    assert_eq!(answer.report["reached"]["timeline"], 2, "{}", answer.stdout);
}
