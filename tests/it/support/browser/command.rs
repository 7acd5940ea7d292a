//! What Chromium's driver answers beyond the WebDriver standard.

use fantoccini::{Client, error::CmdError, wd::WebDriverCompatibleCommand};
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

#[derive(Debug)]
struct Command {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Command {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// Asks the browser itself, by the Chrome DevTools Protocol
/// (<https://chromedevtools.github.io/devtools-protocol/>).
pub async fn devtools(client: &Client, method: &str, arguments: Value) -> Result<Value, CmdError> {
    let body = json!({"cmd": method, "params": arguments});
    client.issue_cmd(Command { path: "goog/cdp/execute", body }).await
}

/// What a log holds since it was last asked for: `browser` is the console, `performance` the requests.
pub async fn log(client: &Client, kind: &str) -> Result<Vec<Value>, CmdError> {
    let body = json!({"type": kind});
    let entries = client.issue_cmd(Command { path: "se/log", body }).await?;
    Ok(entries.as_array().cloned().unwrap_or_default())
}
