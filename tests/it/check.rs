//! The checks on real clusters, sound and damaged, and PostgreSQL's own files against its own tools.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use pgassay::{
    check::{
        Check, CheckContext, Observations, Phase, amcheck::Amcheck, checksums,
        checksums::Checksums, databases, first_write, heartbeat::HeartbeatCheck, read_all::ReadAll,
        run_all, sql::SqlAssertion,
    },
    demo::source::{Source, SourceSpec},
    drill::{
        CheckOutcome, Code, FailureClass, Finding,
        job::{Comparison, Expectation, Heartbeat, SqlCheck},
        reached::Reached,
        report::CheckStatus,
    },
    engine::{ClusterAccess, Redacted},
    pg::{ControlFile, Lsn, Major, TimelineId, control::DbState},
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use crate::support::{tools, workdir::WorkDir};

const PASSWORD: &str = "one of a kind";

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

#[test]
fn pg_control_reads_as_pg_controldata_prints_it() {
    let mut cluster =
        Cluster::new(tools::packaged_major(), &["--data-checksums", "--wal-segsize=64"]);
    cluster.source.stop(true).unwrap();
    let bytes = fs::read(cluster.source.data_dir().join("global/pg_control")).unwrap();
    let control = ControlFile::parse(&bytes).unwrap();
    let tool = tools::postgres_bin(cluster.major).join("pg_controldata");
    let output =
        Command::new(tool).env("LC_ALL", "C").arg(cluster.source.data_dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |name: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("no `{name}` in {text}")).trim().to_owned()
    };
    let copy = control.checkpoint_copy;
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    for (name, value) in [
        ("pg_control version number", control.pg_control_version.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Database system identifier", control.system_identifier.to_string()),
        ("Database cluster state", control.state.to_string()),
        ("Latest checkpoint location", control.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", copy.redo.to_string()),
        ("Latest checkpoint's TimeLineID", copy.timeline.to_string()),
        ("Latest checkpoint's PrevTimeLineID", copy.previous_timeline.to_string()),
        ("Latest checkpoint's full_page_writes", on(copy.full_page_writes)),
        (
            "Latest checkpoint's NextXID",
            format!("{}:{}", copy.next_xid >> 32, copy.next_xid & 0xFFFF_FFFF),
        ),
        ("Latest checkpoint's NextOID", copy.next_oid.to_string()),
        ("Latest checkpoint's NextMultiXactId", copy.next_multi.to_string()),
        ("Latest checkpoint's NextMultiOffset", copy.next_multi_offset.to_string()),
        ("Latest checkpoint's oldestXID", copy.oldest_xid.to_string()),
        ("Latest checkpoint's oldestXID's DB", copy.oldest_xid_database.to_string()),
        ("Latest checkpoint's oldestActiveXID", copy.oldest_active_xid.to_string()),
        ("Minimum recovery ending location", control.min_recovery_point.to_string()),
        ("Min recovery ending loc's timeline", control.min_recovery_timeline.to_string()),
        ("Backup start location", control.backup_start_point.to_string()),
        ("Backup end location", control.backup_end_point.to_string()),
        (
            "End-of-backup record required",
            if control.backup_end_required { "yes" } else { "no" }.into(),
        ),
        ("wal_level setting", control.wal_level.to_string()),
        ("wal_log_hints setting", on(control.wal_log_hints)),
        ("max_connections setting", control.max_connections.to_string()),
        ("max_worker_processes setting", control.max_worker_processes.to_string()),
        ("max_wal_senders setting", control.max_wal_senders.to_string()),
        ("max_prepared_xacts setting", control.max_prepared_transactions.to_string()),
        ("max_locks_per_xact setting", control.max_locks_per_transaction.to_string()),
        ("track_commit_timestamp setting", on(control.track_commit_timestamp)),
        ("Maximum data alignment", control.max_align.to_string()),
        ("Database block size", control.block_size.to_string()),
        ("Blocks per segment of large relation", control.relation_segment_blocks.to_string()),
        ("WAL block size", control.wal_block_size.to_string()),
        ("Bytes per WAL segment", control.wal_segment_size.bytes().to_string()),
        ("Data page checksum version", control.data_checksum_version.to_string()),
    ] {
        assert_eq!(line(name), value, "{name}");
    }
}

#[test]
fn every_major_is_sound_and_its_pg_control_is_read() {
    for major in [14, 16, 17, 18] {
        let mut cluster = Cluster::new(major, &["--data-checksums"]);
        cluster.fill();
        let rows = cluster.passed(&ReadAll);
        assert!(rows.contains("rows in"), "{rows}");
        let amcheck = cluster.passed(&Amcheck);
        assert!(amcheck.contains("4 databases"), "{amcheck}");
        tools::RUNTIME
            .block_on(first_write(&cluster.context.cluster, &cluster.context.cancel))
            .unwrap();
        cluster.source.stop(true).unwrap();
        let bytes = fs::read(cluster.source.data_dir().join("global/pg_control")).unwrap();
        let control = ControlFile::parse(&bytes).unwrap();
        assert_eq!(control.major(), Major::from_number(major), "{control:?}");
        assert_eq!(control.state, DbState::ShutDown);
        assert!(control.has_data_checksums());
        let pages = cluster.passed(&Checksums);
        assert!(pages.contains("pages in") && !pages.contains("off"), "{pages}");
    }
}

/// `Files scanned`, `Blocks scanned` and `Bad checksums` of `pg_checksums`.
fn pg_checksums(cluster: &Cluster) -> [u64; 3] {
    let tool = tools::postgres_bin(cluster.major).join("pg_checksums");
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = tools::postgres_owner() {
        command.args([
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".into(),
        ]);
    }
    let output = command.arg(tool).arg("--check").arg(cluster.source.data_dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ["Files scanned", "Blocks scanned", "Bad checksums"].map(|name| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let error = String::from_utf8_lossy(&output.stderr);
        line.and_then(|n| n.trim().parse().ok()).unwrap_or_else(|| panic!("{text}{error}"))
    })
}

#[test]
fn damaged_pages_are_those_of_pg_checksums() {
    let mut cluster = Cluster::shop();
    let (orders, note, big) =
        (cluster.file("orders"), cluster.file("orders_note"), cluster.file("big"));
    cluster.source.stop(true).unwrap();
    let verify = || {
        let cancel = CancellationToken::new();
        let found =
            checksums::verify_cluster(&cluster.source.data_dir(), &Progress::silent(), &cancel)
                .unwrap();
        let count = |f: &Finding| {
            assert_eq!(f.class, FailureClass::PageChecksum, "{f:?}");
            f.detail.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let bad = found.findings.iter().map(count).sum::<u64>() + found.bad_map_pages;
        (found.findings, [found.files, found.pages, bad])
    };
    assert_eq!(verify().1, pg_checksums(&cluster));

    flip(&orders, 3 * 8192 + 5000);
    flip(&orders, 7 * 8192 + 100);
    flip(&note, 2 * 8192 + 8000);
    flip(&big, 8191);
    flip(&PathBuf::from(format!("{}_vm", orders.display())), 30);
    let (findings, counts) = verify();
    assert_eq!(counts, pg_checksums(&cluster));
    assert_eq!(counts[2], 5);
    expect(&findings, FailureClass::PageChecksum, "block 3");
    expect(&findings, FailureClass::PageChecksum, "pg_tblspc/");
    assert_eq!(findings.len(), 3, "a visibility map heals by itself: {findings:#?}");
}

#[test]
fn a_sound_cluster_passes_every_check() {
    let mut cluster = Cluster::shop();
    let checks: Vec<Box<dyn Check>> = vec![
        Box::new(heartbeat("select max(at) from heartbeat")),
        Box::new(assertion("select count(*) from orders", Comparison::GreaterOrEqual, "5000")),
        Box::new(ReadAll),
        Box::new(Amcheck),
        Box::new(Checksums),
    ];
    let run = |cluster: &Cluster, phase| {
        tools::RUNTIME.block_on(run_all(&checks, &cluster.context, phase))
    };
    let mut reports = run(&cluster, Phase::Running);
    cluster.source.stop(true).unwrap();
    reports.extend(run(&cluster, Phase::Stopped));
    let bad: Vec<_> = reports.iter().filter(|r| r.status != CheckStatus::Passed).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let names: Vec<_> = reports.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["heartbeat", "sql:a", "readAll", "amcheck", "checksums"]);

    let seen = cluster.context.observations.snapshot();
    assert_eq!(seen.heartbeat, Some("2026-11-22T19:19:00.5Z".parse().unwrap()));
    let rows = |table: &str| {
        let read = seen.tables.iter().find(|t| t.database == "shop" && t.table == table);
        read.map(|t| t.rows)
    };
    assert_eq!(rows("orders"), Some(5000));
    assert_eq!(rows("parted_1"), Some(100));
    assert_eq!(rows("parted"), None, "a parent holds no rows of its own");
    assert_eq!(rows("sums"), Some(1));
    assert_eq!(rows("scratch"), Some(0));
    assert!(seen.tables.iter().any(|t| t.database == "template0" && t.table == "pg_class"));
    let big = seen.tables.iter().find(|t| t.table == "big").unwrap();
    assert!(big.bytes > 20 * 12_800, "out-of-line values are read: {big:?}");
}

#[test]
fn habits_of_production_do_not_stop_the_checks() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create role app; create schema planted;
         create function planted.count(\"any\") returns bigint language internal as 'int8inc_any';
         create function planted.fail() returns event_trigger language plpgsql as 'begin raise exception ''no''; end';
         create event trigger stop on ddl_command_start execute function planted.fail();",
    );
    for setting in [
        "session_preload_libraries = 'nowhere'",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "default_transaction_read_only = on",
        "search_path = planted, public",
        "role = app",
        "exit_on_error = on",
        "ignore_checksum_failure = on",
        "standard_conforming_strings = off",
        "DateStyle = 'SQL, DMY'",
    ] {
        cluster.sql("postgres", &format!("alter database shop set {setting}"));
        cluster.sql("postgres", &format!("alter role checker in database shop set {setting}"));
    }
    cluster.sql("postgres", "create database shut allow_connections false");
    cluster.sql("postgres", "alter database postgres set default_transaction_read_only = on");
    let stop = &cluster.context.cancel;
    tools::RUNTIME.block_on(first_write(&cluster.context.cluster, stop)).unwrap();
    let list = tools::RUNTIME.block_on(databases(&cluster.context.cluster, stop)).unwrap();
    assert!(list.iter().any(|d| d.name == "shut" && !d.connectable()));
    expect(&cluster.findings(&ReadAll), FailureClass::InfraError, "database `shut`");
    cluster.sql("template1", "alter database shut allow_connections true");
    cluster.passed(&ReadAll);
    cluster.passed(&Amcheck);
    cluster.passed(&heartbeat("select max(at) from heartbeat"));
    cluster.passed(&assertion("select count(*) from orders", Comparison::Equal, "5000"));
}

