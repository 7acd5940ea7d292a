use super::*;

/// Two sound backups: ids 20261122T120200 and 20261122T120500.
fn two() -> World {
    let mut world = plain();
    world.backup("20261122T120500", 1, 5, 6);
    world
}

const OLD: &str = "20261122T120200";
const NEW: &str = "20261122T120500";

#[test]
fn the_newest_is_chosen() {
    assert_eq!(two().planned().backup.id, NEW);
    assert_eq!(wal_of(&two().planned()), "1:5-9");
    assert_eq!(two().id(OLD).planned().backup.id, OLD);
    assert!(two().id(OLD).planned().why.contains("the job names"));
}

#[test]
fn one_that_never_said_done_is_passed_over() {
    for lines in [
        &["status=FAILED", "error=failure uploading data (KeyboardInterrupt)"][..],
        &["status=STARTED", "end_time=None", "end_xlog=None"],
        &["status=DONE", "snapshots_info={'provider': 'gcp'}"],
    ] {
        let mut world = two();
        world.edit(NEW, lines);
        assert_eq!(world.planned().backup.id, OLD, "{lines:?}");
        assert_eq!(world.classes(), NONE);
        assert!(world.planned().notes.iter().any(|note| note.contains(NEW)));
    }
    let mut world = two();
    world.remove(&format!("base/{NEW}/backup.info"));
    assert_eq!(world.planned().backup.id, OLD);
}

#[test]
fn one_that_says_done_and_is_not_is_the_answer() {
    let info = format!("base/{NEW}/backup.info");
    let data = format!("base/{NEW}/data.tar.gz");
    let mut world = two();
    let finding = world.remove(&data).refused(FailureClass::BackupPartMissing);
    assert_eq!(finding.subject, format!("base/{NEW}/data.tar"));

    let mut world = two();
    world.object(&format!("base/{NEW}/data_0002.tar.gz"), 700, 6);
    let finding = world.refused(FailureClass::BackupPartMissing);
    assert_eq!(finding.subject, format!("base/{NEW}/data_0001.tar.gz"));
    world.object(&format!("base/{NEW}/data_0001.tar.gz"), 700, 6);
    assert_eq!(world.planned().base_bytes, 6400);

    let mut world = two();
    world.edit(NEW, &["tablespaces=[('ts', 16385, '/srv/ts')]"]);
    let finding = world.refused(FailureClass::BackupPartMissing);
    assert_eq!(finding.subject, format!("base/{NEW}/16385.tar.gz"));
    world.object(&format!("base/{NEW}/16385_0001.tar.gz"), 700, 6);
    world.refused(FailureClass::BackupPartMissing);
    world.object(&format!("base/{NEW}/16385.tar.gz"), 700, 6);
    assert_eq!(world.planned().base_bytes, 6400);
    // A tar that the description does not name is left out by every restore.
    assert_eq!(world.edit(NEW, &["tablespaces=None"]).classes(), ["backup_info_mismatch"]);

    let mut world = two();
    world.remove(&data).object(&format!("base/{NEW}/data.tar.gpg"), 700, 6);
    world.refused(FailureClass::CodecUnsupported);

    for (line, class) in [
        ("version=130011", FailureClass::BackupUnsupported),
        ("parent_backup_id=20261121T120000", FailureClass::IncrementalChain),
        ("systemid=None", FailureClass::BackupInfoMismatch),
        ("xlog_segment_size=", FailureClass::BackupInfoMismatch),
    ] {
        let mut world = two();
        world.edit(NEW, &[line]).refused(class);
    }

    // Nobody can say whether the damaged one is done: the older is drilled, and fails.
    let mut world = two();
    world.file(&info, "status=DO\nbegin_t", 6);
    assert_eq!(world.planned().backup.id, OLD);
    assert_eq!(world.classes(), ["backup_info_mismatch"]);
    assert_eq!(world.id(OLD).classes(), NONE);
    // One that changed under our eyes says nothing.
    let mut world = two();
    world.unread(&info, true);
    assert_eq!((world.planned().backup.id.as_str(), world.classes().len()), (OLD, 0));
    world.id(NEW).refused(FailureClass::ArchiveUnsettled);
}

#[test]
fn descriptions_that_contradict_themselves() {
    for line in [
        "begin_xlog=0/400028",
        "begin_wal=000000010000000000000004",
        "end_wal=000000010000000000000008",
        "timeline=2",
    ] {
        let mut world = two();
        let classes = world.edit(NEW, &[line]).classes();
        assert!(classes.contains(&"backup_info_mismatch".to_owned()), "{line}: {classes:?}");
    }
    two().edit(NEW, &["end_xlog=0/100000"]).plan().unwrap_err();
}

