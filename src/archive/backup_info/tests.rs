use proptest::prelude::*;

use super::*;

/// As barman-cloud-backup 3.19 writes it, shortened where lists are long.
const NEW: &str = "\
backup_label='START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\\nCHECKPOINT LOCATION: 0/2000060\\nBACKUP METHOD: streamed\\nBACKUP FROM: standby\\nSTART TIME: 2026-11-22 19:00:00 UTC\\nLABEL: Barman backup cloud 20261122T190000\\nSTART TIMELINE: 1\\n'
backup_name=backup-20261122190000
begin_offset=40
begin_time=2026-11-22 19:00:00.123456+00:00
begin_wal=000000010000000000000002
begin_xlog=0/2000028
children_backup_ids=None
cluster_size=30123456
compression=None
config_file=/srv/data/postgresql.conf
copy_stats={'total_time': 9.17, 'serialized_copy_time': 1, 'items': ['a', {'b': None}]}
data_checksums=on
deduplicated_size=None
encryption=None
end_offset=312
end_time=2026-11-22 19:00:05.5+00:00
end_wal=000000010000000000000002
end_xlog=0/2000138
error=None
hba_file=/srv/data/pg_hba.conf
ident_file=/srv/data/pg_ident.conf
included_files=['/srv/data/postgresql.auto.conf']
mode=None
parent_backup_id=None
pgdata=/srv/data
server_name=cloud
size=None
status=DONE
summarize_wal=None
systemid=7412345678901234567
tablespaces=[('ts1', 16384, '/srv/ts, \"one\"'), (\"it's\", 16385, '/srv/two')]
timeline=1
version=150018
xlog_segment_size=16777216
";

#[test]
fn every_value_of_a_new_one() {
    let info = BackupInfo::parse(NEW).unwrap();
    assert_eq!(info.status, BackupStatus::Done);
    assert_eq!(info.backup_name.as_deref(), Some("backup-20261122190000"));
    assert_eq!(info.begin_time, Some("2026-11-22T19:00:00.123456Z".parse().unwrap()));
    assert_eq!(info.end_time, Some("2026-11-22T19:00:05.5Z".parse().unwrap()));
    assert_eq!((info.begin_xlog, info.end_xlog), (Some(Lsn(0x200_0028)), Some(Lsn(0x200_0138))));
    assert_eq!(info.begin_wal.as_deref(), Some("000000010000000000000002"));
    assert_eq!((info.timeline, info.end_timeline()), (Some(TimelineId(1)), Some(TimelineId(1))));
    assert_eq!(info.system_id, Some(7_412_345_678_901_234_567));
    assert_eq!(info.version, Some(150_018));
    assert_eq!(info.segment_size, Some(SegmentSize::DEFAULT));
    assert_eq!(info.data_checksums, Some(true));
    assert_eq!(info.cluster_size, Some(30_123_456));
    assert_eq!(info.tablespaces.len(), 2);
    assert_eq!(info.tablespaces[0].location, "/srv/ts, \"one\"");
    assert_eq!((info.tablespaces[1].name.as_str(), info.tablespaces[1].oid), ("it's", 16385));
    assert!(info.is_from_standby() && !info.is_incremental() && !info.snapshots);
    assert_eq!(info.label_start(), Some(Lsn(0x200_0028)));
    assert_eq!(info.label_timeline(), Some(TimelineId(1)));
    assert_eq!((info.unknown_keys.len(), info.warnings.len()), (0, 0));
}

#[test]
fn what_is_not_there_is_none() {
    let info = BackupInfo::parse("# note\n\n status = FAILED \nerror=failure uploading data (KeyboardInterrupt)\nsnapshots_info=None\nfresh_idea=7\n").unwrap();
    assert_eq!(info.status, BackupStatus::Failed);
    assert_eq!(info.error.as_deref(), Some("failure uploading data (KeyboardInterrupt)"));
    assert_eq!(info.unknown_keys, ["fresh_idea"]);
    assert!(!info.snapshots && info.begin_time.is_none() && info.tablespaces.is_empty());
}

#[test]
fn old_times_have_no_zone() {
    let info = BackupInfo::parse("begin_time=Sun Nov 22 19:00:00 2026\n").unwrap();
    assert_eq!(info.begin_time, Some("2026-11-22T19:00:00Z".parse().unwrap()));
    assert_eq!(info.warnings.len(), 1);
}

#[test]
fn other_kinds_of_backup_are_told() {
    let has = |text: &str| BackupInfo::parse(text).unwrap();
    assert!(has("snapshots_info={'provider': 'gcp', 'snapshots': []}").snapshots);
    assert!(has("parent_backup_id=20261121T190000").is_incremental());
    assert!(has("backup_label='INCREMENTAL FROM LSN: 0/2000028\\n'").is_incremental());
}

#[test]
fn damage_is_named() {
    for (text, part) in [
        ("begin_t", "line 1 is not `key=value`"),
        ("status=DONE\n\u{0}\u{1}", "line 2"),
        ("status=FINE", "known status"),
        ("begin_time=soon", "`begin_time=soon` is not a time"),
        ("begin_xlog=2000028", "LSN"),
        ("begin_wal=000000010000000000000002.gz", "name of a WAL segment"),
        ("end_wal=00000002.history", "name of a WAL segment"),
        ("timeline=-1", "timeline"),
        ("systemid=x", "system identifier"),
        ("version=15.18", "150018"),
        ("xlog_segment_size=16777215", "power of two"),
        ("data_checksums=maybe", "on"),
        ("tablespaces=[('a', 1)]", "list of"),
        ("tablespaces=[('a', 0, '/x')]", "list of"),
        ("tablespaces=[('a', 1, '/x')", "list of"),
        ("backup_label='START", "quoted"),
        ("cluster_size=1e9", "bytes"),
    ] {
        let error = BackupInfo::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_ends(text in "(status|begin_time|tablespaces|backup_label|[a-z]*)=?\\PC*\n?\\PC*") {
        let _ = BackupInfo::parse(&text);
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0..NEW.len(), to in any::<char>()) {
        let mut text = String::new();
        for (index, c) in NEW.char_indices() {
            text.push(if index == at { to } else { c });
        }
        let _ = BackupInfo::parse(&text);
    }
}
