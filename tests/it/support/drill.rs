//! Runs the program as a user would, and reads its JSON.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use pgassay::demo::s3_server::S3Server;
use serde_json::Value;

use super::{
    fixture::Archive,
    tools::{ACCESS_KEY, SECRET_KEY, s3_server},
    workdir::{WorkDir, tree},
};

/// A drill to run on an archive: its own S3 server, job file and work directory.
#[derive(Debug)]
pub struct Drill {
    pub server: S3Server,
    pub work: WorkDir,
    job: PathBuf,
}

/// What the program said.
#[derive(Debug)]
pub struct Answer {
    pub exit: i32,
    pub report: Value,
    pub stdout: String,
    pub stderr: String,
}

impl Drill {
    /// A drill of `server` in the archive below `root`. `spec` is YAML below `spec:`, indented by
    /// two spaces, without `archive`.
    pub fn new(root: &Path, server: &str, spec: &str) -> Self {
        let s3 = s3_server(root);
        s3.refuse_writes(true);
        let work = WorkDir::new();
        let job = work.join("job.yaml");
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
             url: s3://bucket/archive\n    server: {server}\n    s3: {{endpoint: \"{}\", region: us-east-1, pathStyle: true}}\n{spec}\n",
            s3.endpoint()
        );
        std::fs::write(&job, text).unwrap();
        Self { server: s3, work, job }
    }

    /// The command, ready to get more arguments.
    pub fn command(&self) -> Command {
        self.command_in(&self.sandboxes())
    }

    /// The same with another work directory.
    pub fn command_in(&self, work_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).arg("drill").arg(&self.job);
        command.args(["--output", "json"]).arg("--work-dir").arg(work_dir);
        command
    }

    /// Reads the archive with `pgassay verify` instead, and checks that nothing is written: neither to
    /// the archive nor to this machine.
    pub fn verify(&self, arguments: &[&str]) -> Answer {
        let answer = Answer::from(self.verify_command().args(arguments).output().unwrap());
        assert_eq!(self.server.writes_seen(), Vec::<String>::new(), "wrote to the archive");
        assert_eq!(tree(&self.sandboxes()), Vec::<String>::new(), "wrote to this machine");
        answer
    }

    /// `pgassay verify` of the archive, ready to get more arguments.
    pub fn verify_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).arg("verify").arg(&self.job);
        command.args(["--output", "json"]).current_dir(self.sandboxes());
        command.env("TMPDIR", self.sandboxes());
        command
    }

    /// Where sandboxes are made.
    pub fn sandboxes(&self) -> PathBuf {
        let dir = self.work.join("sandboxes");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Runs another command on the same job, such as `catalog`; it writes nothing either.
    pub fn ask(&self, command: &str) -> Answer {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        asked.env_clear().envs(environment()).arg(command).arg(&self.job);
        let answer = Answer::from(asked.args(["--output", "json"]).output().unwrap());
        assert_eq!(self.server.writes_seen(), Vec::<String>::new(), "wrote to the archive");
        answer
    }

    /// Runs it, and checks what must hold of every drill: nothing written to the archive, nothing
    /// left in the work directory, no secret printed.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let answer = Answer::from(self.command().args(arguments).output().unwrap());
        assert_eq!(self.server.writes_seen(), Vec::<String>::new(), "wrote to the archive");
        for text in [&answer.stdout, &answer.stderr] {
            assert!(!text.contains(SECRET_KEY), "printed a secret: {text}");
        }
        self.assert_nothing_left(&answer);
        answer
    }

    /// Nothing is left but the folder that all sandboxes share.
    pub fn assert_nothing_left(&self, answer: &Answer) {
        let left: Vec<String> =
            tree(&self.sandboxes()).into_iter().filter(|p| p != "pgassay").collect();
        assert_eq!(left, Vec::<String>::new(), "left behind; {answer:?}");
    }
}

/// The environment of every run: the path, the keys, nothing else.
pub fn environment() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap();
    let majors = [14, 15, 16, 17, 18].map(|m| super::tools::postgres_bin(m).display().to_string());
    [
        ("PATH", path.as_str()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("PGASSAY_PG_BIN", &majors.join(":")),
        ("RUST_BACKTRACE", "1"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec()
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        Self { exit: output.status.code().unwrap_or(-1), report, stdout, stderr }
    }
}

impl Answer {
    /// The verdict, with everything printed where it is another.
    #[track_caller]
    pub fn expect(&self, verdict: &str, exit: i32) -> &Self {
        assert_eq!(
            (self.report["verdict"].as_str(), self.exit),
            (Some(verdict), exit),
            "{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Every finding as (class, subject, the whole finding).
    pub fn findings(&self) -> Vec<(String, String, Value)> {
        let checks = self.report["checks"].as_array().cloned().unwrap_or_default();
        let findings =
            checks.into_iter().flat_map(|c| c["findings"].as_array().cloned().unwrap_or_default());
        findings
            .map(|f| {
                let text = |k: &str| f[k].as_str().unwrap_or_default().to_owned();
                (text("class"), text("subject"), f)
            })
            .collect()
    }

    /// A finding of `class` whose text names `needle`.
    #[track_caller]
    pub fn expect_finding(&self, class: &str, needle: &str) -> &Self {
        let found = self.findings();
        let hit = found.iter().any(|(c, _, f)| c == class && f.to_string().contains(needle));
        assert!(hit, "no `{class}` naming `{needle}` in {found:#?}\n{}", self.stderr);
        self
    }
}

/// Starts the program with talk on, and comes back when a line of it contains `word`.
pub fn start_until(mut command: Command, word: &str) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let found = lines.by_ref().map_while(Result::ok).find(|line| {
        seen.push(line.clone());
        line.contains(word)
    });
    assert!(found.is_some(), "no line with `{word}`: {seen:#?}");
    // Whoever writes to a closed pipe is told so; go on reading.
    std::thread::spawn(move || for _ in lines {});
    child
}

/// Sends a signal, such as `TERM`.
pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

/// An archive copied so that a test may damage it.
pub fn damaged_copy(archive: &Archive, damage: impl FnOnce(&Path)) -> WorkDir {
    let copy = WorkDir::new();
    let status =
        Command::new("cp").arg("-a").arg(archive.root.join(".")).arg(copy.path()).status().unwrap();
    assert!(status.success());
    damage(copy.path());
    copy
}
