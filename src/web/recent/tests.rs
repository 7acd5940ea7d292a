use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    config,
    drill::{DrillReport, Verdict, job::StoreLocation, report::sample},
    report::{
        json,
        kept::{self, KeptId},
    },
    service::{Shown, ShownJob},
};

/// What the shelves of a folder of jobs come to.
struct Scene {
    dir: tempfile::TempDir,
    shelves: Shelves,
    recent: Recent,
}

impl Scene {
    fn new() -> Self {
        let (_, read) = watch::channel(Reading::default());
        let recent = Recent { jobs: Arc::default(), read };
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::new(Some(dir.path().join("cache")));
        Self { dir, shelves: Shelves::new(stores), recent }
    }

    fn location(&self, store: &str) -> StoreLocation {
        StoreLocation::folder(self.dir.path().join(store).to_str().unwrap())
    }

    /// Keeps a drill of a job that began so many hours ago.
    async fn keep(&self, store: &str, job: &str, verdict: Verdict, hours: i64) -> KeptId {
        let mut report = report(job);
        report.verdict = verdict;
        report.started_at = Timestamp::now() - SignedDuration::from_hours(hours);
        report.finished_at = report.started_at;
        report.drill_id = format!("{job}-{hours}");
        let id = KeptId::new(job, report.started_at, &report.drill_id);
        let store = kept::open(&self.location(store)).await.unwrap();
        store.put(&id, json::render(&report).into()).await.unwrap();
        id
    }

    /// Jobs of the folder and their stores, from now on.
    fn jobs(&mut self, jobs: &[(&str, &str)]) {
        let jobs = jobs.iter().map(|(name, store)| ShownJob {
            job: job(name, &self.dir.path().join(store)).into(),
            since: Timestamp::now(),
            next: None,
            waiting: None,
        });
        let shown = Shown {
            at: Timestamp::now(),
            jobs: jobs.collect(),
            broken: vec![],
            running: vec![],
            stopping: false,
        };
        assert!(self.shelves.is_other(&shown));
        self.shelves.follow(&shown, &self.recent);
        assert!(!self.shelves.is_other(&shown));
    }

    async fn list(&mut self) {
        self.shelves.list(StoreScheme::File, &self.recent).await;
    }

    fn last(&self, job: &str) -> Option<Verdict> {
        self.recent.job(job)?.last.as_ref().map(|last| last.verdict)
    }
}

fn report(job: &str) -> DrillReport {
    DrillReport { job: job.to_owned(), ..sample::pass() }
}

/// A job that drills the archive of the sample reports.
fn job(name: &str, store: &Path) -> crate::drill::Job {
    let DrillReport { archive_url, server, .. } = sample::pass();
    let text = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  archive: {{url: \
         \"{archive_url}\", server: {server}}}\n  depth: catalog\n  report: {{store: \"file://{}\"}}\n",
        store.display()
    );
    config::parse(&text, "job.yaml").unwrap()
}

#[tokio::test]
async fn what_the_stores_hold_is_known_after_one_listing() {
    let mut scene = Scene::new();
    scene.jobs(&[("a", "one"), ("b", "two"), ("c", "two")]);
    // A folder that is not there yet is one without reports.
    scene.keep("two", "b", Verdict::Fail, 1).await;
    scene.keep("two", "b", Verdict::Pass, 2).await;
    scene.keep("two", "stranger", Verdict::Pass, 3).await;
    assert!(!scene.shelves.all_asked());
    scene.list().await;
    assert!(scene.shelves.all_asked() && scene.shelves.problems().is_empty());
    let known = ["a", "b", "c", "stranger"].map(|job| scene.last(job));
    assert_eq!(known, [None, Some(Verdict::Fail), None, Some(Verdict::Pass)]);
    let b = scene.recent.job("b").unwrap();
    assert!(b.last_pass.is_some() && !b.exported().is_empty() && b.to_forecast().is_some());
    scene.shelves.forecast(StoreScheme::File, &scene.recent).await;
    assert_eq!(scene.recent.job("b").unwrap().to_forecast(), None);
    assert!(scene.shelves.knows("stranger") && !scene.shelves.knows("nobody"));
    // What comes later is found, what is gone is forgotten.
    scene.keep("one", "a", Verdict::Pass, 0).await;
    let newest = scene.keep("two", "b", Verdict::Breach, 0).await;
    scene.list().await;
    assert_eq!((scene.last("a"), scene.last("b")), (Some(Verdict::Pass), Some(Verdict::Breach)));
    kept::open(&scene.location("two")).await.unwrap().remove(&newest).await.unwrap();
    scene.list().await;
    assert_eq!(scene.last("b"), Some(Verdict::Fail));
}

#[tokio::test]
async fn a_pass_behind_many_failures_is_found() {
    let mut scene = Scene::new();
    for hours in 1..=40 {
        scene.keep("one", "a", Verdict::Fail, hours).await;
    }
    let pass = scene.keep("one", "a", Verdict::Pass, 41).await;
    scene.jobs(&[("a", "one")]);
    scene.list().await;
    let a = scene.recent.job("a").unwrap();
    assert_eq!(
        (a.beats.len(), a.last_pass.as_ref().unwrap().drill_id.as_str()),
        (MOST_BEATS, pass.drill_id())
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_not_taken_for_good() {
    let mut scene = Scene::new();
    scene.keep("one", "a", Verdict::Pass, 2).await;
    let torn = scene.keep("one", "a", Verdict::Fail, 1).await;
    let months = torn.at().strftime("one/reports/v1/a/%Y/%m").to_string();
    let folder = fs::read_dir(scene.dir.path().join(months)).unwrap();
    let mut files = folder.map(|entry| entry.unwrap().path());
    let name = format!("{}.json", torn.drill_id());
    let file = files.find(|file| file.to_str().unwrap().ends_with(&name)).unwrap();
    fs::write(file, "{").unwrap();
    scene.jobs(&[("a", "one"), ("b", "two")]);
    scene.list().await;
    let a = scene.recent.job("a").unwrap();
    assert!(a.is_unreadable() && a.exported().is_empty() && a.last_pass.is_some());
    // A store that breaks: what was known is not known any more.
    let reports = scene.dir.path().join("one/reports");
    fs::remove_dir_all(&reports).unwrap();
    fs::write(&reports, "no folder").unwrap();
    scene.list().await;
    assert_eq!(scene.shelves.problems().len(), 1);
    assert_eq!(scene.shelves.unknown().into_iter().collect::<Vec<_>>(), ["a"]);
    // And mends.
    fs::remove_file(&reports).unwrap();
    scene.list().await;
    assert!(scene.shelves.unknown().is_empty());
}

#[tokio::test]
async fn a_job_that_is_another_one_begins_anew() {
    let mut scene = Scene::new();
    scene.keep("one", "a", Verdict::Pass, 1).await;
    scene.jobs(&[("a", "one")]);
    scene.list().await;
    assert_eq!(scene.last("a"), Some(Verdict::Pass));
    // Its reports are elsewhere now.
    scene.jobs(&[("a", "two")]);
    assert_eq!(scene.last("a"), None);
    scene.list().await;
    assert_eq!(scene.last("a"), None);
}
