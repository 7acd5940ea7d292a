//! Kept reports over time: many writers, pruning, `pgassay history` and `pgassay report`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use pgassay::{
    drill::{DrillReport, history::Past, job::StoreLocation},
    report::{
        json,
        kept::{self, KeptId, ReportStore, Wanted},
    },
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{json_schema, sample_report};

/// Names the folder that a child process writes reports to, and which one it is.
const FOLDER: &str = "PGASSAY_TEST_HISTORY";
const WRITER: &str = "PGASSAY_TEST_WRITER";

const WRITERS: usize = 5;
const EACH: usize = 60;

fn location(folder: &Path) -> StoreLocation {
    StoreLocation::folder(folder.to_str().unwrap())
}

async fn open(folder: &Path) -> Arc<dyn ReportStore> {
    kept::open(&location(folder)).await.unwrap().into()
}

/// A report of a job so many days ago.
fn report(sample: &DrillReport, job: &str, days: i64, drill_id: String) -> (KeptId, DrillReport) {
    let mut report = sample.clone();
    let took = report.finished_at.duration_since(report.started_at);
    report.started_at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    report.finished_at = report.started_at + took;
    job.clone_into(&mut report.job);
    report.drill_id = drill_id;
    (KeptId::new(job, report.started_at, &report.drill_id), report)
}

async fn keep(store: &dyn ReportStore, (id, report): (KeptId, DrillReport)) {
    store.put(&id, json::render(&report).into()).await.unwrap();
}

fn of_writer(writer: usize, n: usize) -> (KeptId, DrillReport) {
    let samples = sample_report::all();
    let mut sample = samples[(writer + n) % samples.len()].clone();
    // Long enough that a torn one would be seen.
    sample.notes = vec![format!("{writer} {n} ").repeat(2_000)];
    let (id, job) = (format!("drill-{writer}-{n}"), ["a", "b"][n % 2]);
    // The same times for all, so that writers meet in one folder.
    report(&sample, job, i64::try_from(n % 3).unwrap(), id)
}

/// The child's part: keeps reports. Does nothing by itself.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let writer: usize = std::env::var(WRITER).unwrap().parse().unwrap();
    let store = open(Path::new(&folder)).await;
    for n in 0..EACH {
        keep(&*store, of_writer(writer, n)).await;
    }
}

