//! No false alarm.

use super::*;

#[test]
fn every_backup_reaches_the_newest_wal() {
    let report = two().examined();
    assert_eq!((report.verdict, classes(&report.findings)), (Verdict::Pass, vec![]));
    assert_eq!(classes(&report.attentions), NONE);
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(states(&report), ["restorable", "restorable"]);
    assert_eq!(report.latest_backup.as_deref(), Some(NEW));
    let reach = report.backups[0].reach.clone().unwrap();
    assert_eq!((reach.lsn.to_string().as_str(), reach.timeline.0), ("0/A00000", 1));
    assert_eq!((reach.segment, reach.archived_at), (segment(1, 9), Some(at(9))));
    assert_eq!(reach.segments, 8);
    assert_eq!(report.window.from_time, Some(at(3)));
    assert_eq!(report.window.to_time, Some(at(9)));
    assert_eq!((report.gap_count, report.backup_count, report.timeline_count), (0, 2, 1));
    assert_eq!((report.totals.wal_segments, report.totals.base_bytes), (8, 10_000));
    assert!(report.reason.contains("0/A00000 on timeline 1, from 2 of 2"), "{}", report.reason);
}

#[test]
fn an_idle_archive_has_only_the_backups_segments() {
    let mut world = World::new();
    world.backup(OLD, 1, 2, 3).wal(1, 2..=3);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn cascaded_switches_with_a_partial_at_the_fork() {
    let report = cascade().examined();
    assert_eq!(said(&cascade()), pass(&[]));
    assert_eq!(states(&report), ["restorable", "restorable"]);
    assert_eq!(report.timeline_count, 3);
    assert_eq!(report.timelines[2].forked_at.unwrap().to_string(), "0/980000");
    // Complete on both sides of a fork, in a codec whose name comes after `.partial`.
    let mut world = cascade();
    world.object(&wal_key(1, 6).replace(".gz", ".zst"), 500, 6);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn a_backup_that_is_being_taken() {
    let mut world = two();
    world.edit(NEW, &["status=STARTED", "end_time=None", "end_xlog=None", "end_wal=None"]);
    assert_eq!(said(&world), pass(&[]));
    assert_eq!(states(&world.examined()), ["restorable", "under_way"]);
    // Barman before 3.19 writes the description at the end.
    let mut world = two();
    world.remove(&format!("base/{NEW}/backup.info"));
    assert_eq!(said(&world), pass(&[]));
    assert_eq!(states(&world.examined()), ["restorable", "under_way"]);
}

#[test]
fn a_backup_from_a_standby() {
    let mut world = two();
    world.edit(NEW, &["backup_label='START WAL LOCATION: 0/500028 (file x)\\nBACKUP FROM: standby\\nSTART TIMELINE: 1\\n'"]);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn a_backup_that_is_kept_alone() {
    let mut world = two();
    world.without_wal(1, 4);
    world.file(&format!("base/{OLD}/annotations/keep"), "standalone", 9);
    assert_eq!(said(&world), pass(&[]));
    assert_eq!(states(&world.examined()), ["standalone", "restorable"]);
    assert_eq!(world.examined().gap_count, 0);
}

#[test]
fn mixed_codecs() {
    let mut world = two();
    for (number, codec) in
        (2..=9).zip([".gz", ".bz2", ".xz", ".snappy", ".zst", ".lz4"].iter().cycle())
    {
        world.without_wal(1, number);
        world.object(&wal_key(1, number).replace(".gz", codec), 1000, 9);
    }
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn older_wal_is_wasted_room_and_no_gap() {
    let mut world = two();
    world.wal(1, 0..=0);
    assert_eq!(said(&world), pass(&[]));
    let report = world.examined();
    assert_eq!(report.gap_count, 0);
    assert!(report.notes[0].contains("1 WAL segment(s)"), "{:?}", report.notes);
}

#[test]
fn sizes_that_come_and_go() {
    let mut world = World::new();
    for (index, size) in [5000, 5600, 4100, 9000, 3000].into_iter().enumerate() {
        let number = 2 + index as u64;
        let id = format!("20261122T12{number:02}00");
        world.backup(&id, 1, number, number);
        world.object(&format!("base/{id}/data.tar.gz"), size, 6);
    }
    world.wal(1, 2..=9);
    assert_eq!(said(&world), pass(&[]));
}
