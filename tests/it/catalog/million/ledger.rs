//! Peak memory and time of `verify` with a ledger that knows a million segments: all but the ends are
//! trusted, so that the listing, the ledger and the plan are what there is to hold.

use std::{fmt::Write as _, fs, io::BufWriter, process::Command};

use jiff::Timestamp;
use pgassay::{
    archive::{Codec, ObjectRef},
    pg::{
        Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::walk::SegmentFacts,
    },
    verify::ledger::{Day, Identity, Ledger, SegmentId},
};

use super::{PAGE, SEGMENTS, name};
use crate::{
    store::peer::{Peer, Reply, Request},
    support::{
        drill::environment,
        timed::{Took, timed},
        tools::RUNTIME,
        workdir::WorkDir,
    },
};

/// The listing of a million objects, the ledger, its plan, and three segments on their way.
const MOST: u64 = 200 << 20;
const ROOT: &str = "archive/big/";
const ID: &str = "20260101T000000";
const MODIFIED: &str = "2026-02-01T00:00:00.000Z";
const SIZE: SegmentSize = SegmentSize::DEFAULT;

/// Segments are numbered from 1: PostgreSQL has no record at 0.
fn key(number: u64) -> String {
    let name = name(number);
    format!("{ROOT}wals/{}/{name}", &name[..16])
}

fn tag(number: u64) -> String {
    format!("\"{number:032x}\"")
}

fn info() -> String {
    let at = |offset: u64| Lsn(SegmentNumber(10).start(SIZE).0 + offset);
    format!(
        "begin_wal={name}\nbegin_xlog={}\nend_time=2026-01-01 01:00:00+00:00\nend_wal={name}\n\
         end_xlog={}\nstatus=DONE\nsystemid=7\ntimeline=1\nversion=170011\n\
         xlog_segment_size=16777216\n",
        at(0x28),
        at(0x40),
        name = name(10),
    )
}

fn entry(contents: &mut String, key: &str, tag: &str, size: u64) {
    let tag = tag.replace('"', "&quot;");
    write!(
        contents,
        "<Contents><Key>{key}</Key><LastModified>{MODIFIED}</LastModified><ETag>{tag}</ETag>\
         <Size>{size}</Size></Contents>"
    )
    .unwrap();
}

fn page(token: u64) -> String {
    let mut contents = String::new();
    if token == 0 {
        let base = format!("{ROOT}base/{ID}");
        entry(&mut contents, &format!("{base}/backup.info"), &tag(0), info().len() as u64);
        entry(&mut contents, &format!("{base}/data.tar"), &tag(0), 1 << 40);
    }
    for number in token * PAGE + 1..=(token + 1) * PAGE {
        entry(&mut contents, &key(number), &tag(number), SIZE.bytes());
    }
    super::listing_page(token, PAGE, (token + 1) * PAGE < SEGMENTS, &contents)
}

/// A segment that its first record closes (`XLogLongPageHeaderData`, `XLogRecord`).
fn segment(number: u64) -> Vec<u8> {
    let start = SegmentNumber(number).start(SIZE).0;
    let mut bytes = Vec::with_capacity(SIZE.bytes() as usize);
    bytes.extend(Major::V17.wal_page_magic().to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend((SIZE.bytes() as u32).to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    let mut record = Vec::new();
    record.extend(24_u32.to_le_bytes());
    record.extend(0_u32.to_le_bytes());
    record.extend((start - SIZE.bytes() + 40).to_le_bytes());
    record.extend([0x40, 0, 0, 0]);
    record.extend(crc32c::crc32c(&record).to_le_bytes());
    bytes.extend(record);
    bytes.resize(SIZE.bytes() as usize, 0);
    bytes
}

fn answer(request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    if path.contains("backup.info") {
        return Reply::new(200, &[("etag", &tag(0))], info());
    }
    if path.contains("/wals/") {
        let (_, name) = path.rsplit_once('/').unwrap();
        let (log, low) = (&name[8..16], &name[16..]);
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        let number = number(log) * 256 + number(low);
        return Reply::new(200, &[("etag", &tag(number))], segment(number));
    }
    assert!(query.contains("list-type"), "asked for {}", request.target);
    let token = query.split('&').find_map(|pair| pair.strip_prefix("continuation-token="));
    let token = token.map_or(0, |token| token.parse().unwrap());
    Reply::new(200, &[("content-type", "application/xml")], page(token))
}

/// Knows each segment, as the run that read it has left it.
fn ledger(archive: &str) -> Ledger {
    let history = TimelineHistory::root(TimelineId(1));
    let rules = format!("7 {:?} {SIZE:?} {history:?}", Major::V17);
    let rules = Identity::of_text(&rules);
    let mut ledger = Ledger::new(archive);
    for number in 1..=SEGMENTS {
        let object = ObjectRef {
            key: key(number),
            size: SIZE.bytes(),
            etag: Some(tag(number)),
            modified: Some(MODIFIED.parse().unwrap()),
            codec: Codec::Plain,
        };
        let number = SegmentNumber(number);
        let end = Some(number.end(SIZE));
        let facts = SegmentFacts { records: 1, end, last_commit: None, whole: true };
        let id = SegmentId::of(&object, rules).unwrap();
        ledger.good_segment(id, number.start(SIZE), &facts, Day::of(Timestamp::now()));
    }
    ledger
}

#[test]
#[ignore = "takes a minute: `make bench-catalog`"]
fn a_ledger_of_a_million_segments_fits_beside_their_listing() {
    let peer = RUNTIME.block_on(Peer::start(|_, request| answer(request)));
    let work = WorkDir::new();
    let file = work.join("big.ledger");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.args(["verify", "--s3-url", "s3://bucket/archive", "--server", "big", "-q"]);
        command.args(["--s3-region", "us-east-1", "--s3-endpoint", &peer.endpoint()]);
        command.args(["--max-bytes", "1GiB", "--ledger"]).arg(&file).args(["--output", "json"]);
        timed(command.env_clear().envs(environment()))
    };
    // Which archive a ledger is of the first run writes into it.
    let (answer, Took { peak: before, .. }) = run();
    answer.expect("inconclusive", 4);
    let head = fs::read(&file).unwrap();
    let head = head.split(|byte| *byte == b'\n').next().unwrap();
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    let out = BufWriter::new(fs::File::create(&file).unwrap());
    ledger(head["archive"].as_str().unwrap()).write(out).unwrap();

    let (answer, Took { seconds, peak: after, .. }) = run();
    // The backup is larger than the budget, and that alone is missing.
    answer.expect("inconclusive", 4);
    let used = &answer.report["ledger"];
    assert_eq!(used["left_objects"], 1, "{used}");
    assert!(used["trusted_wal_segments"].as_u64().unwrap() > SEGMENTS - 10, "{used}");
    println!(
        "{SEGMENTS} segments known by a ledger of {} MiB: {seconds:.1} s, peak memory {} MiB; \
         {} MiB without a ledger's knowledge",
        fs::metadata(&file).unwrap().len() >> 20,
        after >> 20,
        before >> 20,
    );
    assert!(after < MOST, "peak memory is {} MiB", after >> 20);
}