#[test]
fn a_flipped_byte_in_a_heap() {
    let mut cluster = Cluster::shop();
    let orders = cluster.file("orders");
    cluster.damage(|_| flip(&orders, 3 * 8192 + 5000));
    for check in [&ReadAll as &dyn Check, &Amcheck] {
        let findings = cluster.findings(check);
        expect(&findings, FailureClass::PageChecksum, "invalid page in block 3");
        expect(&findings, FailureClass::PageChecksum, "shop.public.orders");
    }
    cluster.source.stop(true).unwrap();
    expect(&cluster.findings(&Checksums), FailureClass::PageChecksum, "block 3");
}

#[test]
fn a_missing_file_and_a_cut_one() {
    let mut cluster = Cluster::shop();
    let (orders, note) = (cluster.file("orders"), cluster.file("orders_note"));
    cluster.damage(|_| {
        fs::remove_file(&note).unwrap();
        let file = fs::File::options().write(true).open(&orders).unwrap();
        file.set_len(10 * 8192 + 17).unwrap();
    });
    let findings = cluster.findings(&ReadAll);
    expect(&findings, FailureClass::RelationMissing, "shop.public.orders_note");
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::RelationMissing, "shop.public.orders_note");
    cluster.source.stop(true).unwrap();
    let findings = cluster.findings(&Checksums);
    expect(&findings, FailureClass::RelationMissing, "17 bytes into a page");
}

