//! What people look at can be read in a real browser: in light and dark, on a phone, without an error on
//! the console, a request to elsewhere, or a fault that axe-core finds.

use std::{fs, path::PathBuf, process::Command};

use axum::{Router, http::StatusCode, response::Html, routing::get};
use jiff::{SignedDuration, Timestamp};
use pgassay::{
    drill::{DrillReport, job::StoreLocation},
    report::{
        json,
        kept::{self, KeptId},
    },
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    sample_report,
    support::{
        browser::{Browser, Look, processes},
        tools::RUNTIME,
    },
};

/// Kept reports, and pages that the program makes of them.
struct Reports {
    dir: TempDir,
}

impl Reports {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("reports")).unwrap();
        Self { dir }
    }

    fn store(&self) -> String {
        self.dir.path().join("reports").to_str().unwrap().to_owned()
    }

    /// Keeps a drill that began so many days ago; says its id.
    fn keep(&self, mut report: DrillReport, days: i64) -> String {
        let took = report.finished_at.duration_since(report.started_at);
        report.started_at = Timestamp::now() - SignedDuration::from_hours(24 * days);
        report.finished_at = report.started_at + took;
        let seconds = u64::try_from(report.started_at.as_second()).unwrap();
        let at = uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0);
        report.drill_id = uuid::Uuid::new_v7(at).to_string();
        let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
        RUNTIME.block_on(async {
            let store = kept::open(&StoreLocation::folder(self.store())).await.unwrap();
            store.put(&id, json::render(&report).into()).await.unwrap();
        });
        report.drill_id
    }

    /// A job file whose drills are kept here.
    fn job(&self, name: &str) -> PathBuf {
        let jobs = self.dir.path().join("jobs");
        fs::create_dir_all(&jobs).unwrap();
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  \
             archive: {{url: s3://bucket/path, server: {name}}}\n  report: {{store: \"file://{}\"}}\n",
            self.store()
        );
        fs::write(jobs.join(format!("{name}.yaml")), text).unwrap();
        jobs
    }

    /// `pgassay report` as HTML, in a file.
    fn page(&self, arguments: &[&str]) -> PathBuf {
        let output = Command::new(env!("CARGO_BIN_EXE_pgassay"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .args(["report", "--output", "html"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = self.dir.path().join("page.html");
        fs::write(&path, output.stdout).unwrap();
        path
    }
}

/// The ground is another one in the dark, and text stands out from both (axe looks at that).
fn assert_light_and_dark(browser: &Browser) {
    let ground = |look| {
        browser.look(look);
        browser.style("body", "background-color")
    };
    assert_ne!(ground(Look::SCREEN_DARK), ground(Look::SCREEN));
}

#[test]
fn a_drill() {
    let reports = Reports::new();
    let mut browser = Browser::start();
    let store = format!("file://{}", reports.store());
    for report in sample_report::all() {
        let name = format!("drill-{}", report.verdict.name());
        let findings: Vec<_> = report.checks.iter().flat_map(|c| c.findings.clone()).collect();
        let id = reports.keep(report, 1);
        let page = reports.page(&["--drill", &id, "--store", &store]);
        browser.open_file(&page);
        assert_light_and_dark(&browser);
        browser.assert_sound(&name);

        // What an operator must see of a failed drill, on a phone too.
        assert_eq!(findings.len(), if name == "drill-fail" { 3 } else { 0 });
        browser.look(Look::PHONE);
        for finding in findings {
            let section = browser.text("section[aria-labelledby=findings]");
            let advice = format!("What to do: {}", finding.hint);
            for needed in [finding.class.name(), &finding.subject, &finding.detail, &advice] {
                assert!(section.contains(needed), "`{needed}` is not seen in: {section}");
            }
        }
    }
}

#[test]
fn a_month() {
    let reports = Reports::new();
    let long = "a-job-of-a-department-whose-name-somebody-made-of-all-its-words";
    for days in 1..=28 {
        let mut report = sample_report::pass();
        // A restore that takes longer from day to day.
        if let Some(rto) = &mut report.rto {
            rto.seconds += f64::from(28 - days) * 20.0;
        }
        reports.keep(report, days.into());
    }
    for (days, mut report) in (3..).zip(sample_report::all()) {
        long.clone_into(&mut report.job);
        reports.keep(report, days);
    }
    let jobs = ["orders-nightly", long, "never"].map(|name| reports.job(name));
    let mut browser = Browser::start();
    browser.open_file(&reports.page(&["--jobs", jobs[0].to_str().unwrap()]));
    assert_light_and_dark(&browser);
    browser.assert_sound("month");

    assert!(browser.text("#never + ul").starts_with("never: "));
    let chart = "document.querySelector('figure svg').getBoundingClientRect()";
    for look in [Look::SCREEN, Look::PHONE] {
        browser.look(look);
        browser.wait(&format!("{chart}.width > 200 && {chart}.height > 50"));
        assert!(browser.text("figure figcaption").starts_with("last "));
    }
}

/// Two servers with a page that is bad and one that asks.
fn servers() -> [String; 2] {
    [(); 2].map(|()| {
        let pages = Router::new()
            .route("/bad", get(|| async { Html(include_str!("readable/bad.html")) }))
            .route(
                "/asks",
                get(|| async { Html(include_str!("readable/asks.html")) }).post(answer),
            );
        RUNTIME.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async { axum::serve(listener, pages).await });
            format!("http://{address}")
        })
    })
}

/// Refuses, and shows what was said.
async fn answer(said: String) -> (StatusCode, Html<String>) {
    let page = format!("<title>No</title><link rel=\"icon\" href=\"data:,\">{said}");
    (StatusCode::FORBIDDEN, Html(page))
}

/// None of the above could fail if the browser did not see it.
#[test]
fn what_is_wrong_with_a_page_is_seen() {
    let [here, elsewhere] = servers();
    let mut browser = Browser::start();
    browser.open(&format!("{here}/bad#{elsewhere}"));
    browser.wait("document.images[1]?.complete");
    let problems = browser.problems();
    for needed in [
        "console: SEVERE",
        "console: WARNING",
        &format!("asked elsewhere: {elsewhere}/asks"),
        &format!("answered with 404: {here}/missing.png"),
        "failed: http://127.0.0.1:1/: net::ERR_",
    ] {
        assert!(
            problems.iter().any(|problem| problem.starts_with(needed)),
            "{needed}: {problems:#?}"
        );
    }
    assert_eq!(browser.problems(), Vec::<String>::new(), "each is told once");

    let axe = browser.axe();
    for rule in ["serious color-contrast", "critical image-alt", "moderate heading-order"] {
        assert!(axe.iter().any(|found| found.starts_with(rule)), "{rule}: {axe:#?}");
    }
    for look in [Look::SCREEN, Look::PHONE] {
        browser.look(look);
        let overflow = browser.overflow();
        assert!(overflow.len() == 2 && overflow[1].contains("too-wide"), "{overflow:#?}");
    }
}

#[test]
fn a_person_can_answer() {
    let [here, _] = servers();
    let mut browser = Browser::start();
    browser.expect_status(403);
    browser.open(&format!("{here}/asks"));
    browser.fill("input[name=token]", "open sesame");
    browser.click("button");
    browser.wait("document.title === 'No'");
    assert_eq!(browser.text("body"), "token=open+sesame");
    assert_eq!(browser.evaluate("fetch('/asks').then(answer => answer.status)"), 200);
    assert_eq!(browser.problems(), Vec::<String>::new());
}

/// Neither processes nor files are left, also when a test ends in the middle.
#[test]
fn nothing_is_left_of_a_browser() {
    let folder = std::panic::catch_unwind(|| {
        let browser = Browser::start();
        let folder = browser.folder();
        assert!(processes(&folder) > 0 && folder.exists());
        std::panic::panic_any(folder);
    });
    let folder = *folder.unwrap_err().downcast::<PathBuf>().unwrap();
    assert_eq!((processes(&folder), folder.exists()), (0, false));
}
