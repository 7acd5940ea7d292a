use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::*;
use crate::{
    archive::catalog::Keep,
    drill::job::{S3Spec, StoreLocation, StoreScheme},
    pg::{SegmentNumber, SegmentSize, TimelineId},
    store::{ByteStream, ListedObject, ObjectStore, memory::MemoryStore},
};

fn location(prefix: &str, server: &str) -> ArchiveLocation {
    ArchiveLocation {
        store: StoreLocation {
            scheme: StoreScheme::S3,
            bucket: "b".to_owned(),
            prefix: prefix.to_owned(),
            s3: S3Spec::default(),
        },
        server: server.to_owned(),
    }
}

const INFO: &str = "status=DONE\nxlog_segment_size=16777216\n";

fn segment(number: u64) -> String {
    let name = SegmentNumber(number).file_name(TimelineId(1), SegmentSize::DEFAULT);
    format!("p/s/wals/{}/{name}", &name[..16])
}

fn store() -> MemoryStore {
    MemoryStore::new([
        ("p/s/base/20261122T190000/backup.info".to_owned(), INFO),
        ("p/s/base/20261122T190000/data.tar".to_owned(), "data"),
        ("p/s/base/20261122T190000/annotations/keep".to_owned(), "full\n"),
        ("p/s/wals/00000002.history".to_owned(), "1\t0/5000000\tr\n"),
        (segment(1), "1"),
        (segment(2), "2"),
        ("p/s/what.txt".to_owned(), "x"),
        ("p/s2/base/x/backup.info".to_owned(), INFO),
    ])
}

async fn survey_of(store: impl ObjectStore + 'static) -> Result<Catalog, Error> {
    let store: SharedStore = Arc::new(store);
    run(&store, &location("p", "s"), &Progress::silent(), Duration::ZERO).await
}

/// Does something to the store before a call.
#[derive(Debug)]
struct Meddler {
    inner: MemoryStore,
    lists: AtomicUsize,
    on_list: fn(&MemoryStore, usize),
    on_get: fn(&MemoryStore, &str),
}

impl Meddler {
    fn new(on_list: fn(&MemoryStore, usize), on_get: fn(&MemoryStore, &str)) -> Self {
        Self { inner: store(), lists: AtomicUsize::new(0), on_list, on_get }
    }
}