#[test]
fn a_zeroed_page_that_held_rows() {
    let mut cluster = Cluster::shop();
    let (orders, note) = (cluster.file("orders"), cluster.file("orders_note"));
    cluster.source.stop(true).unwrap();
    let zero = |file: &Path, block: u64| {
        let file = fs::File::options().write(true).open(file).unwrap();
        file.write_all_at(&[0; 8192], block * 8192).unwrap();
    };
    zero(&orders, 4);
    assert_eq!(pg_checksums(&cluster)[2], 0, "no checksum tool can see it");
    let findings = cluster.findings(&Checksums);
    expect(&findings, FailureClass::PageZeroed, "block 4");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    zero(&note, 3);
    cluster.source.start().unwrap();
    expect(&cluster.findings(&Amcheck), FailureClass::AmcheckIndex, "orders_note");
}

#[test]
fn an_index_that_lacks_rows() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "update pg_index set indisready = false where indexrelid = 'orders_note'::regclass;",
    );
    cluster.sql("shop", "insert into orders values (9999, 'zzz')");
    cluster.sql(
        "shop",
        "update pg_index set indisready = true where indexrelid = 'orders_note'::regclass;",
    );
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::AmcheckIndex, "orders_note");
    assert_eq!(findings.len(), 1, "{findings:#?}");

    // An invalid index is production's own state.
    cluster.sql(
        "shop",
        "update pg_index set indisvalid = false where indexrelid = 'orders_note'::regclass;",
    );
    let text = cluster.passed(&Amcheck);
    assert!(text.contains("1 invalid indexes") && text.contains("orders_note"), "{text}");
}

