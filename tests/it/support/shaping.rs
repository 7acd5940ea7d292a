//! A proxy before any server that makes a link of this machine's loopback: with a latency, and with a
//! speed of each connection. It knows nothing of what passes, and nothing of the other tests.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

/// Bytes that are on the link as one.
const CHUNK: usize = 64 * 1024;

/// What a connection is like.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Of each direction: an answer takes twice as long, and so does a connection before it can be used.
    pub latency: Duration,
    /// In each direction of each connection; `None` for as fast as this machine is.
    pub bytes_per_second: Option<u64>,
}

/// A listening proxy on 127.0.0.1. It ends with all of its connections when dropped.
#[derive(Debug)]
pub struct ShapingProxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    all: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl ShapingProxy {
    /// Passes every connection on to `server`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(server: SocketAddr, link: Link) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(serve(listener, server, link, Arc::clone(&counts)));
        Ok(Self { address, counts, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.counts.all.load(Ordering::SeqCst)
    }

    /// The most that were open at the same time.
    pub fn most_connections(&self) -> usize {
        self.counts.most.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open_connections(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

impl Drop for ShapingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, link: Link, counts: Arc<Counts>) {
    // Ends its connections when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = client else { continue };
        let open = Open::count(&counts);
        connections.spawn(async move {
            let _open = open;
            // What breaks on one side breaks on the other, when both are dropped.
            let _ = connect(client, server, link).await;
        });
    }
}

/// A connection while it is counted.
struct Open(Arc<Counts>);

impl Open {
    fn count(counts: &Arc<Counts>) -> Self {
        counts.all.fetch_add(1, Ordering::SeqCst);
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connect(client: TcpStream, server: SocketAddr, link: Link) -> io::Result<()> {
    // The handshake goes there and back; this machine's own has taken no time.
    sleep(2 * link.latency).await;
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        carry(from_client, to_server, Wire::new(link)),
        carry(from_server, to_client, Wire::new(link)),
    )?;
    Ok(())
}

/// One direction of a connection: an end of one side becomes an end of the other.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: Wire) -> io::Result<()> {
    let (sender, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(wire.chunks());
    let send = async move {
        loop {
            let mut bytes = Vec::with_capacity(CHUNK);
            // No more than a chunk: on a slow link a large one would arrive late as a whole.
            if (&mut from).take(CHUNK as u64).read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            let at = wire.arrival(Instant::now(), bytes.len());
            if sender.send((at, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let receive = async move {
        while let Some((at, bytes)) = arriving.recv().await {
            sleep_until(at).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(send, receive)?;
    Ok(())
}

/// When what is sent arrives.
struct Wire {
    link: Link,
    /// When the sender is through with what it was given.
    free: Option<Instant>,
}

impl Wire {
    fn new(link: Link) -> Self {
        Self { link, free: None }
    }

    fn arrival(&mut self, now: Instant, bytes: usize) -> Instant {
        let free = self.free.map_or(now, |free| free.max(now)) + self.takes(bytes);
        self.free = Some(free);
        free + self.link.latency
    }

    fn takes(&self, bytes: usize) -> Duration {
        let rate = self.link.bytes_per_second;
        rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }

    /// Chunks that may be on their way: twice what the link holds, so that a late timer costs nothing.
    fn chunks(&self) -> usize {
        let each = self.takes(CHUNK).max(Duration::from_micros(100));
        (2 * self.link.latency.as_nanos() / each.as_nanos()) as usize + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(latency: u64, rate: Option<u64>) -> Link {
        Link { latency: Duration::from_millis(latency), bytes_per_second: rate }
    }

    #[test]
    fn bytes_arrive_one_after_the_other_and_late() {
        let now = Instant::now();
        let mut wire = Wire::new(link(20, Some(1_000_000)));
        let at = |at: Instant| (at - now).as_millis();
        assert_eq!(at(wire.arrival(now, 50_000)), 70);
        assert_eq!(at(wire.arrival(now, 50_000)), 120);
        // An idle link has nothing to make up for.
        let later = now + Duration::from_secs(1);
        assert_eq!(at(wire.arrival(later, 1000)), 1021);
        assert_eq!(at(Wire::new(link(20, None)).arrival(now, 1 << 30)), 20);
    }

    /// A server that sends back what it gets, and ends after it.
    async fn echo() -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.unwrap();
                to.shutdown().await.unwrap();
            }
        });
        (address, task)
    }

    #[tokio::test]
    async fn bytes_and_ends_pass_unchanged_and_connections_are_counted() {
        let (server, task) = echo().await;
        let proxy = ShapingProxy::start(server, link(1, Some(100_000_000))).await.unwrap();
        for round in 1..=2 {
            let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut from, mut to) = stream.split();
            let send = async {
                to.write_all(&sent).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let receive = from.read_to_end(&mut got);
            let ((), read) = tokio::join!(send, receive);
            read.unwrap();
            assert!(got == sent);
            assert_eq!(proxy.connections(), round);
        }
        assert!(proxy.most_connections() >= 1);
        while proxy.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
        task.abort();
    }

    #[tokio::test]
    async fn its_end_is_the_end_of_its_connections() {
        let (server, task) = echo().await;
        let proxy = ShapingProxy::start(server, link(1, None)).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        drop(proxy);
        // A reset or an end, as the system likes.
        let end = stream.read(&mut [0; 5]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        task.abort();
    }
}
