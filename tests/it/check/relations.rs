//! Damaged tables and indexes.

use super::*;

#[test]
fn a_flipped_byte_in_a_heap() {
    let mut cluster = Cluster::shop();
    let orders = cluster.file("orders");
    cluster.damage(|_| flip(&orders, 3 * 8192 + 5000));
    for check in [&READ_ALL as &dyn Check, &Amcheck] {
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
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::RelationMissing, "shop.public.orders_note");
    expect(&findings, FailureClass::RelationMissing, "17 bytes into a page");
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::RelationMissing, "shop.public.orders_note");
    cluster.source.stop(true).unwrap();
    let findings = cluster.findings(&Checksums);
    expect(&findings, FailureClass::RelationMissing, "17 bytes into a page");
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
fn what_ends_a_session_hides_no_damage() {
    let cluster = Cluster::shop();
    for sql in [
        "create function same(i int) returns int immutable language plpgsql as 'begin return i; end'",
        "create index orders_same on orders (same(id))",
        "create table few (i int); create index few_i on few (i)",
        "update pg_index set indisready = false where indexrelid = 'few_i'::regclass",
        "insert into few values (1)",
        "update pg_index set indisready = true where indexrelid = 'few_i'::regclass",
        // The index is larger than `few_i`, so its turn is earlier.
        "create or replace function same(i int) returns int immutable language plpgsql
           as 'begin perform pg_terminate_backend(pg_backend_pid()); return i; end'",
    ] {
        cluster.sql("shop", sql);
    }
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::AmcheckIndex, "shop.public.few_i");
    expect(&findings, FailureClass::InfraError, "shop.public.orders_same");
    assert_eq!(findings.len(), 2, "{findings:#?}");
}

#[test]
fn a_name_that_is_not_utf_8_is_told() {
    let cluster = Cluster::shop();
    for sql in [
        "create cast (bytea as text) without function",
        "create table odd (i int)",
        "update pg_class set relname = '\\x6f6464e9'::bytea::text where relname = 'odd'",
    ] {
        cluster.sql("shop", sql);
    }
    for check in [&RelationFiles as &dyn Check, &READ_ALL, &Amcheck] {
        let findings = cluster.findings(check);
        expect(&findings, FailureClass::InfraError, "not UTF-8");
        expect(&findings, FailureClass::InfraError, "database `shop`");
        assert_eq!(findings.len(), 1, "{findings:#?}");
    }
    let (code, _) = cluster.errored(&assertion(
        "select relname from pg_class where relname ^@ 'odd'",
        Comparison::Equal,
        "odd",
    ));
    assert_eq!(code, Code::ConnectionFailed);
}

#[test]
fn another_collation_version_is_not_damage() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create table names (n text collate \"en-x-icu\"); create index names_n on names (n)",
    );
    cluster.sql("shop", "insert into names select md5(i::text) from generate_series(1, 100) i");
    // In an order that is another collation's.
    cluster.sql(
        "shop",
        "create table cases (n text collate \"C\"); create index cases_n on cases (n)",
    );
    cluster.sql("shop", "insert into cases values ('B'), ('a')");
    cluster.sql(
        "shop",
        "update pg_index set indcollation = (select oid::text::oidvector from pg_collation \
         where collname = 'en-x-icu') where indexrelid = 'cases_n'::regclass",
    );
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::AmcheckIndex, "cases_n");
    cluster.sql("shop", "create index names_part on names (n) where n > 'a'");
    cluster.sql("shop", "update pg_collation set collversion = '1' where collname = 'en-x-icu'");
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::CollationMismatch, "cases_n");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    cluster.sql("shop", "drop table cases");
    let text = cluster.passed(&Amcheck);
    assert!(
        text.contains("1 collations have another version here, such as `en-x-icu` 1 (here"),
        "{text}"
    );
    // Rows that are missing: whether a predicate holds may be another question here, bytes are bytes.
    let ready = |yes: bool| {
        let of = "in ('names_n'::regclass, 'names_part'::regclass)";
        cluster
            .sql("shop", &format!("update pg_index set indisready = {yes} where indexrelid {of}"));
    };
    ready(false);
    cluster.sql("shop", "insert into names values ('zzz')");
    ready(true);
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::AmcheckIndex, "names_n");
    expect(&findings, FailureClass::CollationMismatch, "names_part");
    assert_eq!(findings.len(), 2, "{findings:#?}");
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
    expect(&cluster.findings(&READ_ALL), FailureClass::RelationMissing, "shop.public.big");
    expect(&cluster.findings(&Amcheck), FailureClass::AmcheckIndex, "shop.public.big");
}

#[test]
fn what_depends_on_a_collation_and_what_does_not() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create table docs (id int, doc jsonb, name text collate \"C\", tag text collate \"C\");
         create index docs_doc on docs (coalesce(doc, '0'));
         create index docs_name on docs (name);
         create index docs_lower on docs ((lower(tag collate \"default\")));
         create index docs_part on docs (id) where tag collate \"default\" > 'm'",
    );
    cluster.sql(
        "shop",
        "insert into docs select i, to_jsonb(i::text), i, 'n' || i from generate_series(1, 50) i",
    );
    let all = ["docs_doc", "docs_name", "docs_lower", "docs_part"];
    let names: Vec<String> = all.iter().map(|n| format!("'{n}'::regclass")).collect();
    let ready = |yes: bool| {
        let list = names.join(", ");
        cluster.sql(
            "shop",
            &format!("update pg_index set indisready = {yes} where indexrelid in ({list})"),
        );
    };
    ready(false);
    cluster.sql("shop", "insert into docs values (99, '\"z\"', 'z', 'z')");
    ready(true);
    let classes = |cluster: &Cluster| {
        let findings = cluster.findings(&Amcheck);
        all.map(|name| {
            let found = findings.iter().find(|f| f.subject.ends_with(name));
            found.unwrap_or_else(|| panic!("nothing on {name}: {findings:#?}")).class
        })
    };
    assert_eq!(classes(&cluster), [FailureClass::AmcheckIndex; 4]);
    cluster.sql("postgres", "update pg_database set datcollversion = '1' where datname = 'shop'");
    let other = FailureClass::CollationMismatch;
    assert_eq!(classes(&cluster), [other, FailureClass::AmcheckIndex, other, other]);
}

#[test]
fn a_sequence_that_lost_its_row() {
    let mut cluster = Cluster::shop();
    cluster.passed(&READ_ALL);
    let numbers = cluster.file("numbers");
    cluster.damage(|_| fs::write(&numbers, [0; 8192]).unwrap());
    let findings = cluster.findings(&READ_ALL);
    expect(&findings, FailureClass::PageZeroed, "shop.public.numbers");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn a_schema_that_the_catalog_has_lost() {
    let cluster = Cluster::shop();
    cluster
        .sql("shop", "create schema lost; create table lost.t as select generate_series(1, 9) i");
    cluster.sql("shop", "delete from pg_namespace where nspname = 'lost'");
    let findings = cluster.findings(&RelationFiles);
    expect(&findings, FailureClass::RelationMissing, "its schema is not in the catalog");
    cluster.findings(&READ_ALL);
}
