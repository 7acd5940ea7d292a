//! HTTP requests to those who are told of a drill: retried for a while, and never with a secret in what
//! is said about them.

use std::time::Duration;

use reqwest::{
    Client, Method, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect,
};

/// How long to try. The defaults end within a minute, unless the server asks for more.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub attempts: u32,
    /// Doubles after each attempt.
    pub first_pause: Duration,
    /// For one attempt, from connecting to the answer.
    pub timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(500),
            timeout: Duration::from_secs(10),
        }
    }
}

/// A server that is overrun may ask for a longer pause than ours, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Most bytes of a refusal's text that are looked at.
const REFUSAL_LIMIT: usize = 4 << 10;

/// Name and password for HTTP basic authentication; never printed.
#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// One request, which may be sent several times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub method: &'a Method,
    pub url: &'a Url,
    /// Its type, and it.
    pub body: Option<(&'a str, &'a str)>,
    pub login: Option<&'a Login>,
}

/// Sends until it is accepted (any 2xx).
///
/// # Errors
/// Why it was not, without the URL: that may hold a secret.
pub(super) async fn send(call: Call<'_>, patience: Patience) -> Result<(), String> {
    let client = Client::builder()
        .timeout(patience.timeout)
        // A redirected POST becomes a GET, which would look like success.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("pgassay/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client: {}", chain(&error.without_url())))?;
    let mut pause = patience.first_pause;
    let mut attempt = 1;
    loop {
        let mut request = client.request(call.method.clone(), call.url.clone());
        if let Some((kind, body)) = call.body {
            request = request.header(CONTENT_TYPE, kind).body(body.to_owned());
        }
        if let Some(Login { username, password }) = call.login {
            request = request.basic_auth(username, Some(password));
        }
        let mut asked = Duration::ZERO;
        let (why, again) = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                asked = retry_after(&answer).min(LONGEST_PAUSE);
                (format!("it answered {status}{}", refusal(answer).await), again)
            }
            // `without_url`: the URL of an error would print what is secret in it.
            Err(error) => (chain(&error.without_url()), true),
        };
        if !again || attempt >= patience.attempts {
            return Err(why);
        }
        tracing::debug!(attempt, "send to `{}`: {why}", shown(call.url));
        tokio::time::sleep(pause.max(asked)).await;
        pause *= 2;
        attempt += 1;
    }
}

/// Seconds that the server asks to wait; the form with a date is not looked at.
fn retry_after(answer: &reqwest::Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(seconds.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// What an error and its causes say, joined.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

/// The first line of a refusal, shortened and without control characters.
async fn refusal(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < REFUSAL_LIMIT {
        let Ok(Some(piece)) = answer.chunk().await else { break };
        let room = REFUSAL_LIMIT - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let text = String::from_utf8_lossy(&body);
    let line: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
    if line.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", crate::drill::format::printable(line.trim()))
    }
}

/// A server's address without user, password and path.
pub(super) fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}
