//! Where a drill's answer goes: kept reports, Pushgateway, textfile, `--plan`.

use std::fs;

use crate::support::{
    drill::{Answer, Drill},
    fixture,
    gateway::Gateway,
    workdir::tree,
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

#[test]
fn nobody_at_the_gateway_changes_no_verdict() {
    let archive = fixture::rich();
    let spec = "  depth: restore\n  metrics: {pushgateway: \"http://127.0.0.1:1\"}";
    let answer = Drill::new(&archive.root, "rich", spec).run(&[]);
    answer.expect("pass", 0);
    assert!(answer.stderr.contains("R002"), "no warning: {}", answer.stderr);
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
    let mut human = std::process::Command::new(env!("CARGO_BIN_EXE_pgassay"));
    human.env_clear().envs(crate::support::drill::environment()).arg("drill").arg("--plan");
    human.args(["--s3-url", "s3://bucket/archive", "--server", "rich", "--s3-endpoint"]);
    let human = Answer::from(human.arg(drill.server.endpoint()).output().unwrap());
    assert_eq!(human.exit, 0, "{human:?}");
    assert!(human.stdout.contains("00000001000000000000000F"), "{}", human.stdout);
}
