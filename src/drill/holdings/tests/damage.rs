//! Each damage with its class, and whether it fails a restore of the latest backup.

use super::*;

#[test]
fn segments_that_a_backup_needs() {
    let mut world = two();
    world.without_wal(1, 6);
    assert_eq!(said(&world), fail(&["wal_missing_for_consistency"], &["wal_gap"]));
    let mut world = two();
    world.without_wal(1, 2);
    assert_eq!(said(&world), pass(&["wal_missing_for_consistency"]));
    assert_eq!(states(&world.examined()), ["blocked", "restorable"]);
}

#[test]
fn a_gap_before_the_newest_backup_cuts_off_the_older() {
    let mut world = two();
    world.without_wal(1, 4);
    assert_eq!(said(&world), pass(&["wal_gap"]));
    let report = world.examined();
    assert_eq!(states(&report), ["short", "restorable"]);
    let reach = report.backups[0].reach.clone().unwrap();
    assert_eq!(reach.lsn.to_string(), "0/400000");
    assert_eq!(report.backups[0].blocked_by[0].class, FailureClass::WalGap);
    assert_eq!(report.gap_count, 1);
    let gap = &report.gaps[0];
    assert_eq!((gap.first_segment.clone(), gap.segments), (segment(1, 4), 1));
    assert_eq!((gap.cut_off.clone(), gap.cut_off_count), (vec![OLD.to_owned()], 1));
    // What lies around the gap is not one window.
    assert_eq!(report.window.from_time, Some(at(6)));
}

#[test]
fn gaps_behind_the_newest_backup() {
    let mut world = two();
    world.without_wal(1, 4).without_wal(1, 7).without_wal(1, 8);
    assert_eq!(said(&world), fail(&["wal_gap"], &["wal_gap"]));
    let report = world.examined();
    assert_eq!(states(&report), ["short", "short"]);
    assert_eq!(report.gap_count, 2);
    let gap = &report.gaps[1];
    assert_eq!((&gap.first_segment, &gap.last_segment), (&segment(1, 7), &segment(1, 8)));
    assert_eq!(gap.cut_off_count, 2);
    assert_eq!(report.window.to_lsn.unwrap().to_string(), "0/700000");
}

#[test]
fn a_gap_across_a_fork_is_one() {
    let mut world = cascade();
    world.without_wal(1, 5).without_wal(2, 6);
    let report = world.examined();
    assert_eq!((report.gap_count, report.gaps[0].segments), (1, 2));
    assert_eq!(report.gaps[0].first_segment, segment(1, 5));
    assert_eq!(report.gaps[0].last_segment, segment(2, 6));
    assert_eq!(report.gaps[0].cut_off, [OLD]);
    assert_eq!(report.verdict, Verdict::Pass);
}

#[test]
fn many_gaps_are_counted_and_the_newest_listed() {
    let mut world = World::new();
    world.backup(OLD, 1, 2, 3).wal(1, 2..=3);
    for number in (5..=605).step_by(2) {
        world.wal_at(1, number, 9);
    }
    let report = world.examined();
    assert_eq!((report.gap_count, report.gaps.len()), (301, 100));
    assert_eq!(report.gaps[99].last_segment, segment(1, 604));
}

#[test]
fn histories_that_are_missing() {
    let mut world = cascade();
    world.remove("wals/00000003.history");
    assert_eq!(said(&world), fail(&["timeline_history_missing"], &[]));
    let report = world.examined();
    assert_eq!(states(&report), ["short", "short"]);
    assert_eq!(report.backups[0].reach.clone().unwrap().timeline.0, 2);
    // That of the newest backup's own timeline: it does not need it, the older one does.
    let mut world = cascade();
    world.remove("wals/00000002.history");
    assert_eq!(said(&world), pass(&["timeline_history_missing"]));
}

#[test]
fn histories_that_contradict_each_other() {
    let mut world = cascade();
    world.history(2, &[(1, "0/600000")]);
    assert_eq!(said(&world), pass(&["timeline_divergence"]));
    let report = world.examined();
    assert_eq!(states(&report), ["short", "restorable"]);
    assert!(report.attentions[0].detail.contains("0/600000"), "{}", report.attentions[0].detail);
    let mut world = cascade();
    world.remove(&format!("base/{NEW}/backup.info")).history(2, &[(1, "0/600000")]);
    assert_eq!(said(&world), fail(&["timeline_divergence"], &[]));
    // The plan of a drill says the same.
    assert_eq!(world.classes(), ["timeline_divergence"]);
}

