//! Base backups that the real barman-cloud-backup made, restored by us and by barman-cloud-restore.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use pgassay::{
    archive::{Backup, Catalog},
    demo::{barman::Barman, source::run},
    drill::{
        FailureClass, Finding,
        job::{ArchiveLocation, Credentials, S3Spec, SecretSource, StoreLocation, StoreScheme},
    },
    restore::{
        FetchFailure,
        base::{BaseRestored, BaseTarget, restore_base},
    },
    store::{S3Store, SharedStore, memory::MemoryStore},
    survey::survey,
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use super::support::{
    fixture::{Archive, Recipe, Workshop, archive},
    tools::{self, ACCESS_KEY, RUNTIME, SECRET_KEY, s3_server},
    workdir::WorkDir,
};

/// Servers of the fixture with the arguments of their one backup. All are of the same cluster.
const SERVERS: [(&str, &[&str]); 6] = [
    ("plain", &[]),
    ("gzip", &["--gzip"]),
    ("bzip2", &["--bzip2"]),
    ("snappy", &["--snappy"]),
    ("lz4", &["--lz4"]),
    ("parts", &["--gzip", "--max-archive-size", "1MB"]),
];

fn codecs() -> Archive {
    archive("restored", |root| {
        let shop = Workshop::new(root, "wal", Recipe::default());
        for (server, arguments) in SERVERS {
            let barman = Barman { server: server.into(), ..shop.barman.clone() };
            barman.backup(&shop.source, arguments).unwrap();
        }
        shop.finish()
    })
}

/// The archive of one server behind an S3 server.
struct Served {
    store: SharedStore,
    catalog: Catalog,
    endpoint: String,
    _s3: pgassay::demo::s3_server::S3Server,
}

fn serve(archive: &Archive, server: &str, work: &WorkDir) -> Served {
    let s3 = s3_server(&archive.root);
    let secret = |name: &str, value: &str| {
        let path = work.join(name);
        fs::write(&path, value).unwrap();
        SecretSource::File(path)
    };
    let location = ArchiveLocation {
        store: StoreLocation {
            scheme: StoreScheme::S3,
            bucket: "bucket".into(),
            prefix: "archive".into(),
            s3: S3Spec {
                endpoint: Some(s3.endpoint()),
                path_style: true,
                credentials: Credentials::Static {
                    access_key_id: secret("id", ACCESS_KEY),
                    secret_access_key: secret("secret", SECRET_KEY),
                    session_token: None,
                },
                ..S3Spec::default()
            },
        },
        server: server.into(),
    };
    let (store, catalog) = RUNTIME.block_on(async {
        let store: SharedStore = Arc::new(S3Store::connect(&location.store).await.unwrap());
        let cancel = CancellationToken::new();
        let catalog = survey(&store, &location, &Progress::silent(), &cancel).await.unwrap();
        (store, catalog)
    });
    Served { store, catalog, endpoint: s3.endpoint(), _s3: s3 }
}

fn restore(
    store: &SharedStore,
    backup: &Backup,
    data_dir: PathBuf,
    fsync: bool,
) -> Result<BaseRestored, FetchFailure> {
    let owner = tools::postgres_owner();
    let target = BaseTarget { data_dir, journal: None, owner, fsync, memory: 1 << 30 };
    let cancel = CancellationToken::new();
    RUNTIME.block_on(restore_base(store, backup, &target, &|_| (), &cancel))
}

/// Every file below a folder with its content, links followed.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let name = folder.join(entry.unwrap().file_name());
            if fs::metadata(root.join(&name)).unwrap().is_dir() {
                folders.push(name);
            } else {
                found.insert(name.clone(), fs::read(root.join(&name)).unwrap());
            }
        }
    }
    found
}

fn restored_by_barman(served: &Served, server: &str, backup: &Backup, work: &WorkDir) -> PathBuf {
    let target = work.join("theirs");
    let mut command = Command::new(tools::tool("venv/bin/barman-cloud-restore"));
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_DEFAULT_REGION", "us-east-1");
    command.args(["--cloud-provider", "aws-s3", "--endpoint-url", &served.endpoint]);
    let space = work.join("their-space");
    command.arg("--tablespace").arg(format!("space:{}", space.display()));
    command.args(["s3://bucket/archive", server, &backup.id]).arg(&target);
    run(&mut command).unwrap();
    target
}

