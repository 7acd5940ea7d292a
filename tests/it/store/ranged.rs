//! Large objects over several connections, against servers that keep objects and peers that make up
//! answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use pgassay::{
    drill::{Code, job::Credentials},
    store::{GetRange, ObjectStore, Ranged, S3Store, ranged::Cut},
};

use super::{
    answers::rest,
    client, content, list, location,
    peer::{Peer, Reply, Request},
    quick,
    servers::{Embedded, moto_put, moto_store},
    tls::Authority,
};
use crate::support::{
    object_server::ObjectServer,
    shaping::{Link, ShapingProxy},
};

const ETAG: &str = "\"abc\"";

fn ranged(store: &S3Store, piece: u64) -> Ranged<S3Store> {
    Ranged::new(store.clone(), Cut { connections: 8, piece })
}

fn listed(size: u64, etag: &str) -> GetRange<'_> {
    GetRange { if_match: Some(etag), listed: Some(size), ..GetRange::whole("a") }
}

/// What a body gives, and the error that it ends with.
async fn read(store: &impl ObjectStore, range: GetRange<'_>) -> (Vec<u8>, Option<Code>) {
    use futures_util::StreamExt;
    let mut got = Vec::new();
    let mut body = match store.get(range).await {
        Ok(body) => body,
        Err(error) => return (got, Some(error.code)),
    };
    while let Some(item) = body.next().await {
        match item {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(error) => return (got, Some(error.code)),
        }
    }
    (got, None)
}

/// Of an object of 300,000 bytes, as it is and as a listing may lie about it.
async fn reads_what_is_there(store: &S3Store, etag: &str) {
    let bytes = content(300_000);
    let ranged = ranged(store, 25_000);
    // Too long by less than a piece, by some, from the end of a piece on; too short by a byte, by some
    // pieces.
    for size in [300_000, 300_001, 340_000, 325_000, 299_999, 100_000] {
        let (got, error) = read(&ranged, listed(size, etag)).await;
        assert_eq!((got.len(), error), (300_000, None), "listed with {size}");
        assert!(got == bytes, "listed with {size}");
    }
    // Nothing is behind the end.
    for offset in [300_000, 300_001, 1 << 40] {
        let range = GetRange { offset, ..GetRange::whole("a") };
        assert_eq!(read(store, range).await, (Vec::new(), None), "{offset}");
    }
}

async fn etag(store: &S3Store) -> String {
    list(store, "a").await.unwrap().concat().remove(0).etag.unwrap()
}

#[tokio::test]
async fn the_embedded_server_is_read_in_pieces() {
    let embedded = Embedded::new();
    embedded.put("a", content(300_000));
    // It lists no tags and answers with the MD5.
    let tag = "\"34fadf2975834e9a357ec41d3e6df067\"";
    reads_what_is_there(&embedded.store().await, tag).await;
}

#[tokio::test]
async fn moto_is_read_in_pieces() {
    moto_put("pieces", "", b"").await;
    moto_put("pieces", "a", &content(300_000)).await;
    let store = moto_store("pieces").await;
    reads_what_is_there(&store, &etag(&store).await).await;
}

