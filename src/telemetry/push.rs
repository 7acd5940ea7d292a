//! Pushgateway (<https://github.com/prometheus/pushgateway#url>): one POST a drill to its own group.
//! A POST replaces the families that it names and leaves the others, which keeps the time of the last
//! pass standing after a run that did not pass.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use reqwest::{Method, Url};

pub use super::http::{Login, Patience};
use super::{
    deliver::Grouping,
    http::{self, Call, shown},
    text::{self, Family},
};
use crate::drill::{Code, Error};

/// Pushes. User name and password of the URL become basic authentication, unless `login` is given,
/// and are never printed.
///
/// # Errors
/// `MetricsPush` when the URL is none, the gateway cannot be reached or refuses; `UrlInvalid` never.
/// After an error the gateway may or may not have taken the metrics: the same push may be repeated.
pub async fn push(
    gateway: &str,
    families: &[Family],
    grouping: &Grouping,
    login: Option<&Login>,
    patience: Patience,
) -> Result<(), Error> {
    let url = group_url(gateway, grouping)?;
    let shown = shown(&url);
    let body = text::write(families, &[]);
    let call = Call {
        method: &Method::POST,
        url: &url,
        body: Some(("text/plain; version=0.0.4", &body)),
        login,
    };
    http::send(call, patience).await.map_err(|why| failed(&shown, &why))
}

fn failed(shown: &str, why: &str) -> Error {
    Error::new(Code::MetricsPush, format!("push metrics to `{shown}`: {why}")).hint(
        "The verdict stands. Check `metrics.pushgateway` in the job and that the gateway is \
         reachable from here.",
    )
}

