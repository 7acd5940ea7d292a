//! An S3 server of objects in memory or made as they are read, as fast as this machine: with entity tags,
//! ranges and listings of 1,000 objects a page, and without logins. For measuring what reads from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    ops::{Bound, Range},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// Entries of a page.
const PAGE: usize = 1000;

/// What an object holds.
pub trait Content: Send + Sync {
    /// Bytes of all of it.
    fn size(&self) -> u64;
    /// Some bytes from there on, at least one; `from` is less than the size.
    fn read(&self, from: u64) -> Bytes;
}

impl Content for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, from: u64) -> Bytes {
        self.slice(usize::try_from(from).unwrap()..)
    }
}

/// The objects of every bucket.
pub trait Bucket: Send + Sync + 'static {
    fn object(&self, key: &str) -> Option<Arc<dyn Content>>;
    /// Keys and sizes behind the key `after`, in key order.
    fn behind(&self, after: &str) -> Box<dyn Iterator<Item = (String, u64)> + '_>;
}

impl Bucket for BTreeMap<String, Bytes> {
    fn object(&self, key: &str) -> Option<Arc<dyn Content>> {
        Some(Arc::new(self.get(key)?.clone()))
    }

    fn behind(&self, after: &str) -> Box<dyn Iterator<Item = (String, u64)> + '_> {
        let range = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
        Box::new(self.range(range).map(|(key, bytes)| (key.clone(), bytes.size())))
    }
}

impl Bucket for BTreeMap<String, Arc<dyn Content>> {
    fn object(&self, key: &str) -> Option<Arc<dyn Content>> {
        self.get(key).cloned()
    }

    fn behind(&self, after: &str) -> Box<dyn Iterator<Item = (String, u64)> + '_> {
        let range = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
        Box::new(self.range(range).map(|(key, object)| (key.clone(), object.size())))
    }
}

/// A running server on 127.0.0.1, for any bucket. It ends with its connections when dropped.
#[derive(Debug)]
pub struct ObjectServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl ObjectServer {
    /// Must be called inside a tokio runtime.
    pub async fn start(bucket: impl Bucket) -> Self {
        Self::start_with(bucket, None).await
    }

    /// The same behind TLS, with HTTP/2 where the acceptor offers it.
    pub async fn start_tls(bucket: impl Bucket, tls: TlsAcceptor) -> Self {
        Self::start_with(bucket, Some(tls)).await
    }

    async fn start_with(bucket: impl Bucket, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, Arc::new(bucket), tls));
        Self { address, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<B: Bucket>(listener: TcpListener, bucket: Arc<B>, tls: Option<TlsAcceptor>) {
    // Ends its connections when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = stream else { continue };
        let (bucket, tls) = (Arc::clone(&bucket), tls.clone());
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&*bucket, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let http = Builder::new(TokioExecutor::new());
            // A client that leaves is no matter.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), answer).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), answer).await);
                    }
                }
            }
        });
    }
}

/// A part of an object, made as it is sent.
struct Body {
    object: Arc<dyn Content>,
    left: Range<u64>,
}

impl Body {
    fn of(text: impl Into<Bytes>) -> Self {
        let object: Bytes = text.into();
        Self { left: 0..object.size(), object: Arc::new(object) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Range { start, end } = self.left;
        if start >= end {
            return Poll::Ready(None);
        }
        let mut bytes = self.object.read(start);
        bytes.truncate(usize::try_from(end - start).unwrap());
        self.left.start += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

fn answer(bucket: &impl Bucket, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key);
    let refused =
        |status, why: &'static str| Response::builder().status(status).body(Body::of(why)).unwrap();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(StatusCode::FORBIDDEN, "");
    }
    if key.is_empty() {
        return list(bucket, request.uri().query().unwrap_or_default());
    }
    let Some(object) = bucket.object(&decoded(key)) else {
        return refused(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>");
    };
    let size = object.size();
    let head = Response::builder().header("etag", etag(size));
    let range = request.headers().get("range").and_then(|range| range.to_str().ok());
    let Some(range) = range else {
        return head.body(Body { object, left: 0..size }).unwrap();
    };
    let Some(left) = requested(range, size) else {
        return head.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::of("")).unwrap();
    };
    head.status(StatusCode::PARTIAL_CONTENT)
        .header("content-range", format!("bytes {}-{}/{size}", left.start, left.end - 1))
        .body(Body { object, left })
        .unwrap()
}

fn etag(size: u64) -> String {
    format!("\"{size:032x}\"")
}

/// `bytes=5-9` or `bytes=5-`.
fn requested(range: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = first.parse().ok()?;
    let end = last.parse::<u64>().map_or(size, |last| size.min(last + 1));
    (start < end).then_some(start..end)
}

/// A page; the next one's token is its last key.
fn list(bucket: &impl Bucket, query: &str) -> Response<Body> {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        decoded(found.unwrap_or_default())
    };
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let token = parameter("continuation-token");
    // The prefix itself may be a key, and `behind` leaves out what it is given.
    let before = prefix.strip_suffix('/').unwrap_or_default();
    let after = if token.is_empty() { before } else { &token };
    let (mut entries, mut folders) = (String::new(), BTreeSet::new());
    let below = bucket.behind(after).skip_while(|(key, _)| *key < prefix);
    let (mut count, mut last) = (0, None);
    for (key, size) in below.take_while(|(key, _)| key.starts_with(&prefix)) {
        if let Some(end) = key[prefix.len()..].find(&*delimiter).filter(|_| !delimiter.is_empty()) {
            folders.insert(key[..=prefix.len() + end].to_owned());
            continue;
        }
        if count == PAGE {
            last = entries.rsplit_once("<Key>").and_then(|(_, rest)| rest.split_once('<'));
            break;
        }
        count += 1;
        let tag = etag(size);
        write!(
            entries,
            "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{tag}</ETag>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
        )
        .unwrap();
    }
    let mut page = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", last.is_some());
    if let Some((key, _)) = last {
        write!(page, "<NextContinuationToken>{key}</NextContinuationToken>").unwrap();
    }
    page.push_str(&entries);
    for folder in folders {
        write!(page, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
    }
    page.push_str("</ListBucketResult>");
    Response::builder().header("content-type", "application/xml").body(Body::of(page)).unwrap()
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = (*first == b'%').then(|| std::str::from_utf8(more.get(..2)?).ok());
        let code = code.flatten().and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[2..] } else { more };
    }
    String::from_utf8(bytes).unwrap()
}
