//! Pages, against PostgreSQL's own tools.

use super::*;

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
fn a_table_without_an_index_that_lost_its_end() {
    let mut cluster = Cluster::shop();
    let fill = |table: &str| {
        cluster.sql(
            "shop",
            &format!(
                "create table {table} as select i, md5(i::text) from generate_series(1, 5000) i"
            ),
        );
        cluster.sql("shop", &format!("vacuum freeze {table}"));
    };
    // One shrinks as PostgreSQL does it, to the middle of its map's page, to nothing, or to nothing and grown again.
    for table in ["whole", "shrunk", "emptied", "regrown"] {
        fill(table);
    }
    cluster
        .sql("shop", "delete from shrunk where i > 2000; delete from emptied; delete from regrown");
    cluster.sql("shop", "vacuum shrunk, emptied, regrown");
    cluster.sql("shop", "insert into regrown values (1, 'again')");
    for (table, pages) in [("shrunk", true), ("emptied", false), ("regrown", true)] {
        let size = cluster.sql("shop", &format!("select pg_relation_size('{table}') / 8192"));
        let size: u32 = size.parse().unwrap();
        assert!(size < 30 && (size > 0) == pages, "{table} has {size} pages");
    }
    let whole = cluster.file("whole");
    cluster.source.stop(true).unwrap();
    cluster.passed(&Checksums);
    let file = fs::File::options().write(true).open(&whole).unwrap();
    file.set_len(10 * 8192).unwrap();
    let findings = cluster.findings(&Checksums);
    expect(&findings, FailureClass::RelationMissing, "more pages with rows, from block 10 on");
    assert_eq!(findings.len(), 1, "{findings:#?}");
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
