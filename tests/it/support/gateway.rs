//! A real Pushgateway.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pgassay::drill::job::MetricsSpec;

use super::tools::{RUNTIME, tool};

/// A Pushgateway of one test. Without a persistence file: some builds come with a path of their own.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    pub url: String,
}

impl Gateway {
    pub fn start() -> Self {
        // Another process could take the port between finding and using it: try again then.
        for _ in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let child = Command::new(tool("bin/pushgateway"))
                .args(["--persistence.file=", &format!("--web.listen-address={address}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut gateway = Self { child, url: format!("http://{address}") };
            if gateway.ready() {
                return gateway;
            }
        }
        panic!("no Pushgateway would start");
    }

    fn ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.get("/-/ready").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.url);
        RUNTIME.block_on(async {
            let answer = reqwest::get(url).await.ok()?.error_for_status().ok()?;
            answer.text().await.ok()
        })
    }

    pub fn spec(&self) -> MetricsSpec {
        MetricsSpec { pushgateway: Some(self.url.clone()), ..MetricsSpec::default() }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
