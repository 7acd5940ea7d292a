//! Against servers that keep objects: the embedded one and Moto's.

use std::{fmt::Write as _, path::Path};

use pgassay::{
    demo::s3_server::S3Server,
    drill::{Code, FailureClass, job::Credentials},
    store::{GetRange, ObjectStore, S3Store},
};

use super::{BUCKET, Keys, SECRET, body_error, content, list, location, moto, quick, read};

pub(super) struct Embedded {
    server: S3Server,
    keys: Keys,
    root: tempfile::TempDir,
}

impl Embedded {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let keys = Keys::new("AKIAEXAMPLE", SECRET);
        let server = S3Server::start(root.path(), "AKIAEXAMPLE", SECRET).unwrap();
        Self { server, keys, root }
    }

    pub(super) fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.path().join(BUCKET).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    async fn client(&self, credentials: Credentials) -> S3Store {
        let location = location(&self.server.endpoint(), credentials);
        S3Store::connect_with(&location, quick()).await.unwrap()
    }

    pub(super) async fn store(&self) -> S3Store {
        self.client(self.keys.credentials()).await
    }
}

/// 2,500 keys take three pages.
fn many() -> impl Iterator<Item = String> {
    (0..2500).map(|n| format!("pg/wals/0000000100000000/{n:024X}"))
}

async fn lists_many(store: &S3Store) {
    let pages = list(store, "pg/wals/").await.unwrap();
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    let keys: Vec<String> = pages.concat().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, many().collect::<Vec<_>>());
    assert_eq!(list(store, "none/").await.unwrap().concat(), []);
    assert_eq!(store.list_folders("pg/").await.unwrap(), ["base", "wals"]);
    assert_eq!(store.list_folders("").await.unwrap(), ["pg"]);
    assert_eq!(store.list_folders("pg/base/").await.unwrap(), Vec::<String>::new());
}

async fn reads_ranges(store: &S3Store, key: &str, bytes: &[u8]) {
    assert_eq!(read(store, GetRange::whole(key)).await.unwrap(), bytes);
    for (offset, length) in
        [(0, Some(1)), (5, Some(100)), (700, None), (0, Some(1 << 40)), (3, Some(0))]
    {
        let range = GetRange { offset, length, ..GetRange::whole(key) };
        let start = offset as usize;
        let end = length.map_or(bytes.len(), |n: u64| bytes.len().min(start + n as usize));
        assert_eq!(read(store, range).await.unwrap(), &bytes[start..end], "{offset} {length:?}");
    }
}

