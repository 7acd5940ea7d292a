//! Rows that refer to rows that are not there.

use super::*;

/// Keys of every kind, all of them kept by production.
fn keys(major: u32) -> Cluster {
    let cluster = Cluster::new(major, &["--data-checksums"]);
    cluster.sql("postgres", "create database shop");
    cluster.sql("postgres", "alter database template0 allow_connections true");
    cluster.sql(
        "shop",
        "create schema other;
         create domain code as varchar(20);
         create table customers (id bigint primary key, region text, code code, unique (region, code));
         create table other.\"Orders\" (id int primary key, customer int references customers deferrable initially deferred,
           region text, code varchar(20), before int references other.\"Orders\",
           foreign key (region, code) references customers (region, code) match full);
         create table parts (id int, at int, primary key (id, at)) partition by range (at);
         create table parts_1 partition of parts for values from (0) to (100);
         create table parts_2 partition of parts for values from (100) to (200);
         create table uses (id int, part int, at int, foreign key (part, at) references parts) partition by list (id);
         create table uses_1 partition of uses for values in (1);
         create table uses_2 partition of uses default;
         insert into customers select i, 'r' || i % 7, i from generate_series(1, 3000) i;
         insert into other.\"Orders\" select i, i % 3000 + 1, 'r' || (i % 3000 + 1) % 7, i % 3000 + 1, nullif(i - 1, 0)
           from generate_series(1, 5000) i;
         insert into other.\"Orders\" values (9999, null, null, null, null);
         insert into parts select i, i % 200 from generate_series(1, 400) i;
         insert into uses select i % 3, i, i % 200 from generate_series(1, 400) i;
         insert into uses values (1, null, 7)",
    );
    cluster
}

/// Deletes as a loss would: past every trigger.
fn lose(cluster: &Cluster, sql: &str) {
    cluster.sql("shop", &format!("set session_replication_role = replica; {sql}"));
}

#[test]
fn every_kind_of_key_holds_and_breaks() {
    let cluster = keys(tools::packaged_major());
    // Two for each table with rows: of orders three, of each part of `uses` one.
    let text = cluster.passed(&ForeignKeys::default());
    assert!(text.contains("of 5 foreign keys"), "{text}");
    lose(&cluster, "delete from customers where id = 17");
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::ForeignKeyBroken, "shop.other.Orders.Orders_customer_fkey");
    expect(
        &findings,
        FailureClass::ForeignKeyBroken,
        "2 of 5000 sampled rows refer to rows of public.customers",
    );
    expect(&findings, FailureClass::ForeignKeyBroken, "Orders_region_code_fkey");
    assert_eq!(findings.len(), 2, "{findings:#?}");
    lose(
        &cluster,
        "insert into customers values (17, 'r3', '17'); delete from parts_2 where id = 150",
    );
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::ForeignKeyBroken, "shop.public.uses_2.");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn what_production_may_have_written_itself_is_said() {
    let cluster = keys(tools::packaged_major());
    lose(&cluster, "delete from customers where id = 17");
    cluster.sql("shop", "alter table other.\"Orders\" disable trigger all");
    let text = cluster.passed(&ForeignKeys::default());
    assert!(text.contains("2 keys that triggers do not guard"), "{text}");
    cluster.sql("shop", "alter table other.\"Orders\" enable trigger all");
    cluster.findings(&ForeignKeys::default());
    for key in ["Orders_customer_fkey", "Orders_region_code_fkey"] {
        cluster.sql("shop", &format!("alter table other.\"Orders\" drop constraint \"{key}\""));
    }
    cluster.sql(
        "shop",
        "alter table other.\"Orders\" add foreign key (customer) references customers not valid",
    );
    let text = cluster.passed(&ForeignKeys::default());
    assert!(!text.contains("do not guard"), "a key that is not valid promises nothing: {text}");
}

#[test]
fn rows_that_children_of_the_table_hold() {
    let cluster = keys(tools::packaged_major());
    // As a hypertable: its rows lie in chunks, and triggers of the extension guard the key.
    cluster.sql(
        "shop",
        "create table points (id int primary key);
         create table chunk (primary key (id)) inherits (points);
         create table marks (point int references points);
         insert into chunk select i from generate_series(1, 10) i",
    );
    lose(&cluster, "insert into marks select i from generate_series(1, 10) i");
    let text = cluster.passed(&ForeignKeys::default());
    assert!(
        text.contains(
            "1 keys have rows that refer to none of the table itself, which has children"
        ),
        "{text}"
    );
    assert!(text.ends_with("such as shop.public.marks.marks_point_fkey"), "{text}");
    lose(&cluster, "delete from chunk where id = 3");
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::ForeignKeyBroken, "1 of 10 sampled rows");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    // Nothing is asked of another server.
    cluster.sql(
        "shop",
        "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
         create foreign table away () inherits (points) server nowhere",
    );
    assert!(cluster.passed(&ForeignKeys::default()).contains("which has children"));
}

