//! Where a drill's answer goes: kept reports, Pushgateway, textfile, `--plan`.

use std::{fs, path::Path, process::Command};

use jiff::{SignedDuration, Timestamp};
use pgassay::{
    drill::{DrillReport, job::StoreLocation, report::BackupSummary},
    pg::Lsn,
    report::{
        json,
        kept::{self, KeptId},
    },
};
use serde_json::Value;

use crate::{
    sample_report,
    support::{
        drill::{Answer, Drill, environment},
        fixture,
        gateway::Gateway,
        tools::RUNTIME,
        workdir::tree,
    },
};

fn value(page: &str, start: &str) -> Option<String> {
    let line = page.lines().find(|l| l.starts_with(start) && l.contains("drill=\"test\""))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn a_failed_drill_leaves_the_last_pass_standing() {
    let archive = fixture::rich();
    let gateway = Gateway::start();
    let work = tempfile::tempdir_in("/var/tmp").unwrap();
    let textfile = work.path().join("pgassay.prom");
    let deliveries = format!(
        "  metrics: {{pushgateway: \"{}\", textfile: {}, cluster: shop, namespace: prod}}\n  \
         report: {{store: \"file://{}/kept\"}}",
        gateway.url,
        textfile.display(),
        work.path().display(),
    );
    let read = || (gateway.get("/metrics").unwrap(), fs::read_to_string(&textfile).unwrap());
    let pass = "pgassay_drill_last_pass_timestamp_seconds";
    let run = "pgassay_drill_last_run_timestamp_seconds";

    Drill::new(&archive.root, "rich", &deliveries).run(&[]).expect("pass", 0);
    let (pushed, written) = read();
    let first = (value(&pushed, pass).unwrap(), value(&written, pass).unwrap());
    assert!(value(&pushed, "pgassay_drill_verdict{").is_some());

    let wrong =
        "  checks:\n    - sql: {name: wrong, database: app, query: \"select 1\", expect: \"= 2\"}";
    let drill = Drill::new(&archive.root, "rich", &format!("{deliveries}\n{wrong}"));
    drill.run(&[]).expect("fail", 1);
    let (pushed_now, written_now) = read();
    assert_eq!((value(&pushed_now, pass).unwrap(), value(&written_now, pass).unwrap()), first);
    assert_ne!(value(&pushed_now, run), value(&pushed, run), "the second run was not pushed");

    let kept = tree(&work.path().join("kept"));
    assert_eq!(kept.iter().filter(|name| name.contains(".json")).count(), 2, "{kept:?}");
}

/// A drill of two days ago that replayed 64 MiB of WAL after this backup, of one hour.
fn two_days_ago(backup: &Value) -> DrillReport {
    let mut report = sample_report::pass();
    "test".clone_into(&mut report.job);
    report.started_at = Timestamp::now() - SignedDuration::from_hours(48);
    report.finished_at = report.started_at + SignedDuration::from_mins(9);
    let mut backup: BackupSummary = serde_json::from_value(backup.clone()).unwrap();
    backup.interval_seconds = Some(86_400.0);
    let reached = report.reached.as_mut().unwrap();
    reached.end = Lsn(backup.end_lsn.0 + (64 << 20));
    reached.last_transaction_at = backup.end_at.map(|at| at + SignedDuration::from_hours(1));
    report.backup = Some(backup);
    report
}

/// The forecast of `pgassay report` for the one job of a store.
fn forecast(store: &Path) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().args(["report", "--no-cache", "--output", "json", "--store"]);
    let output = command.arg(format!("file://{}", store.display())).output().unwrap();
    let review: Value = serde_json::from_slice(&output.stdout).unwrap();
    let forecast = &review["jobs"][0]["trend"]["forecast"];
    forecast["worst_case_seconds"].as_f64().unwrap_or_else(|| panic!("{forecast}"))
}

