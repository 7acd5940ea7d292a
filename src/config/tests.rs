use std::{fmt::Write as _, path::Path, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::drill::job::{Target, TargetChoice};
use crate::drill::timing::{Missed, Overlap, Timing};

const HEAD: &str = "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: a}\n";

fn fixture(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<(String, String)> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_shortest_job() {
    let text = format!("{HEAD}spec: {{archive: {{url: s3://bucket/path, server: b}}}}\n");
    let job = parse(&text, "a.yaml").unwrap();
    assert_eq!((job.name.as_str(), job.archive.server.as_str()), ("a", "b"));
    assert_eq!(job, flags::default_job("a".into(), job.archive.clone()));
}

/// Every bad job of `fixtures/jobs`, with what is said about it.
#[test]
fn gallery_of_bad_jobs() {
    let files = fixture("fixtures/jobs");
    assert!(files.len() > 20, "the fixtures are missing");
    let mut gallery = String::new();
    for (name, text) in files {
        let problems = parse(&text, &name).expect_err(&name);
        let shown = problems.to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("AKIASECRET"), "{name}: {shown}");
        writeln!(gallery, "{shown}\n").unwrap();
    }
    insta::assert_snapshot!(gallery);
}

/// The jobs that we ship say every field, with what the reader gets.
#[test]
fn shipped_jobs_are_valid() {
    let files = fixture("jobs");
    assert!(!files.is_empty());
    for (name, text) in files {
        let job = parse(&text, &name).unwrap_or_else(|problems| panic!("{problems}"));
        insta::assert_debug_snapshot!(name, job);
    }
}

#[test]
fn problems_as_json() {
    let problems = parse("kind: DrillJob\n", "a.yaml").unwrap_err();
    let json = serde_json::to_value(&problems).unwrap();
    assert_eq!(json["source"], "a.yaml");
    assert_eq!(json["problems"][0]["path"], "apiVersion");
    assert_eq!(json["problems"][0]["line"], 1);
}

#[test]
fn an_alias_stands_for_its_block() {
    let text = format!(
        "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b, s3: &s3 {{region: eu-1}}}}\n  \
         report: {{store: s3://reports, s3: *s3}}\n"
    );
    let job = parse(&text, "a.yaml").unwrap();
    assert_eq!(job.report_store.unwrap().s3, job.archive.store.s3);
}

#[test]
fn reports_take_the_archives_s3_block_unless_they_have_one() {
    let job = |report: &str| {
        let text = format!(
            "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b, s3: {{region: eu-1}}}}\n  \
             report: {report}\n"
        );
        parse(&text, "a.yaml").unwrap().report_store.unwrap().s3.region
    };
    assert_eq!(job("{store: s3://reports}").as_deref(), Some("eu-1"));
    assert_eq!(job("{store: s3://reports, s3: {}}"), None);
    assert_eq!(job("{store: file:///srv/reports}"), None);
}

#[test]
fn xid_is_a_number_or_text() {
    for xid in ["744", "\"744\""] {
        let text = format!(
            "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b}}\n  recoveryPoint: \
             {{target: {{xid: {xid}}}, exclusive: true}}\n"
        );
        let point = parse(&text, "a.yaml").unwrap().recovery_point;
        assert_eq!(point.target, TargetChoice::Given(Target::Xid(744)));
        assert!(point.exclusive);
    }
}

#[test]
fn schedules_and_zones_are_resolved() {
    let timing = |fields: &str| {
        let text =
            format!("{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b}}\n  {fields}\n");
        parse(&text, "a.yaml").unwrap().timing
    };
    assert_eq!(timing("depth: deep"), Timing::default());
    let daily = timing("schedule: \" 0  4 * * 1-5 \"\n  timeZone: europe/berlin");
    assert_eq!(daily.schedule.as_deref(), Some("0 4 * * 1-5"));
    assert_eq!(daily.time_zone.as_deref(), Some("Europe/Berlin"));
    assert!(!daily.after_backup);
    let all = timing(
        "after: backup\n  start: {window: 30m, deadline: 1h, missed: skip, overlap: replace, priority: -7}",
    );
    let wanted = Timing {
        after_backup: true,
        window: Duration::from_mins(30),
        deadline: Some(Duration::from_hours(1)),
        missed: Missed::Skip,
        overlap: Overlap::Replace,
        priority: -7,
        ..Timing::default()
    };
    assert_eq!(all, wanted);
}

#[test]
fn connections_are_a_small_number() {
    let connections = |text: &str| {
        let text = format!(
            "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b}}\n  limits: {{connections: {text}}}\n"
        );
        parse(&text, "a.yaml").ok().map(|job| job.limits.connections.get())
    };
    assert_eq!(["1", "64", "\"12\""].map(connections), [Some(1), Some(64), Some(12)]);
    for wrong in ["0", "65", "+5", "-1", "8.5", "many", "[8]"] {
        assert_eq!(connections(wrong), None, "{wrong}");
    }
}

#[test]
fn flags_alone_make_a_job() {
    let archive = flags::ArchiveFlags {
        url: Some("s3://bucket/path".into()),
        server: Some("Orders_DB".into()),
        ..flags::ArchiveFlags::default()
    };
    let job = flags::job(&archive, &flags::Overrides::default()).unwrap();
    assert_eq!((job.name.as_str(), job.archive.server.as_str()), ("orders-db", "Orders_DB"));
}

#[test]
fn every_bad_flag_is_named() {
    let archive = flags::ArchiveFlags {
        url: Some("gs://bucket/path".into()),
        endpoint: Some("localhost:9000".into()),
        ..flags::ArchiveFlags::default()
    };
    let overrides = flags::Overrides {
        rto: Some("4".into()),
        target: flags::TargetFlags {
            time: Some("2026-11-22T04:00:00".into()),
            immediate: true,
            timeline: Some("x".into()),
            exclusive: true,
            ..flags::TargetFlags::default()
        },
        ..flags::Overrides::default()
    };
    insta::assert_snapshot!(flags::job(&archive, &overrides).unwrap_err());
}

#[test]
fn flags_change_a_job_and_nothing_else() {
    let text = format!(
        "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b}}\n  objectives: {{rto: 4h, rpo: 1d}}\n"
    );
    let before = parse(&text, "a.yaml").unwrap();
    let mut job = before.clone();
    flags::Overrides::default().apply(&mut job).unwrap();
    assert_eq!(job, before);
    let overrides = flags::Overrides { rto: Some("1h".into()), ..flags::Overrides::default() };
    overrides.apply(&mut job).unwrap();
    assert_eq!(job.objectives.rto, Some(std::time::Duration::from_hours(1)));
    assert_eq!(job.objectives.rpo, before.objectives.rpo);
}

/// Documents that look like jobs, with values and names from everywhere in the format.
fn documents() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("spec".to_owned()),
        Just("archive".to_owned()),
        Just("metadata".to_owned()),
        Just("credentials".to_owned()),
        Just("checks".to_owned()),
        Just("target".to_owned()),
        Just("&a".to_owned()),
        Just("*a".to_owned()),
        Just("!!str".to_owned()),
        "[a-z0-9:/ü]{0,8}",
        "\\PC{0,6}",
    ];
    let line = (
        0..4_usize,
        word.clone(),
        prop_oneof![Just(": "), Just(": {"), Just(": ["), Just("- "), Just("")],
        word,
    );
    proptest::collection::vec(line, 0..12).prop_map(|lines| {
        lines.into_iter().fold(String::new(), |mut text, (indent, key, sign, value)| {
            let _ = writeln!(text, "{}{key}{sign}{value}", "  ".repeat(indent));
            text
        })
    })
}

