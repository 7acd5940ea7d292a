//! Messages about a drill to people: webhooks, and pings to whoever notices that they stop.

use reqwest::{Method, Url};

use super::http::{self, Call, Patience, shown};
use crate::drill::{
    Code, DrillReport, Error, Verdict,
    job::{NotifyWhen, WebhookFormat},
};

mod message;

/// Where messages go. The URLs are secrets: whoever has one may speak in our name.
pub enum Destination {
    /// Told when a drill has ended.
    Webhook { url: Url, format: WebhookFormat, when: NotifyWhen },
    /// Told when a drill starts and when one has passed, as healthchecks.io and its like expect: `URL/start`,
    /// `URL`, and `URL/fail` for what did not pass.
    Ping(Url),
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Destination {
    /// The address without what is secret in it.
    fn shown(&self) -> String {
        let (Self::Webhook { url, .. } | Self::Ping(url)) = self;
        shown(url)
    }

    /// A webhook at that URL.
    ///
    /// # Errors
    /// `NotifyUrl`; the text is not repeated.
    pub fn webhook(text: &str, format: WebhookFormat, when: NotifyWhen) -> Result<Self, Error> {
        Ok(Self::Webhook { url: Self::url(text)?, format, when })
    }

    /// Pings to that URL.
    ///
    /// # Errors
    /// As [`Self::webhook`].
    pub fn ping(text: &str) -> Result<Self, Error> {
        Self::url(text).map(Self::Ping)
    }

    fn url(text: &str) -> Result<Url, Error> {
        let invalid = |why: &str| {
            Error::new(Code::NotifyUrl, format!("the URL of a notification is none: {why}"))
                .hint("Put an `https://` URL into the variable or file that `notify` names.")
        };
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if matches!(url.scheme(), "http" | "https") {
            Ok(url)
        } else {
            Err(invalid("it must start with `http://` or `https://`"))
        }
    }
}

/// Tells that a drill begins. What went wrong comes back: the drill goes on.
pub async fn started(destinations: &[Destination], patience: Patience) -> Vec<Error> {
    let mut errors = Vec::new();
    for destination in destinations {
        if let Destination::Ping(url) = destination {
            errors.extend(ping(&below(url, "start"), patience).await.err());
        }
    }
    errors
}

/// Tells how a drill ended. `previous`: how the one before of this job did, where that is known. What went
/// wrong comes back: the verdict stands.
pub async fn ended(
    destinations: &[Destination],
    report: &DrillReport,
    previous: Option<Verdict>,
    patience: Patience,
) -> Vec<Error> {
    let mut errors = Vec::new();
    for destination in destinations {
        let sent = match destination {
            Destination::Ping(url) if report.verdict == Verdict::Pass => ping(url, patience).await,
            Destination::Ping(url) => ping(&below(url, "fail"), patience).await,
            Destination::Webhook { url, format, when } => {
                if !is_due(*when, report.verdict, previous) {
                    continue;
                }
                let body = match format {
                    WebhookFormat::Json => message::json(report, previous),
                    WebhookFormat::Slack => message::slack(report, previous),
                };
                let call = Call {
                    method: &Method::POST,
                    url,
                    body: Some(("application/json", &body.to_string())),
                    login: None,
                };
                http::send(call, patience).await.map_err(|why| failed(url, &why))
            }
        };
        errors.extend(sent.err());
    }
    errors
}

/// Whether a verdict is to be told. One that nothing is known before counts as a change: the first word
/// of a job says that its messages arrive.
fn is_due(when: NotifyWhen, verdict: Verdict, previous: Option<Verdict>) -> bool {
    match when {
        NotifyWhen::Always => true,
        NotifyWhen::Change => previous != Some(verdict),
        NotifyWhen::Problem => verdict != Verdict::Pass,
    }
}

/// `URL/word`, whatever query it has.
fn below(url: &Url, word: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}/{word}", url.path().trim_end_matches('/')));
    below
}

async fn ping(url: &Url, patience: Patience) -> Result<(), Error> {
    let call = Call { method: &Method::GET, url, body: None, login: None };
    http::send(call, patience).await.map_err(|why| failed(url, &why))
}

fn failed(url: &Url, why: &str) -> Error {
    Error::new(Code::NotifyFailed, format!("notify `{}`: {why}", shown(url))).hint(
        "The verdict stands. Check the URL that `notify` of the job names, and the way to it.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_when() {
        use NotifyWhen::{Always, Change, Problem};
        use Verdict::{Breach, Fail, Inconclusive, Pass};
        for (when, verdict, previous, due) in [
            (Always, Pass, Some(Pass), true),
            (Change, Pass, Some(Pass), false),
            (Change, Pass, Some(Fail), true),
            (Change, Fail, Some(Pass), true),
            (Change, Fail, Some(Fail), false),
            (Change, Inconclusive, Some(Fail), true),
            (Change, Pass, None, true),
            (Problem, Pass, Some(Fail), false),
            (Problem, Breach, Some(Breach), true),
            (Problem, Inconclusive, None, true),
        ] {
            assert_eq!(is_due(when, verdict, previous), due, "{when:?} {verdict:?} {previous:?}");
        }
    }

    #[test]
    fn pings_go_below_their_url() {
        for (url, start) in [
            ("https://hc.example/ab-cd", "https://hc.example/ab-cd/start"),
            ("https://hc.example/ab-cd/", "https://hc.example/ab-cd/start"),
            ("https://hc.example/x?a=b", "https://hc.example/x/start?a=b"),
        ] {
            assert_eq!(below(&Destination::url(url).unwrap(), "start").as_str(), start);
        }
    }

    #[test]
    fn urls_are_secrets() {
        for text in ["hooks/T0/secret", "ftp://h/secret", "https://:secret:x"] {
            let error = Destination::url(text).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        let url = Destination::url("https://bob:pw@hooks.example/T0/secret").unwrap();
        let error = failed(&url, "it answered 500");
        let shown = format!("{error:?} {:?}", Destination::Ping(url));
        assert!(!shown.contains("secret") && !shown.contains("pw"), "{shown}");
    }
}
