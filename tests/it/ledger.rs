//! `pgassay verify --ledger`: what is not read again, and what is all the same found. The server is
//! Moto's, since a ledger needs the entity tags that its listings have.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    store::moto,
    support::{
        drill::{Answer, environment},
        fixture::{self, Archive},
        tools::RUNTIME,
        workdir::{WorkDir, tree},
    },
};

/// A segment in the middle of the main fixture's timeline 1.
const MIDDLE: &str = "000000010000000000000020";

/// A copy of an archive in a bucket of its own, and a ledger beside.
struct Stage {
    bucket: String,
    root: PathBuf,
    work: WorkDir,
}

impl Stage {
    fn new(archive: &Archive, bucket: &str) -> Self {
        let root = archive.root.join("bucket");
        let stage = Self { bucket: bucket.to_owned(), root, work: WorkDir::new() };
        stage.send(reqwest::Method::PUT, "", Vec::new());
        for name in tree(&stage.root.join("archive/rich")) {
            let key = format!("archive/rich/{name}");
            if stage.root.join(&key).is_file() {
                stage.put(&key, fs::read(stage.root.join(&key)).unwrap());
            }
        }
        stage
    }

    fn send(&self, method: reqwest::Method, key: &str, body: Vec<u8>) {
        let url = format!("{}/{}/{key}", moto::endpoint(), self.bucket);
        RUNTIME.block_on(async {
            // Moto replaces and removes for anybody who says who they are.
            let signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, \
                          SignedHeaders=host, Signature=0";
            let request = reqwest::Client::new().request(method, url).body(body);
            let sent = request.header("authorization", signed).send().await;
            sent.unwrap().error_for_status().unwrap();
        });
    }

    fn put(&self, key: &str, bytes: Vec<u8>) {
        self.send(reqwest::Method::PUT, key, bytes);
    }

    fn remove(&self, key: &str) {
        self.send(reqwest::Method::DELETE, key, Vec::new());
    }

    fn original(&self, key: &str) -> Vec<u8> {
        fs::read(self.root.join(key)).unwrap()
    }

    fn part(&self, name: &str) -> String {
        let base = self.root.join("archive/rich/base");
        let backup = fs::read_dir(base).unwrap().next().unwrap().unwrap().file_name();
        format!("archive/rich/base/{}/{name}", backup.to_string_lossy())
    }

    fn file(&self) -> PathBuf {
        self.work.join("rich.ledger")
    }

    fn verify(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).arg("verify").args(["--output", "json"]);
        command.args(["--s3-url", &format!("s3://{}/archive", self.bucket), "--server", "rich"]);
        command.args(["--s3-endpoint", moto::endpoint(), "--s3-region", "us-east-1"]);
        Answer::from(command.args(arguments).output().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let file = self.file();
        let answer = self.verify(&[&["--ledger", file.to_str().unwrap()], arguments].concat());
        let left: Vec<String> = tree(self.work.path());
        assert_eq!(left, ["rich.ledger"], "beside the ledger");
        answer
    }
}

fn segment(name: &str) -> String {
    format!("archive/rich/wals/{}/{name}.gz", &name[..16])
}

fn number(report: &Value, pointer: &str) -> u64 {
    report
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{pointer} in {report}"))
}

/// Everything in a report that says how good the archive is.
fn judgement(report: &Value) -> Vec<Value> {
    let names =
        ["verdict", "reason", "backups", "timelines", "attentions", "errors", "more_findings"];
    let mut said: Vec<Value> = names.iter().map(|name| report[*name].clone()).collect();
    let checks = report["checks"].as_array().unwrap();
    said.extend(checks.iter().map(|check| check["findings"].clone()));
    said
}

#[track_caller]
fn assert_as_without(stage: &Stage, answer: &Answer) {
    let full = stage.verify(&[]);
    assert!(full.report["ledger"].is_null());
    assert_eq!(judgement(&answer.report), judgement(&full.report));
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let stage = Stage::new(&fixture::rich(), "ledger-unchanged");
    let first = stage.run(&[]);
    first.expect("pass", 0);
    assert_as_without(&stage, &first);
    let all = number(&first.report, "/volume/bytes");
    assert_eq!(number(&first.report, "/ledger/trusted_objects"), 0);
    assert!(first.report["ledger"]["oldest_reading"].is_null());
    assert_eq!(number(&first.report, "/ledger/estimate/bytes"), all);

    let second = stage.run(&[]);
    second.expect("pass", 0);
    assert_eq!(judgement(&second.report), judgement(&first.report));
    assert_eq!(number(&second.report, "/ledger/trusted_backups"), 1);
    assert_eq!(
        number(&second.report, "/backups/0/files"),
        number(&first.report, "/backups/0/files")
    );
    let (read, trusted) =
        (number(&second.report, "/volume/bytes"), number(&second.report, "/ledger/trusted_bytes"));
    assert_eq!(read + trusted, all);
    assert!(read < all / 4, "{read} of {all}");
    let segments = number(&first.report, "/volume/wal_segments");
    let again = number(&second.report, "/volume/wal_segments");
    assert_eq!(again + number(&second.report, "/ledger/trusted_wal_segments"), segments);
    assert!(again < segments / 2, "{again} of {segments}");
    assert!(second.stderr.contains("known to be good, read on 20"), "{}", second.stderr);
    let date = second.report["ledger"]["oldest_reading"].as_str().unwrap();
    let started = second.report["started_at"].as_str().unwrap();
    assert!(date <= &started[..10], "{date} {started}");
}

