//! The files of the data directory against the catalogs.

use super::*;

/// Pages of a full file.
const FULL: u64 = 131_072;

fn set_len(file: &Path, length: u64) {
    fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)
        .unwrap()
        .set_len(length)
        .unwrap();
}

fn path(file: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", file.display()))
}

#[test]
fn files_that_no_catalog_knows_are_said() {
    let mut cluster = Cluster::shop();
    let text = cluster.passed(&RelationFiles);
    assert!(!text.contains("belong to no relation"), "{text}");
    cluster.damage(|data| {
        let folder = fs::read_dir(data.join("base")).unwrap().next().unwrap().unwrap().path();
        fs::write(folder.join("99999"), [0; 8192]).unwrap();
        fs::write(folder.join("99999_fsm"), [0; 16384]).unwrap();
        fs::create_dir(data.join("base/99998")).unwrap();
        fs::write(data.join("base/99998/16384.1"), [0; 8192]).unwrap();
    });
    let text = cluster.passed(&RelationFiles);
    assert!(text.contains("3 files (32.0 KiB) belong to no relation"), "{text}");
}

#[test]
fn the_last_file_of_a_large_table_is_lost() {
    let mut cluster = Cluster::shop();
    let orders = cluster.file("orders");
    let counted = |cluster: &Cluster, pages: u64| {
        cluster.sql(
            "shop",
            &format!("update pg_class set relpages = {pages} where relname = 'orders'"),
        );
    };
    // Without holes on disk: only its length is looked at.
    cluster.damage(|_| set_len(&orders, FULL * 8192));
    cluster.passed(&RelationFiles);
    counted(&cluster, FULL + 1000);
    // So many pages may have been added on the source and never logged.
    cluster.passed(&RelationFiles);
    counted(&cluster, FULL + 10_000);
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::RelationMissing, ".1` does not exist");
    expect(&findings, FailureClass::RelationMissing, "shop.public.orders (oid");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    // A truncation leaves an empty file.
    cluster.damage(|_| set_len(&path(&orders, ".1"), 0));
    cluster.passed(&RelationFiles);
    cluster.damage(|_| {
        set_len(&path(&orders, ".1"), FULL * 8192);
        set_len(&path(&orders, ".2"), 8192);
        fs::remove_file(&orders).unwrap();
    });
    expect(
        &cluster.findings(&RelationFiles),
        FailureClass::RelationMissing,
        "a later one of the relation",
    );
}

#[test]
fn forks_that_must_be_there_and_forks_that_need_not() {
    let mut cluster = Cluster::shop();
    cluster.sql("shop", "create index on scratch (i)");
    let (orders, scratch) = (cluster.file("orders"), cluster.file("scratch"));
    cluster.damage(|_| {
        fs::remove_file(path(&orders, "_vm")).unwrap();
        fs::remove_file(path(&orders, "_fsm")).unwrap();
    });
    cluster.passed(&RelationFiles);
    cluster.damage(|_| fs::remove_file(path(&scratch, "_init")).unwrap());
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::RelationMissing, "shop.public.scratch");
    expect(&findings, FailureClass::RelationMissing, "_init");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn a_database_without_its_folder() {
    let mut cluster = Cluster::shop();
    let space = cluster.source.make_dir("other").unwrap();
    cluster.sql("postgres", &format!("create tablespace other location '{}'", space.display()));
    cluster.sql("postgres", "create database elsewhere tablespace other");
    cluster.sql("postgres", "create database second");
    cluster.passed(&RelationFiles);
    let oid = |name: &str| {
        cluster.sql("postgres", &format!("select oid from pg_database where datname = '{name}'"))
    };
    let (elsewhere, second) = (oid("elsewhere"), oid("second"));
    cluster.damage(|data| {
        let version = fs::read_dir(&space).unwrap().next().unwrap().unwrap().path();
        fs::remove_dir_all(version.join(&elsewhere)).unwrap();
        fs::remove_file(data.join("base").join(&second).join("PG_VERSION")).unwrap();
    });
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::RelationMissing, "database `elsewhere`");
    expect(&findings, FailureClass::RelationMissing, &format!("base/{second}/PG_VERSION"));
    assert_eq!(findings.len(), 2, "{findings:#?}");
}

#[test]
fn what_ends_a_session_hides_nothing_before_it_and_in_no_other_database() {
    let mut cluster = Cluster::shop();
    cluster.sql("postgres", "create database later");
    cluster.sql("later", "create table lost as select 1");
    let lost = cluster.sql("later", "select pg_relation_filepath('lost')");
    cluster.damage(|data| fs::remove_file(data.join(&lost)).unwrap());
    cluster.sql("shop", "create sequence calls");
    cluster.sql(
        "shop",
        "delete from pg_proc where proname = 'pg_relation_filepath';
         create function pg_catalog.pg_relation_filepath(regclass) returns text language plpgsql as
           'begin
              if nextval(''public.calls'') > 50 then perform pg_terminate_backend(pg_backend_pid()); end if;
              return null;
            end'",
    );
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::InfraError, "database `shop`");
    expect(&findings, FailureClass::RelationMissing, "the catalog knows no file for it");
    expect(&findings, FailureClass::RelationMissing, "later.public.lost");
}
