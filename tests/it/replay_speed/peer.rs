//! The same archive recovered without us, with the settings of a drill.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pgassay::{archive::Codec, demo::s3_server::S3Server, restore::codec::decode_small};

use crate::support::{
    fixture::Archive,
    tools::{self, ACCESS_KEY, SECRET_KEY, s3_server},
    workdir::WorkDir,
};

/// What a recovery took, from the start of PostgreSQL until it is open.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    pub seconds: f64,
    pub cpu: f64,
}

/// A restored base backup, and its WAL in a folder.
#[derive(Debug)]
pub struct Peer {
    work: WorkDir,
    s3: S3Server,
    server: String,
    settings: Vec<String>,
    names: Vec<String>,
    /// Of `barman-cloud-restore`.
    pub base_seconds: f64,
}

impl Peer {
    pub fn new(archive: &Archive, server: &str, settings: Vec<String>) -> Self {
        let (work, s3) = (WorkDir::new(), s3_server(&archive.root));
        let top = archive.root.join("bucket/archive").join(server);
        let mut names = Vec::new();
        fs::create_dir(work.join("wal")).unwrap();
        for folder in entries(&top.join("wals")) {
            for file in entries(&folder) {
                let (name, codec) = Codec::split(file.file_name().unwrap().to_str().unwrap());
                if name.len() == 24 {
                    let segment = decode_small(codec, &fs::read(&file).unwrap(), 16 << 20).unwrap();
                    fs::write(work.join("wal").join(name), segment).unwrap();
                    names.push(name.to_owned());
                }
            }
        }
        names.sort();
        let backup = entries(&top.join("base")).pop().unwrap();
        let since = Instant::now();
        let mut restore = Command::new(tools::tool("venv/bin/barman-cloud-restore"));
        restore.args(["--cloud-provider", "aws-s3", "--endpoint-url", &s3.endpoint()]);
        restore.args(["--tablespace", &format!("space:{}", work.join("space").display())]);
        restore.args([
            "s3://bucket/archive",
            server,
            backup.file_name().unwrap().to_str().unwrap(),
        ]);
        restore.arg(work.join("base")).envs(environment());
        assert!(restore.status().unwrap().success());
        let base_seconds = since.elapsed().as_secs_f64();
        let server = server.to_owned();
        own(work.path());
        Self { work, s3, server, settings, names, base_seconds }
    }

    pub fn segments(&self) -> usize {
        self.names.len()
    }

    /// With all WAL in place.
    pub fn placed(&self) -> Recovered {
        self.recovered("false", |data| {
            for name in &self.names {
                fs::copy(self.work.join("wal").join(name), data.join("pg_wal").join(name)).unwrap();
            }
        })
    }

    /// With WAL copied from a folder.
    pub fn copied(&self) -> Recovered {
        self.recovered(&format!("cp {}/%f %p", self.work.join("wal").display()), |_| ())
    }

    /// With the first segments from the archive.
    pub fn barman(&self, segments: u64) -> Recovered {
        let last = &self.names[segments as usize - 1];
        let command = format!(
            "expr %f \\> {last} > /dev/null && exit 1; {} --cloud-provider aws-s3 --endpoint-url {} s3://bucket/archive {} %f %p",
            tools::tool("venv/bin/barman-cloud-wal-restore").display(),
            self.s3.endpoint(),
            self.server,
        );
        self.recovered(&command, |_| ())
    }

    fn recovered(&self, restore_command: &str, prepare: impl FnOnce(&Path)) -> Recovered {
        let run = WorkDir::new();
        let (data, conf) = (run.join("data"), run.join("postgresql.conf"));
        let copied = Command::new("cp").arg("-a").arg(self.work.join("base")).arg(&data).status();
        assert!(copied.unwrap().success());
        fs::create_dir(run.join("run")).unwrap();
        fs::write(data.join("recovery.signal"), "").unwrap();
        fs::write(data.join("postgresql.auto.conf"), "").unwrap();
        let mut text = String::new();
        for setting in &self.settings {
            let (name, value) = setting.split_once('=').unwrap();
            let value = if name == "restore_command" { restore_command } else { value };
            let quoted = value.replace('\\', "\\\\").replace('\'', "''");
            writeln!(text, "{name} = '{quoted}'").unwrap();
        }
        fs::write(&conf, text).unwrap();
        prepare(&data);
        own(run.path());
        assert!(Command::new("sync").arg("-f").arg(&data).status().unwrap().success());
        let mut postgres =
            Command::new(tools::postgres_bin(tools::packaged_major()).join("postgres"));
        postgres.arg("-D").arg(&data).arg("-c").arg(format!("config_file={}", conf.display()));
        postgres.envs(environment()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = run.join("log");
        postgres.stderr(fs::File::create(&log).unwrap());
        if let Some((uid, gid)) = tools::postgres_owner() {
            postgres.uid(uid).gid(gid);
        }
        let since = Instant::now();
        let mut postgres = postgres.spawn().unwrap();
        while !is_ready(&data) {
            if let Some(status) = postgres.try_wait().unwrap() {
                panic!("{status}: {}", fs::read_to_string(&log).unwrap());
            }
            thread::sleep(Duration::from_millis(2));
        }
        let seconds = since.elapsed().as_secs_f64();
        let cpu = cpu_with_children(&postgres);
        let pid = rustix::process::Pid::from_child(&postgres);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
        postgres.wait().unwrap();
        Recovered { seconds, cpu }
    }
}

fn is_ready(data: &Path) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).map(str::trim) == Some("ready")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn environment() -> Vec<(String, String)> {
    let pairs = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Gives a folder and all below to whom PostgreSQL runs as.
fn own(path: &Path) {
    let Some((uid, gid)) = tools::postgres_owner() else { return };
    let status = Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(path).status();
    assert!(status.unwrap().success());
    chown(path, Some(uid), Some(gid)).unwrap();
}

/// Seconds of a process, by the hundred ticks a second that Linux shows to everybody (`proc(5)`).
pub fn cpu_of(pid: u32) -> Option<f64> {
    Some(ticks(pid, 2)? as f64 / 100.0)
}

/// The same with all that it started: what has ended and what runs.
fn cpu_with_children(child: &Child) -> f64 {
    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let running = children.split_whitespace().filter_map(|pid| ticks(pid.parse().ok()?, 2));
    (ticks(pid, 4).unwrap() + running.sum::<u64>()) as f64 / 100.0
}

/// The first so many of: user's, system's, ended children's user's, ended children's system's.
fn ticks(pid: u32, fields: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(11).take(fields).filter_map(|n| n.parse::<u64>().ok()).sum())
}
