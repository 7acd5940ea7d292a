//! The real barman-cloud programs, run as they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::source::{Source, run};
use crate::drill::{Code, Error};

/// Where the programs are and which archive they write to.
#[derive(Clone, Debug)]
pub struct Barman {
    /// Folder with `barman-cloud-backup` and the others; `None` looks on `PATH`.
    pub bin_dir: Option<PathBuf>,
    pub endpoint: String,
    /// `s3://bucket/prefix`.
    pub url: String,
    pub server: String,
    pub access_key: String,
    pub secret_key: String,
}

/// Looks for the programs on `PATH` and in the folder that `scripts/setup` fills.
///
/// # Errors
/// `ToolMissing` where there are none.
pub fn find_programs() -> Result<PathBuf, Error> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let tools = tools_dir().join("venv/bin");
    let mut folders = std::iter::once(tools).chain(std::env::split_paths(&on_path));
    folders.find(|dir| dir.join("barman-cloud-backup").is_file()).ok_or_else(|| {
        Error::new(Code::ToolMissing, "`barman-cloud-backup` is not installed")
            .hint("Install `barman-cli-cloud` (Debian, Ubuntu) or `barman[cloud]` (PyPI), or run `make demo`.")
    })
}

/// The folder that `scripts/setup` fills.
pub fn tools_dir() -> PathBuf {
    std::env::var_os("PGASSAY_TOOLS")
        .map_or_else(|| PathBuf::from("/usr/local/lib/pgassay-tools"), PathBuf::from)
}

impl Barman {
    /// What the programs need in their environment: credentials, and settings that keep them from
    /// asking elsewhere.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", self.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.as_str()),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
            ("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("NO_PROXY", "127.0.0.1"),
            ("HOME", "/nonexistent"),
        ];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
    }

    /// The `archive_command` of a cluster that archives here; `compression` is such as `--gzip`.
    pub fn archive_command(&self, compression: &[&str]) -> String {
        let program = self.program("barman-cloud-wal-archive");
        let program = program.to_string_lossy();
        let words = [
            &[&*program, "--cloud-provider", "aws-s3", "--endpoint-url", &self.endpoint],
            compression,
            &[self.url.as_str(), self.server.as_str(), "%p"],
        ];
        words.concat().join(" ")
    }

    /// Archives one file as an `archive_command` would.
    pub fn archive_wal(&self, compression: &[&str], file: &Path) -> Result<(), Error> {
        let mut command = self.command("barman-cloud-wal-archive");
        command.args(compression).args([&self.url, &self.server]).arg(file);
        run(&mut command).map(|_| ())
    }

    /// Takes a base backup of a running source.
    pub fn backup(&self, source: &Source, arguments: &[&str]) -> Result<(), Error> {
        let mut command = self.command("barman-cloud-backup");
        command.args(arguments).args([
            "--immediate-checkpoint",
            "--port",
            "5432",
            "--user",
            source.superuser(),
        ]);
        command.arg("--dbname").arg("postgres").arg("--host").arg(source.socket_dir());
        command.args([&self.url, &self.server]);
        run(&mut command).map(|_| ())
    }

    fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.as_ref().map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.envs(self.environment()).args([
            "--cloud-provider",
            "aws-s3",
            "--endpoint-url",
            &self.endpoint,
        ]);
        command
    }
}
