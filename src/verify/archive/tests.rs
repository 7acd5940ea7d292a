use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    config::flags::{ArchiveFlags, Overrides, job},
    restore::testing::TarBuilder,
    store::{MemoryStore, SharedStore},
    survey::survey,
    telemetry::Progress,
    verify::{
        base::OwnEnd,
        ledger::{Budget, Day, Identity, KnownBackup, Ledger},
        testing::{Ending, block_on, reading},
    },
};

const ID: &str = "20261120T020000";

fn key(name: &str) -> String {
    format!("p/orders/base/{ID}/{name}")
}

/// A backup of which the tar is whole.
fn store(tar: Vec<u8>) -> MemoryStore {
    let info = "backup_label=None\nbegin_time=2026-11-20 02:00:00+00:00\nbegin_wal=000000010000000000000003\n\
                begin_xlog=0/3000028\nend_time=2026-11-20 02:10:00+00:00\n\
                end_wal=000000010000000000000004\nend_xlog=0/4000100\nstatus=DONE\nsystemid=7\n\
                timeline=1\nversion=150000\nxlog_segment_size=16777216\n";
    let store = MemoryStore::default();
    store.put(key("backup.info"), info.as_bytes().to_vec());
    store.put(key("data.tar"), tar);
    store
}

/// What a run with a ledger says that knew the backup to be good, where the tar is asked for no oftener
/// than `nth` times; and whether the ledger still knows it.
fn late(store: MemoryStore, nth: u64) -> (Tally, bool) {
    let flags = ArchiveFlags {
        url: Some("s3://bucket/p".to_owned()),
        server: Some("orders".to_owned()),
        ..ArchiveFlags::default()
    };
    let job = job(&flags, &Overrides::default()).unwrap();
    let (progress, caller) = (Progress::silent(), CancellationToken::new());
    let cancel = caller.child_token();
    let store: SharedStore = Ending::new(store, "data.tar", nth, &cancel);
    let mut ledger = Ledger::new("a");
    ledger.good_backup(
        ID,
        KnownBackup {
            identity: Identity::of_text("as it was"),
            until: 4,
            read: Day(1),
            files: 3,
            pages: 0,
            torn_pages: 0,
            own_end: OwnEnd { standby: false, min_recovery_point: None },
            databases: Vec::new(),
            notes: Vec::new(),
        },
    );
    let mut tally = Tally::default();
    block_on(async {
        let catalog = survey(&store, &job.archive, &progress, &caller).await.unwrap();
        let reading = reading(&store, &progress, &cancel, &caller);
        let mut sparing = Sparing { ledger: &mut ledger, budget: Budget::default() };
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        read(&reading, &job, &catalog, now, Some(&mut sparing), &mut tally).await.unwrap();
    });
    (tally, ledger.backup(ID).is_some())
}

#[test]
fn damage_of_a_file_that_no_second_reading_could_confirm() {
    let tar = TarBuilder::default()
        .file("PG_VERSION", b"15\n")
        .file("global/pg_control", &[9; 8192])
        .file("backup_label", b"LABEL\n")
        .end();
    let (tally, known) = late(store(tar), 2);
    let errors = format!("{:?}", tally.errors);
    assert!(errors.contains("global/pg_control") && errors.contains("once more"), "{errors}");
    assert!(!known, "what was seen counts against what was known");
    assert_eq!(tally.backups[0].state, BackupState::Unknown);
}

#[test]
fn damage_of_a_tar_that_no_second_reading_could_confirm() {
    let mut tar = TarBuilder::default().file("PG_VERSION", b"15\n").end();
    tar[1] ^= 1;
    let (tally, known) = late(store(tar), 2);
    assert!(!known, "what was seen counts against what was known");
    assert_eq!(tally.backups[0].state, BackupState::Damaged, "{tally:?}");
}

#[test]
fn a_backup_that_was_only_begun_stays_known() {
    let tar = TarBuilder::default().file("PG_VERSION", b"15\n").end();
    let (tally, known) = late(store(tar), 1);
    assert!(known);
    assert_eq!(tally.backups[0].state, BackupState::Unknown);
}
