use super::*;

const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
    CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
    START TIME: 2026-11-22 19:19:00 UTC\nLABEL: nightly\nSTART TIMELINE: 1\n";

fn read(said: Option<&str>, own: &str) -> Result<OwnFiles, Vec<Finding>> {
    let bytes = crate::pg::control::sample(1300, 202_209_061);
    let control = ControlFile::parse(&bytes).unwrap();
    let claims = Claims {
        backup: "20261122T191900",
        system_id: control.system_identifier,
        major: Major::V15,
        segment_size: control.wal_segment_size,
        begin: Lsn(0x0200_0028),
        label: said,
        data_checksums: None,
    };
    judge(&claims, &bytes, Some(own))
}

#[test]
fn who_was_copied_must_be_who_backup_info_says() {
    let standby = LABEL.replace("primary", "standby");
    assert!(!read(Some(LABEL), LABEL).unwrap().is_from_standby());
    assert!(read(Some(&standby), &standby).unwrap().is_from_standby());
    // Without a label in `backup.info` the own one alone counts.
    assert!(read(None, &standby).unwrap().is_from_standby());
    let found = read(Some(&standby), LABEL).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].class, FailureClass::BackupInfoMismatch);
    assert!(found[0].detail.contains("taken from a standby"), "{}", found[0].detail);
}

#[test]
fn the_label_names_the_checkpoint_that_backup_info_quotes() {
    let other = LABEL.replace("0/2000060", "0/2000460");
    let found = read(Some(LABEL), &other).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].class, FailureClass::BackupInfoMismatch);
    assert!(found[0].detail.contains("checkpoint LSN 0/2000060"), "{}", found[0].detail);
    let other = LABEL.replace("000000010000", "000000020000").replace("TIMELINE: 1", "TIMELINE: 2");
    assert!(read(Some(LABEL), &other).unwrap_err()[0].detail.contains("timeline 1"));
}

#[test]
fn only_a_standbys_backup_ends_at_a_place_that_pg_control_names() {
    let standby = LABEL.replace("primary", "standby");
    let at = |text: &str, point| {
        let mut own = read(None, text).unwrap();
        own.control.min_recovery_point = Lsn(point);
        own.min_recovery_point()
    };
    assert_eq!(at(&standby, 0x300), Some(Lsn(0x300)));
    assert_eq!(at(&standby, 0), None);
    assert_eq!(at(LABEL, 0x300), None);
}
