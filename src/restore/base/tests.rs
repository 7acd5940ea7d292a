use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    archive::Codec,
    restore::{codec::tests::encode, tar::tests::Builder, testing::listed},
    store::{
        faulty::{Call, Fault, Faulty, Rule},
        memory::MemoryStore,
    },
};

/// Noise, so that compressed objects are as long as what they hold.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Three parts and a tablespace, as tars.
fn tars() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "data",
            Builder::default().file("PG_VERSION", b"15\n").file("base/1", &noise(300_000, 1)).end(),
        ),
        ("data_0001", Builder::default().file("base/2", &noise(300_000, 2)).end()),
        (
            "data_0002",
            Builder::default()
                .file("base/3", &noise(10, 3))
                .file("global/pg_control", &[9; 8192])
                .file("backup_label", b"LABEL\n")
                .end(),
        ),
        (
            "16384",
            Builder::default().folder("PG_15_1/5").file("PG_15_1/5/7", &noise(200_000, 4)).end(),
        ),
    ]
}

fn key(name: &str, codec: Codec) -> String {
    format!("base/B/{name}.tar{}", codec.extension())
}

fn filled(codec: Codec) -> MemoryStore {
    MemoryStore::new(tars().iter().map(|(name, tar)| (key(name, codec), encode(codec, tar))))
}

/// The backup as `store` lists it.
async fn backup(store: &MemoryStore, codec: Codec) -> Backup {
    let mut backup = Backup::empty("B");
    for (name, _) in tars() {
        if store.bytes(&key(name, codec)).is_none() {
            continue;
        }
        let object = listed(store, &key(name, codec)).await;
        if let Some(number) = name.strip_prefix("data") {
            let number = number.trim_start_matches('_').parse().unwrap_or(0);
            backup.data.parts.insert(number, object);
        } else {
            let set: &mut TarSet = backup.tablespaces.entry(16384).or_default();
            set.parts.insert(0, object);
        }
    }
    backup
}

fn target(dir: &Path) -> BaseTarget {
    let data_dir = dir.join("pgdata");
    BaseTarget { data_dir, journal: None, owner: None, fsync: false, memory: 1 << 30 }
}

async fn restore(
    store: impl crate::store::ObjectStore + 'static,
    backup: &Backup,
    dir: &Path,
) -> Result<BaseRestored, FetchFailure> {
    let store: SharedStore = Arc::new(store);
    restore_base(&store, backup, &target(dir), &|_| (), &CancellationToken::new()).await
}

fn damaged(result: Result<BaseRestored, FetchFailure>) -> Vec<Finding> {
    match result {
        Err(FetchFailure::Damaged(findings)) => findings,
        other => panic!("{other:?}"),
    }
}

/// What the only reading shows, for the caller to confirm.
fn seen(result: Result<BaseRestored, FetchFailure>, backup: &Backup) -> Vec<Finding> {
    let findings = result.unwrap().findings;
    assert!(findings.iter().all(|finding| is_of_one_reading(backup, finding)), "{findings:#?}");
    findings
}

fn classes(findings: &[Finding]) -> Vec<FailureClass> {
    findings.iter().map(|finding| finding.class).collect()
}

#[tokio::test]
async fn all_parts_of_all_codecs() {
    for codec in Codec::ALL {
        let memory = filled(codec);
        let backup = backup(&memory, codec).await;
        let store: SharedStore = Arc::new(memory);
        let dir = tempfile::tempdir().unwrap();
        let target = BaseTarget { fsync: true, ..target(dir.path()) };
        let seen = AtomicU64::new(0);
        let on_bytes = |bytes| {
            seen.fetch_add(bytes, Ordering::Relaxed);
        };
        let cancel = CancellationToken::new();
        let restored = restore_base(&store, &backup, &target, &on_bytes, &cancel).await.unwrap();
        let sizes = backup.data.parts.values().chain(backup.tablespaces[&16384].parts.values());
        let stored: u64 = sizes.map(|object| object.size).sum();
        assert_eq!((restored.fetched_bytes, seen.into_inner()), (stored, stored));
        assert_eq!((restored.files, restored.bytes), (7, 800_000 + 10 + 3 + 8192 + 6));
        assert_eq!(restored.pg_control, [9; 8192]);
        assert_eq!(restored.backup_label.as_deref(), Some("LABEL\n"));
        let read = |name: &str| fs::read(target.data_dir.join(name)).unwrap();
        assert!(read("base/2") == noise(300_000, 2));
        assert!(read("pg_tblspc/16384/PG_15_1/5/7") == noise(200_000, 4));
    }
}

