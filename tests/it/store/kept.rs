//! Kept reports in folders and buckets.

use std::{path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use pgassay::{
    demo::s3_server::S3Server,
    drill::{Code, job::StoreLocation},
    report::kept::{self, KeptId, ReportStore, Wanted},
    store::{
        S3Store,
        s3_write::{Created, S3Writer},
    },
};

use super::{
    Keys, SECRET, location, moto,
    peer::{Peer, Reply},
    quick,
};

/// Names the folder that the child process writes reports to.
const FOLDER: &str = "PGASSAY_TEST_KEPT";

fn folder(path: &Path) -> StoreLocation {
    StoreLocation::folder(path.to_str().unwrap())
}

fn id(job: &str, n: i64) -> KeptId {
    let at = Timestamp::from_second(1_790_000_000 + n).unwrap();
    KeptId::new(job, at, format!("019aa8f5-7c00-7000-8000-{n:012}"))
}

/// A report whose every byte depends on its number and place.
fn report(n: i64) -> Bytes {
    (0..200_000).map(|at: i64| u8::try_from((at / 7 + n) % 256).unwrap()).collect()
}

async fn many_writers(store: Arc<dyn ReportStore>) {
    let writers = (0..40_i64).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.put(&id(if n % 2 == 0 { "a" } else { "b" }, n / 2), report(n)).await
        })
    });
    for result in join_all(writers).await {
        result.unwrap().unwrap();
    }
    let ids = store.list(&Wanted::newest(100)).await.unwrap();
    assert_eq!(ids.len(), 40);
    assert!(ids.is_sorted_by(|a, b| a >= b), "newest first");
    for id in ids {
        let n = (id.at().as_second() - 1_790_000_000) * 2 + i64::from(id.job() == "b");
        assert!(store.get(&id).await.unwrap() == report(n), "{id}");
    }
    assert_eq!(
        store.list(&Wanted::job("b").limit(3)).await.unwrap(),
        [id("b", 19), id("b", 18), id("b", 17)]
    );
}

/// Many writers with one id: one report stays, and whoever had other bytes is told.
async fn one_wins(store: Arc<dyn ReportStore>) {
    let contested = id("contested", 1);
    let writers = (0..8).map(|n| {
        let (store, id) = (store.clone(), contested.clone());
        tokio::spawn(async move { (n, store.put(&id, report(n % 2)).await) })
    });
    let results: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
    let kept = store.get(&contested).await.unwrap();
    let winner = (0..2).find(|n| report(*n) == kept).expect("one report, whole");
    for (n, result) in results {
        assert_eq!(result.is_ok(), n % 2 == winner, "{n}: {result:?}");
    }
    assert_eq!(store.list(&Wanted::job("contested").limit(9)).await.unwrap(), [contested]);
}

#[tokio::test]
async fn a_folder_takes_many_writers() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ReportStore> = kept::open(&folder(dir.path())).await.unwrap().into();
    many_writers(store.clone()).await;
    one_wins(store).await;
}

async fn bucket(name: &str) -> (Keys, StoreLocation) {
    super::servers::moto_put(name, "", b"").await;
    let keys = Keys::new("AKIAEXAMPLE", SECRET);
    let mut at = location(moto::endpoint(), keys.credentials());
    name.clone_into(&mut at.bucket);
    "team/drills".clone_into(&mut at.prefix);
    (keys, at)
}

#[tokio::test]
async fn a_bucket_takes_many_writers() {
    let (_keys, at) = bucket("kept").await;
    let store: Arc<dyn ReportStore> = kept::open(&at).await.unwrap().into();
    many_writers(store.clone()).await;
    // The layout is public: other tools read it.
    let reader = S3Store::connect(&at).await.unwrap();
    let objects = super::list(&reader, "").await.unwrap().concat();
    assert!(objects.iter().any(|object| object.key
        == "team/drills/reports/v1/a/2026/09/20260921T141320.000Z-019aa8f5-7c00-7000-8000-000000000000.json"),
        "{objects:?}"
    );
    let error = store.get(&id("a", 999)).await.unwrap_err();
    assert_eq!(error.code, Code::ReportStore, "{error}");
}

/// Moto looks and writes in two steps, so that only writers in turn can be told apart there.
#[tokio::test]
async fn a_bucket_never_replaces_a_report() {
    let (_keys, at) = bucket("contested").await;
    let store = kept::open(&at).await.unwrap();
    store.put(&id("a", 1), report(1)).await.unwrap();
    store.put(&id("a", 1), report(1)).await.unwrap();
    let error = store.put(&id("a", 1), report(2)).await.unwrap_err();
    assert_eq!(error.code, Code::ReportStore, "{error}");
    assert!(store.get(&id("a", 1)).await.unwrap() == report(1));
}

