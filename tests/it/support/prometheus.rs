//! A real Prometheus that scrapes one address.

use std::{fs, process::Command};

use serde_json::Value;

use super::{listening::Listening, tools::tool, workdir::WorkDir};

/// A Prometheus of one test.
#[derive(Debug)]
pub struct Prometheus {
    server: Listening,
    _work: WorkDir,
}

impl Prometheus {
    /// Scrapes `target`, an address and a port, every second.
    pub fn of(target: &str) -> Self {
        let work = WorkDir::new();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: pgassay\n    static_configs: \
             [{{targets: [\"{target}\"]}}]\n"
        );
        fs::write(work.join("prometheus.yml"), config).unwrap();
        let server = Listening::start(|address| {
            let mut command = Command::new(tool("bin/prometheus"));
            command
                .arg(format!("--config.file={}", work.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", work.join("data").display()))
                .arg(format!("--web.listen-address={address}"));
            command
        });
        Self { server, _work: work }
    }

    /// Waits until an expression has a value, and says it.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> f64 {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let path = format!("/api/v1/query?query={query}");
        let mut found: Option<f64> = None;
        let there = self.server.wait(|server| {
            let answer = server.get(&path).and_then(|text| serde_json::from_str(&text).ok());
            let answer: Value = answer.unwrap_or_default();
            let value = answer["data"]["result"][0]["value"][1].as_str();
            found = value.and_then(|value| value.parse().ok());
            found.is_some()
        });
        let targets = || self.server.get("/api/v1/targets");
        assert!(there, "{expression} has no value: {:?}", targets());
        found.unwrap()
    }
}