#[async_trait]
impl ObjectStore for Meddler {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        (self.on_list)(&self.inner, self.lists.fetch_add(1, Ordering::SeqCst));
        self.inner.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        (self.on_get)(&self.inner, range.key);
        self.inner.get(range).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[tokio::test]
async fn everything_is_read() {
    let catalog = survey_of(store()).await.unwrap();
    assert_eq!(catalog.backups.len(), 1);
    let backup = &catalog.backups[0];
    assert!(backup.claims_done());
    assert_eq!((backup.total_bytes(), backup.keep), (4, Some(Keep::Full)));
    assert_eq!(catalog.histories[&TimelineId(2)], "1\t0/5000000\tr\n");
    assert_eq!(catalog.wal.segment_count(), 2);
    assert_eq!(catalog.unknown_keys, ["p/s/what.txt"]);
    assert_eq!(catalog.object_count, 7);
}

#[tokio::test]
async fn what_vanishes_or_changes_is_noted() {
    let remove = Meddler::new(
        |_, _| (),
        |store, _| {
            store.remove("p/s/wals/00000002.history");
            store.remove("p/s/base/20261122T190000/annotations/keep");
        },
    );
    let catalog = survey_of(remove).await.unwrap();
    assert!(catalog.histories.is_empty());
    assert!(catalog.unreadable_histories[&TimelineId(2)].contains("removed"));
    assert_eq!(catalog.backups[0].keep, Some(Keep::Unknown));
    assert_eq!(catalog.notes.len(), 3);

    let replace = Meddler::new(
        |_, _| (),
        |store, key| {
            if key.ends_with("backup.info") {
                store.put(key, "status=FAILED\n");
            }
        },
    );
    let catalog = survey_of(replace).await.unwrap();
    assert!(catalog.backups[0].unsettled && catalog.backups[0].info.is_err());
}

#[tokio::test]
async fn files_that_are_too_large_are_not_read() {
    let large = store();
    large.put("p/s/wals/00000002.history", vec![b'#'; 1 + (1 << 20)]);
    let catalog = survey_of(large).await.unwrap();
    assert!(catalog.unreadable_histories[&TimelineId(2)].contains("1048577 bytes"));
}

#[tokio::test]
async fn a_hole_that_is_being_filled() {
    let fill = Meddler::new(
        |store, count| match count {
            0 => store.put_at(segment(4), "4", Timestamp::now()),
            1 => {}
            _ => store.put_at(segment(3), "3", Timestamp::now()),
        },
        |_, _| (),
    );
    let catalog = survey_of(fill).await.unwrap();
    assert_eq!(catalog.wal.runs(SegmentSize::DEFAULT).len(), 1);
    assert_eq!(catalog.wal.segment_count(), 4);
    assert_eq!(catalog.object_count, 9);

    // One that stays, and an old one that is not looked at again.
    let stays = store();
    stays.put_at(segment(4), "4", Timestamp::now());
    assert_eq!(survey_of(stays).await.unwrap().wal.runs(SegmentSize::DEFAULT).len(), 2);
    let old = Meddler::new(
        |store, count| {
            store.put(segment(4), "4");
            assert_eq!(count, 0, "an old hole was listed again");
        },
        |_, _| (),
    );
    assert_eq!(survey_of(old).await.unwrap().wal.runs(SegmentSize::DEFAULT).len(), 2);
}

#[tokio::test]
async fn an_empty_prefix_names_the_servers_that_are_there() {
    let shared: SharedStore = Arc::new(store());
    let ask = async |prefix: &str, server: &str| {
        let (progress, cancel) = (Progress::silent(), CancellationToken::new());
        survey(&shared, &location(prefix, server), &progress, &cancel).await.unwrap_err()
    };
    let error = ask("p", "orders").await;
    assert_eq!(error.code, Code::ArchiveEmpty);
    assert!(error.message.contains("`p/orders/`"), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("`s` below `p`") && hint.contains("`s2` below `p`"), "{hint}");
    let error = ask("elsewhere", "orders").await;
    assert!(error.hint.unwrap().contains("pgassay init"));
    // `s` alone is not the start of another name.
    assert_eq!(ask("p", "").await.code, Code::ArchiveEmpty);
}

#[tokio::test]
async fn a_cancelled_survey_ends() {
    let (shared, cancel): (SharedStore, _) = (Arc::new(store()), CancellationToken::new());
    cancel.cancel();
    let progress = Progress::silent();
    let error = survey(&shared, &location("p", "s"), &progress, &cancel).await.unwrap_err();
    assert_eq!(error.code, Code::Interrupted);
}

#[tokio::test]
async fn servers_at_and_below_a_prefix() {
    let shared: SharedStore = Arc::new(MemoryStore::new([
        ("pg/orders/base/x/backup.info", ""),
        ("pg/orders/wals/00000002.history", ""),
        ("pg/empty/readme.txt", ""),
        ("home/home/wals/00000002.history", ""),
        ("top/base/x/backup.info", ""),
    ]));
    let ask = async |prefix: &str| {
        let found = servers(&shared, prefix).await.unwrap();
        found.iter().map(|s| format!("{}:{}", s.prefix, s.name)).collect::<Vec<_>>()
    };
    assert_eq!(ask("pg").await, ["pg:orders"]);
    // The URL points at the server itself.
    assert_eq!(ask("pg/orders/").await, ["pg:orders"]);
    assert_eq!(ask("top").await, [":top"]);
    // CloudNativePG's doubled prefix, given in part or in full.
    assert_eq!(ask("home").await, ["home:home"]);
    assert_eq!(ask("home/home").await, ["home:home"]);
    assert_eq!(ask("").await, ["home:home", "pg:orders", ":top"]);
    assert!(ask("nothing").await.is_empty());
    let found = servers(&shared, "pg").await.unwrap();
    assert!(found[0].has_base && found[0].has_wals);
}
