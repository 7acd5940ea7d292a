//! Drills on stores and networks that give other bytes than they keep: no damage of the archive, and no
//! restore of it either.

use std::{sync::Arc, time::Duration};

use pgassay::{
    config::flags::default_job,
    drill::{
        Code, DrillReport, FailureClass, Job, Verdict,
        job::{Depth, Target, TargetChoice},
    },
    runner::{self, DrillRequest},
    store::{
        SharedStore,
        faulty::{Call, Fault, Faulty, Rule},
        memory::MemoryStore,
    },
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    damage::{MIDDLE, end_inside_a_record},
    fixture, memory,
    tools::{self, RUNTIME},
    workdir::{WorkDir, tree},
};

const ONCE: FailureClass = FailureClass::ObjectReadIncomplete;
/// `md5('1501' || '1')`: of a row that nothing has touched since the backup.
const ROW: &[u8] = b"21bf78373135b9673366fae7f6ddddeb";
const TWICE: &str = "was read twice: the first reading was damaged";

/// A whole drill of the depth `restore`, through PostgreSQL where it comes that far.
pub fn drill(store: &Faulty<MemoryStore>, server: &str) -> DrillReport {
    drill_of(store, server, |_| ())
}

fn drill_of(
    store: &Faulty<MemoryStore>,
    server: &str,
    change: impl FnOnce(&mut Job),
) -> DrillReport {
    let work = WorkDir::new();
    let mut job = default_job("lying".into(), memory::location(server));
    job.depth = Depth::Restore;
    job.sandbox.work_dir = Some(work.path().to_path_buf());
    let bin = tools::postgres_bin(tools::packaged_major());
    job.sandbox.postgres_bin = Some(bin);
    change(&mut job);
    let request = DrillRequest {
        job,
        seed: Some(0),
        beginning: None,
        progress: Progress::silent(),
        cancel: CancellationToken::new(),
        helper: Some(env!("CARGO_BIN_EXE_pgassay").into()),
    };
    let store: SharedStore = Arc::new(store.clone());
    let report = RUNTIME.block_on(Box::pin(runner::drill_on(store, request))).unwrap();
    let left: Vec<_> = tree(work.path()).into_iter().filter(|path| path.contains("data")).collect();
    assert_eq!(left, Vec::<String>::new());
    report
}

/// The first reading of the object that `key` names has another byte, the second is right: `words` are
/// what is said of that.
#[track_caller]
fn lies_once(objects: &MemoryStore, server: &str, key: &str, byte: u64, words: &[&str]) {
    errs_once(objects, server, key, Fault::FlipByte(byte), words);
}

/// As [`lies_once`], with any fault.
#[track_caller]
fn errs_once(objects: &MemoryStore, server: &str, key: &str, fault: Fault, words: &[&str]) {
    let store = Faulty::new(objects.clone(), [Rule::nth(Call::Get, key, 1, fault)]);
    let report = drill(&store, server);
    let findings: Vec<_> = report.checks.iter().flat_map(|check| &check.findings).collect();
    assert!(findings.is_empty(), "{key}: {findings:#?}");
    assert_eq!(report.verdict, Verdict::Inconclusive, "{key}: {report:#?}");
    let [error] = report.errors.as_slice() else { panic!("{key}: {:#?}", report.errors) };
    assert_eq!(error.class, Some(ONCE), "{error:#?}");
    for words in words.iter().chain(&[TWICE]) {
        assert!(error.message.contains(words), "{words}: {error:#?}");
    }
    assert!(error.hint.as_ref().is_some_and(|hint| hint.starts_with("Run it again")), "{error:#?}");
    assert_eq!(report.reason, error.message);
    assert_eq!(store.count(Call::Get, key), 2);
}

/// It has another byte at every reading: then that is what is kept.
#[track_caller]
fn stands(objects: &MemoryStore, server: &str, key: &str, byte: u64, class: FailureClass) {
    errs_always(objects, server, key, Fault::FlipByte(byte), class);
}

#[track_caller]
fn errs_always(objects: &MemoryStore, server: &str, key: &str, fault: Fault, class: FailureClass) {
    let rule = Rule::every(Call::Get, key, fault);
    let store = Faulty::new(objects.clone(), [rule]);
    let report = drill(&store, server);
    assert_eq!(report.verdict, Verdict::Fail, "{key}: {report:#?}");
    let mut findings = report.checks.iter().flat_map(|check| &check.findings);
    assert!(findings.any(|finding| finding.class == class), "{key}: {report:#?}");
    assert!(store.count(Call::Get, key) > 1, "{key}");
}

