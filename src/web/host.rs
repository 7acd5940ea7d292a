//! By which names the pages are answered. A page of somebody else can have its own name lead to this machine
//! and then read what is here as if it were its own; it cannot give its requests another name than that.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::problem::Problem;

/// Names that are answered beside addresses and `localhost`; `None`: every name is.
#[derive(Clone, Debug)]
pub struct Hosts(Option<Arc<[String]>>);

impl Hosts {
    /// Of pages at `address`. Only where that is this machine's alone, or names were given, do names matter:
    /// elsewhere whoever can make a name lead here can come here without one.
    #[must_use]
    pub fn new(address: IpAddr, names: Vec<String>) -> Self {
        let own = address.to_canonical().is_loopback();
        Self((own || !names.is_empty()).then(|| names.into()))
    }

    /// The name in a request that is not known, empty where it has none.
    fn stranger(&self, request: &Request) -> Option<String> {
        let names = self.0.as_deref()?;
        let target = request.uri().authority().map(Authority::as_str);
        let told = request.headers().get_all(header::HOST).iter();
        let told = told.map(|host| host.to_str().unwrap_or_default());
        let hosts: Vec<&str> = target.into_iter().chain(told).collect();
        if hosts.is_empty() {
            return Some(String::new());
        }
        hosts.into_iter().find(|host| !is_known(host, names)).map(str::to_owned)
    }
}

/// Lets a request pass whose name is known.
pub async fn look(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.stranger(&request) {
        None => next.run(request).await,
        Some(host) => unknown(&host).into_response(),
    }
}

fn unknown(host: &str) -> Problem {
    let hint = "Ask by an IP address or `localhost`, or start the service with `--host NAME` for the name that \
                it is to be reached by.";
    let message = if host.is_empty() {
        "the request does not say by which name it was sent here".to_owned()
    } else {
        format!("nothing is answered by the name `{host}`")
    };
    Problem {
        status: StatusCode::MISDIRECTED_REQUEST,
        code: "host_unknown",
        message,
        hint: Some(hint.to_owned()),
    }
}

/// Whether the host of a request, with or without a port, is an IP address, `localhost` or one of `names`.
fn is_known(host: &str, names: &[String]) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // Colons within brackets are the address's.
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    // The dot of the root.
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = bare(name);
    let is_address = || name.parse::<Ipv4Addr>().is_ok();
    !name.is_empty()
        && (name == "localhost" || is_address() || names.iter().any(|known| bare(known) == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_that_were_given_are_known() {
        let names = ["pages.example.com".to_owned(), "Other.Example.".to_owned()];
        let table = [
            ("[::1]:8432", true),
            ("[::1]", true),
            ("[fe80::1]:", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8432", true),
            ("10.1.2.3:80", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("localhost.", true),
            ("pages.example.com.", true),
            ("PAGES.example.com:443", true),
            ("other.example", true),
            ("evil.example", false),
            ("evil.example:8432", false),
            ("pages.example.com.evil.example", false),
            ("evil.pages.example.com", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("user@localhost", false),
            ("localhost:80@evil.example", false),
            ("[evil.example]", false),
            ("[::1].evil.example", false),
            ("[::1", false),
            ("::1", false),
            (":8432", false),
            (".", false),
            ("", false),
        ];
        for (host, known) in table {
            assert_eq!(is_known(host, &names), known, "{host}");
        }
        assert!(!is_known("pages.example.com", &[]));
        assert!(!is_known("", &[String::new()]));
    }

    #[test]
    fn names_matter_on_this_machine_alone_and_where_some_were_given() {
        let asked = |host: Option<&str>| {
            let mut request = Request::new(axum::body::Body::empty());
            if let Some(host) = host {
                request.headers_mut().insert(header::HOST, host.parse().unwrap());
            }
            request
        };
        let evil = asked(Some("evil.example"));
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            let hosts = Hosts::new(own.parse().unwrap(), Vec::new());
            assert_eq!(hosts.stranger(&evil).as_deref(), Some("evil.example"), "{own}");
            assert_eq!(hosts.stranger(&asked(None)).as_deref(), Some(""), "{own}");
            assert_eq!(hosts.stranger(&asked(Some("localhost:8432"))), None, "{own}");
        }
        let all: IpAddr = "0.0.0.0".parse().unwrap();
        assert_eq!(Hosts::new(all, Vec::new()).stranger(&evil), None);
        let named = Hosts::new(all, vec!["pages.example.com".to_owned()]);
        assert_eq!(named.stranger(&evil).as_deref(), Some("evil.example"));
        assert_eq!(named.stranger(&asked(Some("pages.example.com"))), None);
    }

    #[test]
    fn a_second_name_and_one_in_the_target_count_too() {
        let hosts = Hosts::new(Ipv4Addr::LOCALHOST.into(), Vec::new());
        let mut request = Request::new(axum::body::Body::empty());
        request.headers_mut().append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(hosts.stranger(&request), None);
        *request.uri_mut() = "http://evil.example/".parse().unwrap();
        assert_eq!(hosts.stranger(&request).as_deref(), Some("evil.example"));
        *request.uri_mut() = "/".parse().unwrap();
        request.headers_mut().append(header::HOST, "evil.example".parse().unwrap());
        assert_eq!(hosts.stranger(&request).as_deref(), Some("evil.example"));
    }
}
