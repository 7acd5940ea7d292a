//! Drills of clean archives: they pass, and the rows are the source's.

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, CODECS},
    workdir::WorkDir,
};

fn drill_rich(mark: &str, spec: &str, arguments: &[&str]) -> Answer {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", &format!("{}\n{spec}", archive.rows_of(mark)));
    let answer = drill.run(arguments);
    answer.expect("pass", 0);
    answer
}

#[test]
fn latest_follows_the_timeline_switch() {
    let answer = drill_rich("end", "", &[]);
    let report = &answer.report;
    assert_eq!(report["reached"]["timeline"], 2, "{}", answer.stdout);
    assert_eq!(report["reached"]["end"], report["promise"]["end"]);
    assert!(report["backup"]["wal_segments"].as_u64().unwrap() >= 30);
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "plan",
            "restore",
            "reached",
            "sql:rows",
            "files",
            "extensions",
            "readAll",
            "sequences",
            "foreignKeys",
            "amcheck",
            "checksums",
            "indexPages",
            "indexEntries"
        ]
    );
}

#[test]
fn a_time_stops_before_what_came_later() {
    let mark = &fixture::rich().marks["middle"];
    drill_rich("middle", "", &["--target-time", &mark.time]);
    drill_rich("middle", &format!("  recoveryPoint: {{target: {{time: \"{}\"}}}}", mark.time), &[]);
}

#[test]
fn an_lsn_stops_there() {
    drill_rich("middle", "", &["--target-lsn", &fixture::rich().marks["middle"].lsn]);
}

#[test]
fn a_transaction_is_the_last_one() {
    drill_rich("middle", "", &["--target-xid", &fixture::rich().marks["middle"].xid]);
}

#[test]
fn a_restore_point_is_found_by_its_name() {
    drill_rich("middle", "", &["--target-name", "halfway"]);
}

#[test]
fn immediate_is_the_backup_itself() {
    drill_rich("base", "", &["--target-immediate"]);
}

#[test]
fn the_backups_own_timeline_ends_where_it_was_left() {
    let answer = drill_rich("before_switch", "", &["--target-timeline", "current"]);
    assert_eq!(answer.report["reached"]["timeline"], 1);
}

#[test]
fn every_codec_and_a_mix_of_them() {
    let archive = fixture::codecs();
    for (server, _, _) in CODECS {
        // The cluster went on for the servers after this one, so this archive ends here.
        let drill = Drill::new(&archive.root, server, &archive.rows_of(server));
        drill.run(&[]).expect("pass", 0);
    }
}

#[test]
fn other_majors() {
    for major in [14, 16, 17, 18] {
        let archive = fixture::of_major(major);
        let drill = Drill::new(&archive.root, &format!("major{major}"), &archive.rows_of("end"));
        let answer = drill.run(&[]);
        answer.expect("pass", 0);
        assert_eq!(answer.report["backup"]["major"], major);
    }
}

/// Night after night each backup in its turn, and targets all over the window: all of them pass.
#[test]
fn each_backup_in_its_turn_and_targets_anywhere() {
    let archive = fixture::rich();
    let reports = WorkDir::new();
    let spec = format!(
        "  recoveryPoint: {{backup: leastRecentlyVerified}}\n  report: {{store: \"file://{}\"}}",
        reports.path().display()
    );
    let drill = Drill::new(&archive.root, "rich", &spec);
    let backup = |answer: &Answer| answer.report["backup"]["id"].as_str().unwrap().to_owned();
    let all = drill.ask("catalog").report["backup_count"].as_u64().unwrap();
    let mut drilled: Vec<String> =
        (0..=all).map(|_| backup(drill.run(&[]).expect("pass", 0))).collect();
    assert_eq!(drilled.pop().as_ref(), drilled.first(), "{drilled:?}");
    assert!(drilled.is_sorted(), "the oldest first: {drilled:?}");

    let drill = Drill::new(&archive.root, "rich", "  recoveryPoint: {target: random}");
    let mut ends = std::collections::BTreeSet::new();
    for seed in ["1", "2", "3", "4"] {
        let answer = drill.run(&["--seed", seed]);
        answer.expect("pass", 0);
        let target = answer.report["target"].as_str().unwrap();
        assert!(
            target.starts_with("LSN ") && target.ends_with(&format!(" by seed {seed}")),
            "{target}"
        );
        ends.insert(answer.report["reached"]["end"].to_string());
    }
    assert_eq!(ends.len(), 4, "{ends:?}");
}
