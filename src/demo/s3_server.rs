//! An S3 server inside this process: objects are plain files `root/bucket/key`, so that the demo
//! needs nothing installed and tests can damage an archive with ordinary file operations.

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use s3s::{
    Body, HttpError, HttpResponse,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::drill::{Code, Error};

/// A running server on 127.0.0.1. Dropping it ends it at once; [`S3Server::shutdown`] lets requests
/// under way finish.
pub struct S3Server {
    address: SocketAddr,
    guard: Arc<WriteGuard>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// What the server does with requests that would change something.
#[derive(Debug, Default)]
struct WriteGuard {
    refuse: AtomicBool,
    writes: Mutex<Vec<String>>,
}

impl S3Server {
    /// Serves the folders below `root` as buckets, to requests signed with these keys, in any
    /// region. Buckets can be made by making folders. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `Io` where `root` is not a folder or no port can be bound.
    pub fn start(root: &Path, access_key: &str, secret_key: &str) -> Result<Self, Error> {
        let files = FileSystem::new(root).map_err(|error| {
            Error::new(Code::Io, format!("cannot serve the folder `{}`: {error:?}", root.display()))
        })?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let service = builder.build();

        let (listener, address) =
            bind().map_err(|error| Error::io("cannot open a port for the S3 server", &error))?;
        let guard = Arc::new(WriteGuard::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, service, guard.clone(), stop.clone()));
        Ok(Self { address, guard, stop, task: Some(task) })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers every request but GET and HEAD with 403 `AccessDenied`, or stops that.
    pub fn refuse_writes(&self, refuse: bool) {
        self.guard.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Every request so far that would have changed something, such as `PUT /bucket/key`, whether
    /// it was refused or not.
    #[must_use]
    pub fn writes_seen(&self) -> Vec<String> {
        self.guard.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops listening and waits for the requests under way.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It ends by itself after the last connection; a panic in it has nothing to add here.
            let _ = task.await;
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Server").field("address", &self.address).finish_non_exhaustive()
    }
}

fn bind() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}

async fn serve(
    listener: TcpListener,
    service: S3Service,
    guard: Arc<WriteGuard>,
    stop: CancellationToken,
) {
    let http = Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    // The set ends its connections when this task is aborted.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Out of descriptors: give others the time to close theirs.
                    tracing::warn!(%error, "the S3 server cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let (service, guard) = (service.clone(), guard.clone());
        let answer = service_fn(move |request| answer(service.clone(), guard.clone(), request));
        let connection = http.serve_connection(TokioIo::new(socket), answer).into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection to the S3 server ended");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(
    service: S3Service,
    guard: Arc<WriteGuard>,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let line = format!("{} {}", request.method(), request.uri().path());
        guard.writes.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        if guard.refuse.load(Ordering::SeqCst) {
            return refusal(request.into_body()).await;
        }
    }
    service.call(request.map(Body::from)).await
}

/// 403 as S3 words it. The body is read first: a client that is still sending would see a broken
/// connection instead of the answer.
async fn refusal(mut body: Incoming) -> Result<HttpResponse, HttpError> {
    while let Some(Ok(_)) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {}
    hyper::Response::builder()
        .status(StatusCode::FORBIDDEN)
        .header("content-type", "application/xml")
        .body(Body::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessDenied</Code>\
             <Message>this server refuses writes</Message></Error>"
                .to_owned(),
        ))
        .map_err(|error| HttpError::new(Box::new(error)))
}