#[test]
fn a_stray_timeline() {
    let mut world = two();
    world.wal(1, 10..=12).history(2, &[(1, "0/780000")]).wal_at(2, 7, 8).wal_at(2, 8, 8);
    assert_eq!(said(&world), fail(&["timeline_divergence"], &[]));
    assert_eq!(states(&world.examined()), ["short", "short"]);
}

#[test]
fn failed_and_stale_backups_beside_a_good_one() {
    let mut world = two();
    world.edit(OLD, &["status=FAILED", "error=disk full"]);
    assert_eq!(said(&world), pass(&["no_restorable_backup"]));
    assert!(world.examined().attentions[0].detail.contains("disk full"));
    let mut world = two();
    world.edit(OLD, &["status=STARTED"]);
    world.now = at(60 * 48);
    assert_eq!(said(&world), pass(&["no_restorable_backup"]));
    let mut world = two();
    world.edit(OLD, &["snapshots_info={}"]);
    assert_eq!(said(&world), pass(&["backup_unsupported"]));
    assert_eq!(states(&world.examined()), ["unknown", "restorable"]);
    let mut world = two();
    world.remove(&format!("base/{OLD}/backup.info"));
    world.now = at(60 * 48);
    assert_eq!(said(&world), pass(&["no_restorable_backup"]));
}

#[test]
fn parts_that_are_missing() {
    let mut world = two();
    world.object(&format!("base/{NEW}/data_0002.tar.gz"), 700, 6);
    assert_eq!(said(&world), fail(&["backup_part_missing"], &[]));
    assert_eq!(states(&world.examined()), ["restorable", "blocked"]);
    let mut world = two();
    world.edit(OLD, &["tablespaces=[('ts', 16385, '/srv/ts')]"]);
    assert_eq!(said(&world), pass(&["backup_part_missing"]));
}