#[test]
fn nothing_to_restore() {
    let mut world = World::new();
    world.wal(1, 1..=9);
    world.refused(FailureClass::NoRestorableBackup);
    world.backup(OLD, 1, 2, 3).edit(OLD, &["status=FAILED", "error=disk full"]);
    world.backup(NEW, 1, 5, 6).edit(NEW, &["status=STARTED"]);
    let finding = world.refused(FailureClass::NoRestorableBackup);
    for part in [OLD, "disk full", NEW, "being taken"] {
        assert!(finding.detail.contains(part), "{part}: {}", finding.detail);
    }
    world.now = at(60 * 48);
    let finding = world.refused(FailureClass::NoRestorableBackup);
    assert!(finding.detail.contains("never finished"), "{}", finding.detail);
    world.id("x").refused(FailureClass::NoRestorableBackup);
    // Snapshots may be good: we cannot tell.
    let mut world = plain();
    world.edit(OLD, &["snapshots_info={}"]).refused(FailureClass::BackupUnsupported);
}

#[test]
fn within_looks_at_the_end() {
    let mut world = two();
    assert_eq!(world.within(54).planned().backup.id, NEW);
    let finding = world.within(53).refused(FailureClass::NoRestorableBackup);
    assert!(finding.detail.contains("12:06:00"), "{}", finding.detail);
}

#[test]
fn random_is_by_seed() {
    let mut world = two();
    world.point.backup = BackupChoice::Random;
    let mut drawn = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..64 {
        world.seed = seed;
        let id = world.planned().backup.id;
        assert_eq!(world.planned().backup.id, id);
        *drawn.entry(id).or_default() += 1;
    }
    assert!(drawn.len() == 2 && drawn.values().all(|count| *count > 16), "{drawn:?}");
    // What retention is removing is not drawn, the newest is, whatever it lacks.
    world.remove(&format!("base/{OLD}/data.tar.gz"));
    for seed in 0..16 {
        world.seed = seed;
        assert_eq!(world.planned().backup.id, NEW);
    }
}

#[test]
fn kept_alone() {
    let mut world = plain();
    world.without_wal(1, 4).without_wal(1, 5);
    assert_eq!(world.classes(), ["wal_gap"]);
    world.file(&format!("base/{OLD}/annotations/keep"), "standalone", 9);
    assert_eq!(world.classes(), NONE);
    world.file(&format!("base/{OLD}/annotations/keep"), "full", 9);
    assert_eq!(world.classes(), ["wal_gap"]);
}

#[test]
fn two_database_systems() {
    let mut world = two();
    world.edit(OLD, &["systemid=7"]);
    assert_eq!(world.classes(), NONE);
    assert!(world.planned().notes.iter().any(|note| note.contains("another database system")));
}

#[test]
fn the_worst_case_and_the_retention_edge() {
    const OLDER: &str = "20261122T120100";
    let choose = |world: &mut World, choice: BackupChoice| {
        world.point.backup = choice;
        world.planned().backup.id
    };
    for choice in [BackupChoice::WorstCase, BackupChoice::RetentionEdge] {
        let mut world = two();
        world.backup(OLDER, 1, 1, 1);
        assert_eq!(choose(&mut world, choice.clone()), OLDER);
        // What retention is removing is passed over.
        world.without_wal(1, 1);
        assert_eq!(choose(&mut world, choice.clone()), OLD);
        world.remove(&format!("base/{OLD}/data.tar.gz"));
        assert_eq!(choose(&mut world, choice), NEW);
    }
    // The most WAL is not always the oldest's, and a gap is no way out.
    let mut world = two();
    world.file(&format!("base/{OLD}/annotations/keep"), "standalone", 9).without_wal(1, 4);
    assert_eq!(choose(&mut world, BackupChoice::RetentionEdge), OLD);
    assert_eq!(world.classes(), NONE);
    assert_eq!(choose(&mut world, BackupChoice::WorstCase), NEW);
    world.remove(&format!("base/{OLD}/annotations/keep"));
    assert_eq!(choose(&mut world, BackupChoice::RetentionEdge), OLD);
    assert_eq!(world.classes(), ["wal_gap"]);
    // Where none is restorable the answer is the newest one's.
    let mut world = plain();
    world.remove(&format!("base/{OLD}/data.tar.gz")).point.backup = BackupChoice::WorstCase;
    world.refused(FailureClass::BackupPartMissing);
}

