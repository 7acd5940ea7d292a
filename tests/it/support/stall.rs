//! A proxy before an S3 server that stands still where a test says, and tells what was asked for: to break
//! a program off in the middle of an object.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pgassay::demo::s3_server::S3Server;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(2);

/// The proxy; ends when it is dropped.
#[derive(Debug)]
pub struct Stall {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Part of a path, and how much of an answer's bytes come through.
    hold: Option<(String, usize)>,
    held: usize,
    /// Paths of objects that were asked for.
    gets: Vec<String>,
    ended: bool,
}

impl Stall {
    /// Stands before `server`.
    pub fn before(server: &S3Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream: SocketAddr = server.endpoint()["http://".len()..].parse().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if theirs.state().ended {
                    return;
                }
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || drop(shared.relay(client, upstream)));
            }
        });
        Self { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the answers for objects whose path contains `key` stand still behind `bytes`.
    pub fn hold(&self, key: &str, bytes: usize) {
        self.shared.state().hold = Some((key.to_owned(), bytes));
    }

    /// Waits until an answer stands still.
    pub fn wait_held(&self) {
        let state = self.shared.state();
        let held = |state: &mut State| state.held == 0;
        let (state, late) = self.shared.changed.wait_timeout_while(state, PATIENCE, held).unwrap();
        assert!(!late.timed_out(), "nothing is held of what was asked for: {:#?}", state.gets);
    }

    /// Holds nothing any more; gives the objects that were asked for until now.
    pub fn let_go(&self) -> Vec<String> {
        let mut state = self.shared.state();
        (state.hold, state.held) = (None, 0);
        self.shared.changed.notify_all();
        std::mem::take(&mut state.gets)
    }

    /// The objects that were asked for since [`Self::let_go`].
    pub fn gets(&self) -> Vec<String> {
        self.shared.state().gets.clone()
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        // Wakes who listens.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Also after a test has panicked, which then ends in order.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, after which the connection ends: none of them has a body.
    fn relay(&self, mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if client.read(&mut byte)? == 0 {
                return Ok(());
            }
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let most = {
            let mut state = self.state();
            if text.starts_with("GET") && !path.contains("list-type") {
                state.gets.push(path.clone());
            }
            state.hold.as_ref().filter(|(key, _)| path.contains(key)).map(|(_, bytes)| *bytes)
        };
        let mut server = TcpStream::connect(upstream)?;
        server.write_all(text.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        loop {
            let count = server.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            if let Some(most) = most
                && passed + count > most
            {
                client.write_all(&buffer[..most.saturating_sub(passed).min(count)])?;
                self.stand_still();
                return Ok(());
            }
            client.write_all(&buffer[..count])?;
            passed += count;
        }
    }

    fn stand_still(&self) {
        let mut state = self.state();
        state.held += 1;
        self.changed.notify_all();
        let holds = |state: &mut State| state.held > 0 && !state.ended;
        drop(self.changed.wait_while(state, holds).unwrap());
    }
}
