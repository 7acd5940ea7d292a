//! A service that runs, over a folder of jobs that drill the fixture `rich`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use pgassay::demo::s3_server::S3Server;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{
    drill::{environment, signal},
    fixture,
    tools::{RUNTIME, s3_server},
    workdir::{WorkDir, tree},
};

/// Nothing here takes as long on any machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A folder of jobs, the state and the reports of a service.
#[derive(Debug)]
pub struct Scene {
    pub server: S3Server,
    pub work: WorkDir,
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
    url: Option<String>,
}

impl Scene {
    pub fn new() -> Self {
        Self::of(&fixture::rich().root)
    }

    /// Over an archive like `rich`.
    pub fn of(archive: &Path) -> Self {
        let server = s3_server(archive);
        let work = WorkDir::new();
        for folder in ["jobs", "reports", "sandboxes"] {
            fs::create_dir(work.join(folder)).unwrap();
        }
        Self { server, work }
    }

    /// Writes a job as an editor does: another file gets the name.
    pub fn job(&self, name: &str, spec: &str) {
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

    pub fn job_file(&self, name: &str) -> PathBuf {
        self.work.join("jobs").join(format!("{name}.yaml"))
    }

    pub fn start(&self) -> Service {
        self.start_with(&[])
    }

    pub fn start_with(&self, arguments: &[&str]) -> Service {
        Service::start(&self.work.join("jobs"), &self.work.join("state"), arguments)
    }

    /// Every kept report, oldest first.
    pub fn reports(&self) -> Vec<Value> {
        let root = self.work.join("reports");
        let mut files: Vec<String> = tree(&root)
            .into_iter()
            .filter(|file| Path::new(file).extension() == Some("json".as_ref()))
            .collect();
        files.sort_by_key(|file| Path::new(file).file_name().map(ToOwned::to_owned));
        let read = |file: &String| fs::read(root.join(file)).unwrap();
        files.iter().map(|file| serde_json::from_slice(&read(file)).unwrap()).collect()
    }

    pub fn assert_nothing_left(&self) {
        let sandboxes = self.work.join("sandboxes");
        let left: Vec<String> = tree(&sandboxes).into_iter().filter(|p| p != "pgassay").collect();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(processes(&sandboxes), Vec::<String>::new());
        assert_eq!(tree(&self.work.join("state/running")), Vec::<String>::new());
    }
}

/// Any command of the program, to its end.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).args(arguments).output().unwrap()
}

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let output = Command::new("pgrep").arg("-af").arg(folder).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    found.lines().filter(|line| !line.contains("pgrep")).map(str::to_owned).collect()
}

impl Service {
    /// Over a folder of jobs and one of its own.
    pub fn start(jobs: &Path, state: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).args(["serve", "--jobs"]);
        command.arg(jobs).arg("--state").arg(state);
        // Any free port, so that tests run beside each other.
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
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
        Self { child, lines, seen: Vec::new(), url: None }
    }

    /// Waits for a line that holds all of these words.
    #[track_caller]
    pub fn wait_for(&mut self, words: &[&str]) -> String {
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

    /// Where its pages are.
    pub fn url(&mut self) -> String {
        if self.url.is_none() {
            let seen = self.seen.iter().find(|line| line.contains("pages at")).cloned();
            let line = seen.unwrap_or_else(|| self.wait_for(&["pages at"]));
            self.url = line.split(' ').next_back().map(|url| url.trim_end_matches('/').to_owned());
        }
        self.url.clone().unwrap()
    }

    /// An answer of any status.
    pub fn ask(&mut self, method: Method, path: &str, token: Option<&str>) -> Answer {
        let url = format!("{}{path}", self.url());
        RUNTIME.block_on(async {
            let mut request = reqwest::Client::new().request(method, url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            let content_type = answer.headers().get("content-type");
            let content_type = content_type.map_or("", |value| value.to_str().unwrap()).to_owned();
            Answer { status: answer.status(), content_type, body: answer.text().await.unwrap() }
        })
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, None)
    }

    /// JSON of an address that answers.
    #[track_caller]
    pub fn json(&mut self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.json()
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        signal(&self.child, "TERM");
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.seen);
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A test that failed has not ended it.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[track_caller]
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What an address of the service answers.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}