#[tokio::test]
async fn the_embedded_server_is_listed_and_read() {
    let embedded = Embedded::new();
    for key in many() {
        embedded.put(&key, "x");
    }
    let bytes = content(300_000);
    embedded.put("pg/base/data.tar", &bytes);
    embedded.put("pg/base/empty", "");
    let store = embedded.store().await;
    lists_many(&store).await;
    reads_ranges(&store, "pg/base/data.tar", &bytes).await;
    assert_eq!(read(&store, GetRange::whole("pg/base/empty")).await.unwrap(), "");
    assert_eq!(store.describe(), format!("s3://backups at {}", embedded.server.endpoint()));
    assert_eq!(embedded.server.writes_seen(), Vec::<String>::new(), "reading must not write");
    embedded.server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_there_has_a_name() {
    let embedded = Embedded::new();
    let store = embedded.store().await;
    let error = read(&store, GetRange::whole("pg/none")).await.unwrap_err();
    assert_eq!(error.code, Code::ObjectMissing);
    assert!(error.message.contains("`pg/none`"), "{error}");

    std::fs::remove_dir(embedded.root.path().join(BUCKET)).unwrap();
    let error = list(&store, "pg/").await.unwrap_err();
    assert_eq!(error.code, Code::BucketMissing);
    assert!(error.message.contains("`backups`"), "{error}");
}

#[tokio::test]
async fn a_replaced_object_is_noticed_where_the_server_ignores_if_match() {
    let embedded = Embedded::new();
    embedded.put("a", "one");
    let store = embedded.store().await;
    let range =
        GetRange { if_match: Some("\"00000000000000000000000000000000\""), ..GetRange::whole("a") };
    assert_eq!(body_error(&store, range).await.code, Code::ObjectChanged);
    // The MD5 of `one`, as listed by a server that does and by one that leaves the quotes out.
    for etag in ["\"f97c5d29941bfb1b2fdab0874906ab82\"", "f97c5d29941bfb1b2fdab0874906ab82"] {
        let range = GetRange { if_match: Some(etag), ..GetRange::whole("a") };
        assert_eq!(read(&store, range).await.unwrap(), "one");
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_and_never_printed() {
    let embedded = Embedded::new();
    for (id, secret) in [("AKIAOTHER", SECRET), ("AKIAEXAMPLE", "other+hush")] {
        let keys = Keys::new(id, secret);
        let store = embedded.client(keys.credentials()).await;
        let error = list(&store, "").await.unwrap_err();
        assert_eq!(error.code, Code::AccessDenied, "{error}");
        assert_eq!(error.class, Some(FailureClass::AccessDenied));
        assert!(error.hint.is_some());
        let printed = format!("{error:?} {store:?}");
        assert!(!printed.contains("hush"), "{printed}");
    }
}

#[tokio::test]
async fn the_server_shows_its_clock() {
    let embedded = Embedded::new();
    embedded.put("a", "one");
    // The clock is in the answer to a refusal too, where it is needed most.
    for credentials in [embedded.keys.credentials(), Credentials::Anonymous] {
        let time = embedded.client(credentials).await.server_time().await.unwrap();
        let skew = (time.as_second() - jiff::Timestamp::now().as_second()).abs();
        assert!(skew < 600, "{time}");
    }
}

/// Puts objects into Moto by the simplest means, its own lack of authentication.
pub async fn moto_put(bucket: &str, key: &str, bytes: &[u8]) {
    let mut request = format!("PUT /{bucket}");
    if !key.is_empty() {
        write!(request, "/{key}").unwrap();
    }
    let answer = http(&request, bytes).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

async fn http(request: &str, body: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = moto::endpoint().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\nconnection: close\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

pub(super) async fn moto_store(bucket: &str) -> S3Store {
    let keys = Keys::new("AKIAEXAMPLE", SECRET);
    let mut location = location(moto::endpoint(), keys.credentials());
    bucket.clone_into(&mut location.bucket);
    S3Store::connect_with(&location, quick()).await.unwrap()
}

#[tokio::test]
async fn moto_is_listed_and_read() {
    let bytes = content(100_000);
    moto_put("listed", "pg/base/data.tar", &bytes).await;
    moto_put("listed", "pg/base/empty", b"").await;
    let store = moto_store("listed").await;
    lists_many(&store).await;
    reads_ranges(&store, "pg/base/data.tar", &bytes).await;
    assert_eq!(read(&store, GetRange::whole("pg/base/empty")).await.unwrap(), "");
    let object = &list(&store, "pg/base/data").await.unwrap().concat()[0];
    assert_eq!(object.size, 100_000);
    assert!(object.etag.is_some() && object.modified.is_some(), "{object:?}");
}

#[tokio::test]
async fn moto_says_that_an_object_was_replaced() {
    moto_put("replaced", "", b"").await;
    moto_put("replaced", "a", b"one").await;
    let store = moto_store("replaced").await;
    let listed = list(&store, "").await.unwrap().concat().remove(0);
    let range = GetRange { if_match: listed.etag.as_deref(), ..GetRange::whole("a") };
    assert_eq!(read(&store, range.clone()).await.unwrap(), "one");
    moto_put("replaced", "a", b"two").await;
    let error = body_error(&store, range.clone()).await;
    assert_eq!(error.code, Code::ObjectChanged, "{error}");
    let answer = http("DELETE /replaced/a", b"").await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(body_error(&store, range).await.code, Code::ObjectMissing);
}

#[tokio::test]
async fn moto_has_no_such_bucket() {
    let store = moto_store("nobodys-bucket").await;
    for error in [
        list(&store, "").await.unwrap_err(),
        store.list_folders("").await.unwrap_err(),
        body_error(&store, GetRange::whole("a")).await,
    ] {
        assert_eq!(error.code, Code::BucketMissing, "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_is_none_cannot_be_served() {
    let error = S3Server::start(Path::new("/nonexistent"), "a", "b").unwrap_err();
    assert_eq!(error.code, Code::Io);
    assert!(error.message.contains("/nonexistent"), "{error}");
}