fn writer(folder: &Path, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "history::child"])
        .env(FOLDER, folder)
        .env(WRITER, number.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn writers_from_many_processes_lose_and_tear_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut children: Vec<Child> = (0..WRITERS).map(|n| writer(dir.path(), n)).collect();
    // Whoever looks meanwhile sees whole reports only.
    let mut running = true;
    while running {
        running = children.iter_mut().any(|child| child.try_wait().unwrap().is_none());
        for id in store.list(&Wanted::newest(20)).await.unwrap() {
            let past = Past::read(&store.get(&id).await.unwrap());
            assert_eq!(past.unwrap().drill_id, id.drill_id());
        }
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let ids = store.list(&Wanted::default()).await.unwrap();
    assert_eq!(ids.len(), WRITERS * EACH);
    for id in ids {
        let report: DrillReport = serde_json::from_slice(&store.get(&id).await.unwrap()).unwrap();
        let mut parts = id.drill_id().split('-').skip(1).map(|part| part.parse().unwrap());
        let (_, expected) = of_writer(parts.next().unwrap(), parts.next().unwrap());
        assert_eq!((report.notes, report.verdict), (expected.notes, expected.verdict));
    }
}

/// A store, a cache and the program.
struct Place {
    dir: TempDir,
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.exit, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, exit: i32, needle: &str) {
        assert_eq!(self.exit, exit, "{}", self.stderr);
        assert!(self.stderr.contains(needle) && self.stderr.contains("hint: "), "{}", self.stderr);
    }
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("reports")).unwrap();
        Self { dir }
    }

    fn reports(&self) -> PathBuf {
        self.dir.path().join("reports")
    }

    fn url(&self) -> String {
        format!("file://{}", self.reports().display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .args(arguments);
        command
    }

    /// The program on the store.
    fn run(&self, arguments: &[&str]) -> Said {
        let url = self.url();
        self.run_plain(&[arguments, &["--store", &url]].concat())
    }

    fn run_plain(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        Said {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Ten days of a job: the letters of the verdicts, the oldest first.
    async fn filled(self, jobs: &[(&str, &str)]) -> Self {
        let store = open(&self.reports()).await;
        let [pass, breach, fail, inconclusive] = sample_report::all();
        for (job, drills) in jobs {
            for (n, letter) in drills.chars().enumerate() {
                let sample = match letter {
                    'p' => &pass,
                    'b' => &breach,
                    'f' => &fail,
                    _ => &inconclusive,
                };
                let days = i64::try_from(drills.len() - n).unwrap();
                keep(&*store, report(sample, job, days, format!("{job}-{n}"))).await;
            }
        }
        self
    }

    fn job(&self, name: &str, spec: &str) -> String {
        let folder = self.dir.path().join("jobs");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.yaml"));
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  \
             archive: {{url: s3://bucket/path, server: {name}}}\n{spec}"
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

fn ids(said: &Said) -> Vec<String> {
    let drills = said.json()["drills"].clone();
    let id = |drill: &Value| drill["drill_id"].as_str().unwrap().to_owned();
    drills.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn history_lists_what_is_asked_for() {
    let place = Place::new().filled(&[("a", "ppfp"), ("b", "bi")]).await;
    let list = |arguments: &[&str]| {
        ids(&place.run(&[&["history", "--output", "json"], arguments].concat()))
    };
    assert_eq!(list(&[]), ["b-1", "a-3", "b-0", "a-2", "a-1", "a-0"]);
    assert_eq!(list(&["--job", "a", "--limit", "2"]), ["a-3", "a-2"]);
    assert_eq!(list(&["--verdict", "fail", "--verdict", "breach"]), ["b-0", "a-2"]);
    assert_eq!(list(&["--verdict", "pass", "--limit", "1"]), ["a-3"]);
    assert_eq!(list(&["--since", "36h"]), ["b-1", "a-3"]);
    assert_eq!(list(&["--until", "3d", "--job", "a"]), ["a-1", "a-0"]);
    assert_eq!(list(&["--job", "none"]), Vec::<String>::new());
    // The second time from what is remembered, and without it.
    assert_eq!(list(&[]).len(), 6);
    assert_eq!(list(&["--no-cache"]).len(), 6);
    assert!(place.dir.path().join("cache/pgassay/history").is_dir());

    let table = place.run(&["history"]);
    assert_eq!((table.exit, table.stderr.as_str()), (0, ""));
    assert_eq!(table.stdout.lines().filter(|line| line.contains("20261122T020000")).count(), 6);
    let none = place.run(&["history", "--job", "none"]);
    assert_eq!((none.exit, none.stdout.as_str()), (0, ""));

    // A job's file means its own drills.
    let store = format!("  report: {{store: \"{}\"}}\n", place.url());
    let file = place.job("b", &store);
    assert_eq!(ids(&place.run_plain(&["history", &file, "--output", "json"])), ["b-1", "b-0"]);
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_told() {
    let place = Place::new().filled(&[("a", "p")]).await;
    let id = KeptId::new("a", Timestamp::now(), "tomorrow");
    let text = r#"{"schema_version": 2}"#;
    open(&place.reports()).await.put(&id, text.into()).await.unwrap();
    let said = place.run(&["history", "--output", "json"]).json();
    assert_eq!(said["drills"].as_array().unwrap().len(), 1);
    assert_eq!(said["unreadable"][0]["drill_id"], "tomorrow");
    assert!(place.run(&["history"]).stdout.contains("schema version 2"));
    let review = place.run(&["report", "--output", "json"]).json();
    assert_eq!(review["unreadable"][0]["job"], "a");
    place.run(&["report", "--drill", "tomorrow"]).refused(4, "schema version 2");
}

#[tokio::test]
async fn places_that_are_not_there_are_refused() {
    let place = Place::new();
    place.run_plain(&["history"]).refused(2, "no store of reports is named");
    place.run_plain(&["report"]).refused(2, "--store file:///folder");
    place.run_plain(&["history", "--store", "file:///nowhere/at/all"]).refused(4, "does not exist");
    place.run_plain(&["history", "--store", "gs://b"]).refused(2, "Google");
    place.run(&["history", "--since", "yesterday"]).refused(2, "neither a time nor a duration");
    place.run(&["history", "--verdict", "good"]).refused(2, "`inconclusive`");
    place.run(&["report", "--drill", "01a206f8"]).refused(2, "no report of a drill");
    place.run(&["history", "--prune"]).refused(2, "not told what to leave");
    place.run(&["history", "--prune", "--keep", "0"]).refused(2, "at least 1");
    place.run(&["history", "--keep", "3"]).refused(2, "--prune");
    place.run(&["history", "--prune", "--keep", "3", "--since", "1d"]).refused(2, "--since");
}

#[tokio::test]
async fn pruning_says_what_it_does_and_keeps_the_newest_pass() {
    let place = Place::new().filled(&[("a", "pppppp"), ("b", "pffff")]).await;
    let prune = |more: &[&str]| {
        place.run(
            &[
                &["history", "--prune", "--older-than", "36h", "--keep", "2", "--output", "json"],
                more,
            ]
            .concat(),
        )
    };
    let planned = prune(&["--dry-run"]).json();
    assert_eq!(planned["jobs"][0]["removed"].as_array().unwrap().len(), 4);
    let all = || ids(&place.run(&["history", "--output", "json"]));
    assert_eq!(all().len(), 11);
    let done = prune(&[]).json();
    assert_eq!(done["jobs"][1]["spared"][0]["drill_id"], "b-0");
    assert_eq!(done["dry_run"], false);
    assert_eq!(all(), ["b-4", "a-5", "b-3", "a-4", "b-0"]);
    let told = place.run(&["history", "--prune", "--keep", "1"]).stdout;
    assert!(
        told.starts_with("  2 reports removed, 3 left") && told.contains("(the newest"),
        "{told}"
    );
}

/// Two services prune at once, while drills of a third job go on being kept.
#[tokio::test]
async fn two_services_prune_at_once() {
    let drills = format!("p{}", "f".repeat(80));
    let jobs: Vec<String> = (0..4).map(|n| format!("job-{n}")).collect();
    let filled: Vec<(&str, &str)> =
        jobs.iter().map(|job| (job.as_str(), drills.as_str())).collect();
    let place = Place::new().filled(&filled).await;
    let store = open(&place.reports()).await;
    let mut drills = writer(&place.reports(), 0);
    let url = place.url();
    let services: Vec<Child> = (0..3)
        .map(|_| {
            let arguments =
                ["history", "--prune", "--keep", "3", "--job", "job-0", "--job", "job-1"];
            let more = ["--job", "job-2", "--job", "job-3", "--store", &url];
            place.command(&arguments).args(more).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut service in services {
        assert!(service.wait().unwrap().success());
    }
    assert!(drills.wait().unwrap().success());
    for job in &jobs {
        let left = store.list(&Wanted::job(job)).await.unwrap();
        let names: Vec<&str> = left.iter().map(KeptId::drill_id).collect();
        let expected: Vec<String> = [80, 79, 78, 0].map(|n| format!("{job}-{n}")).into();
        assert_eq!(names, expected);
    }
    let others: usize = [
        store.list(&Wanted::job("a")).await.unwrap().len(),
        store.list(&Wanted::job("b")).await.unwrap().len(),
    ]
    .iter()
    .sum();
    assert_eq!(others, EACH);
}

#[tokio::test]
async fn the_review_in_every_form() {
    let place = Place::new().filled(&[("a", "ppppppp"), ("b", "ppf")]).await;
    place.job("a", &format!("  report: {{store: \"{}\"}}\n", place.url()));
    place.job("b", &format!("  report: {{store: \"{}\"}}\n", place.url()));
    place.job("never", &format!("  report: {{store: \"{}\"}}\n", place.url()));
    place.job("silent", "");
    fs::write(place.dir.path().join("jobs/broken.yaml"), "nonsense: [").unwrap();
    let jobs = place.dir.path().join("jobs").display().to_string();
    let review = |format: &str| place.run_plain(&["report", "--jobs", &jobs, "--output", format]);
    let json = review("json").json();
    let names = |key: &str| -> Vec<String> {
        let list = json[key].as_array().unwrap();
        list.iter().map(|job| job["job"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("jobs"), ["a", "b"]);
    assert_eq!(names("never_drilled"), ["never", "silent"]);
    assert_eq!(json["jobs"][0]["trend"]["verdicts"]["pass"], 7);
    assert_eq!(json["jobs"][1]["last"]["verdict"], "fail");

    let human = review("human");
    assert!(human.stdout.starts_with("ATTENTION"), "{}", human.stdout);
    assert!(
        human.stderr.contains("`silent` keeps no reports") && human.stderr.contains("broken.yaml")
    );
    let html = review("html").stdout;
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("Never drilled"), "{html}");
    let markdown = review("markdown").stdout;
    assert!(markdown.contains("| b | fail |"), "{markdown}");
    let junit = review("junit").stdout;
    assert!(junit.contains("tests=\"4\" skipped=\"0\" failures=\"3\""), "{junit}");

    // Nothing in the span, but before it.
    let later = place.run(&["report", "--since", "1h", "--output", "json"]).json();
    assert_eq!(later["jobs"][0]["attention"][0], "there was no drill in this time");
    assert!(later["jobs"][1]["last_pass_at"].is_string());
    // Trends look farther back than an hour, counts do not.
    let trend = &later["jobs"][0]["trend"];
    assert_eq!(trend["verdicts"]["pass"], 0);
    assert_eq!(trend["rto"]["points"].as_array().map(Vec::len), Some(7));
    let at = |key: &str| later[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at("until").duration_since(at("trends_since")), SignedDuration::from_hours(90 * 24));
    assert!(at("since") > at("trends_since"));
    let day = place.run(&["report", "--since", "36h", "--output", "json"]).json();
    assert_eq!(day["jobs"][0]["trend"]["verdicts"]["pass"], 1);
    assert_eq!(day["jobs"][0]["trend"]["stages"], trend["stages"]);
    // A long span is its own.
    let year = place.run(&["report", "--since", "365d", "--output", "json"]).json();
    assert_eq!(year["trends_since"], year["since"]);
    assert!(!place.run(&["report", "--since", "365d"]).stdout.contains("rest on the drills since"));
    assert!(place.run(&["report", "--since", "1d"]).stdout.contains("rest on the drills since"));
}

#[tokio::test]
async fn one_drill_in_every_form() {
    let place = Place::new();
    let sample = sample_report::fail();
    let (_, mut report) = report(&sample, "a", 0, sample.drill_id.clone());
    // As drills have it: the id holds the time.
    report.drill_id = uuid::Uuid::now_v7().to_string();
    let id = KeptId::new("a", report.started_at, &report.drill_id);
    let kept = json::render(&report);
    open(&place.reports()).await.put(&id, kept.clone().into()).await.unwrap();
    let print = |format: &str| {
        let said = place.run(&["report", "--drill", &report.drill_id, "--output", format]);
        assert_eq!(said.exit, 0, "{}", said.stderr);
        said.stdout
    };
    assert_eq!(print("json"), kept);
    assert_eq!(
        print("human"),
        pgassay::report::terminal::render(&report, pgassay::report::terminal::Style::PLAIN)
    );
    assert!(print("html").contains("Findings (3)"));
    assert!(print("markdown").starts_with("## FAIL: a\n"));
    assert!(print("junit").contains("type=\"wal_gap\""));

    let schema: Value =
        serde_json::from_str(&place.run_plain(&["report", "--schema"]).stdout).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(json_schema::errors(&schema, &kept), Vec::<String>::new());
    assert_eq!(json_schema::strict_errors(&schema, &kept), Vec::<String>::new());
}
