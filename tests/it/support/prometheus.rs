//! A real Prometheus that scrapes one address.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    tools::{RUNTIME, tool},
    workdir::WorkDir,
};

/// Nothing here takes as long on any machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A Prometheus of one test.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    url: String,
    _work: WorkDir,
}

impl Prometheus {
    /// Scrapes `target`, an address and a port, every second.
    pub fn of(target: &str) -> Self {
        // Another process could take the port between finding and using it: try again then.
        for _ in 0..5 {
            let work = WorkDir::new();
            let config = format!(
                "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: pgassay\n    static_configs: \
                 [{{targets: [\"{target}\"]}}]\n"
            );
            fs::write(work.join("prometheus.yml"), config).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let child = Command::new(tool("bin/prometheus"))
                .arg(format!("--config.file={}", work.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", work.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut server = Self { child, url: format!("http://{address}"), _work: work };
            if server.wait(|server| server.ask("/-/ready").is_some()) {
                return server;
            }
        }
        panic!("no Prometheus would start");
    }

    /// Waits until an expression has a value, and says it.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> f64 {
        let mut found = None;
        let there = self.wait(|server| {
            found = server.query(expression);
            found.is_some()
        });
        assert!(there, "{expression} has no value: {:?}", self.ask("/api/v1/targets"));
        found.unwrap()
    }

    fn query(&self, expression: &str) -> Option<f64> {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer: Value =
            serde_json::from_str(&self.ask(&format!("/api/v1/query?query={query}"))?).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn ask(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.url);
        RUNTIME.block_on(async {
            let answer = reqwest::get(url).await.ok()?.error_for_status().ok()?;
            answer.text().await.ok()
        })
    }

    /// False where it has ended, or in the end.
    fn wait(&mut self, mut met: impl FnMut(&Self) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if met(self) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
