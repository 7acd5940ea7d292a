//! What a job adds: row floors and roles that must be able to log in.

use pgassay::{
    check::{login_roles::LoginRoles, row_floor::RowFloorCheck},
    drill::{
        job::{LoginRole, RowFloor, SecretSource},
        row_floor::{Floor, RowCounts, TableRows},
    },
};
use serde_json::Value;

use super::*;
use crate::support::{
    drill::Drill,
    fixture::{self, Recipe, Workshop},
    workdir::tree,
};

fn role(name: &str) -> LoginRole {
    LoginRole { name: name.into(), database: None, password: None, without_password: false }
}

#[test]
fn rows_against_an_earlier_drill() {
    let mut cluster = Cluster::shop();
    cluster.sql(
        "shop",
        "create table events (at int); create table events_1 () inherits (events);
         create table events_1_a () inherits (events_1); create table events_2 () inherits (events);
         insert into events_1 select 1; insert into events_1_a select i from generate_series(1, 5) i;
         insert into events_2 select i from generate_series(1, 70) i",
    );
    let check = |tables: &[&str]| {
        let tables = tables.iter().map(|&t| t.to_owned()).collect();
        RowFloorCheck(RowFloor { tolerance: 500, tables, since: None, first: false })
    };
    let CheckOutcome::Skipped(_) = cluster.run(&check(&[])) else { panic!("nothing was read") };
    cluster.passed(&READ_ALL);
    cluster.context.floor =
        KnownFloor::Absent { why: "no report of this job is kept", place: "`/reports`".into() };
    let CheckOutcome::Skipped(why) = cluster.run(&check(&[])) else {
        panic!("nothing is compared")
    };
    let none = "there is no earlier passed drill to compare with";
    assert!(why.starts_with(none) && why.contains("is kept in `/reports`"), "{why}");
    assert!(why.contains("`--first`"), "{why}");
    let mut first = check(&[]);
    first.0.first = true;
    let text = cluster.passed(&first);
    assert!(text.starts_with(none) && text.ends_with("is kept in `/reports`"), "{text}");
    cluster.context.floor = KnownFloor::NoneCounts("all began before `since`".into());
    assert!(cluster.passed(&check(&[])).starts_with("nothing was compared: all began before"));
    let floor = |list: &[(&str, u64)]| {
        let table = |(table, rows): &(&str, u64)| TableRows { table: (*table).into(), rows: *rows };
        KnownFloor::Found(Floor {
            drill_id: "before".into(),
            recovered_to: "2026-11-22T04:00:00Z".parse().unwrap(),
            counts: RowCounts { tables: list.iter().map(table).collect(), ..RowCounts::default() },
        })
    };
    // Partitions count for their parent; an unlogged table, a sequence or a catalog is no floor.
    cluster.context.floor = floor(&[("shop.public.orders", 5200), ("shop.public.parted", 100)]);
    assert!(cluster.passed(&check(&[])).starts_with("2 tables"));
    let counts =
        pgassay::check::row_floor::row_counts(&cluster.context.observations.snapshot(), None);
    let names: Vec<&str> = counts.iter().map(|t| t.table.as_str()).collect();
    assert_eq!(
        names,
        [
            "shop.public.big",
            "shop.public.events",
            "shop.public.heartbeat",
            "shop.public.orders",
            "shop.public.parted",
            "shop.public.shapes",
            "shop.public.sums"
        ]
    );
    assert_eq!(counts[1].rows, 76, "of all that inherit");
    // Retention dropped a chunk; another was kept in its own right by an earlier drill.
    cluster.context.floor = floor(&[("shop.public.events", 78), ("shop.public.events_2", 70)]);
    assert!(cluster.passed(&check(&[])).starts_with("2 tables"));
    cluster.context.floor = floor(&[("shop.public.orders", 5300), ("shop.public.gone", 1)]);
    let findings = cluster.findings(&check(&[]));
    expect(&findings, FailureClass::AssertionFailed, "it has 5000 rows, there were 5300");
    expect(&findings, FailureClass::AssertionFailed, "shop.public.gone");
    assert_eq!(cluster.findings(&check(&["*.gone"])).len(), 1);
    let (code, message) = cluster.errored(&check(&["shop.public.ordres"]));
    assert_eq!(code, Code::JobInvalid, "{message}");
    cluster.context.floor = KnownFloor::Unreadable { why: "403".into(), hint: None };
    assert_eq!(cluster.errored(&check(&[])).0, Code::ReportStore);
}

#[test]
fn roles_that_may_log_in_and_roles_that_may_not() {
    let cluster = Cluster::shop();
    cluster.sql(
        "postgres",
        "create role app login password 'secret';
         create role reader login password 'secret' valid until '2000-01-01';
         create role closed password 'secret';
         create role bare login;
         create role full login password 'secret' connection limit 0;
         create role forever login password 'secret' valid until 'infinity';
         set password_encryption = md5; create role old login password 'secret'",
    );
    cluster.sql("postgres", "create database apart");
    cluster.sql("postgres", "revoke connect on database apart from public");
    let in_database =
        |name: &str, database: &str| LoginRole { database: Some(database.into()), ..role(name) };
    let certified = LoginRole { without_password: true, ..role("bare") };
    let sound =
        vec![role("app"), role("forever"), role("old"), in_database("app", "shop"), certified];
    assert!(cluster.passed(&LoginRoles(sound)).starts_with("5 roles may log in"));
    for (role, words) in [
        (role("nobody"), "does not exist"),
        (role("reader"), "valid until 2000-01-01"),
        (role("closed"), "NOLOGIN"),
        (role("bare"), "no password"),
        (role("full"), "connection limit is 0"),
        (in_database("app", "apart"), "may not connect to database `apart`"),
        (in_database("app", "nowhere"), "`nowhere` does not exist"),
    ] {
        let findings = cluster.findings(&LoginRoles(vec![role]));
        expect(&findings, FailureClass::AuthCheck, words);
        assert_eq!(findings.len(), 1, "{findings:#?}");
    }
}

