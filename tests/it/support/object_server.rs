//! An S3 server of objects in memory, as fast as this machine: with entity tags, ranges and listings of one
//! page, and without logins. For measuring what reads from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::Body;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A running server on 127.0.0.1, for any bucket. It ends with its connections when dropped.
#[derive(Debug)]
pub struct ObjectServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Keys and bytes.
pub type Objects = BTreeMap<String, Bytes>;

impl ObjectServer {
    /// Must be called inside a tokio runtime.
    pub async fn start(objects: Objects) -> Self {
        Self::start_with(objects, None).await
    }

    /// The same behind TLS, with HTTP/2 where the acceptor offers it.
    pub async fn start_tls(objects: Objects, tls: TlsAcceptor) -> Self {
        Self::start_with(objects, Some(tls)).await
    }

    async fn start_with(objects: Objects, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, Arc::new(objects), tls));
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

async fn serve(listener: TcpListener, objects: Arc<Objects>, tls: Option<TlsAcceptor>) {
    // Ends its connections when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = stream else { continue };
        let (objects, tls) = (Arc::clone(&objects), tls.clone());
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&objects, &request);
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

fn answer(objects: &Objects, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Response::builder().status(StatusCode::FORBIDDEN).body(Body::empty()).unwrap();
    }
    if key.is_empty() {
        return list(objects, request.uri().query().unwrap_or_default());
    }
    let Some(bytes) = objects.get(&decoded(key)) else {
        let error = "<Error><Code>NoSuchKey</Code></Error>".to_owned();
        return Response::builder().status(StatusCode::NOT_FOUND).body(Body::from(error)).unwrap();
    };
    let head = Response::builder().header("etag", etag(bytes));
    let range = request.headers().get("range").and_then(|range| range.to_str().ok());
    let Some(range) = range else {
        return head.body(Body::from(bytes.clone())).unwrap();
    };
    let size = bytes.len();
    let Some(Range { start, end }) = requested(range, size) else {
        return head.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::empty()).unwrap();
    };
    head.status(StatusCode::PARTIAL_CONTENT)
        .header("content-range", format!("bytes {start}-{}/{size}", end - 1))
        .body(Body::from(bytes.slice(start..end)))
        .unwrap()
}

fn etag(bytes: &Bytes) -> String {
    format!("\"{:08x}\"", bytes.len())
}

/// `bytes=5-9` or `bytes=5-`.
fn requested(range: &str, size: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = first.parse().ok()?;
    let end = last.parse::<usize>().map_or(size, |last| size.min(last + 1));
    (start < end).then_some(start..end)
}

fn list(objects: &Objects, query: &str) -> Response<Body> {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        decoded(found.unwrap_or_default())
    };
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let (mut entries, mut folders) = (String::new(), BTreeSet::new());
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        if let Some(end) = key[prefix.len()..].find(&*delimiter).filter(|_| !delimiter.is_empty()) {
            folders.insert(&key[..=prefix.len() + end]);
            continue;
        }
        write!(
            entries,
            "<Contents><Key>{key}</Key><Size>{}</Size><ETag>{}</ETag>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
            bytes.len(),
            etag(bytes)
        )
        .unwrap();
    }
    for folder in folders {
        write!(entries, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
    }
    let page =
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>");
    Response::builder().header("content-type", "application/xml").body(Body::from(page)).unwrap()
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
