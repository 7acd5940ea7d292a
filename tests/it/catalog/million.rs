//! Peak memory and time of the catalog tier with a million WAL objects: `make bench-catalog`.

mod ledger;

use std::{fmt::Write as _, process::Command};

use pgassay::pg::{SegmentNumber, SegmentSize, TimelineId};

use crate::{
    store::peer::{Peer, Reply, Request},
    support::{
        drill::environment,
        timed::{Took, timed},
        tools::RUNTIME,
    },
};

const SEGMENTS: u64 = 1_000_000;
const PAGE: u64 = 1000;
const MOST: u64 = 200 << 20;
const ROOT: &str = "archive/big/";
/// One segment in so many is missing.
const HOLE: u64 = 50_000;

/// A backup in front of each hundred thousand segments.
const BACKUPS: u64 = 10;

fn id(backup: u64) -> String {
    format!("202601{:02}T000000", backup + 1)
}

fn name(number: u64) -> String {
    SegmentNumber(number).file_name(TimelineId(1), SegmentSize::DEFAULT)
}

fn info(backup: u64) -> String {
    let first = backup * (SEGMENTS / BACKUPS) + 10;
    let (begin, end) = (SegmentNumber(first), SegmentNumber(first + 1));
    let begin_lsn = pgassay::pg::Lsn(begin.start(SegmentSize::DEFAULT).0 + 0x28);
    let end_lsn = pgassay::pg::Lsn(end.start(SegmentSize::DEFAULT).0 + 0x100);
    format!(
        "begin_wal={}\nbegin_xlog={begin_lsn}\nend_time=2026-01-{:02} 01:00:00+00:00\nend_wal={}\n\
         end_xlog={end_lsn}\nstatus=DONE\nsystemid=7\ntimeline=1\nversion=170011\n\
         xlog_segment_size=16777216\n",
        name(first),
        backup + 1,
        name(first + 1)
    )
}

/// The nth object in key order: two for each backup, then the segments.
fn object(index: u64) -> Option<(String, u64)> {
    if index < 2 * BACKUPS {
        let (id, size) = (id(index / 2), info(index / 2).len() as u64);
        let (file, size) = [("backup.info", size), ("data.tar.gz", 1 << 40)][(index % 2) as usize];
        return Some((format!("{ROOT}base/{id}/{file}"), size));
    }
    let number = index - 2 * BACKUPS;
    let name = name(number);
    let there = number < SEGMENTS && number % HOLE != HOLE / 2;
    there.then(|| (format!("{ROOT}wals/{}/{name}.gz", &name[..16]), 5 << 20))
}

fn page(token: u64) -> String {
    let first = token * PAGE;
    let last = first + PAGE;
    let mut contents = String::new();
    let mut count = 0_u64;
    for (key, size) in (first..last).filter_map(object) {
        count += 1;
        let tag = format!("{:032x}", u128::from(first) << 64 | u128::from(count));
        write!(
            contents,
            "<Contents><Key>{key}</Key><LastModified>2026-02-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>"
        )
        .unwrap();
    }
    listing_page(token, count, last < SEGMENTS + 2 * BACKUPS, &contents)
}

/// A page of `ListObjectsV2`; the next one's token is its number.
fn listing_page(token: u64, count: u64, more: bool, contents: &str) -> String {
    let next = if more {
        format!("<NextContinuationToken>{}</NextContinuationToken>", token + 1)
    } else {
        String::new()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>bucket</Name>\
         <KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{more}</IsTruncated>{next}\
         {contents}</ListBucketResult>"
    )
}

fn answer(request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let parameter = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name)
    };
    if let Some(of) =
        (0..BACKUPS).find(|backup| path.contains(&format!("{}/backup.info", id(*backup))))
    {
        let tag = request.header("if-match").unwrap_or("\"x\"").to_owned();
        return Reply::new(200, &[("etag", &tag)], info(of));
    }
    assert!(parameter("list-type").is_some(), "asked for {}", request.target);
    let token = parameter("continuation-token").map_or(0, |(_, token)| token.parse().unwrap());
    Reply::new(200, &[("content-type", "application/xml")], page(token))
}

#[test]
#[ignore = "takes a minute: `make bench-catalog`"]
fn a_million_segments_fit_into_200_mib() {
    let peer = RUNTIME.block_on(Peer::start(|_, request| answer(request)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.args(["catalog", "--s3-url", "s3://bucket/archive", "--server", "big", "-q"]);
    command.args(["--s3-region", "us-east-1", "--s3-endpoint", &peer.endpoint()]);
    command.args(["--output", "json"]).env_clear().envs(environment());
    let (answer, Took { seconds, peak, .. }) = timed(&command);
    answer.expect("fail", 1);
    let holes = SEGMENTS / HOLE;
    assert_eq!(answer.report["totals"]["wal_segments"], SEGMENTS - holes);
    assert_eq!(answer.report["gap_count"], holes);
    assert_eq!(answer.report["backup_count"], BACKUPS);
    let gaps = answer.report["gaps"].as_array().unwrap();
    assert_eq!(gaps.last().unwrap()["first_segment"], name(SEGMENTS - HOLE / 2));
    assert_eq!(gaps.last().unwrap()["cut_off_count"], BACKUPS);
    println!(
        "{} objects in {} requests: {seconds:.1} s, peak memory {} MiB",
        answer.report["totals"]["objects"],
        peer.requests().len(),
        peak >> 20
    );
    assert!(peak < MOST, "peak memory is {} MiB", peak >> 20);
}
