//! Recovery that begins when the base backup is there, while the rest of the WAL is still on its way: it
//! must end as one that began with all of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pgassay::{
    archive::Codec,
    drill::{Code, DrillReport, FailureClass, Verdict, stage::Stage},
    store::{
        faulty::{Call, Fault, Faulty, Rule},
        memory::MemoryStore,
    },
};

use crate::{
    lying,
    support::{
        damage::{flip_row, rewrite_gz, unpacked},
        drill::{Answer, Drill, damaged_copy, signal, start_until},
        fixture::{self, Archive, Recipe, Workshop},
        memory,
        wal_folder::WalFolder,
    },
};

/// More segments of 1 MiB than are fetched while the base is not there yet.
const BEHIND: u32 = 80;

/// Server `overlap`: WAL that the base need not wait for, then rows. Mark `end`. Server `later`: the same, and
/// behind it what another server is needed for, and a tablespace. Mark `later`.
fn overlap() -> Archive {
    fixture::archive("overlap", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "overlap", recipe);
        let spool = WalFolder::open(&shop);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("early", 200);
        shop.sql(
            "postgres",
            &format!(
                "select pg_logical_emit_message(false, 'next', 'segment'), pg_switch_wal()
                   from generate_series(1, {BEHIND})"
            ),
        );
        shop.add("behind", 2000);
        shop.mark("end");
        shop.switch_wal();
        spool.deliver(root, "overlap", Codec::Gzip);

        // A copy of a database's files, whose source is gone by the time another server begins.
        let fast = shop.source.make_dir("fast").unwrap();
        shop.sql("postgres", &format!("create tablespace fast location '{}'", fast.display()));
        shop.sql("postgres", "create database moves");
        shop.sql(
            "moves",
            "create table moved as select i, md5(i::text) from generate_series(1, 5000) i",
        );
        shop.sql("moves", "create index on moved (i)");
        shop.sql("postgres", "alter database moves set tablespace fast");
        shop.sql("moves", "insert into moved select i, 'later' from generate_series(1, 5000) i");

        let raised = "max_connections = 321\nmax_prepared_transactions = 300\n";
        shop.source.append_config(raised).unwrap();
        shop.source.stop(true).unwrap();
        shop.source.start().unwrap();
        for i in 0..3 {
            let prepared =
                format!("begin; create table prepared{i} (i int); prepare transaction 'open{i}'");
            shop.sql("app", &prepared);
        }
        let space = shop.source.make_dir("other").unwrap();
        shop.sql("postgres", &format!("create tablespace other location '{}'", space.display()));
        shop.sql("app", "create table there tablespace other as select generate_series(1, 500) i");
        shop.add("later", 100);
        shop.mark("later");
        shop.switch_wal();
        spool.deliver(root, "later", Codec::Gzip);
        let archive = root.join("bucket/archive");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(archive.join("overlap/base"))
            .arg(archive.join("later"))
            .status();
        assert!(copied.unwrap().success());
        shop.finish()
    })
}

/// Segments that were fetched while the server replayed.
fn overlapped(answer: &Answer) -> u64 {
    let stages = answer.report["stages"].as_array().unwrap();
    let replay = stages.iter().find(|stage| stage["stage"] == "replay").unwrap();
    replay["wal_segments"].as_u64().unwrap()
}

/// The segments of a server, in order.
fn segments(root: &Path, server: &str) -> Vec<PathBuf> {
    let wals = root.join("bucket/archive").join(server).join("wals/0000000100000000");
    let mut segments: Vec<_> = fs::read_dir(wals).unwrap().map(|e| e.unwrap().path()).collect();
    segments.sort();
    segments
}

/// The first segment with rows of the batch `behind`, undamaged.
fn with_rows(root: &Path) -> PathBuf {
    let mut behind = segments(root, "overlap").into_iter().skip(BEHIND as usize);
    let is_row = |window: &[u8]| window.iter().all(u8::is_ascii_hexdigit);
    let has_rows = |path: &PathBuf| unpacked(path).windows(64).any(is_row);
    behind.find(has_rows).unwrap()
}

