//! The usual restore test: barman-cloud-restore, PostgreSQL with barman-cloud-wal-restore as its
//! `restore_command`, then `pg_amcheck` on the running and `pg_checksums` on the stopped cluster.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use pgassay::demo::barman::Barman;

use super::{
    cluster::{SERVER, TABLES},
    run::{self, Ended, as_owner, ended, folder, give, postgres},
    said::{Said, Word},
};
use crate::support::{tools, workdir::WorkDir};

/// How long a recovery may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// PostgreSQL's line when recovery has ended.
const OPEN: &str = "database system is ready to accept connections";
/// What ends the WAL of a sound archive, too, where its last segment was never full.
const ORDINARY_END: &str = "LOG:  invalid record length at N: wanted N, got N";

/// How far to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the end of the newest timeline.
    Latest,
    /// To where the backup is consistent.
    Consistent,
}

/// What came of one restore.
#[derive(Debug)]
pub struct Restored {
    restore: Ended,
    /// PostgreSQL opened for writing.
    opened: bool,
    log: Vec<String>,
    /// Number of rows and sum of their hashes for each table, or why they cannot be read.
    pub rows: Vec<Result<(u64, String), String>>,
    amcheck: Option<Ended>,
    checksums: Option<Ended>,
}

impl Restored {
    /// Restores the backup `id` from the archive that `endpoint` serves.
    pub fn from(endpoint: &str, id: &str, until: Until) -> Self {
        let work = WorkDir::new();
        let root = folder(&work.join("restored"));
        let data = root.join("data");
        let barman = Barman {
            bin_dir: Some(tools::tool("venv/bin")),
            endpoint: endpoint.into(),
            url: "s3://bucket/archive".into(),
            server: SERVER.into(),
            access_key: tools::ACCESS_KEY.into(),
            secret_key: tools::SECRET_KEY.into(),
        };
        let mut restore = as_owner(tools::tool("venv/bin/barman-cloud-restore"));
        restore.envs(barman.environment());
        restore.args(["--cloud-provider", "aws-s3", "--endpoint-url", endpoint]);
        restore.arg("--tablespace").arg(format!("space:{}", root.join("space").display()));
        restore.args([&barman.url, SERVER, id]).arg(&data);
        let mut this = Self {
            restore: ended(&mut restore),
            opened: false,
            log: Vec::new(),
            rows: Vec::new(),
            amcheck: None,
            checksums: None,
        };
        if this.restore.status == 0 {
            this.recover(&root, &barman, until);
        }
        let here = work.path().display().to_string();
        let hide = |text: &str| text.replace(&here, "…").replace(endpoint, "…");
        this.restore.text = hide(&this.restore.text);
        this.log.iter_mut().for_each(|line| *line = hide(line));
        for why in this.rows.iter_mut().filter_map(|rows| rows.as_mut().err()) {
            *why = hide(why);
        }
        for ended in this.amcheck.iter_mut().chain(&mut this.checksums) {
            ended.text = hide(&ended.text);
        }
        this
    }

    fn recover(&mut self, root: &Path, barman: &Barman, until: Until) {
        let data = root.join("data");
        let signal = data.join("recovery.signal");
        if fs::write(&signal, "").is_err() {
            self.log.push("there is no data directory".to_owned());
            return;
        }
        give(&signal);
        let fetch = format!(
            "{} --spool-dir {}/spool --cloud-provider aws-s3 --endpoint-url {} {} {SERVER} %f %p",
            tools::tool("venv/bin/barman-cloud-wal-restore").display(),
            root.display(),
            barman.endpoint,
            barman.url,
        );
        let mut settings = vec![
            format!("restore_command={fetch}"),
            format!("unix_socket_directories={}", root.display()),
            "archive_mode=off".to_owned(),
            "listen_addresses=".to_owned(),
            "log_line_prefix=".to_owned(),
            // A slow machine is no finding.
            "log_startup_progress_interval=0".to_owned(),
            "fsync=off".to_owned(),
        ];
        let target: &[&str] = match until {
            Until::Latest => &["recovery_target_timeline=latest"],
            Until::Consistent => &[
                "recovery_target_timeline=current",
                "recovery_target=immediate",
                "recovery_target_action=promote",
            ],
        };
        settings.extend(target.iter().map(|&s| s.to_owned()));
        let log = root.join("server.log");
        let file = fs::File::create(&log).unwrap();
        let mut server = postgres("postgres");
        server.envs(barman.environment()).arg("-D").arg(&data);
        server.args(settings.iter().flat_map(|s| ["-c", s.as_str()]));
        server.stderr(file.try_clone().unwrap()).stdout(file);
        let mut server = Server(server.spawn().unwrap());
        self.opened = server.opens(&log);
        if self.opened {
            self.rows = TABLES.iter().map(|table| rows(root, table)).collect();
            let mut amcheck = client("pg_amcheck", root);
            let arguments = ["--all", "--install-missing", "--heapallindexed", "--parent-check"];
            self.amcheck = Some(ended(amcheck.args(arguments)));
            server.stop();
            let mut checksums = postgres("pg_checksums");
            self.checksums = Some(ended(checksums.arg("--check").arg("-D").arg(&data)));
        } else {
            server.stop();
        }
        let text = fs::read(&log).unwrap();
        self.log = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        // What comes later is said to those who ask, here.
        if let Some(open) = self.log.iter().position(|line| line.contains(OPEN)) {
            self.log.truncate(open + 1);
        }
    }