#[test]
fn another_collation_version_is_not_damage() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create table names (n text collate \"en-x-icu\"); create index names_n on names (n)",
    );
    cluster.sql("shop", "insert into names select md5(i::text) from generate_series(1, 100) i");
    cluster.sql("shop", "update pg_collation set collversion = '1' where collname = 'en-x-icu'");
    let text = cluster.passed(&Amcheck);
    assert!(text.contains("1 collations have another version"), "{text}");
    cluster.sql(
        "shop",
        "update pg_index set indisready = false where indexrelid = 'names_n'::regclass",
    );
    cluster.sql("shop", "insert into names values ('zzz')");
    cluster.sql(
        "shop",
        "update pg_index set indisready = true where indexrelid = 'names_n'::regclass",
    );
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::CollationMismatch, "names_n");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn a_value_stored_out_of_line_is_lost() {
    let cluster = Cluster::shop();
    let toast =
        cluster.sql("shop", "select reltoastrelid::regclass from pg_class where relname = 'big'");
    let kind = |kind: char| {
        let sql = format!("update pg_class set relkind = '{kind}' where oid = '{toast}'::regclass");
        cluster.sql("shop", &sql);
    };
    kind('r');
    cluster.sql("shop", &format!("delete from {toast} where chunk_seq = 1"));
    kind('t');
    expect(&cluster.findings(&ReadAll), FailureClass::RelationMissing, "shop.public.big");
    expect(&cluster.findings(&Amcheck), FailureClass::AmcheckIndex, "shop.public.big");
}

