//! What must not alarm or stop the checks.

use super::*;

#[test]
fn every_major_is_sound_and_its_pg_control_is_read() {
    for major in [14, 16, 17, 18] {
        let mut cluster = Cluster::new(major, &["--data-checksums"]);
        cluster.fill();
        let files = cluster.passed(&RelationFiles);
        assert!(files.contains("4 databases"), "{files}");
        cluster.passed(&Extensions::default());
        let rows = cluster.passed(&READ_ALL);
        assert!(rows.contains("rows in"), "{rows}");
        cluster.passed(&ForeignKeys::default());
        cluster.passed(&Sequences);
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
        let indexes = cluster.passed(&IndexPages);
        assert!(indexes.starts_with("6 indexes"), "{indexes}");
        cluster.passed(&ENTRIES);
    }
}

#[test]
fn a_sound_cluster_passes_every_check() {
    let mut cluster = Cluster::shop();
    let checks: Vec<Box<dyn Check>> = vec![
        Box::new(heartbeat("select max(at) from heartbeat")),
        Box::new(assertion("select count(*) from orders", Comparison::GreaterOrEqual, "5000")),
        Box::new(RelationFiles),
        Box::new(Extensions::default()),
        Box::new(READ_ALL),
        Box::new(Sequences),
        Box::new(ForeignKeys::default()),
        Box::new(Amcheck),
        Box::new(Checksums),
        Box::new(IndexPages),
        Box::new(ENTRIES),
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
    assert_eq!(
        names,
        [
            "heartbeat",
            "sql:a",
            "files",
            "extensions",
            "readAll",
            "sequences",
            "foreignKeys",
            "amcheck",
            "checksums",
            "indexPages",
            "indexEntries"
        ]
    );

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
    expect(&cluster.findings(&READ_ALL), FailureClass::InfraError, "database `shut`");
    cluster.sql("template1", "alter database shut allow_connections true");
    cluster.passed(&READ_ALL);
    cluster.passed(&Amcheck);
    cluster.passed(&heartbeat("select max(at) from heartbeat"));
    cluster.passed(&assertion("select count(*) from orders", Comparison::Equal, "5000"));
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
        &[Box::new(READ_ALL) as Box<dyn Check>],
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
fn tables_in_parts_hold_as_many_rows_as_whole_ones() {
    let cluster = Cluster::shop();
    for sql in ["delete from orders where id % 3 = 0", "vacuum orders", "truncate big"] {
        cluster.sql("shop", sql);
    }
    let whole = cluster.passed(&ReadAll::default());
    for blocks in [1, 2, 7] {
        let range = NonZeroU32::new(blocks).unwrap();
        assert_eq!(cluster.passed(&ReadAll { range }), whole, "{blocks} blocks at a time");
    }
}

#[test]
fn a_part_of_a_table_is_no_scan_of_all_of_it_whatever_production_has_set() {
    let cluster = Cluster::shop();
    cluster.sql("shop", "alter database shop set enable_tidscan = off");
    let plan = tools::RUNTIME.block_on(async {
        let CheckContext { cluster, cancel, .. } = &cluster.context;
        let connection = connect(cluster, "shop", cancel).await.unwrap();
        let part = "SELECT id FROM ONLY public.orders WHERE ctid >= '(2,0)' AND ctid < '(4,0)'";
        connection.rows(&format!("EXPLAIN {part}")).await.unwrap()
    });
    assert!(plan[0][0].as_deref().unwrap().contains("Tid Range Scan"), "{plan:?}");
}