#[tokio::test]
async fn a_bucket_gives_up_reports_and_nothing_else() {
    let (_keys, at) = bucket("pruned").await;
    let store = kept::open(&at).await.unwrap();
    for n in 1..=3 {
        store.put(&id("a", n), report(n)).await.unwrap();
    }
    store.put_evidence(&id("a", 2), "{}".into()).await.unwrap();
    assert!(store.evidence(&id("a", 2)).await.unwrap().is_some());
    store.remove(&id("a", 2)).await.unwrap();
    store.remove(&id("a", 2)).await.unwrap();
    assert!(store.evidence(&id("a", 2)).await.unwrap().is_none());
    assert_eq!(store.list(&Wanted::default()).await.unwrap(), [id("a", 3), id("a", 1)]);
    let writer = S3Writer::connect(&at).await.unwrap();
    for key in ["orders/base/20261122T020000/data.tar", "team/drills/reports/v1/a/x.json"] {
        let error = writer.remove_report(key).await.unwrap_err();
        assert_eq!(error.code, Code::Bug, "{error}");
    }
}

#[tokio::test]
async fn the_embedded_server_keeps_reports_unless_it_refuses() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(super::BUCKET)).unwrap();
    let server = S3Server::start(root.path(), "AKIAEXAMPLE", SECRET).unwrap();
    let keys = Keys::new("AKIAEXAMPLE", SECRET);
    let store = kept::open(&location(&server.endpoint(), keys.credentials())).await.unwrap();
    store.put(&id("a", 1), report(1)).await.unwrap();
    assert!(store.get(&id("a", 1)).await.unwrap() == report(1));
    assert_eq!(server.writes_seen().len(), 1);

    server.refuse_writes(true);
    let error = store.put(&id("a", 2), report(2)).await.unwrap_err();
    assert_eq!(error.code, Code::WriteRefused, "{error}");
    assert!(error.message.contains("cannot keep the report"), "{error}");
    assert!(error.hint.unwrap().contains("s3:PutObject"));
    assert_eq!(store.list(&Wanted::newest(9)).await.unwrap(), [id("a", 1)]);
    let seen = server.writes_seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[1].starts_with("PUT /backups/reports/v1/a/"), "{seen:?}");
}

#[tokio::test]
async fn a_store_that_does_not_know_conditions_still_keeps() {
    let peer = Peer::start(|_, request| match request.header("if-none-match") {
        _ if request.method == "GET" => Reply::error(404, "NoSuchKey", "no"),
        Some(_) => Reply::error(501, "NotImplemented", "no conditions here"),
        None => Reply::new(200, &[("etag", "\"x\"")], ""),
    })
    .await;
    let at = location(&peer.endpoint(), pgassay::drill::job::Credentials::Anonymous);
    let writer = S3Writer::connect_with(&at, quick()).await.unwrap();
    assert_eq!(writer.create("a", "x".into()).await.unwrap(), Created::New);
    let methods: Vec<_> = peer.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["GET", "PUT", "PUT"]);
}

/// An attempt that was written although its answer got lost must not look like somebody else's.
#[tokio::test]
async fn a_lost_answer_is_no_conflict() {
    let peer = Peer::start(|nth, _| match nth {
        0 => Reply::error(404, "NoSuchKey", "no"),
        1 => Reply::raw("").then_reset(),
        2 => Reply::error(412, "PreconditionFailed", "there is one"),
        _ => Reply::new(200, &[], "x"),
    })
    .await;
    let at = location(&peer.endpoint(), pgassay::drill::job::Credentials::Anonymous);
    let writer = S3Writer::connect_with(&at, quick()).await.unwrap();
    assert_eq!(writer.create("a", "x".into()).await.unwrap(), Created::Same);
    assert_eq!(peer.requests().len(), 4);
}

/// The child's part: keeps reports until it is killed. Does nothing by itself.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let store = kept::open(&folder(Path::new(&path))).await.unwrap();
    for n in 0.. {
        store.put(&id("a", n), report(n)).await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_that_is_killed_leaves_no_torn_report() {
    let dir = tempfile::tempdir().unwrap();
    let store = kept::open(&folder(dir.path())).await.unwrap();
    for round in 1..=3 {
        let path = dir.path().join(round.to_string());
        let store = kept::open(&folder(&path)).await.unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::kept::child"])
            .env(FOLDER, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while store.list(&Wanted::newest(9)).await.unwrap().len() < 3 {
            assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
            tokio::task::yield_now().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for id in store.list(&Wanted::default()).await.unwrap() {
            let n = id.at().as_second() - 1_790_000_000;
            assert!(store.get(&id).await.unwrap() == report(n), "{id}");
        }
    }
    assert_eq!(store.list(&Wanted::newest(9)).await.unwrap(), []);
}
