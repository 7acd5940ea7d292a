//! A source cluster: a small PostgreSQL made on the spot, archived by the real barman-cloud, and lost.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::drill::{Code, Error};

/// How to make a source cluster.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Folder with `initdb` and `postgres`.
    pub bin_dir: PathBuf,
    /// Folder that the cluster may fill; made here, and everything below belongs to `owner`.
    pub root: PathBuf,
    /// Unprivileged user and group that PostgreSQL runs as; `None` where we are not root.
    pub owner: Option<(u32, u32)>,
    /// Name of the bootstrap superuser.
    pub superuser: String,
    /// More arguments for `initdb`, such as `--wal-segsize=1`.
    pub initdb: Vec<String>,
    /// More lines for `postgresql.conf`.
    pub settings: Vec<String>,
    /// Environment of the server and of its archive command: credentials go here, never into files.
    pub environment: Vec<(String, String)>,
}

/// A running source cluster. Dropping it stops the server; its files stay.
#[derive(Debug)]
pub struct Source {
    spec: SourceSpec,
    server: Option<Child>,
}

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(2);

impl Source {
    /// Makes the cluster and starts it.
    ///
    /// # Errors
    /// What `initdb` or the server said.
    pub fn create(spec: SourceSpec) -> Result<Self, Error> {
        let mut source = Self { spec, server: None };
        for dir in [source.spec.root.clone(), source.socket_dir()] {
            fs::create_dir_all(&dir)
                .and_then(|()| {
                    source.spec.owner.map_or(Ok(()), |(u, g)| chown(&dir, Some(u), Some(g)))
                })
                .map_err(|e| Error::io(format_args!("make `{}`", dir.display()), &e))?;
        }
        let mut initdb = source.command("initdb");
        initdb.arg("-D").arg(source.data_dir()).args(["-U", &source.spec.superuser]);
        initdb.args([
            "--auth=trust",
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb.args(&source.spec.initdb);
        run(&mut initdb)?;
        let mut conf = String::from(
            "listen_addresses = ''\nunix_socket_permissions = 0700\nfsync = off\nlogging_collector = off\n",
        );
        let socket = format!("unix_socket_directories = '{}'", source.socket_dir().display());
        for line in std::iter::once(&socket).chain(&source.spec.settings) {
            conf.push_str(line);
            conf.push('\n');
        }
        source.append_config(&conf)?;
        source.start()?;
        Ok(source)
    }

    /// Adds lines to `postgresql.conf`; they count from the next start.
    pub fn append_config(&self, lines: &str) -> Result<(), Error> {
        let path = self.data_dir().join("postgresql.conf");
        let append = || fs::read_to_string(&path).and_then(|text| fs::write(&path, text + lines));
        append().map_err(|e| Error::io(format_args!("write `{}`", path.display()), &e))
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&mut self) -> Result<(), Error> {
        let log = self.log_path();
        let open = || fs::File::options().create(true).append(true).open(&log);
        let file = open().map_err(|e| Error::io(format_args!("open `{}`", log.display()), &e))?;
        let again = file.try_clone().map_err(|e| Error::io("open the server's log", &e))?;
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data_dir()).stdin(Stdio::null()).stdout(file).stderr(again);
        postgres.envs(self.spec.environment.iter().map(|(k, v)| (k, v)));
        let child = postgres.spawn().map_err(|e| Error::io("start the source's PostgreSQL", &e))?;
        self.server = Some(child);
        let pid_file = self.data_dir().join("postmaster.pid");
        let ready = || {
            let status = fs::read_to_string(&pid_file).unwrap_or_default();
            status.lines().nth(7).map(str::trim) == Some("ready")
        };
        let since = Instant::now();
        while !ready() {
            let died = self.server.as_mut().and_then(|s| s.try_wait().ok().flatten());
            if died.is_some() || since.elapsed() > PATIENCE {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(5).collect();
                let message =
                    format!("the source's PostgreSQL did not start: {}", tail.join(" | "));
                return Err(Error::new(Code::PostgresFailed, message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops the server: `fast` with a shutdown checkpoint, else at once as in a crash.
    pub fn stop(&mut self, fast: bool) -> Result<(), Error> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let signal =
            if fast { rustix::process::Signal::INT } else { rustix::process::Signal::QUIT };
        let pid = rustix::process::Pid::from_child(&server);
        let _ = rustix::process::kill_process(pid, signal);
        let since = Instant::now();
        while server.try_wait().map_err(|e| Error::io("wait for the source", &e))?.is_none() {
            if since.elapsed() > PATIENCE {
                let _ = server.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.spec.root.join("data")
    }

    /// Folder of the Unix socket; the port is PostgreSQL's default.
    pub fn socket_dir(&self) -> PathBuf {
        self.spec.root.join("run")
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.spec.root.join("server.log")
    }

    /// Name of the bootstrap superuser, which needs no password here.
    pub fn superuser(&self) -> &str {
        &self.spec.superuser
    }

    /// A folder below the root that belongs to the server's user.
    pub fn make_dir(&self, name: &str) -> Result<PathBuf, Error> {
        let dir = self.spec.root.join(name);
        fs::create_dir_all(&dir)
            .and_then(|()| self.spec.owner.map_or(Ok(()), |(u, g)| chown(&dir, Some(u), Some(g))))
            .map_err(|e| Error::io(format_args!("make `{}`", dir.display()), &e))?;
        Ok(dir)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.spec.bin_dir.join(program));
        command.current_dir(&self.spec.root).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.spec.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.stop(false);
    }
}

/// Runs a program to its end.
///
/// # Errors
/// Its last lines, where it ends with another status than 0.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let name =
        Path::new(command.get_program()).file_name().map(OsStr::to_os_string).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| {
        Error::new(Code::ToolMissing, format!("run `{name}`: {e}"))
            .hint("Install it, or run `make demo` or `make test`, which install what they need.")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail: Vec<&str> = text.lines().rev().take(8).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(Error::new(
        Code::ToolMissing,
        format!("`{name}` ended with {}: {}", output.status, tail.join(" | ")),
    ))
}
