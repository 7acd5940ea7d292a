//! Rescues that are broken off and go on.

use std::{
    fs,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use super::state_of;
use crate::support::{
    damage::{MIDDLE, rewrite_gz, segment},
    drill::{Answer, damaged_copy, signal, start_until},
    fixture,
    rescue::Rescue,
    tools,
};

fn wait(rescue: &Rescue, what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        let late = since.elapsed() > Duration::from_mins(2);
        assert!(!late, "{what} does not come: {:#?}", state_of(rescue));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Numbers of the tars that are there for good.
fn parts_done(rescue: &Rescue) -> usize {
    let names = fs::read_dir(rescue.state().join("base")).into_iter().flatten().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".json")).count()
}

/// Names of the tars that were asked for.
fn tars(gets: &[String]) -> Vec<&str> {
    let paths = gets.iter().map(|path| path.split('?').next().unwrap_or_default());
    let mut names: Vec<&str> = paths
        .filter(|path| path.contains(".tar"))
        .map(|path| path.rsplit('/').next().unwrap_or_default())
        .collect();
    names.sort_unstable();
    names
}

/// Paths of the segments that were asked for.
fn segments(gets: &[String]) -> Vec<&str> {
    let name = |path: &'_ str| path.rsplit('/').next().unwrap().split('.').next().unwrap().len();
    let paths = gets.iter().map(|path| path.split('?').next().unwrap_or_default());
    paths.filter(|path| path.contains("/wals/") && name(path) == 24).collect()
}

#[test]
fn killed_in_the_middle_of_the_base_it_goes_on_with_what_is_missing() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    rescue.proxy.hold("data_0001", 1_000_000);
    let child = start_until(rescue.command(), "fetch");
    rescue.proxy.wait_held();
    // Every other tar, and what the WAL server of the second run must not ask for again.
    let all = fs::read_dir(crate::support::damage::backup_folder(&archive.root)).unwrap();
    let all = all.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".tar"));
    let others = all.count() - 1;
    wait(&rescue, "every other tar", || parts_done(&rescue) == others);
    kill(child);
    assert!(!rescue.dir().exists());
    let first = rescue.proxy.let_go();
    assert!(tars(&first).len() > others, "{first:#?}");

    let answer = rescue.run(&[]);
    answer.expect_outcome("complete", 0);
    assert_eq!(answer.report["resumed"], true);
    assert!(answer.stderr.contains("goes on with the rescue"), "{}", answer.stderr);
    assert_eq!(tars(&rescue.proxy.gets()), ["data_0001.tar.gz"], "only what was broken off");
    assert_eq!(rescue.left(), ["main", "main.tablespaces"]);
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
}

#[test]
fn killed_in_the_middle_of_the_wal_it_goes_on_with_what_is_missing() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    rescue.proxy.hold(MIDDLE, 1000);
    let child = start_until(rescue.command(), "fetch");
    rescue.proxy.wait_held();
    // The one before it is there for good.
    let before = rescue.state().join("wal/00000001000000000000001F");
    wait(&rescue, "the segment before", || before.exists());
    kill(child);
    let first = rescue.proxy.let_go();
    let held = fs::read_dir(rescue.state().join("wal")).unwrap().count();
    assert!(held > 2, "{:#?}", state_of(&rescue));

    rescue.run(&[]).expect_outcome("complete", 0);
    let gets = rescue.proxy.gets();
    let (one, two) = (segments(&first), segments(&gets));
    assert!(two.iter().any(|path| path.contains(MIDDLE)), "{two:#?}");
    assert!(!two.iter().any(|path| path.contains("00000001000000000000001F")), "{two:#?}");
    // What the first run had asked for and not got: the one that was held, and those that were on their
    // way behind it.
    let twice = two.iter().filter(|path| one.contains(path)).count();
    assert!((1..=8).contains(&twice), "{one:#?}\n{two:#?}");
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
}

