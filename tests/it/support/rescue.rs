//! Runs `pgassay rescue` as an operator would, and starts the server that comes of it.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use pgassay::demo::{s3_server::S3Server, source::run};

use super::{
    drill::{Answer, environment},
    fixture::DIGEST,
    stall::Stall,
    tools::{self, SECRET_KEY, s3_server},
    workdir::{WorkDir, tree},
};

/// A rescue of one server's archive: its own S3 server behind a proxy, job file and folder.
#[derive(Debug)]
pub struct Rescue {
    pub s3: S3Server,
    pub proxy: Stall,
    pub work: WorkDir,
    root: PathBuf,
    job: PathBuf,
}

impl Rescue {
    /// A rescue of `server` in the archive below `root`. `spec` is as for drills.
    pub fn new(root: &Path, server: &str, spec: &str) -> Self {
        let s3 = s3_server(root);
        s3.refuse_writes(true);
        let proxy = Stall::before(&s3);
        let work = WorkDir::new();
        let job = work.join("job.yaml");
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
             url: s3://bucket/archive\n    server: {server}\n    s3: {{endpoint: \"{}\", region: us-east-1, pathStyle: true}}\n{spec}\n",
            proxy.endpoint()
        );
        std::fs::write(&job, text).unwrap();
        std::fs::create_dir(work.join("srv")).unwrap();
        Self { s3, proxy, work, root: root.to_owned(), job }
    }

    /// Where the cluster is to be.
    pub fn dir(&self) -> PathBuf {
        self.work.join("srv/main")
    }

    /// Where the work is done until then.
    pub fn state(&self) -> PathBuf {
        self.work.join("srv/main.pgassay-rescue")
    }

    /// The command, ready to get more arguments.
    pub fn command(&self) -> Command {
        self.command_into(&self.dir())
    }

    /// The same into another folder.
    pub fn command_into(&self, dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(environment()).arg("rescue").arg(&self.job).arg(dir);
        command.args(["--output", "json"]);
        command
    }

    /// Runs it, and checks what must hold of every rescue: the archive stays as it was, no secret is
    /// printed.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_into(&self.dir(), arguments)
    }

    pub fn run_into(&self, dir: &Path, arguments: &[&str]) -> Answer {
        let before = tree(&self.root);
        let answer = Answer::from(self.command_into(dir).args(arguments).output().unwrap());
        assert_eq!(self.s3.writes_seen(), Vec::<String>::new(), "wrote to the archive");
        assert_eq!(tree(&self.root), before, "changed the archive");
        for text in [&answer.stdout, &answer.stderr] {
            assert!(!text.contains(SECRET_KEY), "printed a secret: {text}");
        }
        answer
    }

    /// What lies beside the job.
    pub fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.work.join("srv")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Starts the server by hand, as whom it belongs to, with a socket of our own and archiving off.
    pub fn start(&self, major: u32) -> Started {
        let bin = tools::postgres_bin(major);
        let socket = self.socket();
        let options = format!("-k '{}' -c archive_mode=off -c listen_addresses=", socket.display());
        let log = socket.join("log");
        let mut command = Command::new(bin.join("pg_ctl"));
        command.arg("-D").arg(self.dir()).arg("-l").arg(&log).args(["-w", "-o", &options, "start"]);
        // The server must not hold the pipes open that its starter's output is read from.
        let status = as_owner(&mut command)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        let said = std::fs::read_to_string(log).unwrap_or_default();
        assert!(status.success(), "{said}");
        Started { bin, dir: self.dir(), socket }
    }

    /// A folder for the server's sockets.
    pub fn socket(&self) -> PathBuf {
        let socket = self.work.join("socket");
        std::fs::create_dir_all(&socket).unwrap();
        if let Some((uid, gid)) = tools::postgres_owner() {
            std::os::unix::fs::chown(&socket, Some(uid), Some(gid)).unwrap();
        }
        socket
    }
}

/// Makes a command that of the user who PostgreSQL runs as.
pub fn as_owner(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = tools::postgres_owner() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C")
}

/// A server that was started by hand; stopped when it is dropped.
#[derive(Debug)]
pub struct Started {
    pub bin: PathBuf,
    pub dir: PathBuf,
    pub socket: PathBuf,
}

impl Started {
    /// What SQL gives, unaligned and without headings.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(tools::postgres_bin(tools::packaged_major()).join("psql"));
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", "5432"]);
        psql.args(["-d", database, "-c", sql]).arg("-h").arg(&self.socket);
        run(&mut psql).unwrap_or_else(|error| panic!("{sql}: {error}")).trim().to_owned()
    }

    /// The rows of the fixtures' tables.
    pub fn digest(&self) -> String {
        self.sql("app", DIGEST)
    }

    /// Stops it cleanly.
    pub fn stop(self) {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.arg("-D").arg(&self.dir).args(["-w", "-m", "fast", "stop"]);
        run(as_owner(&mut command)).unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.arg("-D").arg(&self.dir).args(["-w", "-m", "immediate", "stop"]);
        let _ = as_owner(&mut command).output();
    }
}

impl Answer {
    /// The outcome of a rescue, with everything printed where it is another.
    #[track_caller]
    pub fn expect_outcome(&self, outcome: &str, exit: i32) -> &Self {
        assert_eq!(
            (self.report["outcome"].as_str(), self.exit),
            (Some(outcome), exit),
            "{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// An error before anything was begun.
    #[track_caller]
    pub fn expect_error(&self, code: &str, exit: i32, words: &str) -> &Self {
        let error = &self.report["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(
            error["code"] == code && self.exit == exit && message.contains(words),
            "not {code} with `{words}`: {}\n{}",
            self.stdout,
            self.stderr
        );
        assert!(error["hint"].is_string(), "no hint: {}", self.stdout);
        self
    }

    /// A finding of a rescue of `class` whose text names `needle`.
    #[track_caller]
    pub fn expect_found(&self, class: &str, needle: &str) -> &Self {
        let found = self.report["findings"].as_array().cloned().unwrap_or_default();
        let hit = found.iter().any(|f| f["class"] == class && f.to_string().contains(needle));
        assert!(hit, "no `{class}` naming `{needle}` in {found:#?}\n{}", self.stderr);
        self
    }

    /// All that is said of what to do next.
    pub fn next(&self) -> String {
        self.report["next"].to_string()
    }
}