#[test]
fn sql_assertions() {
    use Comparison::{Equal, GreaterOrEqual};
    let mut cluster = Cluster::shop();
    let secret = "select note from orders where id = 1";
    cluster.passed(&assertion(secret, Equal, "c4ca4238a0b923820dcc509a6f75849b"));
    let findings = cluster.findings(&assertion(secret, Equal, "other"));
    expect(&findings, FailureClass::AssertionFailed, "= other");
    assert!(!format!("{findings:?}").contains("c4ca"), "the value is shown: {findings:?}");
    let mut shown = assertion(secret, Equal, "other");
    shown.0.show_value = true;
    expect(&cluster.findings(&shown), FailureClass::AssertionFailed, "c4ca");
    let none = assertion("select id from orders where id = -1", Equal, "1");
    expect(&cluster.findings(&none), FailureClass::AssertionFailed, "no row");
    let null = assertion("select null::int", GreaterOrEqual, "0");
    expect(&cluster.findings(&null), FailureClass::AssertionFailed, "NULL");

    for (query, code, words) in [
        ("select 1, 2", Code::JobInvalid, "2 columns"),
        ("select id from orders", Code::JobInvalid, "more than one row"),
        ("select * from ordres", Code::ConnectionFailed, "\"ordres\" does not exist"),
        ("select 1; select 2", Code::ConnectionFailed, "42601"),
        ("selec", Code::ConnectionFailed, "syntax error"),
        ("select note::int from orders limit 1", Code::ConnectionFailed, "22P02"),
    ] {
        let (is, message) = cluster.errored(&assertion(query, Equal, "1"));
        assert_eq!(is, code, "{query}: {message}");
        assert!(message.contains(words), "{query}: {message}");
        assert!(!message.contains("c4ca"), "a value is shown: {message}");
    }

    // What a query writes is rolled back.
    cluster.passed(&assertion(
        "with d as (delete from orders returning 1) select count(*) from d",
        Equal,
        "5000",
    ));
    cluster.passed(&assertion("select count(*) from orders", Equal, "5000"));

    let orders = cluster.file("orders");
    cluster.damage(|_| flip(&orders, 5000));
    let count = assertion("select count(*) from orders", GreaterOrEqual, "1");
    expect(&cluster.findings(&count), FailureClass::PageChecksum, "shop");
}

#[test]
fn heartbeats() {
    let cluster = Cluster::shop();
    let none = heartbeat("select max(at) from heartbeat where at < '2000-01-01'");
    expect(&cluster.findings(&none), FailureClass::AssertionFailed, "no row");
    let (code, message) = cluster.errored(&heartbeat("select max(at)::timestamp from heartbeat"));
    assert_eq!(code, Code::JobInvalid, "{message}");
    assert_eq!(cluster.context.observations.snapshot().heartbeat, None);
}

#[test]
fn cancelling_ends_the_query_in_the_server_too() {
    let cluster = Cluster::shop();
    let sleep = assertion("select pg_sleep(600)::text", Comparison::Equal, "1");
    let cancel = cluster.context.cancel.clone();
    let sleeping = "select count(*) from pg_stat_activity where query like 'select pg_sleep(600)%' and state = 'active'";
    let wait_for = |count: &str| {
        let since = Instant::now();
        while cluster.sql("postgres", sleeping) != count {
            assert!(since.elapsed() < Duration::from_mins(1), "never {count} sleepers");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| cluster.errored(&sleep));
        wait_for("1");
        cancel.cancel();
        assert_eq!(running.join().unwrap().0, Code::Interrupted);
    });
    wait_for("0");
    let left = tools::RUNTIME.block_on(run_all(
        &[Box::new(ReadAll) as Box<dyn Check>],
        &cluster.context,
        Phase::Running,
    ));
    assert_eq!(left[0].detail, "stopped while the checks ran");
}

#[test]
fn a_socket_folder_may_have_a_long_name() {
    let mut cluster = Cluster::shop();
    let deep = cluster.work.join(&"long/".repeat(30));
    fs::create_dir_all(&deep).unwrap();
    let link = deep.join("socket");
    std::os::unix::fs::symlink(cluster.source.socket_dir(), &link).unwrap();
    cluster.context.cluster.socket_dir = link;
    cluster.passed(&heartbeat("select max(at) from heartbeat"));
}

#[test]
fn without_data_checksums_headers_are_looked_at() {
    let mut cluster = Cluster::new(tools::packaged_major(), &[]);
    cluster.fill();
    let orders = cluster.file("orders");
    cluster.source.stop(true).unwrap();
    let text = cluster.passed(&Checksums);
    assert!(text.contains("data checksums are off"), "{text}");
    flip(&orders, 2 * 8192 + 15);
    expect(
        &cluster.findings(&Checksums),
        FailureClass::PageChecksum,
        "block 2 (impossible header)",
    );
}

#[test]
fn a_running_cluster_is_not_at_rest() {
    let cluster = Cluster::shop();
    let (code, message) = cluster.errored(&Checksums);
    assert_eq!(code, Code::PostgresFailed);
    assert!(message.contains("in production"), "{message}");
}