#[test]
fn killed_in_recovery_it_goes_on_without_a_byte_of_the_archive() {
    killed_in(&["replay: started"]);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn killed_in_any_stage_of_recovery() {
    killed_in(&["start: started", "promote: started", "hand_over: started"]);
}

fn killed_in(stages: &[&str]) {
    let archive = fixture::rich();
    for stage in stages {
        let rescue = Rescue::new(&archive.root, "rich", "");
        kill(start_until(rescue.command(), stage));
        rescue.proxy.let_go();
        let answer = rescue.run(&[]);
        answer.expect_outcome("complete", 0);
        assert_eq!(answer.report["reached"]["end"], answer.report["promise"]["end"], "{stage}");
        let gets = rescue.proxy.gets();
        assert_eq!((tars(&gets), segments(&gets)), (vec![], vec![]), "{stage}: {gets:#?}");
        assert_eq!(rescue.left(), ["main", "main.tablespaces"], "{stage}");
        let server = rescue.start(tools::packaged_major());
        assert_eq!(server.digest(), archive.marks["end"].digest, "{stage}");
    }
}

#[test]
fn stopped_by_a_signal_it_says_how_to_go_on() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    rescue.proxy.hold("data_0001", 1000);
    let child = start_until(rescue.command(), "fetch");
    rescue.proxy.wait_held();

    // Meanwhile nobody else works there.
    let second = Answer::from(rescue.command().output().unwrap());
    second.expect_error("E016", 4, &format!("by process {}", child.id()));
    let anew = Answer::from(rescue.command().arg("--anew").output().unwrap());
    anew.expect_error("E016", 4, "is running already");

    signal(&child, "TERM");
    let answer = Answer::from(child.wait_with_output().unwrap());
    answer.expect_outcome("broken_off", 143);
    assert!(answer.next().contains("Run the same command again"), "{}", answer.next());
    assert_eq!(rescue.left(), ["main.pgassay-rescue"]);
    rescue.proxy.let_go();

    // Not with another target, and not into what it works in.
    let other = rescue.run(&["--target-immediate"]);
    other.expect_error("E015", 2, "its target is latest, not immediate");
    let inside = rescue.state().join("x");
    rescue.run_into(&inside, &[]).expect_error("E014", 2, "where a rescue works");
    // What else is wrong is no reason to forget it.
    assert_eq!(rescue.left(), ["main.pgassay-rescue"]);
    rescue.run(&["--target-immediate", "--anew"]).expect_outcome("complete", 0);
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["base"].digest);
}

/// Broken off when all of the base and some of the WAL is there.
fn broken_off(root: &Path) -> Rescue {
    let rescue = Rescue::new(root, "rich", "");
    rescue.proxy.hold(MIDDLE, 1000);
    let child = start_until(rescue.command(), "fetch");
    rescue.proxy.wait_held();
    kill(child);
    rescue.proxy.let_go();
    rescue
}

#[test]
#[ignore = "a matrix: make test-all"]
fn an_archive_that_is_not_the_same_any_more_is_told_from_one_that_has_grown() {
    let archive = fixture::rich();
    let newest = "000000020000000000000038";
    let last = segments_of(&archive.root).pop().unwrap();
    assert!(last.contains("00000002"), "{last} is not on the second timeline, as {newest} is");
    let copy = damaged_copy(&archive, |_| ());
    // The last segment comes later.
    let last = segment(copy.path(), &last);
    let aside = copy.join("aside");
    fs::rename(&last, &aside).unwrap();
    let rescue = broken_off(copy.path());
    fs::rename(&aside, &last).unwrap();
    rescue.run(&[]).expect_outcome("complete", 0);
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
    drop(server);

    let rescue = broken_off(copy.path());
    rewrite_gz(&segment(copy.path(), MIDDLE), |_| ());
    rescue.run(&[]).expect_error("E015", 2, "the WAL in the archive is not the same any more");
    let tar = crate::support::damage::backup_folder(copy.path()).join("data_0001.tar.gz");
    rewrite_gz(&tar, |_| ());
    rescue.run(&[]).expect_error("E015", 2, "are not the same any more");
    rescue.run(&["--anew"]).expect_outcome("complete", 0);
}

fn segments_of(root: &Path) -> Vec<String> {
    let folders = fs::read_dir(crate::support::damage::object(root, "wals")).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter_map(|name| Some(name.split('.').next()?.to_owned()).filter(|n| n.len() == 24))
        .collect();
    names.sort();
    names.dedup();
    names
}
