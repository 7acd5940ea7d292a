//! Pages and `pg_control`, against PostgreSQL's own tools.

use super::*;

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