#[test]
fn it_reaches_what_all_of_the_wal_promises() {
    let archive = overlap();
    let drill = Drill::new(&archive.root, "overlap", &archive.rows_of("end"));
    let answer = drill.run(&[]);
    answer.expect("pass", 0);
    assert!(overlapped(&answer) > 10, "{}", answer.stdout);
    let (promise, reached) = (&answer.report["promise"], &answer.report["reached"]);
    assert_eq!(promise["end"], reached["end"]);
    let stages = answer.report["stages"].as_array().unwrap();
    let sum = |what: &str| stages.iter().map(|s| s[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("wal_segments"), answer.report["backup"]["wal_segments"].as_u64().unwrap());
}

#[test]
fn another_server_goes_on_where_the_wal_needs_one() {
    let archive = overlap();
    let drill = Drill::new(&archive.root, "later", &archive.rows_of("later"));
    let answer = drill.run(&[]);
    answer.expect("pass", 0);
    assert!(overlapped(&answer) > 10, "{}", answer.stdout);
    let settings = answer.report["sandbox"]["settings"].to_string();
    for setting in ["max_connections=321", "max_prepared_transactions=300"] {
        assert!(settings.contains(setting), "{setting} is not in {settings}");
    }
    let names: Vec<_> = answer.report["stages"].as_array().unwrap().iter().collect();
    let count = |name: &str| names.iter().filter(|stage| stage["stage"] == name).count();
    assert_eq!((count("start"), count("replay"), count("promote")), (1, 1, 1));
}

#[test]
fn a_damaged_record_behind_the_beginning_is_found_and_replay_ends_there() {
    let archive = overlap();
    let damaged = damaged_copy(&archive, |root| {
        rewrite_gz(&with_rows(root), |bytes| flip_row(bytes, 0));
    });
    let answer = Drill::new(damaged.path(), "overlap", "").run(&[]);
    let name = with_rows(&archive.root);
    let name = name.file_name().unwrap().to_str().unwrap();
    answer.expect("fail", 1).expect_finding("wal_corrupt", name);
    assert!(overlapped(&answer) > 10, "{}", answer.stdout);
    // Up to there all is good, and nothing but the damage is told.
    assert_eq!(answer.findings().len(), 1, "{:#?}", answer.findings());
    assert_eq!(answer.report["promise"]["end"], answer.report["reached"]["end"]);
}

#[test]
fn a_segment_behind_the_beginning_that_does_not_decode_is_found() {
    let archive = overlap();
    let damaged = damaged_copy(&archive, |root| {
        let path = with_rows(root);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    });
    let answer = Drill::new(damaged.path(), "overlap", "").run(&[]);
    answer.expect("fail", 1).expect_finding("wal_corrupt", ".gz");
    assert_eq!(answer.report["promise"]["end"], answer.report["reached"]["end"]);
}

/// A drill of `overlap` on a store that errs at the segment with rows.
fn errs(fault: Fault, nth: Option<u64>) -> DrillReport {
    let archive = overlap();
    let objects = memory::objects(&archive.root);
    let key = with_rows(&archive.root).file_name().unwrap().to_str().unwrap().to_owned();
    let rule = match nth {
        Some(nth) => Rule::nth(Call::Get, key, nth, fault),
        None => Rule::every(Call::Get, key, fault),
    };
    let store: Faulty<MemoryStore> = Faulty::new(objects, [rule]);
    lying::drill(&store, "overlap")
}

#[test]
fn what_cannot_be_had_any_more_is_no_end_of_the_log() {
    let report = errs(Fault::Error(Code::ObjectMissing), None);
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    let class = report.errors.first().and_then(|error| error.class);
    assert_eq!(class, Some(FailureClass::DeletedDuringDrill), "{report:#?}");
    assert!(report.reached.is_none() && report.promise.is_none());
    assert!(report.stages.0.iter().any(|stage| stage.stage == Stage::Replay), "{report:#?}");
}

#[test]
fn what_only_one_reading_shows_is_no_damage() {
    let report = errs(Fault::FlipByte(3000), Some(1));
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    let class = report.errors.first().and_then(|error| error.class);
    assert_eq!(class, Some(FailureClass::ObjectReadIncomplete), "{report:#?}");
    assert!(report.checks.iter().all(|check| check.findings.is_empty()), "{report:#?}");
}

#[test]
fn interrupted_while_both_work_it_leaves_nothing() {
    let archive = overlap();
    let drill = Drill::new(&archive.root, "overlap", "");
    let child = start_until(drill.command(), "replay");
    signal(&child, "TERM");
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!(answer.exit, 143, "{answer:?}");
    drill.assert_nothing_left(&answer);
}