/// Where `needle` stands in the object whose key ends with `end`; its key, too.
fn place(objects: &MemoryStore, prefix: &str, end: &str, needle: &[u8]) -> (String, u64) {
    let keys = memory::keys(objects, prefix);
    let key = keys.into_iter().find(|key| key.ends_with(end)).unwrap();
    let bytes = objects.bytes(&key).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    (key, at as u64)
}

#[test]
fn a_tar_that_does_not_decode_at_the_first_reading() {
    let objects = memory::objects(&fixture::rich().root);
    let key = "data_0001.tar.gz";
    lies_once(&objects, "rich", key, 60_000, &[key]);
    stands(&objects, "rich", key, 60_000, FailureClass::ArchiveCorrupt);
}

#[test]
fn a_page_that_is_bad_at_the_first_reading() {
    // Nothing of a plain tar has a checksum but the pages in it, `pg_control` and the tar's headers.
    let objects = memory::objects(&fixture::codecs().root);
    let (key, row) = place(&objects, "archive/zstd/base/", "/data.tar", ROW);
    let words = ["the archive does not hold what was restored from it: `base/", " of backup "];
    lies_once(&objects, "zstd", &key, row, &words);
    stands(&objects, "zstd", &key, row, FailureClass::PageChecksum);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn own_files_that_are_bad_at_the_first_reading() {
    let objects = memory::objects(&fixture::codecs().root);
    let control = b"global/pg_control\0";
    let (key, header) = place(&objects, "archive/zstd/base/", "/data.tar", control);
    // The first byte of the system identifier.
    lies_once(&objects, "zstd", &key, header + 512, &["global/pg_control"]);
    stands(&objects, "zstd", &key, header + 512, FailureClass::ArchiveCorrupt);
}

#[test]
fn a_member_that_is_not_there_at_the_first_reading() {
    let objects = memory::objects(&fixture::codecs().root);
    let control = b"global/pg_control\0";
    let (key, header) = place(&objects, "archive/zstd/base/", "/data.tar", control);
    // `global/pg_contrlo`: a header of the same sum.
    let fault = Fault::SwapBytes(header + 15);
    errs_once(&objects, "zstd", &key, fault, &["no part holds `global/pg_control`"]);
    errs_always(&objects, "zstd", &key, fault, FailureClass::BackupPartMissing);
}

/// What is proven stands however the drill ends: it is `class`, and the drill ended with `code`.
#[track_caller]
fn proven(report: &DrillReport, class: FailureClass, code: Code) {
    let mut findings = report.checks.iter().flat_map(|check| &check.findings);
    assert!(findings.any(|finding| finding.class == class), "{report:#?}");
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    let [error] = report.errors.as_slice() else { panic!("{report:#?}") };
    assert_eq!(error.code, code.as_str(), "{error:#?}");
}

#[test]
fn damage_of_the_base_stands_where_the_wal_cannot_be_had() {
    let objects = memory::objects(&fixture::rich().root);
    let flip = Rule::every(Call::Get, "data_0001.tar.gz", Fault::FlipByte(60_000));
    let hang = Rule::every(Call::Get, format!("{MIDDLE}.gz"), Fault::Hang);
    let store = Faulty::new(objects, [flip, hang]);
    let report = drill_of(&store, "rich", |job| job.limits.no_progress = Duration::from_secs(5));
    proven(&report, FailureClass::ArchiveCorrupt, Code::DeadlineExceeded);
}

#[test]
fn damage_of_the_wal_stands_where_the_base_cannot_be_had() {
    let objects = memory::objects(&fixture::rich().root);
    let flip = || Rule::every(Call::Get, format!("{MIDDLE}.gz"), Fault::FlipByte(5000));
    let tar = |fault| Rule::every(Call::Get, "data_0001.tar.gz", fault);
    // At the same time.
    let store = Faulty::new(objects.clone(), [flip(), tar(Fault::Hang)]);
    let report = drill_of(&store, "rich", |job| job.limits.no_progress = Duration::from_secs(5));
    proven(&report, FailureClass::WalCorrupt, Code::DeadlineExceeded);
    // One after the other.
    let store = Faulty::new(objects, [flip(), tar(Fault::Error(Code::AccessDenied))]);
    let report = drill_of(&store, "rich", |job| {
        job.recovery_point.target = TargetChoice::Given(Target::Name("behind the damage".into()));
    });
    proven(&report, FailureClass::WalCorrupt, Code::AccessDenied);
}

#[test]
fn damage_of_the_wal_stands_where_that_of_the_base_cannot_be_confirmed() {
    let objects = memory::objects(&fixture::codecs().root);
    let control = b"global/pg_control\0";
    let (tar, header) = place(&objects, "archive/zstd/base/", "/data.tar", control);
    let mut keys = memory::keys(&objects, "archive/zstd/wals/");
    keys.retain(|key| key.contains(".zst") && !key.contains(".backup"));
    keys.sort();
    let middle = keys[keys.len() / 2].clone();
    let size = objects.bytes(&middle).unwrap().len() as u64;
    let rules = [
        Rule::nth(Call::Get, &tar, 1, Fault::FlipByte(header + 512)),
        Rule::every(Call::Get, &tar, Fault::Error(Code::AccessDenied)),
        Rule::every(Call::Get, middle, Fault::FlipByte(size / 2)),
    ];
    let report = drill(&Faulty::new(objects, rules), "zstd");
    proven(&report, FailureClass::WalCorrupt, Code::AccessDenied);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn a_segment_that_does_not_decode_at_the_first_reading() {
    let objects = memory::objects(&fixture::rich().root);
    let key = format!("{MIDDLE}.gz");
    lies_once(&objects, "rich", &key, 5000, &[&key]);
    stands(&objects, "rich", &key, 5000, FailureClass::WalCorrupt);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn a_record_that_is_bad_at_the_first_reading() {
    let objects = memory::objects(&fixture::codecs().root);
    let mut keys = memory::keys(&objects, "archive/plain/wals/");
    keys.retain(|key| key.rsplit('/').next().is_some_and(|name| name.len() == 24));
    let middle = keys.len() / 2;
    let key = &keys[middle];
    lies_once(&objects, "plain", key, 500_000, &[key]);
    // `xlp_rem_len`: a record that began in the segment before goes on behind the page's header.
    let goes_on = |key: &String| {
        let bytes = objects.bytes(key).unwrap();
        u32::from_le_bytes(*bytes[16..].first_chunk().unwrap()) > 100
    };
    let crossed = (middle..keys.len()).find(|n| goes_on(&keys[*n])).unwrap();
    lies_once(&objects, "plain", &keys[crossed], 100, &[&keys[crossed - 1]]);
    stands(&objects, "plain", key, 500_000, FailureClass::WalCorrupt);
}

#[test]
fn an_end_of_the_wal_that_is_bad_at_the_first_reading() {
    let objects = memory::objects(&fixture::codecs().root);
    let (key, header) = end_inside_a_record(&objects, "plain");
    errs_once(&objects, "plain", &key, Fault::FlipByte(header), &[&key]);
    errs_once(&objects, "plain", &key, Fault::ZerosFrom(500_000), &[&key]);
}

/// As `verify` has it: damage is what two readings show.
#[test]
#[ignore = "a matrix: make test-all"]
fn what_cannot_be_read_a_second_time() {
    let [rich, codecs] = [fixture::rich(), fixture::codecs()].map(|of| memory::objects(&of.root));
    let (tar, row) = place(&codecs, "archive/zstd/base/", "/data.tar", ROW);
    let mut plain = memory::keys(&codecs, "archive/plain/wals/");
    plain.retain(|key| key.rsplit('/').next().is_some_and(|name| name.len() == 24));
    let plain = &plain[plain.len() / 2];
    let segment = format!("{MIDDLE}.gz");
    for (objects, server, key, byte) in [
        (&codecs, "zstd", tar.as_str(), row),
        (&codecs, "plain", plain.as_str(), 500_000),
        (&rich, "rich", "data_0001.tar.gz", 60_000),
        (&rich, "rich", segment.as_str(), 5000),
    ] {
        let flip = Rule::nth(Call::Get, key, 1, Fault::FlipByte(byte));
        let lost = Rule::every(Call::Get, key, Fault::Error(Code::StoreUnavailable));
        let report = drill(&Faulty::new(objects.clone(), [flip, lost]), server);
        let findings: Vec<_> = report.checks.iter().flat_map(|check| &check.findings).collect();
        assert!(findings.is_empty(), "{key}: {findings:#?}");
        assert_eq!(report.verdict, Verdict::Inconclusive, "{key}: {report:#?}");
        let said = "and could not be read once more: a fault was injected";
        assert!(report.reason.contains(said), "{key}: {}", report.reason);
    }
}
