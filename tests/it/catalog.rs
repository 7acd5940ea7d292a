//! `pgassay catalog` on archives that barman-cloud made: sound ones without a false alarm, and each
//! damage that a listing shows, with its class.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    engine::standby_archive,
    support::{
        drill::{Answer, Drill, damaged_copy, environment},
        fixture::{self, Recipe, Workshop},
        tools::RUNTIME,
        workdir::WorkDir,
    },
};

mod million;

/// A segment in the middle of the main fixture's timeline 1.
const MIDDLE: &str = "000000010000000000000020";

fn command(drill: &Drill) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).arg("catalog").arg(drill.work.join("job.yaml"));
    command
}

/// Runs it, and sees that the archive was only listed and that no data was read.
fn catalog(root: &Path, server: &str, arguments: &[&str]) -> Answer {
    let drill = Drill::new(root, server, "");
    let mut command = command(&drill);
    let answer = Answer::from(command.args(["--output", "json"]).args(arguments).output().unwrap());
    assert_eq!(drill.server.writes_seen(), Vec::<String>::new(), "wrote to the archive");
    answer
}

fn classes(answer: &Answer, list: &str) -> Vec<String> {
    let list = answer.report[list].as_array().cloned().unwrap_or_default();
    list.iter().map(|finding| finding["class"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn expect_sound(answer: &Answer) {
    answer.expect("pass", 0);
    assert_eq!(classes(answer, "attentions"), Vec::<String>::new(), "{}", answer.stdout);
    assert_eq!(answer.report["gap_count"], 0);
    // WAL from before the first backup is there in every archive.
    let notes = answer.report["notes"].as_array().unwrap();
    let odd = notes.iter().find(|note| !note.as_str().unwrap().contains("older than every backup"));
    assert_eq!(odd, None, "{}", answer.stdout);
    for backup in answer.report["backups"].as_array().unwrap() {
        assert_eq!(backup["state"], "restorable", "{}", answer.stdout);
    }
}

#[test]
fn a_sound_archive_across_a_promotion() {
    let archive = fixture::rich();
    let answer = catalog(&archive.root, "rich", &[]);
    expect_sound(&answer);
    let reach = &answer.report["backups"][0]["reach"];
    assert_eq!(reach["timeline"], 2);
    let last = &archive.marks["end"].segment;
    assert_eq!(answer.report["newest_wal"]["segment"], reach["segment"]);
    assert!(reach["segment"].as_str().unwrap() >= last.as_str(), "{reach} {last}");
    assert_eq!(answer.report["timelines"][1]["parent"], 1);
    assert_eq!(answer.report["backups"][0]["parts"], 4);

    // What a person reads.
    let drill = Drill::new(&archive.root, "rich", "");
    let said = Answer::from(command(&drill).output().unwrap());
    assert_eq!(said.exit, 0, "{}", said.stderr);
    for part in ["PASS  test:", "restorable", "on timeline 2", "forked off 1 at 0/", "Window"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!said.stdout.contains("Attention"), "{}", said.stdout);
}

#[test]
fn every_codec() {
    let archive = fixture::codecs();
    for (server, ..) in fixture::CODECS {
        expect_sound(&catalog(&archive.root, server, &[]));
    }
}

#[test]
fn a_backup_from_a_standby() {
    expect_sound(&catalog(&standby_archive().root, "standby", &[]));
}

#[test]
fn large_segments() {
    let archive = fixture::archive("segments64", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=64"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "segments64", recipe);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 500);
        shop.mark("end");
        shop.switch_wal();
        shop.finish()
    });
    expect_sound(&catalog(&archive.root, "segments64", &[]));
}

struct Copy(WorkDir);

impl Copy {
    fn of_rich() -> Self {
        Self(damaged_copy(&fixture::rich(), |_| ()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("bucket/archive/rich").join(name)
    }

    fn segment(&self, name: &str) -> PathBuf {
        self.path(&format!("wals/{}/{name}.gz", &name[..16]))
    }

    fn first_of_timeline_2(&self) -> PathBuf {
        let folder = self.path("wals/0000000200000000");
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).min().unwrap()
    }

    fn backup(&self) -> PathBuf {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(self.path("base")).unwrap().map(|e| e.unwrap().path()).collect();
        folders.sort();
        folders.pop().unwrap()
    }

    /// A copy of the backup under an older id, with other lines in its description.
    fn older(&self, lines: &[(&str, &str)]) {
        let older = self.path("base/20200101T000000");
        let status = Command::new("cp").arg("-a").arg(self.backup()).arg(&older).status().unwrap();
        assert!(status.success());
        edit(&older.join("backup.info"), lines);
    }

    fn answer(&self) -> Answer {
        catalog(self.0.path(), "rich", &[])
    }
}

fn edit(info: &Path, lines: &[(&str, &str)]) {
    let mut text = fs::read_to_string(info).unwrap();
    for (key, value) in lines {
        let kept = text.lines().filter(|line| !line.starts_with(&format!("{key}=")));
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.push(format!("{key}={value}"));
        text = lines.join("\n") + "\n";
    }
    fs::write(info, text).unwrap();
}

fn remove(path: impl AsRef<Path>) {
    let path = path.as_ref();
    fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What is damaged, by which class it is found, and what the finding names.
type Case = (fn(&Copy), &'static str, &'static str);

/// Each fails, as a drill of the latest recovery point would.
#[test]
fn what_the_listing_shows_to_be_lost() {
    let cases: [Case; 14] = [
        (|c| remove(c.segment(MIDDLE)), "wal_gap", MIDDLE),
        (
            |c| remove(c.segment("00000001000000000000000F")),
            "wal_missing_for_consistency",
            "00000001000000000000000F",
        ),
        (|c| remove(c.first_of_timeline_2()), "wal_gap", "000000020000000000"),
        (
            |c| remove(c.path("wals/00000002.history.gz")),
            "timeline_history_missing",
            "00000002.history",
        ),
        (
            |c| fs::write(c.path("wals/00000003.history"), "1\t0/1000000\tx\n").unwrap(),
            "timeline_divergence",
            "00000003.history",
        ),
        (|c| fs::write(c.segment(MIDDLE), "").unwrap(), "wal_corrupt", MIDDLE),
        (
            |c| remove(c.backup().join("data_0001.tar.gz")),
            "backup_part_missing",
            "data_0001.tar.gz",
        ),
        (|c| remove(c.backup().join("data.tar.gz")), "backup_part_missing", "data.tar"),
        (
            |c| fs::write(c.backup().join("data_0001.tar.gz"), "pg_dump: error").unwrap(),
            "archive_corrupt",
            "data_0001.tar.gz",
        ),
        (|c| remove(c.backup().join("backup.info")), "no_restorable_backup", "backup.info"),
        (
            |c| fs::write(c.backup().join("backup.info"), "status=DO\nbegin_t").unwrap(),
            "no_restorable_backup",
            "backup.info",
        ),
        (
            |c| edit(&c.backup().join("backup.info"), &[("parent_backup_id", "20200101T000000")]),
            "incremental_chain",
            "backup.info",
        ),
        (
            |c| edit(&c.backup().join("backup.info"), &[("tablespaces", "None")]),
            "backup_info_mismatch",
            "tablespace",
        ),
        (|c| fs::remove_dir_all(c.path("base")).unwrap(), "no_restorable_backup", "no base backup"),
    ];
    for (damage, class, named) in cases {
        let copy = Copy::of_rich();
        damage(&copy);
        let answer = copy.answer();
        answer.expect("fail", 1);
        let found = answer.report["findings"].as_array().unwrap();
        let hit = found.iter().any(|f| f["class"] == class && f.to_string().contains(named));
        assert!(hit, "no {class} naming {named}: {}", answer.stdout);
    }
}

/// Each is told, and the latest backup restores all the same.
#[test]
fn what_does_not_keep_the_latest_backup_from_being_restored() {
    let cases: [Case; 5] = [
        (
            |c| c.older(&[("status", "FAILED"), ("error", "disk full")]),
            "no_restorable_backup",
            "disk full",
        ),
        (
            |c| c.older(&[("status", "STARTED"), ("begin_time", "2020-01-01 00:00:00+00:00")]),
            "no_restorable_backup",
            "never finished",
        ),
        (|c| c.older(&[("snapshots_info", "{}")]), "backup_unsupported", "snapshots"),
        (|c| c.older(&[("systemid", "7")]), "system_id_mismatch", "20200101T000000"),
        (
            |c| {
                let whole = c.segment(MIDDLE);
                fs::rename(&whole, whole.with_extension("zst")).unwrap();
                fs::write(whole.with_extension("partial.zst"), "x").unwrap();
            },
            "restore_tool_bug",
            MIDDLE,
        ),
    ];
    for (damage, class, named) in cases {
        let copy = Copy::of_rich();
        damage(&copy);
        let answer = copy.answer();
        answer.expect("pass", 0);
        let found = answer.report["attentions"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{}", answer.stdout);
        assert_eq!(found[0]["class"], class, "{}", answer.stdout);
        assert!(found[0].to_string().contains(named), "{}", answer.stdout);
    }
}

#[test]
fn a_drill_takes_the_backup_at_the_edge() {
    let copy = Copy::of_rich();
    copy.older(&[("end_time", "2020-01-01 00:00:00+00:00")]);
    for choice in ["retentionEdge", "worstCase"] {
        let drill = Drill::new(copy.0.path(), "rich", "");
        let mut command = drill.command();
        let answer = Answer::from(command.args(["--plan", "--backup", choice]).output().unwrap());
        assert_eq!(answer.exit, 0, "{} {}", answer.stdout, answer.stderr);
        let chosen = &answer.report["plan"]["backup"]["id"];
        assert_eq!(chosen, "20200101T000000", "{}", answer.stdout);
    }
}

#[test]
fn an_objective_that_is_not_met() {
    let archive = fixture::rich();
    // The fixture was made before this run, or by it: seconds ago at least.
    catalog(&archive.root, "rich", &["--rpo", "3650d"]).expect("pass", 0);
    let copy = Copy::of_rich();
    for entry in fs::read_dir(copy.path("wals"))
        .unwrap()
        .chain(fs::read_dir(copy.path("wals/0000000200000000")).unwrap())
    {
        let path = entry.unwrap().path();
        let hour = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
        fs::File::open(&path).unwrap().set_modified(hour).unwrap();
    }
    let answer = catalog(copy.0.path(), "rich", &["--rpo", "59m"]);
    answer.expect("breach", 3);
    assert_eq!(classes(&answer, "findings"), ["archive_stale"]);
    catalog(copy.0.path(), "rich", &["--rpo", "70m"]).expect("pass", 0);
}

#[test]
fn what_the_store_cannot_do() {
    use crate::store::peer::{Peer, Reply};

    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let refused = command(&drill).env("AWS_SECRET_ACCESS_KEY", "wrong").output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let nobody = catalog(&archive.root, "nobody", &[]);
    assert_eq!(nobody.exit, 2, "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("S002") && nobody.stderr.contains("`rich`"),
        "{}",
        nobody.stderr
    );

    // The bucket lives in another region: what to set is said, also where the answer has no body.
    for body in ["", "<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>"] {
        let headers = [("x-amz-bucket-region", "eu-central-1")];
        let peer = RUNTIME.block_on(Peer::start(move |_, _| Reply::new(301, &headers, body)));
        let mut moved = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        moved.env_clear().envs(environment());
        moved.args(["catalog", "--s3-url", "s3://bucket/archive", "--server", "rich"]);
        moved.args(["--s3-region", "us-east-1", "--s3-endpoint", &peer.endpoint()]);
        let answer = Answer::from(moved.output().unwrap());
        assert_eq!(answer.exit, 2, "{}", answer.stderr);
        assert!(answer.stderr.contains("S006"), "{}", answer.stderr);
        assert!(answer.stderr.contains("eu-central-1"), "{}", answer.stderr);
    }
}
