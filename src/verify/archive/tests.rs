use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    config::flags::{ArchiveFlags, Overrides, job},
    drill::{Verdict, VerifyReport, report::ErrorReport, verify_report::Scope},
    pg::{
        control,
        page::{PAGE_SIZE, checksum},
        wal::{
            storage::{RM_DBASE, RM_HEAP},
            testing::{LogWriter, SYSTEM_ID},
        },
    },
    restore::testing::TarBuilder,
    store::{
        Faulty, MemoryStore, SharedStore,
        faulty::{Call, Fault, Rule},
    },
    survey::survey,
    telemetry::Progress,
    verify::{
        ledger::{Budget, Ledger},
        testing::{Ending, block_on, reading},
    },
};

const ID: &str = "20261120T020000";
const BEGIN: Lsn = Lsn(0x50_0028);
const CHECKPOINT: Lsn = Lsn(0x60_0028);

fn key(name: &str) -> String {
    format!("p/orders/base/{ID}/{name}")
}

/// `pg_control` of the log's cluster, with data checksums.
fn pg_control() -> Vec<u8> {
    let mut bytes = control::sample(1300, 202_209_061);
    bytes[..8].copy_from_slice(&SYSTEM_ID.to_le_bytes());
    bytes[228..232].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    bytes[252..256].copy_from_slice(&1_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn tar() -> TarBuilder {
    TarBuilder::default().file("PG_VERSION", b"15\n")
}

/// The files that a backup ends with.
fn ended(tar: TarBuilder) -> Vec<u8> {
    ended_with(tar, CHECKPOINT)
}

fn ended_with(tar: TarBuilder, checkpoint: Lsn) -> Vec<u8> {
    let label = format!(
        "START WAL LOCATION: {BEGIN} (file 000000010000000000000005)\nCHECKPOINT LOCATION: {checkpoint}\n\
         BACKUP METHOD: streamed\nBACKUP FROM: primary\n"
    );
    tar.file("global/pg_control", &pg_control()).file("backup_label", label.as_bytes()).end()
}

/// Changes the first block of a relation of database 5, without making it anew.
fn change(log: &mut LogWriter, relation: u32) -> Lsn {
    let words = [1663, 5, relation, 0].into_iter().flat_map(u32::to_le_bytes);
    let body: Vec<u8> = [0; 4].into_iter().chain(words).chain([255, 0]).collect();
    log.record(RM_HEAP, 0, 700, &body)
}

/// An archive of one backup, with all of its WAL: segments before and behind it, the checkpoint in
/// another segment than where it began, and the end in one more.
fn store(tars: &[(&str, Vec<u8>)]) -> MemoryStore {
    store_of(tars, |_| ())
}

/// The same, where `inside` happens while the backup is taken.
fn store_of(tars: &[(&str, Vec<u8>)], inside: impl FnOnce(&mut LogWriter)) -> MemoryStore {
    let mut log = LogWriter::new(Major::V15);
    log.switch();
    log.switch();
    assert_eq!(change(&mut log, 1000), BEGIN);
    change(&mut log, 1001);
    inside(&mut log);
    log.switch();
    assert_eq!(log.checkpoint(0x10, BEGIN, 88), CHECKPOINT);
    log.switch();
    log.backup_end(BEGIN);
    let end = log.at();
    log.switch();
    log.switch();
    let store = MemoryStore::default();
    for (number, bytes) in (3..).zip(log.segments()) {
        store.put(format!("p/orders/wals/0000000100000000/00000001000000000000000{number}"), bytes);
    }
    let info = format!(
        "backup_label=None\nbegin_time=2026-11-20 02:00:00+00:00\nbegin_wal=000000010000000000000005\n\
         begin_xlog={BEGIN}\nend_time=2026-11-20 02:10:00+00:00\nend_wal=000000010000000000000007\n\
         end_xlog={end}\nstatus=DONE\nsystemid={SYSTEM_ID}\ntimeline=1\nversion=150000\n\
         xlog_segment_size=1048576\n"
    );
    store.put(key("backup.info"), info.into_bytes());
    for (name, tar) in tars {
        store.put(key(name), tar.clone());
    }
    store
}

/// What a run says whose time is over when an object of this name is asked for the `nth` time.
fn run(store: &Faulty<MemoryStore>, ledger: &mut Ledger, end: Option<(&str, u64)>) -> VerifyReport {
    let flags = ArchiveFlags {
        url: Some("s3://bucket/p".to_owned()),
        server: Some("orders".to_owned()),
        ..ArchiveFlags::default()
    };
    let job = job(&flags, &Overrides::default()).unwrap();
    let (progress, caller) = (Progress::silent(), CancellationToken::new());
    let cancel = caller.child_token();
    let (name, nth) = end.unwrap_or_default();
    let store: SharedStore = Ending::new(store.clone(), name, nth, &cancel);
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let mut tally = Tally::default();
    block_on(async {
        let catalog = survey(&store, &job.archive, &progress, &caller).await.unwrap();
        let reading = reading(&store, &progress, &cancel, &caller);
        let mut sparing = Sparing { ledger: &mut *ledger, budget: Budget::default() };
        read(&reading, &job, &catalog, now, Some(&mut sparing), &mut tally).await.unwrap();
    });
    // What a run has learned the next one reads from the file.
    let mut bytes = Vec::new();
    ledger.write(&mut bytes).unwrap();
    *ledger = Ledger::read(bytes.as_slice(), "a").unwrap();
    tally.report(&job, Scope::Archive, now, now)
}

/// An archive that a ledger has known to be good for a month, and its turn has come: since then a byte of
/// these objects is another one, under the same entity tag.
fn rotten(tars: &[(&str, Vec<u8>)], flipped: &[(&str, usize)]) -> (Faulty<MemoryStore>, Ledger) {
    let store = store(tars);
    let mut ledger = Ledger::new("a");
    let report = run(&Faulty::new(store.clone(), []), &mut ledger, None);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    let mut known = ledger.backup(ID).unwrap().clone();
    known.read.0 -= 30;
    ledger.good_backup(ID, known);
    let flip = |(name, at): &(&str, usize)| {
        Rule::every(Call::Get, format!("/{name}"), Fault::FlipByte(*at as u64))
    };
    (Faulty::new(store, flipped.iter().map(flip)), ledger)
}

/// A run that ends there does not know, nor does the ledger any more: the next run reads the backup once
/// more, and finds `what`.
#[track_caller]
fn is_not_known(
    (store, mut ledger): (Faulty<MemoryStore>, Ledger),
    end: (&str, u64),
    what: &str,
) -> VerifyReport {
    let cut = run(&store, &mut ledger, Some(end));
    assert_eq!(cut.verdict, Verdict::Inconclusive, "{cut:#?}");
    assert_eq!(cut.backups[0].state, BackupState::Unknown);
    assert_eq!(cut.findings().count(), 0, "{cut:#?}");
    assert_eq!(ledger.backup(ID), None, "what was seen counts against what was known");
    let next = run(&store, &mut ledger, None);
    assert_eq!(next.verdict, Verdict::Fail, "{next:#?}");
    assert!(next.findings().any(|found| found.subject.contains(what)), "{next:#?}");
    cut
}

#[track_caller]
fn says(cut: &VerifyReport, what: &str) {
    let said = |e: &ErrorReport| {
        e.message.contains(what) && e.message.contains("the time was over before it could be read")
    };
    assert!(cut.errors.iter().any(said), "{:#?}", cut.errors);
}

fn place(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

/// A tar with a page whose checksum is right, and where in it a byte of that page is.
fn with_a_page(
    tar: TarBuilder,
    name: &str,
    end: impl FnOnce(TarBuilder) -> Vec<u8>,
) -> (Vec<u8>, usize) {
    let mut page = [0xA7; PAGE_SIZE];
    page[10..12].fill(0);
    for (at, value) in [(12, 28_u16), (14, 8000), (16, 8192)] {
        page[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    let sum = checksum(&page, 0);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    let bytes = end(tar.file(name, &page));
    let at = place(&bytes, &[0xA7; 64]) + 3000;
    (bytes, at)
}

#[test]
fn damage_of_a_file_that_no_second_reading_could_confirm() {
    let tar = ended(tar());
    let at = place(&tar, &SYSTEM_ID.to_le_bytes());
    let cut = is_not_known(
        rotten(&[("data.tar", tar)], &[("data.tar", at)]),
        ("data.tar", 2),
        "global/pg_control",
    );
    says(&cut, "global/pg_control");
}

#[test]
fn damage_of_a_tar_that_no_second_reading_could_confirm() {
    let cut = is_not_known(
        rotten(&[("data.tar", ended(tar()))], &[("data.tar", 1)]),
        ("data.tar", 2),
        "data.tar",
    );
    says(&cut, "data.tar");
}

#[test]
fn a_bad_page_that_no_second_reading_could_confirm() {
    let (tar, at) = with_a_page(tar(), "base/5/1000", ended);
    let cut = is_not_known(
        rotten(&[("data.tar", tar)], &[("data.tar", at)]),
        ("data.tar", 2),
        "base/5/1000",
    );
    says(&cut, "base/5/1000");
}

#[test]
fn pages_that_no_wal_could_tell_torn_or_damaged() {
    let (tar, at) = with_a_page(tar(), "base/5/1000", ended);
    let rotten = rotten(&[("data.tar", tar)], &[("data.tar", at)]);
    is_not_known(rotten, ("wals/", 1), "base/5/1000");
}

#[test]
fn bad_pages_of_a_backup_that_was_not_read_to_its_end() {
    // Two parts are read at a time: when the third is asked for one of the others was read.
    let (first, at) = with_a_page(tar(), "base/5/1000", TarBuilder::end);
    let (second, behind) = with_a_page(TarBuilder::default(), "base/5/1001", TarBuilder::end);
    let parts = [
        ("data.tar", first),
        ("data_0001.tar", second),
        ("data_0002.tar", ended(TarBuilder::default())),
    ];
    let rotten = rotten(&parts, &[("data.tar", at), ("data_0001.tar", behind)]);
    is_not_known(rotten, ("data_0002.tar", 1), "base/5/100");
}

#[test]
fn damage_that_two_readings_have_shown_stands_when_the_time_is_over() {
    let parts = [
        ("data.tar", tar().end()),
        ("data_0001.tar", TarBuilder::default().folder("base").end()),
        ("data_0002.tar", ended(TarBuilder::default())),
    ];
    let flipped = [("data.tar", 1), ("data_0001.tar", 1)];
    let (store, mut ledger) = rotten(&parts, &flipped);
    let report = run(&store, &mut ledger, Some(("data_0002.tar", 1)));
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    assert_eq!(report.backups[0].state, BackupState::Damaged);
    assert_eq!(ledger.backup(ID), None);
}

/// Of segments that an earlier run knows the record is asked for all the same.
#[test]
fn a_new_backup_begins_in_wal_that_is_known() {
    let (store, mut ledger) = rotten(&[("data.tar", ended(tar()))], &[]);
    assert_eq!(run(&store, &mut ledger, None).verdict, Verdict::Pass);
    // The backup is known, and the segment that it begins in: nobody asks for its records.
    let report = run(&store, &mut ledger, None);
    assert_eq!(report.ledger.unwrap().trusted_wal_segments, 1);
    for (checkpoint, verdict) in [
        (Lsn(CHECKPOINT.0 + 8), Verdict::Fail),
        (BEGIN, Verdict::Fail),
        (CHECKPOINT, Verdict::Pass),
    ] {
        let known = self::store(&[("data.tar", ended(tar().folder("base")))]);
        let mut ledger = ledger.clone();
        known.put(key("data.tar"), ended_with(tar().folder("global"), checkpoint));
        let report = run(&Faulty::new(known, []), &mut ledger, None);
        assert_eq!(report.verdict, verdict, "{checkpoint}: {report:#?}");
        assert_eq!(ledger.backup(ID).is_some(), verdict == Verdict::Pass);
    }
}

#[test]
fn a_wrong_label_that_no_second_reading_could_confirm() {
    let store = Faulty::new(store(&[("data.tar", ended_with(tar(), BEGIN))]), []);
    let mut ledger = Ledger::new("a");
    let cut = run(&store, &mut ledger, Some(("data.tar", 2)));
    assert_eq!(cut.verdict, Verdict::Inconclusive, "{cut:#?}");
    says(&cut, "backup_label");
    assert_eq!(ledger.backup(ID), None);
    let next = run(&store, &mut ledger, None);
    assert_eq!(next.verdict, Verdict::Fail, "{next:#?}");
    assert!(next.findings().any(|found| found.subject.contains("backup_label")), "{next:#?}");
}

/// The WAL ends before it shows the checkpoint; the tars are known, and the WAL is asked when it is there.
#[test]
fn a_label_that_the_wal_does_not_reach_is_judged_when_it_does() {
    for (checkpoint, verdict) in [(CHECKPOINT, Verdict::Pass), (BEGIN, Verdict::Fail)] {
        let all = store(&[("data.tar", ended_with(tar(), checkpoint))]);
        let last: Vec<_> = [6, 7, 8]
            .map(|n| format!("p/orders/wals/0000000100000000/00000001000000000000000{n}"))
            .into_iter()
            .map(|key| (key.clone(), all.bytes(&key).unwrap()))
            .collect();
        for (key, _) in &last {
            assert!(all.remove(key));
        }
        let mut ledger = Ledger::new("a");
        let store = Faulty::new(all.clone(), []);
        assert_eq!(run(&store, &mut ledger, None).verdict, Verdict::Fail);
        for (key, bytes) in last {
            all.put(key, bytes);
        }
        let report = run(&store, &mut ledger, None);
        assert_eq!(report.verdict, verdict, "{checkpoint}: {report:#?}");
    }
}

#[test]
fn a_backup_that_was_only_begun_stays_known() {
    let (store, mut ledger) = rotten(&[("data.tar", ended(tar()))], &[]);
    let report = run(&store, &mut ledger, Some(("data.tar", 1)));
    assert!(ledger.backup(ID).is_some());
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(report.backups[0].state, BackupState::Unknown);
}

/// Database 7 is moved to tablespace 9.
fn moved(log: &mut LogWriter) {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    log.main(RM_DBASE, 0x00, 0, &words(&[7, 9, 7, 1663]));
    log.main(RM_DBASE, 0x20, 0, &words(&[7, 1, 1663]));
}

#[test]
fn a_backup_that_has_lost_a_moved_database_is_not_known_to_be_good() {
    let store = Faulty::new(store_of(&[("data.tar", ended(tar()))], moved), []);
    let mut ledger = Ledger::new("a");
    let report = run(&store, &mut ledger, None);
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    assert!(report.findings().any(|found| found.subject.contains("database 7")), "{report:#?}");
    assert_eq!(ledger.backup(ID), None);
}

/// Its folder is there all the same: whether it is whole nobody knows.
#[test]
fn the_map_of_a_moved_database_that_is_bad_at_the_first_reading() {
    let map = crate::pg::filenode_map::tests::bytes(&[(1259, 1259)], true);
    let tar = ended(tar().file("base/7/pg_filenode.map", &map));
    let at = place(&tar, &map) as u64;
    let store = store_of(&[("data.tar", tar)], moved);
    for faults in [vec![], vec![Rule::nth(Call::Get, "data.tar", 1, Fault::FlipByte(at))]] {
        let report = run(&Faulty::new(store.clone(), faults), &mut Ledger::new("a"), None);
        assert_eq!(report.findings().count(), 0, "{report:#?}");
        assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
        let asked = |e: &ErrorReport| e.message.contains("database 7 was moved");
        assert!(report.errors.iter().any(asked), "{:#?}", report.errors);
    }
}