#[test]
fn the_worst_case_of_a_restore_is_told_where_past_drills_know_it() {
    let archive = fixture::rich();
    let gateway = Gateway::start();
    let work = tempfile::tempdir_in("/var/tmp").unwrap();
    let textfile = work.path().join("pgassay.prom");
    let run = |more: &str| {
        let metrics = format!(
            "  depth: catalog\n  metrics: {{pushgateway: \"{}\", textfile: {}}}\n{more}",
            gateway.url,
            textfile.display()
        );
        let answer = Drill::new(&archive.root, "rich", &metrics).run(&[]);
        answer.expect("pass", 0);
        let read = [gateway.get("/metrics").unwrap(), fs::read_to_string(&textfile).unwrap()];
        let [pushed, written] =
            read.map(|text| value(&text, "pgassay_drill_rto_forecast_seconds").unwrap());
        let [pushed, written] = [pushed, written].map(|text| text.parse::<f64>().unwrap());
        assert_eq!(pushed.to_bits(), written.to_bits(), "{pushed} and {written}");
        (answer, written)
    };
    // Without reports nothing is known of the next restore.
    let (answer, told) = run("");
    assert!(told.is_nan(), "{told}");
    let store = work.path().join("kept");
    let past = two_days_ago(&answer.report["backup"]);
    RUNTIME.block_on(async {
        let store = kept::open(&StoreLocation::folder(store.to_str().unwrap())).await.unwrap();
        let id = KeptId::new("test", past.started_at, &past.drill_id);
        store.put(&id, json::render(&past).into()).await.unwrap();
    });
    let report = format!("  report: {{store: \"file://{}\"}}", store.display());
    let (_, told) = run(&report);
    let expected = forecast(&store);
    // 116 s for the base backup, 96 s for each of a day's 24 times 64 MiB.
    assert!((2_000.0..3_000.0).contains(&expected), "{expected}");
    assert!((told - expected).abs() < 1e-6, "{told} is not {expected}");

    // Reports that cannot be read change nothing but this.
    fs::rename(&store, work.path().join("away")).unwrap();
    fs::write(&store, "no folder").unwrap();
    let (answer, told) = run(&report);
    assert!(told.is_nan(), "{told}");
    assert!(answer.stderr.contains("the report is not kept"), "{}", answer.stderr);
}

#[test]
fn nobody_at_the_gateway_changes_no_verdict() {
    let archive = fixture::rich();
    let spec = "  depth: restore\n  metrics: {pushgateway: \"http://127.0.0.1:1\"}";
    let answer = Drill::new(&archive.root, "rich", spec).run(&[]);
    answer.expect("pass", 0);
    assert!(answer.stderr.contains("R002"), "no warning: {}", answer.stderr);
}

/// A drill of the same archive by flags alone.
fn without_a_job(drill: &Drill, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).arg("drill").args(arguments);
    command.args(["--s3-url", "s3://bucket/archive", "--server", "rich", "--s3-endpoint"]);
    Answer::from(command.arg(drill.server.endpoint()).output().unwrap())
}

#[test]
fn a_report_is_printed_in_the_form_that_was_asked_for() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let print = |form: &str, more: &[&str], exit: i32| {
        let arguments = [&["--depth", "catalog", "--output", form], more].concat();
        let answer = without_a_job(&drill, &arguments);
        assert_eq!(answer.exit, exit, "{answer:?}");
        answer.stdout
    };
    let junit = print("junit", &[], 0);
    assert!(junit.starts_with("<?xml") && junit.contains("<testcase name=\"plan\""), "{junit}");
    assert!(junit.contains("failures=\"0\" errors=\"0\""), "{junit}");
    let html = print("html", &[], 0);
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"), "{html}");
    let markdown = print("markdown", &[], 0);
    assert!(markdown.starts_with("## PASS: "), "{markdown}");

    // The verdict is the exit status in each of them.
    let early = ["--target-time", "2001-01-01T00:00:00Z"];
    let junit = print("junit", &early, 1);
    assert!(junit.contains("type=\"target_before_consistency\">"), "{junit}");
    assert!(print("html", &early, 1).contains("target_before_consistency"));
    assert!(print("markdown", &early, 1).starts_with("## FAIL: "));
}

#[test]
fn a_plan_names_backup_range_and_bytes_and_fetches_nothing() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let answer = drill.run(&["--plan"]);
    assert_eq!(answer.exit, 0, "{answer:?}");
    let plan = answer.report.to_string();
    for part in ["00000001000000000000000F", "\"timeline\":2", "why"] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
    let human = without_a_job(&drill, &["--plan"]);
    assert_eq!(human.exit, 0, "{human:?}");
    assert!(human.stdout.contains("00000001000000000000000F"), "{}", human.stdout);
}