#[test]
fn the_least_recently_verified() {
    const OLDER: &str = "20261122T120100";
    let mut world = two();
    world.backup(OLDER, 1, 1, 1).point.backup = BackupChoice::LeastRecentlyVerified;
    let chosen = |world: &World| world.planned().backup.id;
    // Nobody knows of any drill: the newest one, as without a choice.
    assert_eq!(chosen(&world), NEW);
    let prove = |world: &mut World, id: &str, minutes: i64| {
        let verified = world.verified.get_or_insert_default();
        verified.insert(id.to_owned(), at(minutes));
    };
    world.verified = Some(Verified::new());
    for (proved, next) in [(OLDER, OLD), (OLD, NEW), (NEW, OLDER), (OLDER, OLD)] {
        let minutes = world.now.duration_since(at(0)).as_mins();
        assert_ne!(chosen(&world), next);
        prove(&mut world, proved, minutes);
        assert_eq!(chosen(&world), next, "after {proved}");
        world.now = at(minutes + 1);
    }
    let why = world.planned().why;
    assert!(why.contains("whose last sound drill is the oldest, of 2026-11-22T13:01:00Z"), "{why}");
    // What retention is removing is passed over; what is not there any more is no choice.
    world.remove(&format!("base/{OLD}/data.tar.gz"));
    prove(&mut world, "20261122T110000", 0);
    assert_eq!(chosen(&world), NEW);
}

/// A target that is drawn: the same for the same seed, anywhere in what can be reached, and reached.
#[test]
fn a_target_is_drawn_by_seed() {
    let mut world = two();
    world.point.target = TargetChoice::Random;
    let mut backups = std::collections::BTreeMap::<String, u32>::new();
    let (mut lowest, mut highest) = (Lsn(u64::MAX), Lsn(0));
    for seed in 0..200 {
        world.seed = seed;
        let plan = world.planned();
        let Target::Lsn(lsn) = plan.target else { panic!("{}", plan.target) };
        assert_eq!(world.planned().target, plan.target);
        assert_eq!(plan.findings, []);
        // As if the job had named it.
        let mut named = two();
        named.target(Target::Lsn(lsn));
        let named = named.planned();
        assert_eq!((&named.backup.id, wal_of(&named)), (&plan.backup.id, wal_of(&plan)));
        assert!(plan.target_words.ends_with(&format!(" by seed {seed}")), "{}", plan.target_words);
        *backups.entry(plan.backup.id).or_default() += 1;
        lowest = lowest.min(lsn);
        highest = highest.max(lsn);
    }
    let end = |last: u64| Lsn(last * MIB + 0x100);
    assert!(lowest >= end(3) && lowest < end(4), "{lowest}");
    let newest = two().planned().wal.last().unwrap().number.0 * MIB;
    assert!(highest < Lsn(newest) && highest > Lsn(newest - MIB), "{highest}");
    assert!(backups.len() == 2 && backups.values().all(|count| *count > 20), "{backups:?}");
}

#[test]
fn a_drawn_target_belongs_to_the_backup_that_the_job_chooses() {
    let mut world = two();
    world.point.target = TargetChoice::Random;
    for (choice, id, end) in [
        (BackupChoice::RetentionEdge, OLD, 3 * MIB + 0x100),
        (BackupChoice::Id(NEW.to_owned()), NEW, 6 * MIB + 0x100),
    ] {
        world.point.backup = choice;
        for seed in 0..50 {
            world.seed = seed;
            let plan = world.planned();
            assert_eq!(plan.backup.id, id);
            assert!(matches!(plan.target, Target::Lsn(lsn) if lsn >= Lsn(end)), "{}", plan.target);
        }
    }
    // Only backups that `within` lets be drilled count.
    world.point.backup = BackupChoice::Latest;
    world.within(54);
    for seed in 0..50 {
        world.seed = seed;
        assert_eq!(world.planned().backup.id, NEW);
    }
}

#[test]
fn where_nothing_can_be_drawn_the_target_is_the_end() {
    let mut world = plain();
    world.point.target = TargetChoice::Random;
    for number in 4..=9 {
        world.without_wal(1, number);
    }
    let plan = world.planned();
    assert_eq!(plan.target, Target::Latest);
    assert!(plan.target_words.starts_with("latest, since no segment"), "{}", plan.target_words);
    // A hole that a drawn target lies behind is found.
    let mut world = two();
    world.point.target = TargetChoice::Random;
    world.without_wal(1, 4);
    let plans: Vec<_> = (0..50)
        .map(|seed| {
            world.seed = seed;
            world.plan()
        })
        .collect();
    assert!(plans.iter().any(Result::is_ok));
    for refusal in plans.into_iter().filter_map(Result::err) {
        assert_eq!(refusal.findings[0].class, FailureClass::WalGap);
    }
}
