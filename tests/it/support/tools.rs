//! Where the real programs are. A missing one fails the test that needs it: nothing is skipped.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use pgassay::demo::s3_server::S3Server;
use tokio::runtime::Runtime;

/// The folder that `scripts/setup test` fills.
pub fn dir() -> PathBuf {
    pgassay::demo::barman::tools_dir()
}

/// A program of that folder, such as `bin/promtool`.
pub fn tool(name: &str) -> PathBuf {
    let path = dir().join(name);
    assert!(path.exists(), "`{}` is missing: run `scripts/setup test`", path.display());
    path
}

/// The folder with `postgres` and `initdb` of a major: the distribution's, else the set-up's own.
pub fn postgres_bin(major: u32) -> PathBuf {
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    if packaged.join("initdb").exists() {
        packaged
    } else {
        tool(&format!("postgresql/{major}/bin"))
    }
}

/// The major that the distribution packages, with all of its client programs.
pub fn packaged_major() -> u32 {
    let majors = (14..=18).rev();
    let found = majors
        .into_iter()
        .find(|m| PathBuf::from(format!("/usr/lib/postgresql/{m}/bin/pg_waldump")).exists());
    found.expect("no packaged PostgreSQL of major 14 to 18: run `scripts/setup test`")
}

/// The folder with `pg_waldump`, `pg_controldata` and `pg_checksums` of a major: the distribution's,
/// else the set-up's own. Nobody packages those of 14 apart from a whole distribution.
pub fn client_bin(major: u32) -> PathBuf {
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    if packaged.join("pg_waldump").exists() {
        packaged
    } else {
        tool(&format!("clients/{major}/bin"))
    }
}

/// User and group that PostgreSQL runs as: `postgres` where the tests run as root.
pub fn postgres_owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().expect("run id");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().expect("the user `postgres` is missing: run `scripts/setup test`")
    };
    Some((id("-u"), id("-g")))
}

/// Keys of every S3 server that the tests start.
pub const ACCESS_KEY: &str = "AKIATESTTESTTEST";
pub const SECRET_KEY: &str = "a-secret-that-must-never-be-printed";

/// Where the tests' own servers run.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// An S3 server over a folder whose subfolders are buckets.
pub fn s3_server(root: &Path) -> S3Server {
    let _runtime = RUNTIME.enter();
    S3Server::start(root, ACCESS_KEY, SECRET_KEY).unwrap()
}
