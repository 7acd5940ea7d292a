//! What goes wrong while a page is looked at: what the console says, requests that fail, requests to
//! another place than the page's own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use url::Url;

/// What a browser has been sent to, and what it asked for so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// Where the pages that the test opened are from.
    homes: BTreeSet<String>,
    /// Answers that the test wants to see.
    expected: BTreeSet<u64>,
    /// The address of each request.
    requests: BTreeMap<String, String>,
}

impl Watch {
    pub fn opened(&mut self, url: &str) {
        self.homes.insert(home(url));
    }

    pub fn expect(&mut self, status: u64) {
        self.expected.insert(status);
    }

    /// The problems in entries of the log of requests.
    pub fn traffic(&mut self, entries: &[Value]) -> Vec<String> {
        let mut problems = Vec::new();
        for entry in entries {
            let event: Value = serde_json::from_str(&text(&entry["message"])).unwrap();
            let (method, event) = (&event["message"]["method"], &event["message"]["params"]);
            let id = text(&event["requestId"]);
            match method.as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    let url = text(&event["request"]["url"]);
                    problems.extend(self.strange(&url));
                    self.requests.insert(id, url);
                }
                "Network.webSocketCreated" => problems.extend(self.strange(&text(&event["url"]))),
                "Network.responseReceived" => {
                    let status = event["response"]["status"].as_u64().unwrap_or_default();
                    if status >= 400 && !self.expected.contains(&status) {
                        let url = text(&event["response"]["url"]);
                        problems.push(format!("answered with {status}: {url}"));
                    }
                }
                // Whoever leaves a page cancels what it still asks for.
                "Network.loadingFailed"
                    if event["canceled"] != true || event["blockedReason"].is_string() =>
                {
                    let url = self.requests.get(&id).map_or("", String::as_str);
                    problems.push(format!(
                        "failed: {url}: {} {}",
                        text(&event["errorText"]),
                        text(&event["blockedReason"])
                    ));
                }
                _ => {}
            }
        }
        problems
    }

    fn strange(&self, url: &str) -> Option<String> {
        let inline = ["data:", "blob:", "about:"].iter().any(|scheme| url.starts_with(scheme));
        let at_home = inline || self.homes.contains(&home(url));
        (!at_home).then(|| format!("asked elsewhere: {url}"))
    }
}

/// The problems in entries of the console's log.
pub fn console(entries: &[Value]) -> Vec<String> {
    let serious = entries.iter().filter(|entry| {
        // The log of requests has more of these, and it is known which are expected.
        let of_request = entry["source"] == "network"
            && text(&entry["message"]).contains("Failed to load resource");
        ["SEVERE", "WARNING"].iter().any(|level| entry["level"] == *level) && !of_request
    });
    serious.map(|e| format!("console: {} {}", text(&e["level"]), text(&e["message"]))).collect()
}

/// An origin, and of files the file itself.
fn home(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    if url.origin().is_tuple() { url.origin().ascii_serialization() } else { url.path().to_owned() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