#[test]
fn a_sample_reaches_the_end_of_a_table() {
    let cluster = keys(tools::packaged_major());
    cluster.sql(
        "shop",
        "create table goods (id int primary key);
         create table sales (good int references goods);
         insert into goods select i from generate_series(1, 3000) i;
         insert into sales select case when i <= 50000 then i % 2000 + 1 else i % 1000 + 2001 end
           from generate_series(1, 60000) i;
         analyze sales",
    );
    cluster.passed(&ForeignKeys::default());
    // Only the last sixth of the sales refers to these.
    lose(&cluster, "delete from goods where id > 2000");
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::ForeignKeyBroken, "shop.public.sales.sales_good_fkey");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn keys_that_the_job_excepts_are_said() {
    let cluster = keys(tools::packaged_major());
    lose(&cluster, "delete from customers where id = 17");
    let findings = cluster.findings(&ForeignKeys::default());
    let name = "shop.other.Orders.Orders_customer_fkey";
    expect(&findings, FailureClass::ForeignKeyBroken, &format!("except: [\\\"{name}\\\"]"));
    let findings = cluster.findings(&ForeignKeys::new(vec![name.into(), "app.*.t".into()]));
    expect(&findings, FailureClass::ForeignKeyBroken, "Orders_region_code_fkey");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let except = vec!["shop.other.*_fkey".into(), "shop.public.gone.*".into()];
    let text = cluster.passed(&ForeignKeys::new(except));
    assert!(text.contains("2 keys that the job excepts have rows that refer to none"), "{text}");
    assert!(text.ends_with("no key fits the job's `except`: shop.public.gone.*"), "{text}");
}

#[test]
fn a_lost_page_does_not_hold_a_key_by_its_visibility_map() {
    let mut cluster = keys(tools::packaged_major());
    // So few that each is looked up by the index alone.
    cluster.sql(
        "shop",
        "create table few (customer bigint references customers);
         insert into few select id from customers where ctid between '(2,1)' and '(2,3)'",
    );
    cluster.sql("shop", "vacuum freeze");
    cluster.sql("shop", "checkpoint");
    let customers = cluster.file("customers");
    cluster.damage(|_| {
        let file = fs::File::options().write(true).open(&customers).unwrap();
        file.write_all_at(&[0; 8192], 2 * 8192).unwrap();
    });
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::ForeignKeyBroken, "shop.public.few.few_customer_fkey");
}

#[test]
fn an_index_that_lost_an_entry_is_no_broken_key() {
    let cluster = keys(tools::packaged_major());
    let ready = |yes: bool| {
        let sql = format!(
            "update pg_index set indisready = {yes} where indexrelid = 'customers_pkey'::regclass"
        );
        cluster.sql("shop", &sql);
    };
    ready(false);
    cluster.sql("shop", "insert into customers values (4000, 'r9', '4000')");
    ready(true);
    lose(&cluster, "insert into other.\"Orders\" values (6000, 4000, null, null, null)");
    cluster.passed(&ForeignKeys::default());
    expect(&cluster.findings(&Amcheck), FailureClass::AmcheckIndex, "customers_pkey");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn keys_of_every_major() {
    for major in [14, 16, 17, 18] {
        let cluster = keys(major);
        let text = cluster.passed(&ForeignKeys::default());
        assert!(text.contains("of 5 foreign keys"), "{major}: {text}");
        lose(&cluster, "delete from customers where id = 17; delete from parts_2 where id = 150");
        assert_eq!(cluster.findings(&ForeignKeys::default()).len(), 3, "{major}");
    }
}

#[test]
fn what_ends_a_session_leaves_the_other_keys() {
    let cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create table parent (id int primary key); insert into parent select generate_series(1, 10);
         create table first_one as select id from parent; create table second_one as select id from parent;
         alter table first_one add foreign key (id) references parent;
         alter table second_one add foreign key (id) references parent;
         create function ends(int) returns bool immutable language plpgsql as 'begin return true; end';
         create index on first_one (id) where ends(1)",
    );
    lose(&cluster, "delete from parent where id = 7");
    cluster.ends_and_fails();
    let findings = cluster.findings(&ForeignKeys::default());
    expect(&findings, FailureClass::InfraError, "shop.public.first_one.first_one_id_fkey");
    expect(&findings, FailureClass::ForeignKeyBroken, "shop.public.second_one.second_one_id_fkey");
    assert_eq!(findings.len(), 2, "{findings:#?}");
}
