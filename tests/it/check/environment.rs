//! What this machine lacks says nothing of the backup.

use super::*;

#[test]
fn extensions_and_libraries_that_are_not_here() {
    let cluster = Cluster::shop();
    cluster.sql("shop", "create extension citext");
    let text = cluster.passed(&Extensions::default());
    assert!(text.starts_with("2 extensions"), "{text}");
    cluster.sql("shop", "update pg_extension set extversion = '0.1' where extname = 'citext'");
    let text = cluster.passed(&Extensions::default());
    assert!(text.contains("other versions are installed here: `citext` 0.1 (here 1."), "{text}");

    cluster.sql("shop", "update pg_extension set extname = 'gone' where extname = 'citext'");
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::ExtensionMissing, "extension `gone` of database `shop`");
    expect(&findings, FailureClass::ExtensionMissing, "mayBeMissing: [gone]");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    // Its functions' library is named with it, not once more.
    cluster
        .sql("shop", "update pg_proc set probin = '$libdir/gone' where probin = '$libdir/citext'");
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::ExtensionMissing, "its functions need `$libdir/gone`");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let text = cluster.passed(&Extensions(vec!["gone".into()]));
    assert!(text.contains("which the job allows: gone"), "{text}");

    // A library of nobody's extension, and one of an extension that is here.
    cluster.sql("shop", "update pg_extension set extname = 'citext' where extname = 'gone'");
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::LibraryMissing, "extension `citext` of database `shop`");
    cluster.sql("shop", "delete from pg_depend where deptype = 'e' and classid = 'pg_proc'::regclass and objid in (select oid from pg_proc where probin = '$libdir/gone')");
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::LibraryMissing, "functions of database `shop`");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn libraries_that_the_configuration_loads() {
    let mut cluster = Cluster::shop();
    let loads = |list: &[(&'static str, &str)]| {
        let preload = |(setting, library): &(&'static str, &str)| Preload {
            setting,
            file: "custom.conf".into(),
            library: (*library).into(),
        };
        Preloads { libraries: list.iter().map(preload).collect(), whole: true }
    };
    let shared = "shared_preload_libraries";
    cluster.context.preloads =
        loads(&[(shared, "pg_stat_statements"), (shared, "$libdir/auto_explain")]);
    cluster.passed(&Extensions::default());
    cluster.context.preloads = loads(&[
        (shared, "pg_stat_statements"),
        (shared, "nowhere"),
        ("session_preload_libraries", "$libdir/nowhere"),
        ("local_preload_libraries", "$libdir/plugins/absent"),
    ]);
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::LibraryMissing, "library `nowhere`");
    expect(&findings, FailureClass::LibraryMissing, "of the backup's `custom.conf` loads it");
    expect(&findings, FailureClass::LibraryMissing, "library `plugins/absent`");
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let text = cluster.passed(&Extensions(vec!["nowhere".into(), "plugins/absent".into()]));
    assert!(text.contains("which the job allows: nowhere, plugins/absent"), "{text}");
    // An extension that is missing takes its library along.
    cluster.sql("shop", "create extension citext");
    cluster.sql("shop", "update pg_extension set extname = 'nowhere' where extname = 'citext'");
    cluster.context.preloads = loads(&[(shared, "nowhere")]);
    let findings = cluster.findings(&Extensions::default());
    expect(&findings, FailureClass::ExtensionMissing, "extension `nowhere`");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    cluster.sql("shop", "update pg_extension set extname = 'citext' where extname = 'nowhere'");

    cluster.context.preloads = Preloads::default();
    cluster.sql(
        "postgres",
        "alter role checker in database shop set session_preload_libraries = 'auto_explain, gone'",
    );
    let text = cluster.passed(&Extensions::default());
    assert!(text.contains("some databases or roles would load: gone"), "{text}");
    assert!(text.contains("not all known, as the backup lacks files"), "{text}");
}
