use super::*;

fn cluster() -> RescuedCluster {
    RescuedCluster {
        directory: "/srv/pg/main".to_owned(),
        postgres: "15.18".to_owned(),
        bin_dir: "/usr/lib/postgresql/15/bin".to_owned(),
        user: "postgres".to_owned(),
        switch: true,
        network_isolated: true,
        timeline: Some(TimelineId(3)),
        ..RescuedCluster::default()
    }
}

fn told(cluster: &RescuedCluster) -> String {
    let steps = next_steps(cluster, "orders");
    let lines = steps.iter().map(|step| match &step.command {
        Some(command) => format!("- {}\n  $ {command}\n", step.what),
        None => format!("- {}\n", step.what),
    });
    lines.collect()
}

#[test]
fn a_plain_cluster_is_started_and_backed_up() {
    insta::assert_snapshot!(told(&cluster()));
}

#[test]
fn what_this_machine_lacks_is_overridden_or_said() {
    let absent = |setting: &str, path: &str, instead: Option<(&str, &str)>| AbsentPath {
        setting: setting.to_owned(),
        file: "postgresql.conf".to_owned(),
        path: path.to_owned(),
        instead: instead.map(|(name, value)| (name.to_owned(), value.to_owned())),
    };
    let library = |setting: &str, library: &str| AbsentLibrary {
        setting: setting.to_owned(),
        file: "custom.conf".to_owned(),
        library: library.to_owned(),
    };
    let tablespace = |oid: u32, in_place: bool| RescuedTablespace {
        oid,
        name: None,
        path: format!("/srv/pg/main/pg_tblspc/{oid}"),
        was: Some("/mnt/fast".to_owned()),
        in_place,
    };
    insta::assert_snapshot!(told(&RescuedCluster {
        directory: "/srv/it's here".to_owned(),
        archiving: Some(Archiving {
            setting: "archive_command".to_owned(),
            file: "postgresql.auto.conf".to_owned(),
        }),
        config_elsewhere: Some("/etc/postgresql/15/main/postgresql.conf".to_owned()),
        no_access_rules: true,
        absent_paths: vec![
            absent("ssl_cert_file", "/certificates/server.crt", Some(("ssl", "off"))),
            absent("ssl_key_file", "/certificates/server.key", Some(("ssl", "off"))),
            absent("include", "/etc/postgresql/extra.conf", None),
        ],
        absent_libraries: vec![
            library("shared_preload_libraries", "timescaledb"),
            library("session_preload_libraries", "auto_x"),
        ],
        shared_libraries: vec!["pg_stat_statements".to_owned()],
        synchronous: true,
        tablespaces: vec![tablespace(16_384, true), tablespace(16_385, false)],
        refused_configuration: Some("invalid value for parameter \"lc_messages\"".to_owned()),
        ..cluster()
    }));
}

#[test]
fn words_for_the_shell_are_whole() {
    let cluster = RescuedCluster {
        directory: "/srv/a b".to_owned(),
        switch: false,
        absent_paths: vec![AbsentPath {
            setting: "log_directory".to_owned(),
            file: "postgresql.conf".to_owned(),
            path: "/x".to_owned(),
            instead: Some(("log_directory".to_owned(), "a 'log'".to_owned())),
        }],
        ..cluster()
    };
    let command = start_command(&cluster);
    // What `sh` makes of it, twice: once here, once by `pg_ctl`, which hands its `-o` to a shell.
    let words = |text: &str| {
        let script = format!("for w in {text}; do printf '%s\\n' \"$w\"; done");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = words(&command);
    let expected =
        ["/usr/lib/postgresql/15/bin/pg_ctl", "-D", "/srv/a b", "-l", "/srv/a b/startup.log", "-o"];
    assert_eq!(first[..6], expected);
    assert_eq!(first[7], "start");
    assert_eq!(words(&first[6]), ["-c", "log_directory=a 'log'"]);
}

fn finding(class: FailureClass) -> Finding {
    Finding::new(class, "it", "is bad", "Do.")
}

#[test]
fn outcomes_and_their_statuses() {
    use FailureClass as C;
    use RescueOutcome as R;
    for (findings, outcome, exit) in [
        (&[][..], R::Complete, 0),
        (&[C::WalCorrupt], R::Incomplete, 1),
        (&[C::PageUndecided], R::Unproven, 4),
        (&[C::PageUndecided, C::WalGap], R::Incomplete, 1),
    ] {
        let findings: Vec<Finding> = findings.iter().map(|class| finding(*class)).collect();
        assert_eq!(R::of_cluster(&findings), outcome, "{findings:?}");
        assert_eq!(outcome.exit_code(&findings), exit);
        assert!(outcome.has_cluster());
    }
    assert_eq!(R::Impossible.exit_code(&[finding(C::BackupPartMissing)]), 1);
    assert_eq!(R::Impossible.exit_code(&[finding(C::ArchiveUnsettled)]), 4);
    assert_eq!(R::Impossible.exit_code(&[]), 1);
    assert_eq!(R::BrokenOff.exit_code(&[finding(C::WalCorrupt)]), 4);
    for outcome in R::ALL {
        assert_eq!(serde_json::json!(outcome), outcome.name());
    }
}

#[test]
fn only_damage_needs_consent() {
    use FailureClass as C;
    let all = |classes: &[C]| classes.iter().map(|class| finding(*class)).collect::<Vec<_>>();
    assert!(!needs_consent(&all(&[C::PageUndecided])));
    assert!(needs_consent(&all(&[C::PageUndecided, C::PageChecksum])));
}

#[test]
fn what_is_behind_the_end() {
    let at: Timestamp = "2026-11-22T03:59:12Z".parse().unwrap();
    let window = Window { to_lsn: Some(Lsn(0x900_0000)), to_time: Some(at), ..Window::default() };
    let newest = ("00000001000000000000000F".to_owned(), at);
    let of = |end, targeted, findings: &[Finding]| {
        left_behind(Lsn(end), targeted, findings, &window, Some(&newest))
    };
    assert_eq!(of(0x8FF_0000, false, &[]), None);
    let left = of(0x700_0000, true, &[]).unwrap();
    assert_eq!((left.up_to.as_str(), left.wanted), ("0/9000000", true));
    assert_eq!(of(0x900_0000, true, &[]), None);
    let left = of(0x700_0000, false, &[finding(FailureClass::WalCorrupt)]).unwrap();
    assert_eq!((left.up_to.as_str(), left.wanted), ("00000001000000000000000F", false));
    assert_eq!(of(0x700_0000, false, &[finding(FailureClass::PageChecksum)]), None);
}
