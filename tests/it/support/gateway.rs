//! A real Pushgateway.

use std::process::Command;

use pgassay::drill::job::MetricsSpec;

use super::{listening::Listening, tools::tool};

/// A Pushgateway of one test. Without a persistence file: some builds come with a path of their own.
#[derive(Debug)]
pub struct Gateway {
    server: Listening,
    pub url: String,
}

impl Gateway {
    pub fn start() -> Self {
        let server = Listening::start(|address| {
            let mut command = Command::new(tool("bin/pushgateway"));
            command.args(["--persistence.file=", &format!("--web.listen-address={address}")]);
            command
        });
        Self { url: server.url.clone(), server }
    }

    pub fn get(&self, path: &str) -> Option<String> {
        self.server.get(path)
    }

    pub fn spec(&self) -> MetricsSpec {
        MetricsSpec { pushgateway: Some(self.url.clone()), ..MetricsSpec::default() }
    }
}