#[test]
fn a_replaced_part_is_read_and_its_damage_found() {
    let stage = Stage::new(&fixture::rich(), "ledger-part");
    stage.run(&[]).expect("pass", 0);
    let part = stage.part("data_0001.tar.gz");
    let mut bytes = stage.original(&part);
    let place = bytes.len() / 3;
    bytes[place] ^= 1;
    stage.put(&part, bytes);
    for _ in 0..2 {
        let answer = stage.run(&[]);
        answer.expect("fail", 1).expect_finding("archive_corrupt", "data_0001.tar.gz");
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
        assert_eq!(number(&answer.report, "/ledger/trusted_backups"), 0);
    }
    stage.put(&part, stage.original(&part));
    stage.run(&[]).expect("pass", 0);
}

#[test]
fn what_a_budget_leaves_out_is_said_and_read_by_the_next_run() {
    let stage = Stage::new(&fixture::rich(), "ledger-budget");
    let tiny = stage.run(&["--max-bytes", "1MiB"]);
    tiny.expect("inconclusive", 4);
    assert_eq!(tiny.report["backups"][0]["state"], "unknown");
    let errors = tiny.report["errors"].to_string();
    assert!(errors.contains("E013") && errors.contains("larger than the budget"), "{errors}");
    fs::remove_file(stage.file()).unwrap();
    let full = stage.verify(&[]);
    let base = number(&full.report, "/backups/0/bytes");
    let all = number(&full.report, "/volume/bytes");
    let short = (all - 1).to_string();
    let answer = stage.run(&["--max-bytes", &format!("{short}B")]);
    answer.expect("inconclusive", 4);
    assert!(number(&answer.report, "/volume/bytes") < all);
    // The backup comes first and fits; some of the WAL does not.
    let left = number(&answer.report, "/ledger/left_bytes");
    assert!(left > 0 && left < all - base, "{left} of {all}");
    assert!(answer.report["errors"].to_string().contains("E013"), "{}", answer.stdout);
    let answer = stage.run(&["--max-requests", "1"]);
    answer.expect("inconclusive", 4);
    stage.run(&[]).expect("pass", 0);
    // What is known needs no budget.
    let answer = stage.run(&["--max-bytes", &format!("{short}B")]);
    answer.expect("pass", 0);
    assert_eq!(number(&answer.report, "/ledger/left_objects"), 0);
}

#[test]
fn a_file_that_is_no_ledger_of_this_archive_is_left_alone() {
    let stage = Stage::new(&fixture::rich(), "ledger-foreign");
    for content in ["precious\n", "{}\n"] {
        fs::write(stage.file(), content).unwrap();
        let answer = stage.run(&[]);
        assert_eq!(answer.exit, 2, "{answer:?}");
        assert!(answer.stderr.contains("not a ledger"), "{}", answer.stderr);
        assert_eq!(fs::read_to_string(stage.file()).unwrap(), content);
    }
    fs::remove_file(stage.file()).unwrap();
    stage.run(&[]).expect("pass", 0);
    let bytes = fs::read(stage.file()).unwrap();

    let other = Stage::new(&fixture::rich(), "ledger-other");
    fs::write(other.file(), &bytes).unwrap();
    let answer = other.run(&[]);
    assert_eq!(answer.exit, 2, "{answer:?}");
    assert!(answer.stderr.contains("ledger-foreign"), "{}", answer.stderr);
    assert_eq!(fs::read(other.file()).unwrap(), bytes);

    // One that is ours and damaged is begun anew.
    fs::write(stage.file(), &bytes[..bytes.len() - 1]).unwrap();
    let answer = stage.run(&[]);
    answer.expect("pass", 0);
    assert!(answer.stderr.contains("begun anew"), "{}", answer.stderr);
    assert_eq!(number(&answer.report, "/ledger/trusted_objects"), 0);
    let answer = stage.run(&[]);
    assert!(number(&answer.report, "/ledger/trusted_objects") > 0);
    // Where it cannot be written, that is known before anything is read.
    let nowhere = Path::new("/nonexistent/ledger");
    let answer = stage.verify(&["--ledger", nowhere.to_str().unwrap()]);
    assert_eq!(answer.exit, 4, "{answer:?}");
    assert!(answer.stderr.contains("/nonexistent/ledger"), "{}", answer.stderr);
    assert!(!answer.stderr.contains("fetch: started"), "{}", answer.stderr);
}

#[test]
fn segments_that_were_replaced_or_removed_are_found() {
    let stage = Stage::new(&fixture::rich(), "ledger-wal");
    stage.run(&[]).expect("pass", 0);
    let middle = segment(MIDDLE);
    // Its neighbour's bytes: sound by themselves, and not what belongs there.
    stage.put(&middle, stage.original(&segment("00000001000000000000001F")));
    for _ in 0..2 {
        let answer = stage.run(&[]);
        answer.expect("fail", 1).expect_finding("wal_corrupt", MIDDLE);
        assert_as_without(&stage, &answer);
    }
    stage.remove(&middle);
    for _ in 0..2 {
        let answer = stage.run(&[]);
        answer.expect("fail", 1).expect_finding("wal_gap", MIDDLE);
        assert_as_without(&stage, &answer);
    }
    stage.put(&middle, stage.original(&middle));
    let answer = stage.run(&[]);
    answer.expect("pass", 0);
    assert_as_without(&stage, &answer);
}
