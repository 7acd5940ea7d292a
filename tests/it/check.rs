//! The checks on real clusters, sound and damaged, and PostgreSQL's own files against its own tools.

mod environment;
mod files;
mod foreign_keys;
mod indexes;
mod jobs;
mod pages;
mod queries;
mod relations;
mod sequences;
mod sound;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use pgassay::{
    check::{
        Check, CheckContext, Observations, Phase, amcheck::Amcheck, checksums,
        checksums::Checksums, connection::connect, databases, extensions::Extensions,
        failure::SqlFailure, files::RelationFiles, first_write, foreign_keys::ForeignKeys,
        heartbeat::HeartbeatCheck, index_entries::IndexEntries, index_pages::IndexPages,
        read_all::ReadAll, run_all, sequences::Sequences, sql::SqlAssertion,
    },
    demo::source::{Source, SourceSpec},
    drill::{
        CheckOutcome, Code, FailureClass, Finding,
        job::{Comparison, Expectation, Heartbeat, SqlCheck},
        reached::Reached,
        report::CheckStatus,
        row_floor::KnownFloor,
    },
    engine::{ClusterAccess, Redacted},
    pg::{
        ControlFile, Lsn, Major, TimelineId,
        conf::{Preload, Preloads},
        control::DbState,
    },
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use crate::support::{tools, workdir::WorkDir};

const PASSWORD: &str = "one of a kind";

/// Tables of some pages are already read in parts.
const READ_ALL: ReadAll = ReadAll { range: NonZeroU32::new(16).unwrap() };

const ENTRIES: IndexEntries = IndexEntries { memory: 64 << 20 };

/// A cluster such as a drill leaves it, before its checks.
struct Cluster {
    work: WorkDir,
    source: Source,
    major: u32,
    context: CheckContext,
}

impl Cluster {
    fn new(major: u32, initdb: &[&str]) -> Self {
        let work = WorkDir::new();
        let password = work.join("password");
        fs::write(&password, PASSWORD).unwrap();
        let password_file = format!("--pwfile={}", password.display());
        let mut arguments = vec!["--auth=scram-sha-256", &password_file];
        arguments.extend_from_slice(initdb);
        let source = Source::create(SourceSpec {
            bin_dir: tools::postgres_bin(major),
            root: work.join("cluster"),
            owner: tools::postgres_owner(),
            superuser: "checker".into(),
            initdb: arguments.into_iter().map(str::to_owned).collect(),
            settings: vec!["autovacuum = off".into(), "max_wal_size = 4GB".into()],
            environment: vec![],
        })
        .unwrap();
        let context = CheckContext {
            promise: None,
            reached: Reached {
                timeline: TimelineId(1),
                new_timeline: TimelineId(2),
                end: Lsn(0x100_0000),
                last_transaction_at: None,
            },
            cluster: ClusterAccess {
                major: Major::from_number(major).unwrap(),
                socket_dir: source.socket_dir(),
                port: 5432,
                user: "checker".into(),
                password: Redacted(PASSWORD.into()),
                data_dir: source.data_dir(),
                version_num: major * 10_000,
            },
            progress: Progress::silent(),
            cancel: CancellationToken::new(),
            seed: 7,
            floor: KnownFloor::default(),
            passwords: BTreeMap::new(),
            preloads: Preloads { libraries: vec![], whole: true },
            observations: Observations::default(),
        };
        Self { work, source, major, context }
    }

    /// The distribution's PostgreSQL with data checksums and a few tables.
    fn shop() -> Self {
        let cluster = Self::new(tools::packaged_major(), &["--data-checksums"]);
        cluster.fill();
        cluster
    }