#[test]
fn a_login_with_the_jobs_password() {
    let mut cluster = Cluster::shop();
    cluster.sql("postgres", "create role app login password 'secret'");
    let app = LoginRole {
        database: Some("shop".into()),
        password: Some(SecretSource::Env("APP".into())),
        ..role("app")
    };
    let check = LoginRoles(vec![app]);
    cluster.context.passwords.insert("app".into(), Redacted("secret".into()));
    assert!(cluster.passed(&check).contains("1 of them did"));
    // A library that is not here says nothing of the role.
    cluster.sql("postgres", "alter role app set local_preload_libraries = 'nowhere'");
    expect(&cluster.findings(&check), FailureClass::LibraryMissing, "nowhere");
    cluster.sql("postgres", "alter role app reset local_preload_libraries");
    // A role without a database of its own is tried where it may connect to.
    let anywhere = LoginRoles(vec![LoginRole {
        password: Some(SecretSource::Env("APP".into())),
        ..role("app")
    }]);
    cluster.sql("postgres", "revoke connect on database postgres from public");
    assert!(cluster.passed(&anywhere).contains("1 of them did"));
    cluster.sql("postgres", "revoke connect on database shop from public");
    let findings = cluster.findings(&anywhere);
    expect(&findings, FailureClass::AuthCheck, "may not connect to any database");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    cluster.sql("postgres", "grant connect on database shop to app");
    // Its time ran out between the point that was recovered to and today.
    cluster.sql("postgres", "alter role app valid until '2001-01-01'");
    cluster.context.reached.last_transaction_at = Some("2000-12-31T00:00:00Z".parse().unwrap());
    let text = cluster.passed(&anywhere);
    assert!(text.ends_with("1 roles may log in; no login was tried as `app`: the password was valid then and is not today"), "{text}");
    cluster.sql("postgres", "alter role app valid until 'infinity'");
    cluster.context.passwords.insert("app".into(), Redacted("another".into()));
    let findings = cluster.findings(&check);
    expect(&findings, FailureClass::AuthCheck, "password authentication failed");
    assert!(!format!("{findings:?}").contains("another"), "{findings:?}");
}

#[test]
fn floors_and_logins_in_whole_drills() {
    let archive = fixture::archive("jobs", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "jobs", recipe);
        shop.sql("postgres", "create role app login password 'open-sesame'");
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("early", 100);
        shop.mark("early");
        shop.add("late", 500);
        shop.mark("end");
        shop.finish()
    });
    let work = WorkDir::new();
    let secret = work.join("password");
    fs::write(&secret, "open-sesame\n").unwrap();
    let spec = format!(
        "  checks:\n    - rowFloor: {{tolerance: 5%}}\n    - loginRoles: [{{role: app, database: app, password: {{file: {}}}}}]\n  \
         report: {{store: file://{}}}",
        secret.display(),
        work.join("reports").display()
    );
    let drill = Drill::new(&archive.root, "jobs", &spec);
    let says = |report: &Value, name: &str, words: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|c| c["name"] == name).unwrap();
        assert!(check["detail"].as_str().unwrap().contains(words), "{check:#}");
    };
    let reports = || {
        let all = tree(&work.join("reports")).into_iter().map(|p| work.join("reports").join(p));
        all.filter(|p| p.extension().is_some_and(|e| e == "json")).collect::<Vec<_>>()
    };
    // A folder that is not mounted is not made: it would look like a job without a past.
    let lost = drill.run(&["--first"]);
    lost.expect("inconclusive", 4);
    says(&lost.report, "rowFloor", "that `report.store` names does not exist");
    assert!(!work.join("reports").exists(), "{}", lost.stdout);
    assert!(lost.report["notes"].to_string().contains("the report is not kept"), "{}", lost.stdout);
    fs::create_dir(work.join("reports")).unwrap();
    let unknown = drill.run(&[]);
    unknown.expect("inconclusive", 4);
    says(&unknown.report, "rowFloor", "drill to compare with: no report of this job is kept in");
    // It is kept, and is no floor.
    let inconclusive = reports().remove(0);
    let first = drill.run(&["--first"]);
    first.expect("pass", 0);
    says(&first.report, "rowFloor", "as `--first` says: no passed drill of this job");
    fs::remove_file(inconclusive).unwrap();
    says(&first.report, "loginRoles", "1 of them did");
    let kept = reports().remove(0);
    let text = fs::read_to_string(&kept).unwrap();
    assert!(!text.contains("open-sesame"), "the report holds a password");

    // An earlier point has no floor: the drills that are kept went further.
    let earlier = drill.run(&["--target-time", &archive.marks["early"].time]);
    earlier.expect("pass", 0);
    says(&earlier.report, "rowFloor", "recovered further");

    // As if the first drill had counted more; the newer ones go.
    for report in reports() {
        fs::remove_file(report).unwrap();
    }
    let mut report: Value = serde_json::from_str(&text).unwrap();
    let tables = report["row_counts"]["tables"].as_array_mut().unwrap();
    let items = tables.iter_mut().find(|t| t["table"] == "app.public.items").unwrap();
    assert_eq!(items["rows"], 3600);
    items["rows"] = 4000.into();
    fs::write(&kept, report.to_string()).unwrap();
    let third = drill.run(&[]);
    third.expect("fail", 1).expect_finding("assertion_failed", "app.public.items");
    assert_eq!(third.findings().len(), 1, "{}", third.stdout);
}
