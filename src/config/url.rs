//! URLs of a job: where an archive lies, where reports go, and plain HTTP endpoints.

use super::{value::short, walker::Complaint};
use crate::drill::job::StoreScheme;

/// A store's URL in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreUrl {
    pub scheme: StoreScheme,
    /// Empty for `file`.
    pub bucket: String,
    /// Without slashes at its ends; for `file` the absolute path.
    pub prefix: String,
}

const S3_HINT: &str = "Write `s3://bucket/path`, and the server's address as `s3.endpoint`.";

/// `s3://bucket/path`, as Barman takes it: the path is the key's prefix, letter by letter.
pub(super) fn archive(text: &str) -> Result<StoreUrl, Complaint> {
    let url = store(text)?;
    if url.scheme == StoreScheme::File {
        return Err(Complaint::new(
            "an archive in a folder cannot be read",
            "Write `s3://bucket/path`; only kept reports may go to a `file:///` folder.",
        ));
    }
    Ok(url)
}

/// `s3://bucket/path` or `file:///folder`.
pub(super) fn store(text: &str) -> Result<StoreUrl, Complaint> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        let message = format!("`{}` is not a URL", short(&without_secret(text)));
        return Err(Complaint::new(message, S3_HINT));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "s3" => s3(rest),
        "file" => file(rest),
        "gs" | "gcs" => Err(unsupported("Google Cloud Storage")),
        "azure" | "az" | "abfs" | "abfss" | "wasb" | "wasbs" | "adl" => {
            Err(unsupported("Azure Blob Storage"))
        }
        "http" | "https" => {
            let host = authority(rest).rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
            let host = host.split(':').next().unwrap_or_default();
            if host.ends_with(".blob.core.windows.net") {
                Err(unsupported("Azure Blob Storage"))
            } else if host.ends_with("storage.googleapis.com") {
                Err(unsupported("Google Cloud Storage"))
            } else {
                Err(Complaint::new(
                    "an archive's URL begins with `s3://`, not with `http`",
                    S3_HINT,
                ))
            }
        }
        _ => Err(Complaint::new(
            format!("`{}://` is not a kind of store that pgassay can read", short(scheme)),
            S3_HINT,
        )),
    }
}

fn s3(rest: &str) -> Result<StoreUrl, Complaint> {
    let bucket = authority(rest);
    let path = &rest[bucket.len()..];
    if bucket.contains('@') {
        return Err(Complaint::new(
            "a URL must not hold a user or a password",
            "Remove what is before the `@` and name the secret under `s3.credentials`.",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(Complaint::new(
            "the URL has a `?` or `#` part, which no archive has",
            "Remove it; settings of the store belong below `s3:`.",
        ));
    }
    // The rules of old buckets; new ones are narrower (AWS: "Bucket naming rules").
    let valid = (3..=255).contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !valid {
        let message = if bucket.is_empty() {
            "the URL names no bucket".to_owned()
        } else {
            format!("`{}` is not a bucket's name", short(bucket))
        };
        return Err(Complaint::new(message, "Write `s3://bucket/path`."));
    }
    if path.chars().any(char::is_control) {
        return Err(Complaint::new("the URL holds a control character", "Write it anew by hand."));
    }
    let prefix = path.trim_matches('/').to_owned();
    Ok(StoreUrl { scheme: StoreScheme::S3, bucket: bucket.to_owned(), prefix })
}

fn file(rest: &str) -> Result<StoreUrl, Complaint> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') || path.contains(['?', '#', '%', '\0']) {
        return Err(Complaint::new(
            "a `file://` URL must hold a plain absolute path",
            "Write `file:///var/lib/pgassay/reports`, without escapes.",
        ));
    }
    let prefix = match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    Ok(StoreUrl { scheme: StoreScheme::File, bucket: String::new(), prefix })
}

fn unsupported(name: &str) -> Complaint {
    Complaint::new(
        format!("archives in {name} cannot be read: pgassay reads S3 and what speaks its protocol"),
        "Drill a copy of the archive in an S3 bucket, and write its URL as `s3://bucket/path`.",
    )
}

/// An `http://` or `https://` URL without user, password, query and fragment.
pub(super) fn http(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let hint = "Write it as `https://host:port`.";
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| Complaint::new("must begin with `http://` or `https://`", hint))?;
    let host = authority(rest);
    if host.contains('@') {
        return Err(Complaint::new(
            "a URL must not hold a user or a password",
            format!("{hint} A Pushgateway's go to `metrics.basicAuth`."),
        ));
    }
    if rest.contains(['?', '#']) || rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Complaint::new("has a `?`, a `#` or a space, which no endpoint has", hint));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = if let Some((address, port)) = bracketed {
        let plain = address.parse::<std::net::Ipv6Addr>().is_ok();
        (plain && port_is_valid(port)).then_some(address)
    } else {
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        (name.bytes().all(letter) && port_is_valid(port)).then_some(name)
    };
    match name {
        Some(name) if !name.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(Complaint::new(format!("`{}` is not a host and port", short(host)), hint)),
    }
}

/// Nothing, or a colon and a number.
fn port_is_valid(port: &str) -> bool {
    match port.strip_prefix(':') {
        Some(number) => {
            number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u16>().is_ok_and(|p| p > 0)
        }
        None => port.is_empty(),
    }
}

fn authority(rest: &str) -> &str {
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

/// The text up to where a password might begin.
fn without_secret(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, after)) => format!("…@{after}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_urls() {
        let parts = |text| archive(text).map(|url| (url.bucket, url.prefix)).ok();
        let both = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(parts("s3://b-1/a/b"), both("b-1", "a/b"));
        assert_eq!(parts("s3://bucket"), both("bucket", ""));
        assert_eq!(parts("s3://bucket//a//b/"), both("bucket", "a//b"));
        assert_eq!(parts("S3://bucket/a%20b"), both("bucket", "a%20b"));
        for bad in ["bucket/a", "s3:/bucket", "s3://", "s3:///a", "s3://b?x=1", "s3://bu cket/a"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn other_stores_are_named_when_refused() {
        let message = |text| archive(text).unwrap_err().message;
        assert!(message("gs://bucket/a").contains("Google"));
        assert!(message("https://storage.googleapis.com/bucket").contains("Google"));
        assert!(message("https://x.blob.core.windows.net/c/a").contains("Azure"));
        assert!(message("azure://c/a").contains("Azure"));
        assert!(message("file:///srv/backups").contains("folder"));
        assert_eq!(store("file:///srv/reports/").unwrap().prefix, "/srv/reports");
        assert!(store("file://srv/reports").is_err());
    }

    #[test]
    fn a_password_is_never_repeated() {
        for text in ["s3://key:hunter2@bucket/a", "key:hunter2@bucket", "https://u:hunter2@host/x"]
        {
            let complaint = archive(text).unwrap_err();
            assert!(!format!("{complaint:?}").contains("hunter2"), "{complaint:?}");
            assert!(!format!("{:?}", http(text).unwrap_err()).contains("hunter2"));
        }
    }

    #[test]
    fn http_urls() {
        for good in
            ["http://h", "https://h.example:9000", "http://[::1]:80/s3", "http://127.0.0.1:1"]
        {
            assert_eq!(http(good).as_deref(), Ok(good));
        }
        for bad in [
            "h:9000",
            "https://",
            "http://h:0",
            "http://h:x",
            "http://h/?a",
            "http://[::1",
            "ftp://h",
            "http://a b",
        ] {
            assert!(http(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".*") {
            let _ = (archive(&text), store(&text), http(&text));
            let _ = (store(&format!("s3://{text}")), http(&format!("http://{text}")));
        }
    }
}