#[tokio::test]
async fn damage_names_object_place_and_member() {
    for codec in Codec::ALL {
        let memory = filled(codec);
        let name = key("data_0001", codec);
        let whole = memory.bytes(&name).unwrap();
        memory.put(name.clone(), whole.slice(..200_000));
        let backup = backup(&memory, codec).await;
        let dir = tempfile::tempdir().unwrap();
        let findings = damaged(restore(memory, &backup, dir.path()).await);
        assert_eq!(classes(&findings), [FailureClass::ArchiveCorrupt], "{codec:?}");
        assert_eq!(findings[0].subject, name);
        for part in ["member `base/2`", "of 200000 of the object"] {
            assert!(findings[0].detail.contains(part), "{codec:?}: {}", findings[0].detail);
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_is_found_wherever_the_format_has_a_checksum() {
    for codec in [Codec::Gzip, Codec::Bzip2, Codec::Snappy] {
        let memory = filled(codec);
        let backup = backup(&memory, codec).await;
        let size = backup.data.parts[&0].size;
        for at in [size / 9, size / 2, size - size / 9] {
            let rule = Rule::every(Call::Get, "data.tar", Fault::FlipByte(at));
            let dir = tempfile::tempdir().unwrap();
            let faulty = Faulty::new(memory.clone(), [rule]);
            let findings = damaged(restore(faulty, &backup, dir.path()).await);
            assert_eq!(classes(&findings), [FailureClass::ArchiveCorrupt], "{codec:?}");
        }
    }
}

#[tokio::test]
async fn missing_parts_are_missed() {
    for (gone, said) in [
        ("data", "no `data.tar.gz`"),
        ("data_0001", "no `data_0001.tar.gz`"),
        ("data_0002", "`global/pg_control` and `backup_label`"),
    ] {
        let memory = filled(Codec::Gzip);
        memory.remove(&key(gone, Codec::Gzip));
        let backup = backup(&memory, Codec::Gzip).await;
        let dir = tempfile::tempdir().unwrap();
        let result = restore(memory, &backup, dir.path()).await;
        let findings = if gone == "data_0002" { seen(result, &backup) } else { damaged(result) };
        let listed = |finding: &Finding| !is_of_one_reading(&backup, finding);
        assert_eq!(findings.iter().all(listed), gone != "data_0002");
        assert_eq!(classes(&findings), [FailureClass::BackupPartMissing]);
        assert!(findings[0].detail.contains(said), "{}", findings[0].detail);
    }
    let memory = filled(Codec::Plain);
    let tar = Builder::default().file("PG_VERSION", b"15").link("pg_tblspc/77", "/space").end();
    memory.put(key("data", Codec::Plain), tar);
    let backup = backup(&memory, Codec::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let findings = seen(restore(memory, &backup, dir.path()).await, &backup);
    assert_eq!(classes(&findings), [FailureClass::BackupPartMissing]);
    assert!(findings[0].detail.contains("`77.tar`"), "{}", findings[0].detail);
}

#[tokio::test]
async fn a_tablespace_that_backup_info_names_must_be_there() {
    let memory = filled(Codec::Gzip);
    let mut backup = backup(&memory, Codec::Gzip).await;
    backup.tablespaces.clear();
    assert_eq!(parts_of(&backup).unwrap().len(), 3);
    let info = "status=DONE\ntablespaces=[('ts', 16384, '/ts')]\n";
    backup.info = crate::archive::BackupInfo::parse(info);
    let findings = parts_of(&backup).map(|parts| parts.len()).unwrap_err();
    assert_eq!(classes(&findings), [FailureClass::BackupPartMissing]);
    assert!(findings[0].detail.contains("`16384.tar.gz`"), "{}", findings[0].detail);
}

#[tokio::test]
async fn what_the_store_did_is_not_damage() {
    for (fault, code, class) in [
        (
            Fault::Error(Code::ObjectMissing),
            Code::ObjectMissing,
            Some(FailureClass::DeletedDuringDrill),
        ),
        (
            Fault::Error(Code::ObjectChanged),
            Code::ObjectChanged,
            Some(FailureClass::DeletedDuringDrill),
        ),
        (Fault::Error(Code::AccessDenied), Code::AccessDenied, None),
        (Fault::ErrorAfter(100_000, Code::StoreUnavailable), Code::StoreUnavailable, None),
        (
            Fault::ErrorAfter(100_000, Code::BodyIncomplete),
            Code::BodyIncomplete,
            Some(FailureClass::ObjectReadIncomplete),
        ),
    ] {
        for codec in Codec::ALL {
            let memory = filled(codec);
            let backup = backup(&memory, codec).await;
            let rule = Rule::every(Call::Get, "data_0001", fault);
            let dir = tempfile::tempdir().unwrap();
            match restore(Faulty::new(memory, [rule]), &backup, dir.path()).await {
                Err(FetchFailure::Store(error)) => {
                    assert_eq!((error.code, error.class), (code, class), "{codec:?}");
                }
                other => panic!("{codec:?} {fault:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_its_own_finding() {
    for codec in Codec::ALL {
        let memory = filled(codec);
        let mut backup = backup(&memory, codec).await;
        let rule = Rule::every(Call::Get, "data_0001", Fault::EndAfter(100_000));
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(memory.clone(), [rule]);
        let findings = damaged(restore(faulty, &backup, dir.path()).await);
        assert_eq!(classes(&findings), [FailureClass::ObjectReadIncomplete], "{codec:?}");
        // And the other way round: the listing is short.
        let part = backup.data.parts.get_mut(&1).unwrap();
        part.size = 100_000;
        let dir = tempfile::tempdir().unwrap();
        let findings = damaged(restore(memory, &backup, dir.path()).await);
        assert_eq!(classes(&findings), [FailureClass::ObjectReadIncomplete], "{codec:?}");
    }
}

#[tokio::test]
async fn layout_findings_of_all_parts_are_kept() {
    let memory = filled(Codec::Plain);
    let tar = Builder::default()
        .file("PG_VERSION", b"15")
        .file("../out", b"x")
        .link("base/5", "/elsewhere")
        .end();
    memory.put(key("data", Codec::Plain), tar);
    let backup = backup(&memory, Codec::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let findings = seen(restore(memory.clone(), &backup, dir.path()).await, &backup);
    assert_eq!(classes(&findings), [FailureClass::ArchiveCorrupt, FailureClass::PgdataLayout]);
    // Beside a tar of which two readings differ, or that cannot be had, they prove nothing.
    for fault in [Fault::FlipByte(10), Fault::Error(Code::StoreUnavailable)] {
        let rule = Rule::nth(Call::Get, "data_0002", 1, fault);
        let dir = tempfile::tempdir().unwrap();
        match restore(Faulty::new(memory.clone(), [rule]), &backup, dir.path()).await {
            Err(FetchFailure::Store(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn cancelling_leaves_no_writer_behind() {
    let memory = filled(Codec::Gzip);
    let backup = backup(&memory, Codec::Gzip).await;
    let rule = Rule::every(Call::Get, "data_0001", Fault::Hang);
    let store: SharedStore = Arc::new(Faulty::new(memory, [rule]));
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path());
    let cancel = CancellationToken::new();
    let seen = AtomicU64::new(0);
    let on_bytes = |bytes| {
        if seen.fetch_add(bytes, Ordering::Relaxed) > 100_000 {
            cancel.cancel();
        }
    };
    let result = restore_base(&store, &backup, &target, &on_bytes, &cancel).await;
    assert!(matches!(result, Err(FetchFailure::Cancelled)), "{result:?}");
    fs::remove_dir_all(dir.path().join("pgdata")).unwrap();
}

/// Files below `dir` with what they hold.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = |below: PathBuf| PathBuf::from(path.file_name().unwrap()).join(below);
            found.extend(contents(&path).into_iter().map(|(below, text)| (name(below), text)));
        } else {
            found.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A page of no relation that has one: its checksum is wrong.
fn bad_page() -> Vec<u8> {
    let mut page = noise(8192, 11);
    // `PageHeaderIsValid`: sizes that are possible, and a checksum that is not.
    page[8..20].copy_from_slice(&[0, 0, 0, 0, 24, 0, 0, 32, 0, 32, 4, 32]);
    page
}

/// Five parts, of which the second holds a bad page and is broken off behind it.
fn to_be_broken_off() -> MemoryStore {
    let memory = filled(Codec::Plain);
    let mut tar = Builder::default();
    tar =
        tar.file("base/5/1", &bad_page()).file("base/2", &noise(3_000_000, 2)).file("../out", b"x");
    memory.put(key("data_0001", Codec::Plain), tar.end());
    let first = Builder::default()
        .file("PG_VERSION", b"15\n")
        .file("postgresql.conf", b"port = 1\n")
        .file("postgresql.auto.conf", b"port = 2\n")
        .file("base/5/2", &bad_page())
        .file("base/1", &noise(300_000, 1));
    memory.put(key("data", Codec::Plain), first.end());
    memory
}

#[tokio::test]
async fn what_was_broken_off_goes_on_behind_its_last_whole_part() {
    let memory = to_be_broken_off();
    let backup = backup(&memory, Codec::Plain).await;
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = restore(memory.clone(), &backup, whole.path()).await.unwrap();

    let rule = Rule::every(Call::Get, "data_0001", Fault::HangAfter(2_000_000));
    let store: SharedStore = Arc::new(Faulty::new(memory.clone(), [rule]));
    let journal = dir.path().join("journal");
    let target = BaseTarget { journal: Some(journal.clone()), ..target(dir.path()) };
    let cancel = CancellationToken::new();
    let break_off = async {
        // All but the one that hangs, which has come as far as a file that it writes.
        let done = ["part-0.json", "part-2.json", "part-3.json"].map(|name| journal.join(name));
        let half = target.data_dir.join("base/2");
        while !(done.iter().all(|record| record.exists()) && half.exists()) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (broken, ()) =
        tokio::join!(restore_base(&store, &backup, &target, &|_| (), &cancel), break_off);
    assert!(matches!(broken, Err(FetchFailure::Cancelled)), "{broken:?}");
    assert!(fs::metadata(target.data_dir.join("base/2")).unwrap().len() < 3_000_000);
    // A list of a tar without a record says nothing: what was written of it may be half of it.
    assert!(journal.join("part-1.files").exists());

    let again = Faulty::new(memory.clone(), []);
    let store: SharedStore = Arc::new(again.clone());
    let seen = AtomicU64::new(0);
    let on_bytes = |bytes| {
        seen.fetch_add(bytes, Ordering::Relaxed);
    };
    let cancel = CancellationToken::new();
    let resumed = restore_base(&store, &backup, &target, &on_bytes, &cancel).await.unwrap();
    let keys: Vec<String> = again.calls().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [key("data_0001", Codec::Plain)]);
    assert_eq!(resumed.fetched_bytes, backup.data.parts[&1].size);
    assert_eq!(seen.into_inner(), resumed.fetched_bytes);
    assert_eq!(contents(&target.data_dir), contents(&whole.path().join("pgdata")));

    assert_eq!((resumed.files, resumed.bytes), (expected.files, expected.bytes));
    assert_eq!(resumed.pg_control, expected.pg_control);
    assert_eq!(resumed.backup_label, expected.backup_label);
    assert_eq!(resumed.config_texts, expected.config_texts);
    assert_eq!(resumed.auto_conf.as_deref(), Some(&b"port = 2\n"[..]));
    assert_eq!(resumed.auto_conf, expected.auto_conf);
    assert_eq!(resumed.notes, expected.notes);
    assert_eq!(resumed.findings, expected.findings);
    assert_eq!(resumed.findings.len(), 1, "{:#?}", resumed.findings);
    assert_eq!(format!("{:?}", resumed.pages), format!("{:?}", expected.pages));
    assert!(resumed.pages.has_suspects());

    // Once more, when all is there: nothing is fetched.
    let again = Faulty::new(memory, []);
    let store: SharedStore = Arc::new(again.clone());
    let third = restore_base(&store, &backup, &target, &|_| (), &cancel).await.unwrap();
    assert_eq!(again.calls(), []);
    assert_eq!((third.files, third.findings), (expected.files, expected.findings));
    assert_eq!(format!("{:?}", third.pages), format!("{:?}", expected.pages));
    assert_eq!(contents(&target.data_dir), contents(&whole.path().join("pgdata")));
}

#[tokio::test]
async fn a_journal_of_other_tars_is_not_taken_up() {
    let memory = filled(Codec::Plain);
    let listed = backup(&memory, Codec::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let target = BaseTarget { journal: Some(dir.path().join("journal")), ..target(dir.path()) };
    let store: SharedStore = Arc::new(memory.clone());
    let cancel = CancellationToken::new();
    restore_base(&store, &listed, &target, &|_| (), &cancel).await.unwrap();
    memory.put(key("data_0001", Codec::Plain), Builder::default().file("base/2", b"other").end());
    let replaced = backup(&memory, Codec::Plain).await;
    match restore_base(&store, &replaced, &target, &|_| (), &cancel).await {
        Err(FetchFailure::Local(error)) => assert!(error.message.contains("data_0001"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_removed_or_read_through_a_link() {
    let memory = filled(Codec::Plain);
    let backup = backup(&memory, Codec::Plain).await;
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("keep"), "x").unwrap();
    let target = BaseTarget { journal: Some(dir.path().join("journal")), ..target(dir.path()) };
    let store: SharedStore = Arc::new(memory);
    let cancel = CancellationToken::new();
    restore_base(&store, &backup, &target, &|_| (), &cancel).await.unwrap();
    std::os::unix::fs::symlink(outside.path(), target.data_dir.join("planted")).unwrap();
    restore_base(&store, &backup, &target, &|_| (), &cancel).await.unwrap();
    assert!(outside.path().join("keep").exists());
}

#[tokio::test]
async fn damage_is_told_while_the_rest_of_the_body_hangs() {
    for codec in Codec::ALL {
        let memory = filled(codec);
        let mut tar = Builder::default().file("base/1", &noise(3_000_000, 5)).end();
        tar[0] ^= 1;
        let object = encode(codec, &tar);
        let most = object.len() as u64 - 1;
        memory.put(key("data", codec), object);
        let backup = backup(&memory, codec).await;
        let rule = Rule::every(Call::Get, "data.tar", Fault::HangAfter(most));
        let dir = tempfile::tempdir().unwrap();
        let findings = damaged(restore(Faulty::new(memory, [rule]), &backup, dir.path()).await);
        assert_eq!(classes(&findings), [FailureClass::ArchiveCorrupt], "{codec:?}");
        // Where it was examined, not where it was decoded ahead.
        let near = findings[0].detail.split("near byte ").nth(1).unwrap();
        let near: u64 = near.split(' ').next().unwrap().parse().unwrap();
        assert!(near < 2_000_000, "{codec:?}: {}", findings[0].detail);
    }
}

#[tokio::test]
async fn a_folder_in_use_is_this_machines_matter() {
    let memory = filled(Codec::Plain);
    let backup = backup(&memory, Codec::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("pgdata/base")).unwrap();
    match restore(memory, &backup, dir.path()).await {
        Err(FetchFailure::Local(error)) => assert_eq!(error.code, Code::WorkDirectory),
        other => panic!("{other:?}"),
    }
}