    fn fill(&self) {
        self.sql("postgres", "create database shop");
        let space = self.source.make_dir("space").unwrap();
        self.sql("postgres", &format!("create tablespace space location '{}'", space.display()));
        self.sql(
            "shop",
            "create table orders (id int primary key, note text);
             insert into orders select i, md5(i::text) from generate_series(1, 5000) i;
             create index orders_note on orders (note);
             create table big (id int, body text, raw bytea) tablespace space;
             alter table big alter body set storage external;
             insert into big select i, repeat(md5(i::text), 400), decode(repeat(md5(i::text), 400), 'hex')
               from generate_series(1, 20) i;
             create table parted (at date, n int) partition by range (at);
             create table parted_1 partition of parted for values from ('2026-01-01') to ('2026-02-01');
             insert into parted select '2026-01-05', i from generate_series(1, 100) i;
             create materialized view sums as select count(*) from orders;
             create table shapes (id int, tags int[], spot point, name text);
             insert into shapes select i, array[i % 7, i % 1000, i % 11], point(i % 97, i), md5(i::text)
               from generate_series(1, 20000) i;
             create index shapes_hash on shapes using hash (name);
             create index shapes_gin on shapes using gin (tags);
             create index shapes_gist on shapes using gist (spot);
             create index shapes_spgist on shapes using spgist (spot);
             create index shapes_spgist_text on shapes using spgist (name);
             create index shapes_brin on shapes using brin (id, name) with (pages_per_range = 1);
             insert into shapes select i, array[i % 7, i], point(i % 97, i), md5(i::text)
               from generate_series(20001, 26000) i;
             create unlogged table scratch (i int);
             create sequence numbers;
             create table heartbeat (at timestamptz);
             insert into heartbeat values ('2026-11-22 19:19:00.5+00'), ('2026-11-21 00:00+00');",
        );
        // As a drill leaves its sandbox.
        self.sql("postgres", "alter database template0 allow_connections true");
        self.sql("shop", "vacuum freeze");
        self.sql("shop", "checkpoint");
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let psql = tools::postgres_bin(tools::packaged_major()).join("psql");
        let output = Command::new(psql)
            .env("PGPASSWORD", PASSWORD)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "checker"])
            .arg("-h")
            .arg(self.source.socket_dir())
            .args(["-p", "5432", "-d", database, "-c", sql])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// From now on the function `ends` ends the session that calls it, and `fails` is refused. The
    /// planner calls what stands in the condition of an index.
    fn ends_and_fails(&self) {
        let functions = [
            ("ends", "perform pg_terminate_backend(pg_backend_pid()); return true"),
            ("fails", "raise exception ''refused''"),
        ];
        for (name, body) in functions {
            let declared = "returns bool immutable language plpgsql";
            let sql =
                format!("create or replace function {name}(int) {declared} as 'begin {body}; end'");
            self.sql("shop", &sql);
        }
    }

    /// Path of a relation's first file.
    fn file(&self, relation: &str) -> PathBuf {
        let path = self.sql("shop", &format!("select pg_relation_filepath('{relation}')"));
        self.source.data_dir().join(path)
    }

    /// Stops the server, damages its files, and starts it again.
    fn damage(&mut self, damage: impl FnOnce(&Path)) {
        self.source.stop(true).unwrap();
        damage(&self.source.data_dir());
        self.source.start().unwrap();
    }

    fn run(&self, check: &dyn Check) -> CheckOutcome {
        tools::RUNTIME.block_on(check.run(&self.context))
    }

    /// What the check must have found.
    #[track_caller]
    fn findings(&self, check: &dyn Check) -> Vec<Finding> {
        match self.run(check) {
            CheckOutcome::Failed(findings) => findings,
            other => panic!("{} found nothing: {other:?}", check.name()),
        }
    }

    /// What the check says of a sound cluster.
    #[track_caller]
    fn passed(&self, check: &dyn Check) -> String {
        match self.run(check) {
            CheckOutcome::Passed(text) => text,
            other => panic!("{} did not pass: {other:?}", check.name()),
        }
    }

    /// The check's error code.
    #[track_caller]
    fn errored(&self, check: &dyn Check) -> (Code, String) {
        match self.run(check) {
            CheckOutcome::Errored(error) => (error.code, error.message),
            other => panic!("{} did not break: {other:?}", check.name()),
        }
    }
}

fn flip(file: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
}

#[track_caller]
fn expect(findings: &[Finding], class: FailureClass, needle: &str) {
    let hit = findings.iter().any(|f| f.class == class && format!("{f:?}").contains(needle));
    assert!(hit, "no {class} naming `{needle}` in {findings:#?}");
}

fn assertion(query: &str, operator: Comparison, literal: &str) -> SqlAssertion {
    SqlAssertion(SqlCheck {
        name: "a".into(),
        database: "shop".into(),
        query: query.into(),
        expect: Expectation { operator, literal: literal.into() },
        search_path: None,
        show_value: false,
    })
}

fn heartbeat(sql: &str) -> HeartbeatCheck {
    HeartbeatCheck(Heartbeat { sql: sql.into(), database: "shop".into() })
}
