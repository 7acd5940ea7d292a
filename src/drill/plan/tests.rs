use world::{MIB, World, at, segment, wal_key, wal_of};

use crate::{
    archive::wal_index::LOOKED_AT,
    drill::{
        FailureClass,
        job::{BackupChoice, Target, TargetChoice, TargetTimeline},
        plan::Verified,
    },
    pg::{Lsn, SegmentNumber, TimelineId},
};

mod backups;
mod timelines;
pub(in crate::drill) mod world;

/// One backup over segments 2 and 3, WAL up to 9.
fn plain() -> World {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=9);
    world
}

const NONE: [&str; 0] = [];

#[test]
fn a_sound_archive() {
    let plan = plain().planned();
    assert_eq!(wal_of(&plan), "1:2-9");
    assert_eq!(plan.findings, []);
    assert_eq!(plan.backup.id, "20261122T120200");
    assert!(plan.why.contains("`20261122T120200` is the newest of 1 backups"), "{}", plan.why);
    assert_eq!(plan.expectation.timeline, TimelineId(1));
    assert_eq!(plan.expectation.at_least, Lsn(3 * MIB + 0x100));
    assert_eq!(plan.expectation.at_most, Lsn(10 * MIB));
    assert_eq!((plan.base_bytes, plan.wal_bytes), (5000, 8000));
    let all = 20_000 + 8 * MIB;
    assert_eq!(plan.disk_bytes, all + all / 10);
    assert_eq!(plan.window.from_lsn, Some(Lsn(3 * MIB + 0x100)));
    assert_eq!(plan.window.from_time, Some(at(3)));
    assert_eq!(plan.window.to_lsn, Some(Lsn(10 * MIB)));
    assert_eq!(plan.window.to_time, Some(at(9)));
    assert_eq!(plan.wal.first().unwrap().object.key, format!("p/s/{}", wal_key(1, 2)));
    assert_eq!(plan.system_id, 7_412_345_678_901_234_567);
}

#[test]
fn planned_segments_are_found_by_their_numbers() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=5).wal(2, 6..=9);
    world.history(2, &[(1, "0/680000")]);
    let wal = world.planned().wal;
    assert_eq!((wal.len(), wal.iter().count()), (8, 8));
    for (index, segment) in wal.iter().enumerate() {
        assert_eq!(wal.position(segment.number), Some(index));
        assert_eq!(wal.segment(segment.number), Some(segment));
    }
    for number in [0, 1, 10, u64::MAX].map(SegmentNumber) {
        assert_eq!(wal.segment(number), None, "{number:?}");
    }
}

#[test]
fn room_without_a_cluster_size() {
    let mut world = plain();
    world.edit("20261122T120200", &["cluster_size=None"]);
    let all = 5000 * 6 + 8 * MIB;
    assert_eq!(world.planned().disk_bytes, all + all / 10);
}

#[test]
fn an_idle_database_has_nothing_after_its_backup() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 2..=3);
    assert_eq!(wal_of(&world.planned()), "1:2-3");
    assert_eq!(world.classes(), NONE);
}

#[test]
fn older_segments_may_be_gone() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 5, 5).wal(1, 5..=8).wal(1, 1..=2);
    assert_eq!(world.classes(), NONE);
    assert_eq!(wal_of(&world.planned()), "1:5-8");
}

#[test]
fn an_end_on_a_boundary_needs_only_the_segment_before() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 2..=3);
    // pg_walfile_name gives either neighbour, by its age.
    for end_wal in [segment(1, 3), segment(1, 4)] {
        world.edit("20261122T120200", &["end_xlog=0/400000", &format!("end_wal={end_wal}")]);
        assert_eq!(world.classes(), NONE, "{end_wal}");
    }
}

#[test]
fn segments_that_consistency_needs() {
    for (missing, lsn) in [(2, "0/200000"), (3, "0/300000")] {
        let mut world = plain();
        let finding = world.without_wal(1, missing).refused(FailureClass::WalMissingForConsistency);
        assert_eq!(finding.subject, segment(1, missing));
        assert_eq!(finding.lsn.unwrap().to_string(), lsn);
        assert!(finding.detail.contains(lsn), "{}", finding.detail);
    }
    // The end was never archived, long ago or just now: a primary's backup waits for it.
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=2);
    world.refused(FailureClass::WalMissingForConsistency);
    world.now = at(4);
    world.refused(FailureClass::WalMissingForConsistency);
    // A standby's does not.
    let label = "backup_label='BACKUP FROM: standby\\n'";
    world.edit("20261122T120200", &[label]).refused(FailureClass::ArchiveUnsettled);
    world.now = at(60);
    world.refused(FailureClass::WalMissingForConsistency);
}

