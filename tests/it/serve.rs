//! The service: jobs on their schedules, a folder that changes, and kills at any time.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use pgassay::demo::s3_server::S3Server;
use serde_json::Value;

use crate::support::{
    drill::{environment, signal},
    fixture,
    tools::s3_server,
    workdir::{WorkDir, tree},
};

/// Nothing here takes as long on any machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A folder of jobs, the state and the reports of a service.
struct Scene {
    server: S3Server,
    work: WorkDir,
}

/// A service that runs.
struct Service {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let server = s3_server(&fixture::rich().root);
        let work = WorkDir::new();
        for folder in ["jobs", "reports", "sandboxes"] {
            fs::create_dir(work.join(folder)).unwrap();
        }
        Self { server, work }
    }

    /// Writes a job as an editor does: another file gets the name.
    fn job(&self, name: &str, spec: &str) {
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  archive:\n    \
             url: s3://bucket/archive\n    server: rich\n    s3: {{endpoint: \"{}\", region: us-east-1, pathStyle: \
             true}}\n  sandbox: {{workDir: \"{}\"}}\n  report: {{store: \"file://{}\"}}\n{spec}\n",
            self.server.endpoint(),
            self.work.join("sandboxes").display(),
            self.work.join("reports").display(),
        );
        let new = self.work.join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.job_file(name)).unwrap();
    }

    fn job_file(&self, name: &str) -> PathBuf {
        self.work.join("jobs").join(format!("{name}.yaml"))
    }

    fn start(&self) -> Service {
        self.start_with(&[])
    }

    fn start_with(&self, arguments: &[&str]) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).args(["serve", "--jobs"]);
        command.arg(self.work.join("jobs")).arg("--state").arg(self.work.join("state"));
        command.args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Service { child, lines, seen: Vec::new() }
    }

    /// Every kept report, oldest first.
    fn reports(&self) -> Vec<Value> {
        let root = self.work.join("reports");
        let mut files: Vec<String> = tree(&root)
            .into_iter()
            .filter(|file| Path::new(file).extension() == Some("json".as_ref()))
            .collect();
        files.sort_by_key(|file| Path::new(file).file_name().map(ToOwned::to_owned));
        let read = |file: &String| fs::read(root.join(file)).unwrap();
        files.iter().map(|file| serde_json::from_slice(&read(file)).unwrap()).collect()
    }

    fn assert_nothing_left(&self) {
        let sandboxes = self.work.join("sandboxes");
        let left: Vec<String> = tree(&sandboxes).into_iter().filter(|p| p != "pgassay").collect();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(processes(&sandboxes), Vec::<String>::new());
        assert_eq!(tree(&self.work.join("state/running")), Vec::<String>::new());
    }
}

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let output = Command::new("pgrep").arg("-af").arg(folder).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    found.lines().filter(|line| !line.contains("pgrep")).map(str::to_owned).collect()
}

impl Service {
    /// Waits for a line that holds all of these words.
    #[track_caller]
    fn wait_for(&mut self, words: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {words:?} in {:#?}", self.seen)
            };
            self.seen.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    /// Ends it in order.
    fn stop(mut self) {
        signal(&self.child, "TERM");
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.seen);
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[track_caller]
fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

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
    service.wait_for(&["job `slow` begins"]);
    wait_until("a sandbox", || Moment::Sandbox.is_there(&scene));
    service.stop();
    let reports = scene.reports();
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0]["verdict"], "inconclusive");
    scene.assert_nothing_left();
}

/// Where a drill is when the service is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Begun,
    Sandbox,
    Files,
    Server,
}

impl Moment {
    const ALL: [Self; 4] = [Self::Begun, Self::Sandbox, Self::Files, Self::Server];

    fn is_there(self, scene: &Scene) -> bool {
        let sandboxes = scene.work.join("sandboxes");
        match self {
            Self::Begun => !running(scene).is_empty(),
            Self::Sandbox => tree(&sandboxes).iter().any(|path| path.ends_with("lease.json")),
            Self::Files => tree(&sandboxes).iter().any(|path| path.ends_with("PG_VERSION")),
            Self::Server => tree(&sandboxes).iter().any(|path| path.ends_with("postmaster.pid")),
        }
    }
}

/// Ids of the drills that the state says to be under way.
fn running(scene: &Scene) -> Vec<String> {
    let files = tree(&scene.work.join("state/running"));
    files.iter().filter_map(|file| file.strip_suffix(".json").map(str::to_owned)).collect()
}

fn killed_at(moments: impl IntoIterator<Item = Moment>) {
    let scene = Scene::new();
    scene.job("restored", "  schedule: \"* * * * * *\"\n  depth: restore");
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
    for moment in moments {
        let service = begin_again(&last);
        wait_until(&format!("{moment:?}"), || moment.is_there(&scene));
        service.kill();
        last = running(&scene);
        // One that was about to end may have kept its report.
        let kept = scene.reports();
        last.retain(|id| kept.iter().all(|report| report["drill_id"] != id.as_str()));
        killed.extend(last.clone());
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
fn killed_in_the_middle_of_a_drill() {
    killed_at(Moment::ALL);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn killed_twenty_times() {
    killed_at(Moment::ALL.into_iter().cycle().take(20));
}
