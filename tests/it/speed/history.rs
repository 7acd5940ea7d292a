//! A hundred thousand kept reports of three hundred jobs: `make bench-history`. Only a release build says
//! anything.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use pgassay::{
    drill::job::StoreLocation,
    report::{
        json,
        kept::{self, ReportStore, Wanted},
        past::PastReader,
    },
};

use crate::{
    sample_report,
    support::service::{Service, wait_until},
};

const REPORTS: u64 = 100_000;
const JOBS: u64 = 300;
/// Between one drill of a job and the next.
const APART: SignedDuration = SignedDuration::from_hours(24);
/// Of which the middle one is told.
const ROUNDS: usize = 5;

/// Drills of a job that an overview draws.
const DRAWN: usize = 30;

/// Writes the public layout by hand: keeping each report durably would take most of the time.
fn fill(folder: &Path) {
    let now = Timestamp::now();
    let samples = sample_report::all();
    for n in 0..REPORTS {
        let (job, age) = (n % JOBS, n / JOBS);
        // Mostly passes, one of twenty something else.
        let sample = if n % 20 == 7 { 1 + usize::try_from(n % 3).unwrap() } else { 0 };
        let mut report = samples[sample].clone();
        let took = report.finished_at.duration_since(report.started_at);
        let offset = SignedDuration::from_secs(i64::try_from(job * 60).unwrap());
        report.started_at = now - APART * i32::try_from(age).unwrap() - offset;
        report.finished_at = report.started_at + took;
        report.job = format!("job-{job:03}");
        report.drill_id = format!("01933d2e-6f00-7abc-8def-{n:012}");
        let month = report.started_at.strftime("%Y/%m");
        let month = folder.join(format!("reports/v1/{}/{month}", report.job));
        fs::create_dir_all(&month).unwrap();
        let millis = report.started_at.as_millisecond().rem_euclid(1_000);
        let time = report.started_at.strftime("%Y%m%dT%H%M%S");
        let name = format!("{time}.{millis:03}Z-{}.json", report.drill_id);
        fs::write(month.join(name), json::render(&report)).unwrap();
    }
}

fn program(store: &str, cache: &Path, arguments: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command
        .env_clear()
        .env("XDG_CACHE_HOME", cache)
        .args(arguments)
        .args(["--store", store])
        .stdout(Stdio::null());
    let since = Instant::now();
    assert!(command.status().unwrap().success());
    since.elapsed()
}

fn median(mut measured: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| measured()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Takes the cache's files out of memory; returns their size.
fn evict(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes += evict(&path);
            continue;
        }
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        bytes += file.metadata().unwrap().len();
    }
    bytes
}

/// A service that has just been started, and what its overview takes from then on.
fn of_the_service(dir: &Path, store: &str, tell: &impl Fn(&str, Duration)) {
    let (jobs, state) = (dir.join("jobs"), dir.join("state"));
    fs::create_dir(&jobs).unwrap();
    for job in 0..JOBS {
        let name = format!("job-{job:03}");
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  archive: {{url: \
             s3://home-backups/postgres, server: orders}}\n  schedule: \"0 3 * * *\"\n  report: {{store: \"{store}\"}}\n"
        );
        fs::write(jobs.join(format!("{name}.yaml")), text).unwrap();
    }
    let start = || {
        let since = Instant::now();
        let mut service = Service::start(&jobs, &state, &["--max-drills", "1"]);
        wait_until("ready", || service.get("/readyz").status.is_success());
        let page = service.get("/");
        let took = since.elapsed();
        let rows = page.body.matches("data-job=").count();
        assert!(rows == 200 && !page.body.contains("are being read"), "{rows}: {}", page.body);
        (service, took)
    };
    let (service, took) = start();
    tell("a service starts and shows its overview, nothing remembered", took);
    service.stop();
    let mut bytes = 0;
    let cold = median(|| {
        bytes = evict(&state.join("cache"));
        let (service, took) = start();
        service.stop();
        took
    });
    let what = "a service starts and shows its overview, cache of";
    tell(&format!("{what} {} MiB not in memory", bytes >> 20), cold);
    let (mut service, _) = start();
    for path in ["/", "/api/v1/jobs", "/metrics", "/jobs/job-007"] {
        let mut size = 0;
        let warm = median(|| {
            let since = Instant::now();
            size = service.get(path).body.len();
            since.elapsed()
        });
        tell(&format!("{path} of a service that runs, {} KiB", size >> 10), warm);
    }
    service.stop();
}

#[test]
#[ignore = "takes minutes and half a gigabyte: `make bench-history`"]
fn of_a_hundred_thousand_reports() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (reports, cache) = (dir.path().join("reports"), dir.path().join("cache"));
    let since = Instant::now();
    fill(&reports);
    println!("{REPORTS} reports of {JOBS} jobs, made in {:.1} s", since.elapsed().as_secs_f64());
    let url = format!("file://{}", reports.display());
    let tell =
        |what: &str, time: Duration| println!("{:>8.0} ms  {what}", time.as_secs_f64() * 1e3);

    let newest = ["history"];
    let failed = ["history", "--verdict", "fail"];
    let month = ["report", "--since", "30d", "--output", "html"];
    let job = ["history", "--job", "job-007", "--limit", "1000"];
    tell(
        "history, nothing remembered",
        median(|| {
            if cache.exists() {
                fs::remove_dir_all(&cache).unwrap();
            }
            program(&url, &cache, &newest)
        }),
    );
    let all = program(&url, &cache, &failed);
    tell("history --verdict fail, nothing remembered: every report is read once", all);
    for (what, arguments) in [
        ("history", &newest[..]),
        ("history of one job", &job),
        ("history --verdict fail: all summaries", &failed),
        ("report --since 30d, HTML", &month),
    ] {
        program(&url, &cache, arguments);
        tell(&format!("{what}, warm"), median(|| program(&url, &cache, arguments)));
        let mut bytes = 0;
        let cold = median(|| {
            bytes = evict(&cache);
            program(&url, &cache, arguments)
        });
        tell(&format!("{what}, cache of {} MiB not in memory", bytes >> 20), cold);
    }

    of_the_service(dir.path(), &url, &tell);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let location = StoreLocation::folder(reports.to_str().unwrap());
        let store: Arc<dyn ReportStore> = kept::open(&location).await.unwrap().into();
        let reader = PastReader::new(store.clone(), &location, Some(&cache.join("pgassay")));
        let drawn = Wanted { each: Some(DRAWN), ..Wanted::default() };
        for _ in 0..2 {
            let since = Instant::now();
            let told = reader.read(&drawn).await.unwrap();
            tell(
                &format!("overview: {} summaries, {DRAWN} of each job", told.len()),
                since.elapsed(),
            );
        }
        let since = Instant::now();
        let names = store.list(&Wanted::default()).await.unwrap();
        assert_eq!(names.len() as u64, REPORTS);
        tell("names of all reports", since.elapsed());
        let since = Instant::now();
        let told = reader.read(&Wanted::default()).await.unwrap();
        tell(&format!("{} summaries in one process", told.len()), since.elapsed());
    });
}
