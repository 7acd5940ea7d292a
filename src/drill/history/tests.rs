//! Every report that was ever kept must stay readable: one golden file for each version and verdict.

use super::*;
use crate::{drill::report::sample, report::json};

const GOLDEN: [(&str, &str); 4] = [
    ("pass", include_str!("../../../fixtures/reports/v1-pass.json")),
    ("breach", include_str!("../../../fixtures/reports/v1-breach.json")),
    ("fail", include_str!("../../../fixtures/reports/v1-fail.json")),
    ("inconclusive", include_str!("../../../fixtures/reports/v1-inconclusive.json")),
];

#[test]
fn reports_of_version_1() {
    for (verdict, golden) in GOLDEN {
        let past = Past::read(golden.as_bytes()).unwrap();
        assert_eq!(past.verdict.name(), verdict);
        insta::assert_snapshot!(
            format!("v1-{verdict}"),
            serde_json::to_string_pretty(&past).unwrap()
        );
    }
}

#[test]
fn reports_of_today_say_the_same() {
    for ((_, golden), today) in GOLDEN.into_iter().zip(sample::all()) {
        let past = |text: &str| Past::read(text.as_bytes()).unwrap();
        assert_eq!(past(golden), past(&json::render(&today)));
    }
}

#[test]
fn only_who_when_and_the_verdict_are_needed() {
    let least = r#"{"schema_version": 1, "drill_id": "d", "job": "j", "new": {"a": [1]},
        "started_at": "2026-11-22T04:00:00Z", "verdict": "fail", "rto": null,
        "stages": [{"stage": "levitate", "seconds": 3, "end": "done"}],
        "checks": [{"findings": [{"class": "class_of_tomorrow"}, {"class": "wal_gap"}, {}]}],
        "errors": [{"class": "wal_gap"}, {"class": null}]}"#;
    let past = Past::read(least.as_bytes()).unwrap();
    assert_eq!((past.job.as_str(), past.verdict), ("j", Verdict::Fail));
    assert_eq!(past.finished_at, past.started_at);
    assert_eq!((past.backup, past.rto, past.rpo), (None, None, None));
    assert_eq!(past.stages[0].stage, "levitate");
    let classes: Vec<_> = past.classes.iter().map(|(class, n)| (class.as_str(), *n)).collect();
    assert_eq!(classes, [("class_of_tomorrow", 1), ("wal_gap", 2)]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let read = |text: &str| Past::read(text.as_bytes()).unwrap_err();
    // A version of tomorrow may have another shape altogether.
    assert_eq!(read(r#"{"schema_version": 2, "verdict": ["x"]}"#), Unreadable::Future(2));
    let tomorrow =
        json::render(&sample::pass()).replacen("\"schema_version\": 1", "\"schema_version\": 7", 1);
    assert_eq!(read(&tomorrow), Unreadable::Future(7));
    for text in
        ["", "{", "[]", "{}", "null", r#"{"schema_version": 0}"#, r#"{"schema_version": 1}"#]
    {
        assert!(matches!(read(text), Unreadable::NoReport(_)), "{text}");
    }
    let whole = json::render(&sample::pass());
    for length in [1, whole.len() / 2, whole.len() - 3] {
        assert!(matches!(read(&whole[..length]), Unreadable::NoReport(_)), "{length}");
    }
    assert_eq!(
        Unreadable::Future(7).to_string(),
        "it has schema version 7, and this pgassay reads up to 1"
    );
}

#[test]
fn the_judged_evidence_is_the_rpo() {
    let mut report = sample::pass();
    let rpo = |report: &crate::drill::DrillReport| {
        Past::read(json::render(report).as_bytes()).unwrap().rpo.map(|rpo| rpo.seconds)
    };
    assert_eq!(rpo(&report), Some(90.0));
    report.rpo.as_mut().unwrap().judged = Some(RpoEvidence::LastCommit);
    assert_eq!(rpo(&report), Some(107.598));
    report.rpo.as_mut().unwrap().judged = None;
    assert_eq!(rpo(&report), None);
}

#[test]
fn an_unsafe_restore_time_does_not_count() {
    let mut report = sample::pass();
    report.rto.as_mut().unwrap().fsync = false;
    report.row_counts = Some(crate::drill::row_floor::RowCounts::default());
    let past = Past::read(json::render(&report).as_bytes()).unwrap();
    assert!(past.counted_rows);
    assert_eq!((past.rto.unwrap().seconds, past.rto_seconds()), (212.456, None));
    assert_eq!(past.stage_seconds(Stage::Replay), Some(96.4));
    assert_eq!(past.stage_seconds(Stage::HandOver), None);
}
