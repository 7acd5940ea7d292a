use super::*;

/// A failover in segment 6: timeline 1 up to 5 and a partial 6, timeline 2 from 6 on.
fn failover() -> World {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=5).wal(2, 6..=9);
    world.object(&wal_key(1, 6).replace(".gz", ".partial.gz"), 500, 6);
    world.history(2, &[(1, "0/680000")]);
    world
}

#[test]
fn replay_crosses_the_fork() {
    let plan = failover().planned();
    assert_eq!(wal_of(&plan), "1:2-5 2:6-9");
    assert_eq!(plan.findings, []);
    assert_eq!(plan.expectation.timeline, TimelineId(2));
    assert_eq!(plan.history_files.len(), 1);
}

#[test]
fn the_forks_segment_is_read_from_the_new_timeline() {
    // Complete on both: the old primary archived it when it was stopped.
    let mut world = failover();
    world.wal(1, 6..=6);
    assert_eq!(wal_of(&world.planned()), "1:2-5 2:6-9");
    assert_eq!(world.classes(), NONE);
    // Missing on the new one, which goes on behind it: data ends at the fork.
    world.without_wal(2, 6);
    let plan = world.planned();
    assert_eq!(wal_of(&plan), "1:2-5");
    assert_eq!(plan.findings[0].class, FailureClass::WalGap);
    assert_eq!(plan.findings[0].subject, segment(2, 6));
    assert_eq!(plan.findings[0].lsn, Some(Lsn(0x68_0000)));
}

#[test]
fn segments_from_before_their_timeline_began() {
    // The history file's switch point lies beyond all that the new timeline has archived.
    let mut world = failover();
    world.history(2, &[(1, "0/C00000")]);
    assert_eq!(world.classes(), ["timeline_divergence"]);
    assert_eq!(world.planned().findings[0].subject, "00000002.history");
    assert_eq!(world.planned().findings[0].lsn, Some(Lsn(0x60_0000)));
    // From before the backup: what another one left.
    let mut world = failover();
    world.wal(2, 1..=1);
    assert_eq!(world.classes(), NONE);
}

#[test]
fn a_fork_on_a_boundary() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=5).wal(2, 6..=7);
    world.history(2, &[(1, "0/600000")]);
    assert_eq!(wal_of(&world.planned()), "1:2-5 2:6-7");
    assert_eq!(world.classes(), NONE);
}

#[test]
fn gaps_on_either_side_of_a_fork() {
    for (timeline, number, read) in [(1, 4, "1:2-3"), (1, 5, "1:2-4"), (2, 8, "1:2-5 2:6-7")] {
        let mut world = failover();
        world.without_wal(timeline, number);
        assert_eq!(world.classes(), ["wal_gap"], "{timeline}/{number}");
        assert_eq!(wal_of(&world.planned()), read);
        assert_eq!(world.planned().findings[0].subject, segment(timeline, number));
    }
}

#[test]
fn a_promotion_that_archived_nothing_yet() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=5).history(2, &[(1, "0/680000")]);
    assert_eq!(world.classes(), NONE);
    assert_eq!(wal_of(&world.planned()), "1:2-5");
    assert!(world.planned().notes.iter().any(|note| note.contains("none of its segments")));
}