#[test]
fn a_gap() {
    let mut world = plain();
    world.without_wal(1, 6).without_wal(1, 7);
    let plan = world.planned();
    assert_eq!(wal_of(&plan), "1:2-5");
    assert_eq!(plan.findings.len(), 1);
    let gap = &plan.findings[0];
    assert_eq!((gap.class, gap.lsn), (FailureClass::WalGap, Some(Lsn(6 * MIB))));
    assert_eq!(gap.subject, segment(1, 6));
    assert!(gap.detail.contains("2 segment(s)") && gap.detail.contains(&segment(1, 8)));
    assert_eq!(plan.expectation.at_most, Lsn(6 * MIB));
    assert_eq!(plan.window.to_lsn, Some(Lsn(6 * MIB)));

    // What lies beyond the target is not read.
    assert_eq!(world.target(Target::Immediate).classes(), NONE);
    assert_eq!(wal_of(&world.planned()), "1:2-3");
    assert_eq!(world.lsn("0/580000").classes(), NONE);
    assert_eq!(world.lsn("0/600000").classes(), ["refused", "wal_gap"]);
    assert_eq!(world.lsn("0/880000").classes(), ["refused", "wal_gap"]);
    // Segment 5 was stored at minute 5, and clocks may differ by some minutes.
    assert_eq!(world.time(5).classes(), NONE);
    assert!(world.planned().notes.iter().any(|note| note.contains(&segment(1, 6))));
    assert_eq!(world.time(30).classes(), ["refused", "wal_gap"]);
    assert_eq!(world.target(Target::Name("x".to_owned())).classes(), NONE);
    assert_eq!(world.target(Target::Xid(7)).classes(), NONE);
}

#[test]
fn a_segment_that_cannot_be_decoded_is_not_lost() {
    let mut world = plain();
    world.without_wal(1, 6);
    let key = wal_key(1, 6).replace(".gz", ".gpg");
    world.object(&key, 1000, 6);
    assert_eq!(world.classes(), ["codec_unsupported"]);
    let mut world = plain();
    world.without_wal(1, 3).object(&wal_key(1, 3).replace(".gz", ".gpg"), 1000, 3);
    world.refused(FailureClass::CodecUnsupported);
}

#[test]
fn a_label_or_a_partial_is_no_segment() {
    let mut world = plain();
    world.without_wal(1, 6);
    let key = wal_key(1, 6);
    world.object(&key.replace(".gz", ".00000028.backup.gz"), 300, 6);
    world.object(&key.replace(".gz", ".partial.gz"), 300, 6);
    assert_eq!(world.classes(), ["wal_gap"]);
}

#[test]
fn lsn_targets() {
    let mut world = plain();
    assert_eq!(world.lsn("0/300100").classes(), NONE);
    assert_eq!(world.planned().expectation.at_least, Lsn(0x30_0100));
    let finding = world.lsn("0/3000FF").refused(FailureClass::TargetBeforeConsistency);
    for part in ["0/300100", "12:03:00", "0/A00000", "12:09:00"] {
        assert!(finding.detail.contains(part), "{part}: {}", finding.detail);
    }
    assert_eq!(world.lsn("0/9FFFFF").classes(), NONE);
    let finding = world.lsn("0/A00000").refused(FailureClass::TargetUnreachable);
    for part in ["0/300100", "12:03:00", "0/A00000", "12:09:00"] {
        assert!(finding.detail.contains(part), "{part}: {}", finding.detail);
    }
    // The record that a target lies in may go on in later segments.
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 2..=200);
    assert_eq!(wal_of(&world.lsn("0/500000").planned()), "1:2-69");
}

#[test]
fn time_targets() {
    let mut world = plain();
    world.backup("20261122T120500", 1, 5, 6);
    assert_eq!(world.time(5).planned().backup.id, "20261122T120200");
    assert_eq!(world.time(6).planned().backup.id, "20261122T120500");
    assert!(world.planned().why.contains("target time"), "{}", world.planned().why);
    world.time(2).refused(FailureClass::TargetBeforeConsistency);
    assert_eq!(world.time(13).classes(), NONE);
    world.time(15).refused(FailureClass::TargetUnreachable);
    world.time(10_000).refused(FailureClass::TargetUnreachable);
    world.id("20261122T120500").time(5).refused(FailureClass::TargetBeforeConsistency);
}

#[test]
fn planning_stays_linear() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3);
    let mut builder = crate::archive::CatalogBuilder::new("");
    for number in 0..1_000_000_u64 {
        // A hole in every hundred: ten thousand runs.
        if number % 100 != 50 {
            builder.add(&wal_key(1, number), 1000, None, None);
        }
    }
    let wal = builder.finish().wal;
    let runs = wal.runs(crate::pg::SegmentSize::new(1 << 20).unwrap());
    assert_eq!(runs.len(), 10_001);
    let mut catalog = world.catalog();
    catalog.wal = wal;
    let before = LOOKED_AT.get();
    let plan = super::plan(&world::job(world.point.clone()), &catalog, at(60), 0).unwrap();
    let visited = LOOKED_AT.get() - before;
    assert!(visited < 4_000_000, "{visited} entries were visited for a million segments");
    // What is planned ends at the first hole, and the rest is looked at in runs alone.
    assert_eq!(wal_of(&plan), "1:2-49");
    assert_eq!(plan.findings.len(), 1);
}