#[test]
fn parts_that_cannot_be_tars() {
    let key = format!("base/{NEW}/data.tar.gz");
    for size in [0, 14] {
        let mut world = two();
        world.object(&key, size, 6);
        assert_eq!(said(&world), fail(&["archive_corrupt"], &[]), "{size}");
        assert_eq!(world.classes(), ["archive_corrupt"]);
    }
    let mut world = two();
    world.remove(&key).object(&format!("base/{NEW}/data.tar"), 20_481, 6);
    assert_eq!(said(&world), fail(&["archive_corrupt"], &[]));
    world.object(&format!("base/{NEW}/data.tar"), 20_480, 6);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn a_backup_that_is_smaller_than_its_cluster_could_ever_get() {
    let mut world = two();
    world.edit(NEW, &["cluster_size=2000000000"]);
    assert_eq!(said(&world), fail(&["backup_anomalous_size"], &[]));
    assert_eq!(world.classes(), ["backup_anomalous_size"]);
    world.object(&format!("base/{NEW}/data.tar.gz"), 100_000, 6);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn a_size_far_from_the_trend_is_an_attention() {
    let mut world = two();
    world.backup("20261122T120700", 1, 7, 7);
    for (size, attentions) in [
        (2499, &["backup_anomalous_size"][..]),
        (2500, &[]),
        (15_000, &[]),
        (15_051, &["backup_anomalous_size"]),
    ] {
        world.object("base/20261122T120700/data.tar.gz", size, 7);
        assert_eq!(said(&world), pass(attentions), "{size}");
        assert_eq!(world.classes(), NONE);
    }
    assert!(world.planned().notes.iter().any(|note| note.contains("the median of 2 backups")));
    // Another compression is another trend.
    world.remove("base/20261122T120700/data.tar.gz");
    world.object("base/20261122T120700/data.tar.bz2", 2000, 7);
    assert_eq!(said(&world), pass(&[]));
}

#[test]
fn segments_that_cannot_be_segments() {
    let mut world = two();
    world.object(&wal_key(1, 8), 0, 8);
    assert_eq!(said(&world), fail(&["wal_corrupt"], &[]));
    assert_eq!(world.classes(), ["wal_corrupt"]);
    let report = world.examined();
    assert_eq!(states(&report), ["short", "short"]);
    assert_eq!(report.backups[1].reach.clone().unwrap().lsn.to_string(), "0/800000");
    // Before the newest backup it is another one's matter.
    let mut world = two();
    world.without_wal(1, 4).object(wal_key(1, 4).trim_end_matches(".gz"), 1000, 8);
    assert_eq!(said(&world), pass(&["wal_corrupt"]));
    world.object(wal_key(1, 4).trim_end_matches(".gz"), 1 << 20, 8);
    assert_eq!(said(&world), pass(&[]));
    // One that it takes to become consistent.
    let mut world = two();
    world.object(&wal_key(1, 6), 0, 8);
    assert_eq!(states(&world.examined()), ["short", "blocked"]);
}

#[test]
fn a_partial_that_shadows_a_complete_segment() {
    let mut world = two();
    world.without_wal(1, 8).object(&wal_key(1, 8).replace(".gz", ".zst"), 900, 8);
    world.object(&wal_key(1, 8).replace(".gz", ".partial.zst"), 500, 8);
    assert_eq!(said(&world), pass(&["restore_tool_bug"]));
    assert!(
        world.planned().notes.iter().any(|note| note.contains("--no-partial"))
            || world.planned().notes.iter().any(|note| note.contains(".partial"))
    );
    // Of another spelling the complete one comes first.
    world.object(&wal_key(1, 8), 900, 8);
    assert_eq!(classes(&world.examined().attentions), NONE);
}

#[test]
fn two_database_systems() {
    let mut world = two();
    world.edit(OLD, &["systemid=7"]);
    assert_eq!(said(&world), pass(&["system_id_mismatch"]));
    let report = world.examined();
    assert_eq!(states(&report), ["unknown", "restorable"]);
    assert_eq!(report.backups[0].reach, None);
}

#[test]
fn nothing_to_restore() {
    let mut world = World::new();
    world.wal(1, 1..=9);
    assert_eq!(said(&world), fail(&["no_restorable_backup"], &[]));
    world.object("what/ever", 1, 1);
    assert!(world.examined().notes.iter().any(|note| note.contains("`p/s/what/ever`")));
}

#[test]
fn what_cannot_be_decoded_is_not_told() {
    let mut world = two();
    world.without_wal(1, 8).object(&wal_key(1, 8).replace(".gz", ".gpg"), 900, 8);
    assert_eq!(world.examined().verdict, Verdict::Inconclusive);
    let mut world = two();
    world.remove(&format!("base/{NEW}/data.tar.gz"));
    world.object(&format!("base/{NEW}/data.tar.gpg"), 900, 8);
    assert_eq!(world.examined().verdict, Verdict::Inconclusive);
    assert_eq!(states(&world.examined()), ["restorable", "unknown"]);
}

#[test]
fn an_old_archive_breaches_an_objective_only() {
    let world = two();
    let report = world.examined_for(std::time::Duration::from_mins(52));
    assert_eq!(report.verdict, Verdict::Pass);
    let report = world.examined_for(std::time::Duration::from_mins(50));
    assert_eq!(
        (report.verdict, classes(&report.findings)),
        (Verdict::Breach, vec!["archive_stale"])
    );
}

#[test]
fn a_description_that_is_damaged() {
    let mut world = two();
    world.file(&format!("base/{NEW}/backup.info"), "status=DO\nbegin_t", 6);
    assert_eq!(said(&world), fail(&["backup_info_mismatch"], &[]));
    let mut world = two();
    world.edit(OLD, &["begin_wal=000000010000000000000004"]);
    assert_eq!(said(&world), pass(&["backup_info_mismatch"]));
    assert_eq!(states(&world.examined()), ["blocked", "restorable"]);
}

#[test]
fn states_have_their_names() {
    let name = |state: BackupState| serde_json::to_value(state).unwrap();
    for state in [BackupState::Restorable, BackupState::UnderWay, BackupState::Standalone] {
        assert_eq!(name(state), state.name());
    }
}