#[test]
fn a_backup_of_a_later_timeline() {
    // Timelines 1 to 4; the backup is of 2; 1 is long gone, but for a leftover.
    let mut world = World::new();
    world.backup("20261122T120800", 2, 8, 8).wal(1, 5..=5).wal(2, 8..=9).wal(3, 10..=11);
    world.wal(4, 12..=13).history(2, &[(1, "0/680000")]);
    world.history(3, &[(1, "0/680000"), (2, "0/A00000")]);
    world.history(4, &[(1, "0/680000"), (2, "0/A00000"), (3, "0/C80000")]);
    assert_eq!(wal_of(&world.planned()), "2:8-9 3:10-11 4:12-13");
    assert_eq!(world.classes(), NONE);

    world.timeline(TargetTimeline::Current);
    assert_eq!(wal_of(&world.planned()), "2:8-9");
    assert_eq!(world.planned().expectation.timeline, TimelineId(2));
    world.timeline(TargetTimeline::Id(TimelineId(3)));
    assert_eq!(wal_of(&world.planned()), "2:8-9 3:10-11");
    assert_eq!(world.classes(), NONE);

    // Its own history file is of no use to it.
    world.timeline(TargetTimeline::Latest).remove("wals/00000002.history");
    assert_eq!(wal_of(&world.planned()), "2:8-9 3:10-11 4:12-13");
    assert_eq!(world.classes(), NONE);
    world.timeline(TargetTimeline::Current);
    assert_eq!(world.classes(), NONE);

    // A hole in the ids hides what is behind it, although 4 knows its parents.
    world.timeline(TargetTimeline::Latest).remove("wals/00000003.history");
    let plan = world.planned();
    assert_eq!(wal_of(&plan), "2:8-9");
    assert_eq!(world.classes(), ["timeline_history_missing"]);
    assert_eq!(plan.findings[0].subject, "00000003.history");
    assert!(plan.findings[0].detail.contains("timelines 3 to 4"), "{}", plan.findings[0].detail);
    world.timeline(TargetTimeline::Id(TimelineId(4)));
    assert_eq!(wal_of(&world.planned()), "2:8-9 3:10-11 4:12-13");
    world.timeline(TargetTimeline::Id(TimelineId(3)));
    world.refused(FailureClass::TimelineHistoryMissing);
}

#[test]
fn histories_that_are_missing_or_damaged() {
    let mut world = failover();
    world.remove("wals/00000002.history");
    assert_eq!(world.classes(), ["timeline_history_missing"]);
    assert_eq!(wal_of(&world.planned()), "1:2-5");
    assert_eq!(world.target(Target::Immediate).classes(), NONE);

    let mut world = failover();
    world.unread("wals/00000002.history", false);
    assert_eq!(world.classes(), ["timeline_history_missing"]);
    assert!(world.planned().findings[0].detail.contains("does not decode"));

    for text in ["", "2\t0/680000\n", "1\n"] {
        let mut world = failover();
        world.file("wals/00000002.history", text, 6);
        world.refused(FailureClass::TimelineHistoryMissing);
    }
}

#[test]
fn a_timeline_that_is_not_there() {
    let mut world = failover();
    let finding =
        world.timeline(TargetTimeline::Id(TimelineId(7))).refused(FailureClass::TargetUnreachable);
    assert!(finding.detail.contains("1, 2"), "{}", finding.detail);
    // Timeline 1 needs no history file.
    world.timeline(TargetTimeline::Id(TimelineId(1)));
    assert_eq!(wal_of(&world.planned()), "1:2-5");
}

#[test]
fn not_a_child_of_the_backup() {
    // Timeline 2 forked off before the backup ended.
    let mut world = failover();
    world.history(2, &[(1, "0/300080")]);
    let finding = world.refused(FailureClass::TimelineDivergence);
    assert!(finding.detail.contains("0/300080"), "{}", finding.detail);
    world.timeline(TargetTimeline::Current);
    assert_eq!(wal_of(&world.planned()), "1:2-5");
    // And one that knows nothing of the backup's timeline.
    let mut world = World::new();
    world.backup("20261122T120200", 2, 2, 3).wal(2, 2..=5).wal(3, 4..=6);
    world.history(2, &[(1, "0/100000")]).history(3, &[(1, "0/480000")]);
    world.refused(FailureClass::TimelineDivergence);
    world.timeline(TargetTimeline::Id(TimelineId(3))).refused(FailureClass::TimelineDivergence);
}

#[test]
fn the_id_chooses_the_backup_that_leads_there() {
    // A newer backup is of timeline 3, which 2 does not lead to.
    let mut world = failover();
    world.backup("20261122T120800", 3, 8, 8).wal(3, 7..=9);
    world.history(3, &[(1, "0/680000"), (2, "0/780000")]);
    world.timeline(TargetTimeline::Id(TimelineId(2)));
    assert_eq!(world.planned().backup.id, "20261122T120200");
    assert_eq!(wal_of(&world.planned()), "1:2-5 2:6-9");
}

