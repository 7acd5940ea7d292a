//! Who is let in, and for how long: so many at the same time, and nobody who says nothing.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// After an accept that failed, such as for want of descriptors: others close theirs meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What keeps those who come from taking all there is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; who comes then waits to be accepted.
    pub connections: usize,
    /// A request's head is here within that time, or its connection is closed. It counts from the
    /// connection's begin, and between two requests.
    pub head: Duration,
    /// What is being answered at the end may take so long.
    pub last_words: Duration,
}

/// Answers until `cancel`, and what is being answered then for as long as `last_words`.
pub async fn answer(listener: TcpListener, app: Router, limits: Limits, cancel: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let service = TowerToHyperService::new(app);
    let graceful = GracefulShutdown::new();
    // The set ends its connections when it is dropped.
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < limits.connections;
        let socket = tokio::select! {
            () = cancel.cancelled() => break,
            // What went wrong in one is told there; a panic in it has its own words.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if room => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "the pages cannot accept a connection");
                    sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let connection = http.serve_connection(TokioIo::new(socket), service.clone());
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection to the pages ended");
            }
        });
    }
    drop(listener);
    // Out of time: who is left is left without an answer.
    let _ = timeout(limits.last_words, graceful.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::{Barrier, Notify},
        task::JoinHandle,
    };

    use super::*;

    const LONG: Duration = Duration::from_mins(10);

    async fn open(app: Router, limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let served = tokio::spawn(answer(listener, app, limits, cancel.clone()));
        (address, cancel, served)
    }

    /// The whole answer to a request, up to the connection's end.
    async fn ask(address: SocketAddr) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn who_does_not_say_what_is_wanted_is_dropped() {
        let limits =
            Limits { connections: 2, head: Duration::from_millis(20), last_words: Duration::ZERO };
        let (address, _cancel, _served) = open(Router::new(), limits).await;
        for beginning in ["", "GET / HTTP/1.1\r\nhost: local"] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(beginning.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            // It ends, whether with an answer or with a reset.
            let _ = socket.read_to_end(&mut said).await;
            assert!(!said.starts_with(b"HTTP/1.1 404"), "the pages have answered");
        }
    }

    #[tokio::test]
    async fn no_more_are_let_in_than_there_is_room_for() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pair = Arc::new(Barrier::new(2));
        let seen = Arc::clone(&most);
        let handler = async move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pair.wait().await;
            // Others who were let in come in between.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            "done"
        };
        let limits = Limits { connections: 2, head: LONG, last_words: LONG };
        let (address, _cancel, _served) =
            open(Router::new().route("/", get(handler)), limits).await;
        let asked: Vec<_> = (0..8).map(|_| tokio::spawn(ask(address))).collect();
        for answered in asked {
            assert!(answered.await.unwrap().ends_with("done"));
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_is_being_answered_gets_its_last_words() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (at, may) = (Arc::clone(&begun), Arc::clone(&go));
        let handler = async move || {
            at.notify_one();
            may.notified().await;
            "the end"
        };
        let limits = Limits { connections: 2, head: LONG, last_words: LONG };
        let (address, cancel, served) = open(Router::new().route("/", get(handler)), limits).await;
        // It says nothing, and is not waited for.
        let _silent = TcpStream::connect(address).await.unwrap();
        let asked = tokio::spawn(ask(address));
        begun.notified().await;
        cancel.cancel();
        go.notify_one();
        assert!(asked.await.unwrap().ends_with("the end"));
        served.await.unwrap();
    }
}
