//! What a person gets wrong, and what a machine lacks: one line, a hint, the right exit status, and
//! nothing left behind.

use std::{fs, process::Command};

use crate::support::{
    drill::{Answer, Drill, environment},
    fixture,
    workdir::{WorkDir, tree},
};

/// One error line with this code, one hint that contains `hint`, this exit status.
#[track_caller]
fn expect_error(answer: &Answer, exit: i32, code: &str, hint: &str) {
    assert_eq!(answer.exit, exit, "{}\n{}", answer.stdout, answer.stderr);
    let all = format!("{}\n{}", answer.stdout, answer.stderr);
    assert!(all.contains(code), "no {code} in {all}");
    assert!(all.contains(hint), "no hint with `{hint}` in {all}");
    assert!(!all.contains("panicked"), "{all}");
}

#[test]
fn wrong_credentials_are_inconclusive() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let output = drill.command().env("AWS_SECRET_ACCESS_KEY", "wrong").output().unwrap();
    let answer = Answer::from(output);
    expect_error(&answer, 4, "S003", "Check the secret access key");
    answer.expect("inconclusive", 4);
    drill.assert_nothing_left(&answer);
}

#[test]
fn no_credentials_at_all_is_a_mistake_of_the_configuration() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let mut command = drill.command();
    command.env_remove("AWS_SECRET_ACCESS_KEY").env_remove("AWS_ACCESS_KEY_ID");
    let answer = Answer::from(command.output().unwrap());
    expect_error(&answer, 2, "S011", "credentials");
    drill.assert_nothing_left(&answer);
}

#[test]
fn an_empty_prefix_names_the_servers_that_are_there() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rcih", "");
    let answer = drill.run(&[]);
    expect_error(&answer, 2, "S002", "rich");
}

#[test]
fn a_bucket_that_does_not_exist() {
    let empty = WorkDir::new();
    fs::create_dir(empty.join("other")).unwrap();
    let drill = Drill::new(empty.path(), "rich", "");
    let answer = drill.run(&[]);
    expect_error(&answer, 2, "S001", "bucket");
}

#[test]
fn a_major_that_is_not_installed() {
    let archive = fixture::of_major(18);
    let drill = Drill::new(&archive.root, "major18", "");
    let mut command = drill.command();
    command.env_remove("PGASSAY_PG_BIN").env("PATH", "/usr/bin:/bin");
    let answer = Answer::from(command.output().unwrap());
    expect_error(&answer, 4, "E001", "postgresql-18");
    answer.expect("inconclusive", 4);
    drill.assert_nothing_left(&answer);
}

#[test]
fn a_budget_that_is_too_small() {
    let archive = fixture::rich();
    let answer = Drill::new(&archive.root, "rich", "  sandbox: {diskBudget: 1MiB}").run(&[]);
    expect_error(&answer, 4, "E003", "diskBudget");
}

#[test]
fn a_disk_that_is_full() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let disk = drill.work.join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).arg(&disk).status().unwrap().success()
    };
    assert!(
        mount(&["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"]),
        "needs root to mount a small disk"
    );
    let output = drill.command_in(&disk).output().unwrap();
    let left = tree(&disk);
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    let answer = Answer::from(output);
    expect_error(&answer, 4, "E003", "--work-dir");
    assert!(left.iter().all(|p| p == "pgassay"), "{left:?}");
}

#[test]
fn a_work_directory_that_holds_something_else() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    fs::write(drill.sandboxes().join("PG_VERSION"), "15").unwrap();
    let answer = Answer::from(drill.command().output().unwrap());
    expect_error(&answer, 2, "E004", "--work-dir");
    assert_eq!(tree(&drill.sandboxes()), ["PG_VERSION"]);
}

#[test]
fn a_job_with_several_mistakes_names_them_all() {
    let work = WorkDir::new();
    let job = work.join("job.yaml");
    let text = "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: x}\nspec:\n  archive: {url: \"gs://b/p\"}\n  depht: deep\n  objectives: {rto: 4}\n";
    fs::write(&job, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    let output = command.env_clear().envs(environment()).arg("drill").arg(&job).output().unwrap();
    let answer = Answer::from(output);
    expect_error(&answer, 2, "P003", "depth");
    for path in ["spec.archive.url", "spec.archive.server", "spec.depht", "spec.objectives.rto"] {
        assert!(answer.stderr.contains(path), "no {path} in {}", answer.stderr);
    }
}