/// A restored cluster was left to archive: timeline 2 forked off in segment 4, production goes on.
fn poisoned() -> World {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=12);
    world.history(2, &[(1, "0/480000")]).wal_at(2, 4, 10).wal_at(2, 5, 10);
    world
}

#[test]
fn a_stray_timeline() {
    let mut world = poisoned();
    assert_eq!(world.classes(), ["timeline_divergence"]);
    let plan = world.planned();
    assert_eq!(plan.findings[0].lsn, Some(Lsn(0x48_0000)));
    assert!(plan.findings[0].detail.contains(&segment(1, 12)), "{}", plan.findings[0].detail);
    // Written a moment ago, or with its history file alone: the same.
    assert_eq!(poisoned().wal_at(2, 5, 40).classes(), ["timeline_divergence"]);
    let mut bare = poisoned();
    bare.without_wal(2, 4).without_wal(2, 5);
    assert_eq!(bare.classes(), ["timeline_divergence"]);
    // Who does not follow it is not misled.
    assert_eq!(world.target(Target::Immediate).classes(), NONE);
    assert_eq!(world.lsn("0/480000").classes(), NONE);
    assert_eq!(world.lsn("0/490000").classes(), ["timeline_divergence"]);
    world.target(Target::Latest).timeline(TargetTimeline::Current);
    assert_eq!(world.classes(), NONE);
    assert_eq!(wal_of(&world.planned()), "1:2-12");
}

#[test]
fn a_primary_that_was_left_behind_is_not_a_stray_timeline() {
    // It archived 6 and 7 after the fork in 5; production has gone on since on timeline 2.
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=7).history(2, &[(1, "0/580000")]);
    for number in 5..=12 {
        world.wal_at(2, number, 20);
    }
    assert_eq!(world.classes(), NONE);
    assert_eq!(wal_of(&world.planned()), "1:2-4 2:5-12");
    assert!(world.planned().notes.iter().any(|note| note.contains("left behind")));
}

#[test]
fn a_sibling_that_is_still_written_to() {
    // Production failed over to 2; a restored cluster wrote 3, from before that.
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=4).wal(2, 5..=12);
    world.history(2, &[(1, "0/500000")]);
    world.history(3, &[(1, "0/480000")]).wal_at(3, 4, 11);
    assert_eq!(world.classes(), ["timeline_divergence"]);
    assert_eq!(world.planned().findings[0].subject, "00000002.history");
    // The other way round, 2 was abandoned.
    world.wal_at(3, 4, 50);
    assert_eq!(world.classes(), NONE);
    assert!(world.planned().notes.iter().any(|note| note.contains("abandoned")));
}

#[test]
fn a_recovery_that_stopped_before_the_fork_on_its_path() {
    // Recovered to a target in segment 4 while following 2, so 3 begins before 2 does.
    let mut world = World::new();
    world.backup("20261122T120200", 1, 2, 3).wal(1, 1..=4);
    world.history(2, &[(1, "0/500000")]);
    world.history(3, &[(1, "0/500000"), (2, "0/480000")]);
    for number in 4..=9 {
        world.wal_at(3, number, 20);
    }
    assert_eq!(wal_of(&world.planned()), "1:2-3 3:4-9");
    assert_eq!(world.classes(), NONE);
}

#[test]
fn a_standby_that_changed_its_timeline_while_it_was_backed_up() {
    let mut world = World::new();
    world.backup("20261122T120200", 1, 4, 7).wal(1, 1..=5).wal(2, 6..=9);
    world.history(2, &[(1, "0/680000")]);
    let label = "backup_label='START WAL LOCATION: 0/400028 (file x)\\nBACKUP FROM: standby\\n'";
    let end_wal = format!("end_wal={}", segment(2, 7));
    world.edit("20261122T120200", &[label, &end_wal]);
    assert_eq!(wal_of(&world.planned()), "1:4-5 2:6-9");
    assert_eq!(world.classes(), NONE);
    world.timeline(TargetTimeline::Current);
    assert_eq!(wal_of(&world.planned()), "1:4-5 2:6-9");
}