#[tokio::test]
async fn connections_are_used_again() {
    let bytes = Bytes::from(content(3_000_000));
    let objects = BTreeMap::from([("a".to_owned(), bytes.clone())]);
    let server = ObjectServer::start(objects).await;
    let link = Link { latency: Duration::from_millis(1), bytes_per_second: None };
    let proxy = ShapingProxy::start(server.address(), link).await.unwrap();
    let store = client(&format!("http://{}", proxy.address())).await;
    // A hundred requests.
    let tag = etag(&store).await;
    let (got, error) = read(&ranged(&store, 30_000), listed(3_000_000, &tag)).await;
    assert!(got == bytes && error.is_none());
    let connections = proxy.connections();
    assert!((2..=8).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn http_2_takes_several_connections_too() {
    let bytes = Bytes::from(content(3_000_000));
    let authority = Authority::new();
    for protocols in [&["h2"] as &[&str], &["http/1.1"]] {
        let objects = BTreeMap::from([("a".to_owned(), bytes.clone())]);
        let tls = authority.acceptor_of(protocols);
        let server = ObjectServer::start_tls(objects, tls).await;
        let link = Link { latency: Duration::from_millis(1), bytes_per_second: None };
        let proxy = ShapingProxy::start(server.address(), link).await.unwrap();
        let endpoint = format!("https://{}", proxy.address());
        let mut at = location(&endpoint, Credentials::Anonymous);
        at.s3.ca_bundle = Some(authority.bundle());
        let store = S3Store::connect_with(&at, quick()).await.unwrap();
        let tag = etag(&store).await;
        // What comes alone, one after the other, goes over one connection.
        for _ in 0..3 {
            etag(&store).await;
        }
        assert_eq!(proxy.connections(), 1, "{protocols:?}");
        let (got, error) = read(&ranged(&store, 30_000), listed(3_000_000, &tag)).await;
        assert!(got == bytes && error.is_none(), "{protocols:?}");
        let connections = proxy.connections();
        assert!((2..=8).contains(&connections), "{protocols:?}: {connections} connections");
    }
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_asked_again() {
    let bytes = Arc::new(content(400_000));
    let served = Arc::clone(&bytes);
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let peer = Peer::start(move |nth, request| {
        if nth % 3 == 2 && count.fetch_add(1, SeqCst) < 4 {
            let status = if nth % 2 == 0 { 503 } else { 429 };
            return Reply::error(status, "SlowDown", "Reduce your request rate.");
        }
        rest(&served, request, usize::MAX)
    })
    .await;
    let store = client(&peer.endpoint()).await;
    let ranged = ranged(&store, 25_000);
    let (got, error) = read(&ranged, listed(400_000, ETAG)).await;
    assert!(got == *bytes && error.is_none());
    assert_eq!(ranged.slowdowns(), 4);
    assert_eq!(peer.requests().len(), 16 + 4);
    // What is only away has not asked for anything.
    let away = Peer::start(|_, _| Reply::error(500, "InternalError", "")).await;
    let store = client(&away.endpoint()).await;
    assert_eq!(read(&store, listed(400_000, ETAG)).await.1, Some(Code::StoreUnavailable));
    assert_eq!(store.slowdowns(), 0);
}

#[tokio::test]
async fn pieces_that_break_are_resumed_within_their_bounds() {
    let bytes = Arc::new(content(400_000));
    let served = Arc::clone(&bytes);
    let peer = Peer::start(move |nth, request| {
        // Each second answer is cut off.
        let reply = rest(&served, request, if nth % 2 == 0 { 60_000 } else { usize::MAX });
        if nth % 4 == 0 { reply.then_reset() } else { reply }
    })
    .await;
    let store = client(&peer.endpoint()).await;
    let (got, error) = read(&ranged(&store, 100_000), listed(400_000, ETAG)).await;
    assert_eq!(error, None);
    assert!(got == *bytes);
    let requests = peer.requests();
    assert!(requests.len() > 4);
    assert!(requests.iter().all(|request| request.header("if-match") == Some(ETAG)));
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.header("range")).collect();
    assert_eq!(ranges.len(), requests.len(), "{ranges:?}");
    for first in ["bytes=0-99999", "bytes=100000-199999", "bytes=200000-299999", "bytes=300000-"] {
        assert!(ranges.contains(&first), "{ranges:?}");
    }
}

#[tokio::test]
async fn a_piece_of_another_object_is_not_taken() {
    let bytes = Arc::new(content(400_000));
    let first = |request: &Request| {
        let range = request.header("range").unwrap().strip_prefix("bytes=").unwrap();
        range.split_once('-').unwrap().0.parse::<usize>().unwrap()
    };
    // Once it says so, once it only has another tag.
    for says_so in [true, false] {
        let served = Arc::clone(&bytes);
        let peer = Peer::start(move |_, request| {
            let at = first(request);
            if at < 200_000 {
                return rest(&served, request, usize::MAX);
            }
            let range = format!("bytes {at}-{}/400000", (at + 99_999).min(399_999));
            let body = &served[at..(at + 100_000).min(400_000)];
            if says_so {
                return Reply::error(412, "PreconditionFailed", "It is another one.");
            }
            Reply::new(206, &[("etag", "\"other\""), ("content-range", &range)], body)
        })
        .await;
        let store = client(&peer.endpoint()).await;
        let (got, error) = read(&ranged(&store, 100_000), listed(400_000, ETAG)).await;
        assert!(got == bytes[..200_000]);
        assert_eq!(error, Some(Code::ObjectChanged));
    }
}
