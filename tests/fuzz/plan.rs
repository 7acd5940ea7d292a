//! A listing with its small files, and what is planned from it: whatever they claim, planning ends
//! and stays small.
//!
//! An input is the listing, a key and a size on each line, then the contents of the files that the
//! catalog asks for, between lines of `%%`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use jiff::Timestamp;
use pgassay::{
    archive::CatalogBuilder,
    config,
    drill::{Job, holdings, plan::plan},
};

use crate::{
    engine::{Target, nothing, run},
    mutate,
};

static JOBS: LazyLock<Vec<Job>> = LazyLock::new(|| {
    let points = [
        "{}",
        "{target: immediate}",
        "{target: {time: \"2026-11-22T23:40:00Z\"}}",
        "{target: {lsn: 0/2A00000}}",
        "{target: {lsn: FFFFFFFF/FFFFFFFF}}",
        "{target: {xid: 800}, timeline: 2}",
        "{timeline: 1}",
        "{backup: worstCase}",
        "{backup: retentionEdge}",
        "{backup: 20261122T232830}",
    ];
    let job = |point| {
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: x}}\nspec:\n  \
             archive: {{url: \"s3://bucket\", server: x}}\n  recoveryPoint: {point}\n"
        );
        config::parse(&text, "job.yaml").unwrap_or_else(|problems| panic!("{problems}"))
    };
    points.map(job).into_iter().collect()
});

fn seeds() -> Vec<Vec<u8>> {
    let info = include_str!("seeds/backup_info/barman-3.19")
        .replace("67108864", "1048576")
        .replace("0/8000", "0/2000")
        .replace("000000010000000000000002", "000000010000000000000020");
    let mut listing = String::new();
    for backup in ["20261122T232830", "20261122T233000"] {
        for (file, size) in
            [("backup.info", 1700), ("data.tar.gz", 5_000_000), ("16384.tar.gz", 900_000)]
        {
            let _ = writeln!(listing, "base/{backup}/{file} {size}");
        }
    }
    for number in 0x1E..0x2C {
        let _ =
            writeln!(listing, "wals/0000000100000000/0000000100000000000000{number:02X}.gz 90000");
    }
    let one = format!("{listing}%%\n{info}%%\n{info}");
    let _ = writeln!(listing, "wals/00000002.history.gz 60");
    for number in 0x2A..0x30 {
        let _ =
            writeln!(listing, "wals/0000000200000000/0000000200000000000000{number:02X}.gz 90000");
    }
    let two =
        format!("{listing}%%\n{info}%%\n{info}%%\n1\t0/2A80000\tno recovery target specified\n");
    [one, two].map(String::into_bytes).into()
}

fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let now: Timestamp = "2026-11-23T00:30:00Z".parse().unwrap();
    let mut sections = text.split("%%\n");
    let mut builder = CatalogBuilder::new("x/");
    for (index, line) in (0..).zip(sections.next().unwrap_or_default().lines()) {
        let (key, size) = line.rsplit_once(' ').unwrap_or((line, "1"));
        let modified = Timestamp::from_second(1_795_390_100 + index * 30).unwrap();
        // No object of a store is larger than this.
        let size = size.parse::<u64>().unwrap_or(1).min(5 << 40);
        builder.add(&format!("x/{key}"), size, None, Some(modified));
    }
    let contents: Vec<&str> = sections.collect();
    for (index, wanted) in builder.wanted().into_iter().enumerate() {
        if let Some(content) = contents.get(index.min(contents.len().saturating_sub(1))) {
            builder.content(wanted.what, Ok(content.as_bytes()));
        }
    }
    let catalog = builder.finish();
    let mut outcome = String::new();
    for job in JOBS.iter() {
        match plan(job, &catalog, now, 0) {
            Ok(plan) => {
                assert!(plan.wal.len() <= input.len());
                outcome.push_str("plan ");
            }
            Err(refusal) => {
                for finding in &refusal.findings {
                    let _ = write!(outcome, "{} ", finding.class);
                }
            }
        }
    }
    let report = holdings::examine(&JOBS[0], &catalog, now);
    let _ = write!(outcome, "{:?} {}", report.verdict, "x".repeat(report.gaps.len().min(3)));
    outcome
}

#[test]
fn plans() {
    run(&Target {
        name: "plan",
        seeds: seeds(),
        mutate: |input, other, random| {
            const WORDS: [&str; 18] = [
                "base/20261122T232830/",
                "wals/0000000100000000/",
                ".partial.gz 7",
                ".history 60",
                "%%\n",
                "end_xlog=FFFFFFFF/FF000000\n",
                "begin_xlog=0/0\n",
                "timeline=2\n",
                "status=FAILED\n",
                "xlog_segment_size=1073741824\n",
                "end_wal=00000001FFFFFFFF000000FF\n",
                "None",
                "begin_time=9999-12-31 23:59:59+00:00\n",
                "end_time=0001-01-01 00:00:00+00:00\n",
                "4294967295\t0/1\tx\n",
                " 0\n",
                "FFFFFFFF",
                "backup_label='START WAL LOCATION: FFFFFFFF/0",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check,
        most_memory: 32 << 20,
        most_bytes: 64 << 10,
    });
}
