//! PostgreSQL itself: recovering what a peer has restored, and its client programs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Outcome,
    bench::{Bench, Target, give},
    data::DATABASE,
    measure::{Measured, Running, Timed, last_lines},
    tools,
};

/// How long a recovery may take.
const PATIENCE: Duration = Duration::from_mins(20);

/// A program of the packaged PostgreSQL.
pub fn program(name: &str) -> PathBuf {
    tools::postgres_bin(tools::packaged_major()).join(name)
}

/// A running server.
pub struct Server {
    running: Option<Running>,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    /// From its start to when it took the first query that writes.
    pub ready: Measured,
}

impl Server {
    /// Starts PostgreSQL on what was restored, and waits until a query can write. Its configuration is
    /// the source's, but that it is durable, archives nothing and has a socket of its own.
    pub fn start(
        bench: &Bench,
        target: &Target,
        settings: &[String],
        environment: &[(String, String)],
    ) -> Outcome<Self> {
        let socket = bench.folder("socket");
        fs::set_permissions(&target.data, fs::Permissions::from_mode(0o700)).unwrap();
        let own = format!("unix_socket_directories={}", socket.display());
        let fixed = ["fsync=on", "synchronous_commit=on", "archive_mode=off", own.as_str()];
        let mut program = Timed::new(program("postgres")).arg("-D").arg(&target.data);
        for setting in fixed.into_iter().chain(settings.iter().map(String::as_str)) {
            program = program.args(["-c", setting]);
        }
        let since = Instant::now();
        let log = bench.work.join("postgres.log");
        let _ = fs::remove_file(&log);
        let running = program.envs(environment).start(&log)?;
        let mut server = Self {
            running: Some(running),
            data: target.data.clone(),
            socket,
            log,
            ready: Measured::of(0.0),
        };
        server.wait(since)?;
        server.sql("create temp table is_ready (i int)")?;
        server.ready = Measured::of(since.elapsed().as_secs_f64());
        Ok(server)
    }

    /// Its file `postmaster.pid` says `ready` as soon as there are read-only connections; only its log
    /// says when recovery is over.
    fn wait(&mut self, since: Instant) -> Outcome<()> {
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains("database system is ready to accept connections") {
                return Ok(());
            }
            let ended = self.running.as_mut().is_none_or(Running::has_ended);
            if ended || since.elapsed() > PATIENCE {
                return Err(format!("PostgreSQL did not recover: {}", reason(&log)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client program, set to this server.
    pub fn client(&self, name: &str) -> Timed {
        Timed::new(program(name)).args(["-U", "postgres", "-p", "5432", "-h"]).arg(&self.socket)
    }

    /// What a query gives.
    pub fn sql(&self, sql: &str) -> Outcome<String> {
        let psql = self.client("psql").args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", DATABASE]);
        psql.args(["-c", sql]).run().map(|(_, text)| text.trim().to_owned())
    }

    /// Stops it, as it should be or at once; with what its processes took in all.
    pub fn stop(mut self, cleanly: bool) -> Outcome<Measured> {
        let mut whole = self.ready;
        let (cpu, peak) = self.end(cleanly)?;
        whole.cpu = Some(cpu);
        whole.peak = Some(peak);
        Ok(whole)
    }

    fn end(&mut self, cleanly: bool) -> Outcome<(f64, u64)> {
        let running = self.running.take().ok_or("it is not running")?;
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, if cleanly { Signal::INT } else { Signal::QUIT });
        }
        running.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            let _ = self.end(false);
        }
    }
}

/// What a log says of why it ends: its first fatal lines and what stands before them, else its end.
fn reason(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let fatal = lines.iter().position(|line| line.contains("FATAL") || line.contains("PANIC"));
    fatal.map_or_else(
        || last_lines(log),
        |at| last_lines(&lines[at.saturating_sub(2)..=at].join("\n")),
    )
}

/// Says that what was restored is to be recovered from the archive.
pub fn signal_recovery(target: &Target) {
    let signal = target.data.join("recovery.signal");
    fs::write(&signal, "").unwrap();
    give(&signal);
}
