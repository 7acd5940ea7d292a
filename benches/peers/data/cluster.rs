//! A live cluster to be backed up.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use pgassay::demo::source::{Source, SourceSpec, run};

use super::{DATABASE, Volume, volume};
use crate::tools;

/// Its server runs until this is dropped; then its files are removed, too.
pub struct Live {
    pub source: Source,
    root: PathBuf,
    /// Where its WAL goes.
    pub spool: PathBuf,
}

impl Live {
    /// A cluster with an empty database, a tablespace, and an `archive_command` into a folder.
    pub fn start(root: &Path) -> Self {
        let settings = [
            "wal_level = replica",
            "archive_mode = on",
            "synchronous_commit = off",
            "shared_buffers = 256MB",
            "max_wal_size = 1GB",
            "max_locks_per_transaction = 256",
            "autovacuum = off",
        ];
        let spool = root.join("spool");
        let copy = format!("cp %p {0}/.%f && mv {0}/.%f {0}/%f", spool.display());
        let mut settings: Vec<String> = settings.iter().map(|&line| line.to_owned()).collect();
        settings.push(format!("archive_command = '{copy}'"));
        let source = Source::create(SourceSpec {
            bin_dir: tools::postgres_bin(tools::packaged_major()),
            root: root.to_owned(),
            owner: tools::postgres_owner(),
            superuser: "postgres".into(),
            initdb: vec!["--data-checksums".into()],
            settings,
            environment: Vec::new(),
        })
        .unwrap();
        source.make_dir("spool").unwrap();
        let space = source.make_dir("space").unwrap();
        let live = Self { source, root: root.to_owned(), spool };
        live.ask("postgres", &format!("create tablespace space location '{}'", space.display()));
        live.ask("postgres", &format!("create database {DATABASE}"));
        live
    }

    /// Runs SQL in the database and gives what it prints.
    pub fn sql(&self, sql: &str) -> String {
        self.ask(DATABASE, sql)
    }

    fn ask(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        run(&mut psql).unwrap_or_else(|error| panic!("{sql}: {error}")).trim().to_owned()
    }

    /// Runs pgbench on the database.
    pub fn pgbench(&self, arguments: &[&str]) {
        run(self.client("pgbench").args(arguments).arg(DATABASE)).unwrap();
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(tools::postgres_bin(tools::packaged_major()).join(name));
        command.args(["-U", "postgres", "-p", "5432", "-h"]).arg(self.source.socket_dir());
        command
    }

    /// Closes the current segment, and waits until it is in the spool.
    pub fn switch_wal(&self) {
        let last = self.sql("select pg_walfile_name(pg_switch_wal())");
        let since = Instant::now();
        while !self.spool.join(&last).exists() {
            assert!(since.elapsed() < Duration::from_mins(5), "`{last}` was not archived");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its relations' files.
    pub fn volume(&self) -> Volume {
        let (data, space) = (volume(&self.source.data_dir()), volume(&self.root.join("space")));
        Volume { files: data.files + space.files, bytes: data.bytes + space.bytes }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Without a shutdown checkpoint: nobody reads these files again.
        let _ = self.source.stop(false);
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