/// The URL of the drill's group: `…/metrics/job/pgassay/drill/D/cluster/C/namespace/N`.
fn group_url(gateway: &str, grouping: &Grouping) -> Result<Url, Error> {
    // The text is not repeated: where parsing failed, a password in it cannot be told from the rest.
    let invalid = |why: &str| {
        Error::new(Code::MetricsPush, format!("`metrics.pushgateway` is not a URL: {why}"))
            .hint("Write it as `http://pushgateway:9091` in the job.")
    };
    let mut url = Url::parse(gateway).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("it must start with `http://` or `https://`"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut path = format!("{}/metrics/job/pgassay", url.path().trim_end_matches('/'));
    for (label, value) in grouping.labels() {
        path.push('/');
        path.push_str(label);
        path.push_str(&group_value(value));
    }
    url.set_path(&path);
    Ok(url)
}

/// A label's value behind its name in the path: plain where every character may stand there, else in
/// the gateway's base64 form. `.` and `..` are no plain values: a URL would swallow them.
fn group_value(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if value.is_empty() {
        // The gateway's form of an empty value: one padding character.
        "@base64/=".to_owned()
    } else if value.bytes().all(plain) && !value.bytes().all(|b| b == b'.') {
        format!("/{value}")
    } else {
        format!("@base64/{}", URL_SAFE.encode(value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grouping(cluster: &str, namespace: &str) -> Grouping {
        Grouping {
            drill: "orders-nightly".to_owned(),
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    #[test]
    fn groups_have_urls_of_their_own() {
        let url = |gateway, cluster, namespace| {
            group_url(gateway, &grouping(cluster, namespace)).unwrap().to_string()
        };
        assert_eq!(
            url("http://gw:9091", "orders", "shop"),
            "http://gw:9091/metrics/job/pgassay/drill/orders-nightly/cluster/orders/namespace/shop"
        );
        assert_eq!(
            url("https://gw/prom/?x#y", "a/b", ""),
            "https://gw/prom/metrics/job/pgassay/drill/orders-nightly/cluster@base64/YS9i/namespace@base64/="
        );
        assert!(
            url("http://gw", "..", "é?>")
                .ends_with("/cluster@base64/Li4=/namespace@base64/w6k_Pg==")
        );
    }

    #[test]
    fn secrets_of_the_url_are_not_shown() {
        let url = group_url("https://bob:hunter2@gw:9/x", &grouping("c", "n")).unwrap();
        assert_eq!(shown(&url), "https://gw:9");
        for text in ["hunter2", "ftp://bob:hunter2@gw", "http://bob:hunter2@:x"] {
            let error = group_url(text, &grouping("c", "n")).unwrap_err();
            assert_eq!(error.code, Code::MetricsPush);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    /// Answers each connection with the next reply and keeps the requests' heads.
    async fn scripted(
        replies: &'static [&'static str],
    ) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut heads = Vec::new();
            for reply in replies {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                // The bodies end in the marker below, so that nothing has to count lengths.
                while !seen.ends_with(b"a_gauge 1\n") {
                    let n = socket.read(&mut buffer).await.unwrap();
                    assert!(n > 0, "the request ended early");
                    seen.extend_from_slice(&buffer[..n]);
                }
                heads.push(String::from_utf8(seen).unwrap());
                socket.write_all(reply.as_bytes()).await.unwrap();
            }
            heads
        });
        (format!("http://bob:hun%2Fter2@{address}"), server)
    }

    fn marker() -> Vec<Family> {
        let samples = vec![text::Sample { label: None, value: 1.0 }];
        vec![Family { name: "a_gauge", help: "A gauge.", samples }]
    }

    const QUICK: Patience = Patience {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        timeout: Duration::from_secs(20),
    };
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const TAKEN: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn retries_what_may_pass_and_authenticates() {
        let (url, server) = scripted(&[BUSY, TAKEN]).await;
        push(&url, &marker(), &grouping("c", "n"), None, QUICK).await.unwrap();
        let heads = server.await.unwrap();
        assert_eq!(heads.len(), 2);
        for head in heads {
            assert!(head.starts_with("POST /metrics/job/pgassay/drill/"), "{head}");
            assert!(
                head.to_lowercase().contains("content-type: text/plain; version=0.0.4"),
                "{head}"
            );
            // bob:hun/ter2
            assert!(head.contains("Basic Ym9iOmh1bi90ZXIy"), "{head}");
        }
    }

    #[tokio::test]
    async fn a_login_is_sent_and_never_printed() {
        let (url, server) = scripted(&[TAKEN]).await;
        let url = url.replace("bob:hun%2Fter2@", "");
        let login = Login { username: "ann".to_owned(), password: "p:w".to_owned() };
        push(&url, &marker(), &grouping("c", "n"), Some(&login), QUICK).await.unwrap();
        let heads = server.await.unwrap();
        // ann:p:w
        assert!(heads[0].contains("Basic YW5uOnA6dw=="), "{}", heads[0]);
        assert_eq!(format!("{login:?}"), "***");
    }

    #[tokio::test]
    async fn gives_up_and_says_why() {
        for (replies, expected) in [
            (&[BUSY, BUSY, BUSY][..], "it answered 503 Service Unavailable"),
            (
                &[
                    "HTTP/1.1 400 No\r\nContent-Length: 12\r\nConnection: close\r\n\r\nbad\x1b[2J\nmore",
                ][..],
                "it answered 400 Bad Request: bad\\u{1b}[2J",
            ),
            (
                &[
                    "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                ][..],
                "it answered 302 Found",
            ),
        ] {
            let (url, server) = scripted(replies).await;
            let error = push(&url, &marker(), &grouping("c", "n"), None, QUICK).await.unwrap_err();
            assert_eq!(error.code, Code::MetricsPush);
            assert!(error.message.ends_with(expected), "{}", error.message);
            assert!(!error.message.contains("ter2"), "{}", error.message);
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_unreachable_gateway_is_an_error_without_secrets() {
        // Bound and dropped: nobody listens there.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url = format!("http://bob:hunter2@{address}");
        let error = push(&url, &marker(), &grouping("c", "n"), None, QUICK).await.unwrap_err();
        assert_eq!(error.code, Code::MetricsPush);
        assert!(error.message.contains(&address.to_string()), "{}", error.message);
        assert!(error.message.contains("refused"), "{}", error.message);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