#[test]
fn every_compression_restores_as_barman_restores_it() {
    let archive = codecs();
    for (server, _) in SERVERS {
        let work = WorkDir::new();
        let served = serve(&archive, server, &work);
        let [backup] = &served.catalog.backups[..] else {
            panic!("{server}: {} backups", served.catalog.backups.len())
        };
        let ours = work.join("ours");
        let restored = restore(&served.store, backup, ours.clone(), true)
            .unwrap_or_else(|failure| panic!("{server}: {failure:?}"));
        let parts = backup.data.parts.len();
        assert_eq!(server == "parts", parts > 3, "{server}: {parts} parts");
        assert_eq!(backup.tablespaces.len(), 1);
        assert_eq!(restored.fetched_bytes, backup.total_bytes());
        assert_eq!(restored.pg_control.len(), 8192);
        let label = restored.backup_label.as_deref().unwrap();
        assert!(label.starts_with("START WAL LOCATION"), "{label}");
        assert!(restored.config_texts.contains_key("postgresql.auto.conf"));
        assert_eq!(restored.notes, Vec::<String>::new());

        let theirs = files(&restored_by_barman(&served, server, backup, &work));
        let mut ours_files = files(&ours);
        assert_eq!(ours_files.len() as u64, restored.files);
        let sizes: usize = ours_files.values().map(Vec::len).sum();
        assert_eq!(sizes as u64, restored.bytes);
        let mut expected = theirs;
        expected.remove(Path::new("postgresql.auto.conf"));
        for (name, bytes) in expected {
            let got = ours_files.remove(&name);
            assert!(got.as_deref() == Some(&bytes[..]), "{server}: {} differs", name.display());
        }
        assert!(ours_files.is_empty(), "{server}: {:?}", ours_files.keys());

        if let Some((user, group)) = tools::postgres_owner() {
            for name in ["", "base", "PG_VERSION", "pg_wal", "backup_label"] {
                let meta = fs::metadata(ours.join(name)).unwrap();
                assert_eq!((meta.uid(), meta.gid()), (user, group), "{name}");
            }
        }
    }
}

/// The archive in memory, where damage costs nothing.
fn in_memory(archive: &Archive, server: &str) -> (MemoryStore, Backup) {
    let work = WorkDir::new();
    let mut backup = serve(archive, server, &work).catalog.backups.remove(0);
    let store = MemoryStore::default();
    let objects = backup.data.parts.values_mut();
    for object in objects.chain(backup.tablespaces.values_mut().flat_map(|s| s.parts.values_mut()))
    {
        store.put(&*object.key, fs::read(archive.root.join("bucket").join(&object.key)).unwrap());
        object.etag = None;
    }
    (store, backup)
}

fn damage(store: &MemoryStore, backup: &Backup) -> Vec<Finding> {
    let work = WorkDir::new();
    let store: SharedStore = Arc::new(store.clone());
    match restore(&store, backup, work.join("data"), false) {
        Err(FetchFailure::Damaged(findings)) => findings,
        // What the only reading shows.
        Ok(restored) if !restored.findings.is_empty() => restored.findings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cut_objects_of_every_compression_are_damage() {
    let archive = codecs();
    for (server, _) in SERVERS {
        let (store, whole) = in_memory(&archive, server);
        let parts = whole.data.parts.len() as u32;
        for (&number, object) in &whole.data.parts {
            let bytes = store.bytes(&object.key).unwrap();
            // Of many parts three will do.
            if !matches!(number, 0 | 1) && number + 1 != parts {
                continue;
            }
            // Far enough from the end: a plain tar ends in padding, of which nothing is lost.
            for cut in [bytes.len() / 3, bytes.len() - bytes.len() / 12] {
                let mut backup = whole.clone();
                store.put(&*object.key, bytes.slice(..cut));
                backup.data.parts.get_mut(&number).unwrap().size = cut as u64;
                let findings = damage(&store, &backup);
                assert_eq!(findings[0].class, FailureClass::ArchiveCorrupt, "{findings:?}");
                assert_eq!(findings[0].subject, object.key);
            }
            store.put(&*object.key, bytes);
        }
    }
}

#[test]
fn each_missing_part_is_missed() {
    let (store, whole) = in_memory(&codecs(), "parts");
    let last = *whole.data.parts.last_key_value().unwrap().0;
    for number in 0..=last {
        let mut backup = whole.clone();
        backup.data.parts.remove(&number);
        let findings = damage(&store, &backup);
        assert_eq!(findings[0].class, FailureClass::BackupPartMissing, "part {number}");
    }
    let mut backup = whole.clone();
    backup.tablespaces.clear();
    assert_eq!(damage(&store, &backup)[0].class, FailureClass::BackupPartMissing);
}
