use std::{
    fs,
    path::Path,
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

async fn restore(
    store: impl crate::store::ObjectStore + 'static,
    backup: &Backup,
    dir: &Path,
) -> Result<BaseRestored, FetchFailure> {
    let store: SharedStore = Arc::new(store);
    let target =
        BaseTarget { data_dir: dir.join("pgdata"), owner: None, fsync: false, memory: 1 << 30 };
    restore_base(&store, backup, &target, &|_| (), &CancellationToken::new()).await
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
        let target = BaseTarget {
            data_dir: dir.path().join("pgdata"),
            owner: None,
            fsync: true,
            memory: 1 << 30,
        };
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
    let target = BaseTarget {
        data_dir: dir.path().join("pgdata"),
        owner: None,
        fsync: false,
        memory: 1 << 30,
    };
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
