use super::*;

#[test]
fn values_are_quoted_for_the_file() {
    assert_eq!(quoted(r"it's a \ path"), r"'it''s a \\ path'");
}

#[test]
fn times_have_a_numeric_offset_and_microseconds() {
    let at: Timestamp = "2026-11-22T04:05:06.123456Z".parse().unwrap();
    assert_eq!(time(at), "2026-11-22 04:05:06.123456+00");
    let whole: Timestamp = "2026-11-22T04:05:06Z".parse().unwrap();
    assert_eq!(time(whole), "2026-11-22 04:05:06.000000+00");
}

#[test]
fn production_libraries_only_for_foreign_wal_and_only_harmless_ones() {
    let libraries = tempfile::tempdir().unwrap();
    for name in ["citus.so", "pg_cron.so", "timescaledb.so"] {
        fs::write(libraries.path().join(name), "").unwrap();
    }
    let server = Installation {
        major: Major::V17,
        version: "17.1".to_owned(),
        version_num: 170_001,
        bin_dir: "/x".into(),
        library_dir: Some(libraries.path().to_path_buf()),
        share_dir: None,
    };
    let texts = BTreeMap::from([
        (
            "postgresql.conf".to_owned(),
            "#shared_preload_libraries = 'no'\nshared_preload_libraries = 'citus, pg_cron,absent' # x\n"
                .to_owned(),
        ),
        (
            "custom.conf".to_owned(),
            "shared_preload_libraries timescaledb\nshared_preload_libraries='../evil'".to_owned(),
        ),
    ]);
    assert_eq!(preload(&[], &texts, &server), Vec::<String>::new());
    let mut chosen = preload(&[128], &texts, &server);
    chosen.sort();
    assert_eq!(chosen, ["citus", "timescaledb"]);
}

#[test]
fn what_leads_out_is_removed_and_links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("slot"), "x").unwrap();
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("postgresql.auto.conf"), "x").unwrap();
    fs::create_dir_all(data.path().join("pg_replslot/slot_a")).unwrap();
    disarm(data.path(), None).unwrap();
    assert!(!data.path().join("postgresql.auto.conf").exists());
    assert_eq!(fs::read_dir(data.path().join("pg_replslot")).unwrap().count(), 0);
    fs::remove_dir(data.path().join("pg_replslot")).unwrap();
    std::os::unix::fs::symlink(outside.path(), data.path().join("pg_replslot")).unwrap();
    disarm(data.path(), None).unwrap();
    assert!(outside.path().join("slot").exists());
}

/// The settings for a server of this version, in a drill to the end of the archive.
fn settings_of(version_num: u32) -> Vec<Setting> {
    settings_for(version_num, true)
}

fn settings_for(version_num: u32, is_cached: bool) -> Vec<Setting> {
    let major = Major::from_version_num(version_num).unwrap();
    let control = ControlFile::parse(&crate::pg::control::sample(1300, 202_209_061)).unwrap();
    settings(&Inputs {
        major,
        version_num,
        control: &control,
        floor: ParameterFloor::default(),
        segment_size: SegmentSize::new(16 << 20).unwrap(),
        memory: 1 << 30,
        fsync: false,
        is_cached,
        preload: &[],
        recovery: &RecoverySettings {
            timeline: None,
            target: None,
            exclusive: false,
            restore_command: "helper".into(),
        },
    })
}

#[test]
fn only_servers_that_know_it_are_told_of_tablespaces_in_place() {
    let told = |version_num| {
        settings_of(version_num).iter().any(|(name, _)| *name == "allow_in_place_tablespaces")
    };
    assert!(!told(140_004));
    assert!(told(140_005) && told(150_000) && told(180_000));
}

#[test]
fn pages_are_asked_for_ahead_only_by_those_who_can_and_need_to() {
    let told = |version_num, is_cached| {
        let list = settings_for(version_num, is_cached);
        list.into_iter().find(|(name, _)| *name == "recovery_prefetch").map(|(_, value)| value)
    };
    assert_eq!(told(140_010, false), None);
    assert_eq!(told(150_000, false).as_deref(), Some("try"));
    assert_eq!(told(180_000, true).as_deref(), Some("off"));
}

#[test]
fn nothing_is_vacuumed_against_wraparound() {
    for version_num in [140_000, 150_000, 160_000, 170_000, 180_000] {
        let list = settings_of(version_num);
        let value = |wanted: &str| list.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
        assert_eq!(value("autovacuum"), "off");
        assert_eq!(value("autovacuum_freeze_max_age"), "2000000000");
        assert_eq!(value("autovacuum_multixact_freeze_max_age"), "2000000000");
    }
}
