//! One run of a PostgreSQL program in the sandbox: its start, its log, its end.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::{
        fs::OpenOptionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::sync::watch;

use super::{exec, identity::Identity, log::ServerLog, place::Place, processes};
use crate::drill::{Code, Error, FailureClass};

/// How long a clean stop may do nothing: it writes what the shared buffers hold, which may take long.
const STOP_FAST: Duration = Duration::from_mins(2);
/// How long an immediate stop may take.
const STOP_IMMEDIATE: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// Our own program.
    pub shim: &'a Path,
    pub identity: &'a Identity,
    pub place: &'a Place,
    /// The `postgres` program.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Text for its standard input.
    pub input: Option<String>,
}

/// A running or ended server.
#[derive(Debug)]
pub struct Server {
    pid: u32,
    data: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
    pub log: ServerLog,
}

impl Server {
    /// Starts the program. A thread of its own starts it and waits for it: the kernel ends the
    /// program with the thread that started it.
    ///
    /// # Errors
    /// `PostgresFailed` where it cannot be started at all.
    pub async fn start(launch: Launch<'_>) -> Result<Self, Error> {
        let mut command = exec::command(launch.shim, launch.identity, &launch.program);
        command
            .args(&launch.args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", &launch.place.data)
            .current_dir(&launch.place.root)
            .stdin(if launch.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is for us, who then stop the server in order.
            .process_group(0);
        if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", path);
        }
        let log = ServerLog::default();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&launch.place.log)
            .ok();
        let (started, wait_started) = tokio::sync::oneshot::channel();
        let (exited, exit) = watch::channel(None);
        let (listener, input) = (log.clone(), launch.input);
        let run = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            if started.send(Ok(child.id())).is_err() {
                // Nobody waits for it any more, so nobody would end it.
                let _ = child.kill();
            }
            if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
                let _ = stdin.write_all(text.as_bytes());
            }
            let stderr: Option<Box<dyn Read + Send>> =
                child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
            let reader =
                std::thread::Builder::new().name("postgres-log".to_owned()).spawn(move || {
                    if let Some(stderr) = stderr {
                        listener.read_all(stderr, file);
                    }
                });
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(256));
            let _ = exited.send(Some(status));
            drop(reader);
        };
        let failed = |error: std::io::Error| {
            Error::new(Code::PostgresFailed, format!("cannot start PostgreSQL: {error}"))
                .class(FailureClass::InfraError)
        };
        std::thread::Builder::new().name("postgres".to_owned()).spawn(run).map_err(failed)?;
        let pid = match wait_started.await {
            Ok(Ok(pid)) => pid,
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => return Err(Error::new(Code::Bug, "the server's thread ended early")),
        };
        Ok(Self { pid, data: launch.place.data.clone(), exit, log })
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end, and a moment for the last lines of its log.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_else(|| ExitStatus::from_raw(256)),
            Err(_) => ExitStatus::from_raw(256),
        };
        let closed = async {
            while !self.log.with(|facts| facts.closed) {
                self.log.heard.notified().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(3), closed).await;
        status
    }

    /// The status that the server wrote to its `postmaster.pid` (`miscadmin.h`): `starting`,
    /// `standby`, `ready`, `stopping`.
    #[must_use]
    pub fn status(&self) -> Option<String> {
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            // The cluster owns the folder: a pipe of that name must not hold us up.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.data.join("postmaster.pid"));
        let mut text = String::new();
        opened.ok()?.take(4096).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        // One of an earlier run does not count.
        (lines.next()?.trim().parse() == Ok(self.pid)).then_some(())?;
        Some(lines.nth(6)?.trim().to_owned())
    }

    /// Bytes that its processes have moved; see [`processes::bytes_moved`].
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        processes::bytes_moved(&self.data, self.pid)
    }

    /// Whether the server's network is not ours.
    #[must_use]
    pub fn has_own_network(&self) -> bool {
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        link(&self.pid.to_string()).is_some_and(|theirs| Some(theirs) != link("self"))
    }

    /// Stops the server cleanly (`SIGINT`, a fast shutdown).
    ///
    /// # Errors
    /// `PostgresFailed` where it did not end in time or not cleanly; it is ended all the same.
    pub async fn stop(&mut self) -> Result<(), Error> {
        if self.exit_status().is_none() {
            self.signal(Signal::INT);
        }
        let mut moved = 0;
        loop {
            match tokio::time::timeout(STOP_FAST, self.exited()).await {
                Ok(status) if status.success() => return Ok(()),
                Ok(status) => {
                    return Err(Error::new(
                        Code::PostgresFailed,
                        format!("PostgreSQL did not stop cleanly: {status}"),
                    )
                    .class(FailureClass::InfraError));
                }
                Err(_) => {
                    let now = self.bytes_moved();
                    if std::mem::replace(&mut moved, now) != now {
                        continue;
                    }
                    self.kill().await;
                    return Err(Error::new(
                        Code::DeadlineExceeded,
                        "PostgreSQL was told to stop and did nothing any more",
                    )
                    .class(FailureClass::InfraError));
                }
            }
        }
    }

    /// Ends the server and everything that it started, at once.
    pub async fn kill(&mut self) {
        if self.exit_status().is_none() {
            self.signal(Signal::QUIT);
            if tokio::time::timeout(STOP_IMMEDIATE, self.exited()).await.is_err() {
                self.signal(Signal::KILL);
            }
        }
        processes::end_all(&self.data).await;
        let _ = tokio::time::timeout(STOP_IMMEDIATE, self.exited()).await;
    }

    fn signal(&self, signal: Signal) {
        // The child is not waited for before it has ended, so the number is still its own.
        if self.exit_status().is_none()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Broken off while it ran: its children end with it.
        self.signal(Signal::KILL);
    }
}
