//! A peer that speaks HTTP by hand, so that it can do what no server does on purpose.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap_or_default());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self { method, target, headers }
    }
}

/// What to send, and what to do then.
pub struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Close,
    Reset,
    Hang,
}

impl Reply {
    /// An answer with a body of the right length.
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        Self::announcing(status, headers, body.len(), body)
    }

    /// An answer that promises `length` bytes of body and sends `body`.
    pub fn announcing(
        status: u16,
        headers: &[(&str, &str)],
        length: usize,
        body: impl AsRef<[u8]>,
    ) -> Self {
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {length}\r\nconnection: close\r\n\r\n").unwrap();
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.as_ref());
        Self { bytes, then: Then::Close }
    }

    /// These bytes, whatever they are.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Close }
    }

    /// An error as S3 words it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::error_with(status, code, message, "", &[])
    }

    /// The same with more elements and headers.
    pub fn error_with(
        status: u16,
        code: &str,
        message: &str,
        more: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{message}</Message>{more}</Error>"
        );
        Self::new(status, headers, body)
    }

    /// Breaks the connection with a reset once the bytes are out.
    pub fn then_reset(mut self) -> Self {
        self.then = Then::Reset;
        self
    }

    /// Keeps the connection open and says nothing more.
    pub fn then_hang(mut self) -> Self {
        self.then = Then::Hang;
        self
    }
}

/// A listening peer. It ends when dropped.
pub struct Peer {
    address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Answers the `n`th request, counted from 0, with `script(n, request)`.
    pub async fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    pub async fn start_tls(
        tls: TlsAcceptor,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(tls), script).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (seen, script) = (requests.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (seen, script, tls) = (seen.clone(), script.clone(), tls.clone());
                tokio::spawn(async move {
                    let respond = |request: &Request| {
                        let nth = {
                            let mut seen = seen.lock().unwrap();
                            seen.push(request.clone());
                            seen.len() - 1
                        };
                        script(nth, request)
                    };
                    match tls {
                        None => serve(stream, respond).await,
                        // A client that does not trust the certificate ends the handshake.
                        Some(tls) => {
                            if let Ok(mut stream) = tls.accept(stream).await {
                                exchange(&mut stream, respond).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, requests, task }
    }

    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, respond: impl Fn(&Request) -> Reply) {
    if exchange(&mut stream, respond).await == Some(Then::Reset) {
        stream.set_zero_linger().unwrap();
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    respond: impl Fn(&Request) -> Reply,
) -> Option<Then> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let request = Request::parse(std::str::from_utf8(&head).ok()?);
    let length = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await.ok()?;
    let reply = respond(&request);
    stream.write_all(&reply.bytes).await.ok()?;
    stream.flush().await.ok()?;
    match reply.then {
        Then::Hang => std::future::pending().await,
        Then::Close => {
            stream.shutdown().await.ok()?;
        }
        Then::Reset => {}
    }
    Some(reply.then)
}