    /// The shapes of all lines of the log.
    pub fn shapes(&self) -> BTreeSet<String> {
        self.log.iter().map(|line| run::shape(line)).collect()
    }

    /// PostgreSQL took writes.
    pub const fn opened(&self) -> bool {
        self.opened
    }

    /// Everything went well and nothing was said.
    pub fn is_green(&self) -> bool {
        let well = |ended: &Option<Ended>| ended.as_ref().is_some_and(|e| e.status == 0);
        self.restore.status == 0 && self.opened && well(&self.amcheck) && well(&self.checksums)
    }

    /// What the restore and the start say. `lost`: what a green end hides, if anything.
    pub fn said(&self, sound: &BTreeSet<String>, lost: Option<&str>) -> Said {
        if self.restore.status != 0 {
            let quote = telling(self.restore.text.lines(), &["ERROR", "error"]);
            return Said::new(Word::Caught, format!("restore: {quote}"));
        }
        if !self.opened {
            let lines = self.log.iter().map(String::as_str);
            return Said::new(Word::Caught, telling(lines, &["FATAL", "PANIC", "there is no"]));
        }
        let Some(lost) = lost else { return Said::new(Word::Harmless, "") };
        let odd = |line: &&String| {
            let told = ["LOG", "ERROR", "WARNING", "CRITICAL"];
            let bare = run::bare(line);
            let shape = run::shape(line);
            told.iter().any(|t| bare.starts_with(t))
                && !sound.contains(&shape)
                && shape != ORDINARY_END
        };
        match self.log.iter().find(odd) {
            Some(line) => Said::new(Word::Log, run::bare(line)),
            None => Said::new(Word::Silent, lost),
        }
    }

    /// What `pg_checksums` says.
    pub fn checksums_said(&self, lost: bool) -> Said {
        looked(self.checksums.as_ref(), lost, &["checksum verification failed", "error:"])
    }

    /// What `pg_amcheck` says.
    pub fn amcheck_said(&self, lost: bool) -> Said {
        looked(self.amcheck.as_ref(), lost, &["ERROR:", "error:"])
    }
}

fn looked(ended: Option<&Ended>, lost: bool, telling_words: &[&str]) -> Said {
    match ended {
        None => Said::not_applicable("no cluster to look at"),
        Some(ended) if ended.status != 0 => {
            Said::new(Word::Caught, telling(ended.text.lines(), telling_words))
        }
        Some(_) => Said::new(if lost { Word::Silent } else { Word::Harmless }, ""),
    }
}

/// The first line with one of these words, else the last line.
fn telling<'a>(lines: impl Iterator<Item = &'a str>, words: &[&str]) -> String {
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    let told = lines.iter().find(|line| words.iter().any(|word| line.contains(word)));
    told.or(lines.last()).map(|line| run::bare(line).to_owned()).unwrap_or_default()
}

fn client(program: &str, socket: &Path) -> Command {
    let mut command = postgres(program);
    command.arg("-h").arg(socket).args(["-p", "5432", "-U", "postgres"]);
    command
}

fn rows(socket: &Path, table: &str) -> Result<(u64, String), String> {
    let query = format!(
        "select count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) from {table} t"
    );
    let ended = ask(socket, &query);
    if ended.status != 0 {
        return Err(telling(ended.text.lines(), &["ERROR", "FATAL"]));
    }
    let (count, sum) = ended.text.trim().split_once(' ').unwrap();
    Ok((count.parse().unwrap(), sum.to_owned()))
}

fn ask(socket: &Path, query: &str) -> Ended {
    let mut psql = client("psql", socket);
    ended(psql.args(["-X", "-q", "-A", "-t", "-d", "app", "-c", query]))
}

/// A server that ends with this.
struct Server(Child);

impl Server {
    /// Waits until it takes writes, or has gone.
    fn opens(&mut self, log: &Path) -> bool {
        let since = Instant::now();
        loop {
            // Its file with the status says the same of a standby that still recovers.
            let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
            if text.contains(OPEN) {
                return true;
            }
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(since.elapsed() < PATIENCE, "a recovery does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            let pid = rustix::process::Pid::from_child(&self.0);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            self.0.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