proptest! {
    #[test]
    fn no_text_makes_parse_panic(text in "\\PC*") {
        let _ = parse(&text, "a.yaml").map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_document_makes_parse_panic(text in documents()) {
        let problems = parse(&text, "a.yaml").expect_err("no such document is a whole job");
        prop_assert!(!problems.problems.is_empty());
    }

    /// Cutting a good job anywhere gives a job or problems, never a panic.
    #[test]
    fn no_cut_makes_parse_panic(cut in 0..4000_usize, flip in 0..4000_usize) {
        let text = include_str!("../../jobs/example.yaml");
        let cut = text.floor_char_boundary(cut.min(text.len()));
        let _ = parse(&text[..cut], "a.yaml");
        let mut bytes = text.as_bytes().to_vec();
        let flip = flip % bytes.len();
        bytes[flip] ^= 0x15;
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = parse(&text, "a.yaml");
        }
    }
}

#[test]
fn a_flag_must_not_leave_out_what_the_job_asks_for() {
    let text = format!(
        "{HEAD}spec:\n  archive: {{url: s3://bucket/path, server: b}}\n  objectives: {{rto: 4h}}\n"
    );
    let with_depth = |depth: &str| {
        let mut job = parse(&text, "a.yaml").unwrap();
        let overrides =
            flags::Overrides { depth: Some(depth.into()), ..flags::Overrides::default() };
        overrides.apply(&mut job).map_err(|problems| problems.to_string())
    };
    assert_eq!(with_depth("restore"), Ok(()));
    assert!(with_depth("catalog").unwrap_err().contains("objectives.rto"));
}
