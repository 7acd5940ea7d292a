//! However a drill ends, its sandbox is removed, the archive is as it was, and the right status is given.

use std::process::Command;

use crate::support::{
    drill::{Answer, Drill, signal, start_until},
    fixture::{self, Archive},
    workdir::tree,
};

fn rich() -> (Archive, Drill) {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    (archive, drill)
}

#[test]
fn interrupted_in_any_stage_it_leaves_nothing() {
    for (name, exit) in [("INT", 130), ("TERM", 143)] {
        for stage in ["fetch", "replay", "verify"] {
            let (_archive, drill) = rich();
            let child = start_until(drill.command(), stage);
            signal(&child, name);
            let answer = Answer::from(child.wait_with_output().unwrap());
            assert_eq!(answer.exit, exit, "{stage}: {answer:?}");
            drill.assert_nothing_left(&answer);
        }
    }
}

#[test]
fn the_servers_processes_die_with_a_killed_drill() {
    let (_archive, drill) = rich();
    let mut child = start_until(drill.command(), "verify");
    let postgres = || {
        let output = Command::new("pgrep")
            .args(["-f", &drill.sandboxes().display().to_string()])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!postgres().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let since = std::time::Instant::now();
    while !postgres().is_empty() {
        assert!(since.elapsed().as_secs() < 60, "still running: {:?}", postgres());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The next drill of the same job is not held up by the dead one's lock.
    // It removes what the dead one has left.
    let answer = Answer::from(drill.command().output().unwrap());
    answer.expect("pass", 0);
    drill.assert_nothing_left(&answer);
    let notes = answer.report["notes"].to_string();
    assert!(notes.contains("which a drill of job `test` had left behind"), "{notes}");
}

#[test]
fn a_drill_removes_nothing_of_a_live_one() {
    let (_archive, drill) = rich();
    let first = start_until(drill.command(), "verify");
    let second = Answer::from(drill.command().args(["--name", "second"]).output().unwrap());
    second.expect("pass", 0);
    assert!(!second.report["notes"].to_string().contains("left behind"), "{second:?}");
    let first = Answer::from(first.wait_with_output().unwrap());
    first.expect("pass", 0);
    drill.assert_nothing_left(&first);
}

#[test]
fn a_second_drill_of_the_same_job_is_refused() {
    let (_archive, drill) = rich();
    let first = start_until(drill.command(), "fetch");
    let second = Answer::from(drill.command().output().unwrap());
    assert_eq!(second.exit, 4, "{second:?}");
    assert!(second.stdout.contains("E008"), "{second:?}");
    assert!(
        second.stdout.contains(&first.id().to_string()),
        "the holder's pid is not named: {second:?}"
    );
    Answer::from(first.wait_with_output().unwrap()).expect("pass", 0);
}

#[test]
fn a_failed_drill_is_kept_where_the_job_says_so() {
    let archive = fixture::rich();
    let spec = "  sandbox: {keepOnFailure: 1h}\n  checks:\n    - sql: {name: wrong, database: app, query: \"select 1\", expect: \"= 2\"}";
    let drill = Drill::new(&archive.root, "rich", spec);
    let answer = Answer::from(drill.command().output().unwrap());
    answer.expect("fail", 1).expect_finding("assertion_failed", "wrong");
    let sandbox = &answer.report["sandbox"];
    assert_eq!(sandbox["removed"], false);
    assert!(sandbox["kept_until"].is_string(), "{sandbox}");
    assert!(tree(&drill.sandboxes()).iter().any(|p| p.ends_with("PG_VERSION")));
}

#[test]
fn the_same_archive_drills_the_same_way_twice_and_stays_as_it_was() {
    let archive = fixture::rich();
    let before = tree(&archive.root);
    for _ in 0..2 {
        Drill::new(&archive.root, "rich", "").run(&[]).expect("pass", 0);
    }
    assert_eq!(tree(&archive.root), before);
}

#[test]
fn over_the_objective_is_a_breach_and_off_fsync_never_counts() {
    let archive = fixture::rich();
    // 10 MiB at this rate cannot be there within a second, on any machine.
    let slow = "  objectives: {rto: 1s}\n  limits: {bandwidth: 4MiB/s}\n  depth: restore";
    let breach = Drill::new(&archive.root, "rich", slow).run(&[]);
    breach.expect("breach", 3).expect_finding("rto_exceeded", "rto");
    let unsynced = format!("{slow}\n  sandbox: {{fsync: false}}");
    Drill::new(&archive.root, "rich", &unsynced).run(&[]).expect("pass", 0);
    let stale =
        Drill::new(&archive.root, "rich", "  objectives: {rpo: 1s}\n  depth: restore").run(&[]);
    stale.expect("breach", 3).expect_finding("archive_stale", "newest archived WAL");
}

#[test]
fn a_target_outside_the_window_is_refused_with_the_window() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    for (arguments, class, names) in [
        (["--target-time", "2020-01-01T00:00:00+00:00"], "target_before_consistency", "0/"),
        (["--target-time", "2099-01-01T00:00:00+00:00"], "target_unreachable", "0/"),
        (["--target-lsn", "0/100"], "target_before_consistency", "0/"),
        (["--target-lsn", "FF/100"], "target_unreachable", "0/"),
        (["--target-xid", "4000000"], "target_unreachable", "0/"),
        (["--target-name", "no such name"], "target_unreachable", "0/"),
        (["--target-timeline", "7"], "target_unreachable", "there are: 1, 2"),
    ] {
        let answer = drill.run(&arguments);
        answer.expect("fail", 1).expect_finding(class, names);
    }
}

#[test]
fn a_drill_over_its_total_limit_ends_inconclusive() {
    let archive = fixture::rich();
    // 10 MiB at this rate take longer than that.
    let spec = "  limits: {total: 3s, bandwidth: 1MiB/s}";
    let answer = Drill::new(&archive.root, "rich", spec).run(&[]);
    answer.expect("inconclusive", 4);
    assert!(answer.stdout.contains("E007"), "{}", answer.stdout);
    assert!(answer.stdout.contains("limits.total"), "{}", answer.stdout);
}

#[test]
fn a_drill_that_stops_moving_ends_inconclusive() {
    let archive = fixture::rich();
    // One segment is all that this rate lets through before the watchdog looks.
    let spec = "  limits: {noProgress: 1s, bandwidth: 10KiB/s}";
    let answer = Drill::new(&archive.root, "rich", spec).run(&[]);
    answer.expect("inconclusive", 4);
    assert!(answer.stdout.contains("limits.noProgress"), "{}", answer.stdout);
}
