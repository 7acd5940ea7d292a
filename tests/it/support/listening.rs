//! A server of one test that is told its address: started on a free port, waited for, and ended.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::tools::RUNTIME;

/// Nothing here takes as long on any machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// It answers at `/-/ready`, and is gone when this is dropped.
#[derive(Debug)]
pub struct Listening {
    child: Child,
    pub url: String,
}

impl Listening {
    /// `command` listens at the address that it is given.
    pub fn start(command: impl Fn(SocketAddr) -> Command) -> Self {
        // Another process could take the port between finding and using it: try again then.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let mut command = command(address);
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut server = Self { child, url: format!("http://{address}") };
            if server.wait(|server| server.get("/-/ready").is_some()) {
                return server;
            }
        }
        panic!("it would not start: {:?}", command(([127, 0, 0, 1], 0).into()));
    }

    /// The body of an answer that is no error.
    pub fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.url);
        RUNTIME.block_on(async {
            let answer = reqwest::get(url).await.ok()?.error_for_status().ok()?;
            answer.text().await.ok()
        })
    }

    /// False where it has ended, or in the end.
    pub fn wait(&mut self, mut met: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if met(self) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
