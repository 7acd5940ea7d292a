//! What a rescue refuses before it does anything.

use std::{fs, path::Path};

use crate::support::{
    damage::{backup_folder, segment},
    drill::damaged_copy,
    fixture,
    rescue::Rescue,
};

#[test]
fn a_folder_that_will_not_do() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    let dir = rescue.dir();
    let refuses = |dir: &Path, words: &str| {
        rescue.run_into(dir, &[]).expect_error("E014", 2, words);
        // The plan would not do either.
        rescue.run_into(dir, &["--plan"]).expect_error("E014", 2, words);
    };
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(".only-a-dotfile"), "mine").unwrap();
    refuses(&dir, "is not empty, it holds `.only-a-dotfile`");
    fs::write(dir.join("PG_VERSION"), "15").unwrap();
    refuses(&dir, "holds a data directory");
    refuses(&dir.join("below"), "lies inside the data directory");
    refuses(&rescue.work.join("srv/no/such"), "cannot be made, since");
    refuses(&rescue.work.join("job.yaml"), "is not a folder");
    assert_eq!(rescue.left(), ["main"]);
    assert_eq!(fs::read_to_string(dir.join(".only-a-dotfile")).unwrap(), "mine");
    assert_eq!(rescue.proxy.gets(), Vec::<String>::new(), "nothing was read of the archive");

    // What is in the way of the work, or of a tablespace.
    let other = rescue.work.join("srv/other");
    fs::create_dir(rescue.work.join("srv/other.pgassay-rescue")).unwrap();
    fs::write(rescue.work.join("srv/other.pgassay-rescue/x"), "mine").unwrap();
    rescue.run_into(&other, &["--anew"]).expect_error("E015", 2, "it holds `x`");
    fs::remove_dir_all(rescue.work.join("srv/other.pgassay-rescue")).unwrap();
    let oid = super::tablespace_of(&archive.root);
    fs::create_dir_all(rescue.work.join(&format!("srv/other.tablespaces/{oid}/x"))).unwrap();
    rescue.run_into(&other, &[]).expect_error("E014", 2, "is in the way of a tablespace");
    rescue.run_into(&other, &["--tablespace", "1=/tmp/x"]).expect_error("E014", 2, "tablespace");
    rescue.run_into(&other, &["--tablespace", "x"]).expect_error("P001", 2, "OID=FOLDER");
    assert_eq!(rescue.left(), ["main", "other.tablespaces"], "nothing is left of a refusal");
}

#[test]
fn a_machine_that_will_not_do() {
    let archive = fixture::rich();
    for (spec, code) in [
        ("  sandbox: {postgresBin: /nonexistent}", "E001"),
        ("  sandbox: {user: no-such-user}", "E002"),
    ] {
        if code == "E002" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let rescue = Rescue::new(&archive.root, "rich", spec);
        let answer = rescue.run(&[]);
        assert_eq!(answer.exit, 4, "{answer:?}");
        assert!(answer.stdout.contains(code), "{spec}: {}", answer.stdout);
        assert_eq!(rescue.left(), Vec::<String>::new(), "{spec}");
    }
}

#[test]
fn a_disk_that_is_too_small() {
    let archive = fixture::rich();
    let copy = damaged_copy(&archive, |root| {
        let info = backup_folder(root).join("backup.info");
        let text = fs::read_to_string(&info).unwrap();
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some(("cluster_size", _)) => "cluster_size=99999999999999999".to_owned(),
            _ => line.to_owned(),
        });
        fs::write(&info, lines.collect::<Vec<_>>().join("\n")).unwrap();
    });
    let rescue = Rescue::new(copy.path(), "rich", "");
    let answer = rescue.run(&[]);
    assert_eq!(answer.exit, 4, "{answer:?}");
    assert!(answer.stdout.contains("E003"), "{}", answer.stdout);
    assert_eq!(rescue.left(), Vec::<String>::new());
}

#[test]
fn a_plan_that_the_archive_does_not_give() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    for arguments in [["--target-time", "2099-01-01T00:00:00Z"], ["--target-lsn", "0/100"]] {
        let answer = rescue.run(&arguments);
        answer.expect_outcome("impossible", 1);
        assert!(answer.report["window"]["to_lsn"].is_string(), "{}", answer.stdout);
        assert_eq!(rescue.left(), Vec::<String>::new(), "nothing is left of a refusal");
    }
    let info = backup_folder(&archive.root).join("backup.info");
    let info = fs::read_to_string(info).unwrap();
    let first = info.lines().find_map(|line| line.strip_prefix("begin_wal=")).unwrap().to_owned();
    let copy = damaged_copy(&archive, |root| fs::remove_file(segment(root, &first)).unwrap());
    let rescue = Rescue::new(copy.path(), "rich", "");
    let answer = rescue.run(&[]);
    answer.expect_outcome("impossible", 1).expect_found("wal_missing_for_consistency", &first);
    assert_eq!(rescue.left(), Vec::<String>::new());
}
