//! The service: jobs on their schedules, a folder that changes, and kills at any time.

use std::fs;

use serde_json::Value;

use crate::support::{
    service::{Scene, Service, wait_until},
    workdir::tree,
};

const EVERY_SECOND: &str = "  schedule: \"* * * * * *\"\n  depth: catalog";

#[test]
fn jobs_are_drilled_on_their_schedules_while_the_folder_changes() {
    let scene = Scene::new();
    scene.job("one", EVERY_SECOND);
    fs::write(scene.job_file("broken"), "kind: Pod").unwrap();
    let mut service = scene.start();
    service.wait_for(&["broken.yaml", "left out"]);
    service.wait_for(&["job `one`", "pass"]);
    // Another job comes, the first one breaks and goes on, then goes.
    scene.job("two", EVERY_SECOND);
    service.wait_for(&["job `two`", "pass"]);
    fs::write(scene.job_file("one"), "{").unwrap();
    service.wait_for(&["one.yaml", "goes on as it was"]);
    service.wait_for(&["job `one`", "pass"]);
    fs::remove_file(scene.job_file("one")).unwrap();
    service.wait_for(&["`one` was removed"]);
    service.wait_for(&["job `two`", "pass"]);
    service.stop();
    let reports = scene.reports();
    assert!(reports.iter().all(|report| report["verdict"] == "pass"));
    let mut slots: Vec<String> = reports
        .iter()
        .map(|report| {
            assert_eq!(report["cause"]["kind"], "slot", "{report}");
            format!("{} {}", report["job"], report["cause"]["at"])
        })
        .collect();
    let count = slots.len();
    slots.sort();
    slots.dedup();
    assert_eq!(slots.len(), count, "a slot was drilled twice");
    scene.assert_nothing_left();
}

#[test]
fn a_job_that_cannot_be_drilled_is_reported_and_stops_nobody() {
    let scene = Scene::new();
    scene.job("good", EVERY_SECOND);
    scene.job("keyless", EVERY_SECOND);
    let file = scene.job_file("keyless");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("report: {", "report: {sign: {env: NO_SUCH_KEY}, ")).unwrap();
    let mut service = scene.start();
    service.wait_for(&["job `keyless`", "inconclusive", "NO_SUCH_KEY"]);
    service.wait_for(&["job `good`", "pass"]);
    service.stop();
    let reports = scene.reports();
    let keyless = reports.iter().find(|report| report["job"] == "keyless").unwrap();
    assert_eq!(keyless["errors"][0]["code"], "S011", "{keyless}");
}

#[test]
fn a_stop_tears_down_what_does_not_end_in_time() {
    let scene = Scene::new();
    scene.job("slow", "  schedule: \"* * * * * *\"\n  limits: {bandwidth: 100KiB/s}");
    let mut service = scene.start_with(&["--grace", "1s"]);
    wait_for_stage(&mut service, "slow", "fetch");
    service.stop();
    let reports = scene.reports();
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0]["verdict"], "inconclusive");
    scene.assert_nothing_left();
}

/// The stages of a drill, by the names that the service shows.
const STAGES: [&str; 8] =
    ["plan", "fetch", "start", "replay", "promote", "mend", "verify", "teardown"];

/// Waits until a drill of the job is in a stage.
fn wait_for_stage(service: &mut Service, job: &str, stage: &str) {
    wait_until(&format!("a drill in {stage}"), || {
        let shown = service.json(&format!("/api/v1/jobs/{job}"));
        let last = shown["running"]["stages"].as_array().and_then(|stages| stages.last());
        last.is_some_and(|last| last["stage"] == stage && last["seconds"].is_null())
    });
}

/// Ids of the drills that the state says to be under way.
fn running(scene: &Scene) -> Vec<String> {
    let files = tree(&scene.work.join("state/running"));
    files.iter().filter_map(|file| file.strip_suffix(".json").map(str::to_owned)).collect()
}

/// Kills the service with a drill in each of these stages, one after the other.
fn killed_in(stages: impl IntoIterator<Item = &'static str>) {
    let scene = Scene::new();
    scene.job("restored", "  schedule: \"* * * * * *\"\n  depth: deep");
    let mut killed = Vec::new();
    let begin_again = |killed: &[String]| {
        let mut service = scene.start();
        // What was killed before is reported first.
        for id in killed {
            service.wait_for(&[id, "was killed with the service"]);
        }
        service
    };
    let mut last = Vec::new();
    for stage in stages {
        loop {
            let mut service = begin_again(&last);
            wait_for_stage(&mut service, "restored", stage);
            service.kill();
            last = running(&scene);
            // One that was about to end may have kept its report: it was not killed in the stage.
            let kept = scene.reports();
            last.retain(|id| kept.iter().all(|report| report["drill_id"] != id.as_str()));
            killed.extend(last.clone());
            if !last.is_empty() {
                break;
            }
        }
    }
    let mut service = begin_again(&last);
    service.wait_for(&["job `restored`", "pass"]);
    service.stop();
    let reports = scene.reports();
    for id in &killed {
        let of: Vec<&Value> =
            reports.iter().filter(|report| report["drill_id"] == id.as_str()).collect();
        assert_eq!(of.len(), 1, "{id}");
        assert_eq!(of[0]["verdict"], "inconclusive", "{}", of[0]);
        assert_eq!(of[0]["errors"][0]["code"], "I001");
    }
    assert!(reports.iter().any(|report| report["verdict"] == "pass"));
    scene.assert_nothing_left();
}

#[test]
fn killed_in_every_stage() {
    killed_in(STAGES);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn killed_three_times_in_every_stage() {
    killed_in(STAGES.into_iter().cycle().take(3 * STAGES.len()));
}
