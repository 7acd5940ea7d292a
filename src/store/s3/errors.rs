//! From an answer of the store to an error with a code, a sentence, a hint and a retry class.
//! Codes of S3: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::{error::Error as StdError, io, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::{
    drill::{Code, Error, FailureClass},
    store::retry::{Failure, Retry},
};

/// Longest part of a server's own words that is repeated.
const MAX_QUOTE: usize = 300;

/// Longest wait that a server may ask for.
const MAX_RETRY_AFTER: u64 = 60;

/// What was being done: decides on the words of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Doing<'a> {
    List { prefix: &'a str },
    Get { key: &'a str },
    Put { key: &'a str },
    Remove { key: &'a str },
    Probe,
}

impl Doing<'_> {
    fn phrase(self) -> String {
        match self {
            Self::List { prefix: "" } => "cannot list the bucket".to_owned(),
            Self::List { prefix } => format!("cannot list `{prefix}`"),
            Self::Get { key } => format!("cannot read the object `{key}`"),
            Self::Put { key } => format!("cannot write the object `{key}`"),
            Self::Remove { key } => format!("cannot remove the object `{key}`"),
            Self::Probe => "cannot reach the bucket".to_owned(),
        }
    }

    /// The permission that it takes.
    fn permission(self) -> &'static str {
        match self {
            Self::List { .. } | Self::Probe => "s3:ListBucket",
            Self::Get { .. } => "s3:GetObject",
            Self::Put { .. } => "s3:PutObject",
            Self::Remove { .. } => "s3:DeleteObject",
        }
    }
}

/// Where a request went, for messages.
#[derive(Clone, Debug)]
pub(in crate::store) struct Place {
    pub bucket: String,
    pub endpoint: Option<String>,
    pub region: String,
}

impl Place {
    fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("Amazon S3")
    }
}

/// The parts of an error answer that matter, whatever the operation was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    code: String,
    message: String,
    request_id: Option<String>,
    /// Where the bucket is, if the answer says so.
    region: Option<String>,
    retry_after: Option<u64>,
}

/// Turns any failure of the SDK into ours.
pub(in crate::store) fn failure<E>(
    error: &SdkError<E, HttpResponse>,
    doing: Doing<'_>,
    place: &Place,
) -> Failure
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = error {
        return from_answer(&answer(service.err(), service.raw()), doing, place);
    }
    let timed_out = match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(dispatch) => dispatch.is_timeout(),
        _ => false,
    };
    let received = matches!(error, SdkError::ResponseError(_));
    from_transport(error, timed_out, received, doing, place)
}

/// Whether an answer of this status says that there are too many requests: S3 says so by 503.
pub(in crate::store) fn asks_to_slow_down(status: u16) -> bool {
    matches!(status, 429 | 503)
}

fn answer(meta: &impl ProvideErrorMetadata, raw: &HttpResponse) -> Answer {
    let header = |name: &str| raw.headers().get(name).map(quote);
    let body = raw.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    Answer {
        status: raw.status().as_u16(),
        code: quote(meta.code().unwrap_or_default()),
        message: quote(meta.message().unwrap_or_default()),
        request_id: header("x-amz-request-id"),
        region: header("x-amz-bucket-region")
            .or_else(|| element(&body, "Region").map(quote))
            .filter(|region| !region.is_empty()),
        retry_after: raw.headers().get("retry-after").and_then(|value| value.trim().parse().ok()),
    }
}

/// The text of an XML element without attributes or children.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    Some(rest.split_once('<')?.0)
}

/// Words of a server, made fit for a line of a log: no control characters, not endless.
fn quote(text: &str) -> String {
    let mut quoted: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_QUOTE).collect();
    if text.chars().nth(MAX_QUOTE).is_some() {
        quoted.push('…');
    }
    quoted.trim().to_owned()
}

fn from_answer(answer: &Answer, doing: Doing<'_>, place: &Place) -> Failure {
    let status = answer.status;
    let code = answer.code.as_str();
    let transient = || Retry::Transient {
        after: answer.retry_after.map(|s| Duration::from_secs(s.min(MAX_RETRY_AFTER))),
    };
    let error = |code: Code, class: FailureClass, what: &str| {
        Error::new(code, format!("{}: {what}{}", doing.phrase(), details(answer))).class(class)
    };
    let permanent = |error: Error| Failure::permanent(error);
    let refused = |what: &str, hint: String| {
        let code = match doing {
            Doing::Put { .. } | Doing::Remove { .. } => Code::WriteRefused,
            _ => Code::AccessDenied,
        };
        Failure::permanent(error(code, FailureClass::AccessDenied, what).hint(hint))
    };
    match code {
        "NoSuchBucket" => {
            return permanent(
                error(
                    Code::BucketMissing,
                    FailureClass::ConfigError,
                    &format!("the bucket `{}` does not exist", place.bucket),
                )
                .hint("Check the bucket in `url`, and `s3.endpoint` and `s3.pathStyle`."),
            );
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "TemporaryRedirect" => return permanent(wrong_region(answer, doing, place)),
        "InvalidAccessKeyId" => {
            return refused(
                "the store does not know the access key id",
                "Check the keys under `s3.credentials`, and that they belong to this endpoint."
                    .to_owned(),
            );
        }
        "SignatureDoesNotMatch" => {
            return refused(
                "the request's signature does not match",
                "Check the secret access key and `s3.region`; a proxy that rewrites requests has the same effect.".to_owned(),
            );
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            return refused(
                "the session token has expired",
                "Fetch new credentials, or name a source that renews itself under `s3.credentials`.".to_owned(),
            );
        }
        "InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            return refused(
                "the store does not accept the session token",
                "Check the keys and the session token under `s3.credentials`: they belong together.".to_owned(),
            );
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            return refused(
                "the clock of this machine and the store's are too far apart",
                "Set this machine's clock (`timedatectl`, NTP) and run again; `pgassay doctor` shows the difference.".to_owned(),
            );
        }
        "InvalidObjectState" => {
            return permanent(
                error(
                    Code::AccessDenied,
                    FailureClass::ObjectStoreError,
                    "the object has moved to a storage class that must be restored before reading",
                )
                .hint("Restore it from the archive class, or end the lifecycle rule that moves backups there."),
            );
        }
        _ => {}
    }
    if is_kms(code, &answer.message) {
        return refused(
            "the store may not decrypt it with its key",
            "Grant `kms:Decrypt` on the bucket's key to these credentials.".to_owned(),
        );
    }
    let throttled = matches!(
        code,
        "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "BandwidthLimitExceeded"
            | "ServiceUnavailable"
            | "InternalError"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "OperationAborted"
            | "ConditionalRequestConflict"
    );
    match status {
        _ if throttled => {}
        301 | 302 | 307 | 308 => return permanent(wrong_region(answer, doing, place)),
        401 | 403 => {
            return refused(
                "the store refuses access",
                format!(
                    "Grant `{}` on the bucket `{}` to these credentials.",
                    doing.permission(),
                    place.bucket
                ),
            );
        }
        404 if matches!(doing, Doing::Get { .. } | Doing::Remove { .. }) => {
            return permanent(error(
                Code::ObjectMissing,
                FailureClass::ObjectStoreError,
                "it does not exist",
            ));
        }
        404 => {
            return permanent(
                error(
                    Code::BucketMissing,
                    FailureClass::ConfigError,
                    &format!("{} has no bucket `{}`", place.endpoint(), place.bucket),
                )
                .hint("Check the bucket in `url`, and `s3.endpoint` and `s3.pathStyle`."),
            );
        }
        407 => {
            return permanent(
                error(
                    Code::ConnectFailed,
                    FailureClass::ObjectStoreError,
                    "the proxy asks for a login",
                )
                .hint("Check `HTTPS_PROXY` and `NO_PROXY`."),
            );
        }
        412 => {
            let what = match doing {
                Doing::Put { .. } => "there is one already",
                _ => "it is not the object that was listed",
            };
            return permanent(error(Code::ObjectChanged, FailureClass::ObjectStoreError, what));
        }
        408 | 425 | 429 | 500.. => {}
        _ => {
            return permanent(error(
                Code::StoreProtocol,
                FailureClass::ObjectStoreError,
                "the store does not understand the request",
            ));
        }
    }
    if matches!(status, 501 | 505) {
        return permanent(error(
            Code::StoreProtocol,
            FailureClass::ObjectStoreError,
            "the store does not support the request",
        ));
    }
    let what = if status == 429 || code == "SlowDown" {
        "the store asks to slow down"
    } else {
        "the store is not available"
    };
    let error = error(Code::StoreUnavailable, FailureClass::ObjectStoreError, what)
        .hint("Try again later; `limits.bandwidth` lessens the load of a drill.");
    Failure { error, retry: transient() }
}

fn wrong_region(answer: &Answer, doing: Doing<'_>, place: &Place) -> Error {
    let bucket = &place.bucket;
    let (what, hint) = match &answer.region {
        Some(region) => (
            format!("the bucket `{bucket}` is in region `{region}`, not in `{}`", place.region),
            format!("Set `s3.region: {region}`."),
        ),
        None => (
            format!("the bucket `{bucket}` is not in region `{}`", place.region),
            "Set `s3.region`, and check `s3.endpoint`.".to_owned(),
        ),
    };
    Error::new(Code::WrongRegion, format!("{}: {what}{}", doing.phrase(), details(answer)))
        .class(FailureClass::ConfigError)
        .hint(hint)
}

/// S3 reports a refused key under a code of KMS, or as a denial whose text names it.
fn is_kms(code: &str, message: &str) -> bool {
    code.starts_with("KMS.") || code.starts_with("Kms") || message.contains("kms:")
}

/// `(403 AccessDenied: Access Denied, request id 4442587FB7D0A2F9)`.
fn details(answer: &Answer) -> String {
    let mut text = format!(" ({}", answer.status);
    if !answer.code.is_empty() {
        text.push(' ');
        text.push_str(&answer.code);
    }
    if !answer.message.is_empty() && answer.message != answer.code {
        text.push_str(": ");
        text.push_str(answer.message.trim_end_matches('.'));
    }
    if let Some(id) = &answer.request_id {
        text.push_str(", request id `");
        text.push_str(id);
        text.push('`');
    }
    text.push(')');
    text
}

fn from_transport(
    error: &(dyn StdError + 'static),
    timed_out: bool,
    received: bool,
    doing: Doing<'_>,
    place: &Place,
) -> Failure {
    let phrase = doing.phrase();
    let endpoint = place.endpoint();
    let cause = quote(&chain(error).last().map(ToString::to_string).unwrap_or_default());
    let store = |code: Code, what: String| {
        Error::new(code, format!("{phrase}: {what}")).class(FailureClass::ObjectStoreError)
    };
    if let Some(credentials) = find::<CredentialsError>(error) {
        return from_credentials(credentials, &phrase);
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        // What answers a handshake with anything else is a port without TLS.
        if matches!(tls, rustls::Error::InvalidMessage(_)) {
            return Failure::permanent(
                store(Code::TlsFailed, format!("{endpoint} does not speak TLS"))
                    .hint("Write `s3.endpoint` with `http://`, or name the port that speaks TLS."),
            );
        }
        return Failure::permanent(
            store(Code::TlsFailed, format!("no TLS connection to {endpoint}: {}", quote(&tls.to_string())))
                .hint("Name the certificate of the endpoint's authority with `s3.caBundle`, and check the endpoint's name."),
        );
    }
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    let says = |words: &str| texts.iter().any(|text| text.contains(words));
    if says("dns error") || says("failed to lookup address") {
        return Failure {
            error: store(Code::DnsFailed, format!("the name of {endpoint} cannot be resolved: {cause}"))
                .hint("Check `s3.endpoint` and `s3.pathStyle` (without it the bucket is part of the name), and this machine's DNS."),
            retry: Retry::Unreachable,
        };
    }
    let io = chain(error).filter_map(|e| e.downcast_ref::<io::Error>()).last();
    let connecting = says("tcp connect error") || says("tunnel") || says("connect timeout");
    if connecting || io.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        return Failure {
            error: store(Code::ConnectFailed, format!("no connection to {endpoint}: {cause}"))
                .hint(
                    "Check host and port of `s3.endpoint`, and the network between here and there.",
                ),
            retry: Retry::Unreachable,
        };
    }
    if timed_out {
        return Failure::transient(store(
            Code::StoreUnavailable,
            format!("{endpoint} did not answer in time"),
        ));
    }
    if says("invalid peer certificate") || says("HandshakeFailure") || says("InvalidContentType") {
        return Failure::permanent(
            store(Code::TlsFailed, format!("no TLS connection to {endpoint}: {cause}"))
                .hint("Check the scheme of `s3.endpoint`, and `s3.caBundle`."),
        );
    }
    if received && io.is_none() && !says("error reading a body") {
        return Failure::transient(
            store(Code::StoreProtocol, format!("the answer of {endpoint} makes no sense: {cause}"))
                .hint("Check that `s3.endpoint` is an S3 service, and that no proxy answers in its place."),
        );
    }
    Failure::transient(store(
        Code::StoreUnavailable,
        format!("the connection to {endpoint} broke: {cause}"),
    ))
}

fn from_credentials(error: &CredentialsError, phrase: &str) -> Failure {
    const HINT: &str = "Name a source under `s3.credentials`, set `AWS_ACCESS_KEY_ID` and \
        `AWS_SECRET_ACCESS_KEY`, check the profile's name, or use `anonymous`.";
    let cause: Vec<String> = chain(error).map(ToString::to_string).collect();
    let cause = quote(&cause.join(": "));
    let missing = |what: &str| {
        Error::new(Code::CredentialsMissing, format!("{phrase}: {what}: {cause}"))
            .class(FailureClass::ConfigError)
            .hint(HINT)
    };
    match error {
        // The SDK lists every place that it looked into; the hint names those that matter.
        CredentialsError::CredentialsNotLoaded(_) => Failure::permanent(
            Error::new(
                Code::CredentialsMissing,
                format!("{phrase}: no credentials were found where the job says to look"),
            )
            .class(FailureClass::ConfigError)
            .hint(HINT),
        ),
        CredentialsError::InvalidConfiguration(_) => {
            Failure::permanent(missing("the configuration of credentials is not valid"))
        }
        _ => Failure::transient(missing("credentials cannot be fetched")),
    }
}

/// An error and its causes. An `io::Error` hides what it wraps from `source`.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|e| e.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Doing<'_> = Doing::Get { key: "a/b" };
    const PUT: Doing<'_> = Doing::Put { key: "a/b" };
    const LIST: Doing<'_> = Doing::List { prefix: "a/" };

    fn place() -> Place {
        Place {
            bucket: "backups".to_owned(),
            endpoint: Some("https://s3.example.net".to_owned()),
            region: "us-east-1".to_owned(),
        }
    }

    fn of(status: u16, code: &str, doing: Doing<'_>) -> Failure {
        let answer = Answer { status, code: code.to_owned(), ..Answer::default() };
        from_answer(&answer, doing, &place())
    }

    #[test]
    fn answers_have_codes_and_retry_classes() {
        let transient = Retry::Transient { after: None };
        let table = [
            (404, "NoSuchKey", GET, Code::ObjectMissing, Retry::Permanent),
            (404, "", GET, Code::ObjectMissing, Retry::Permanent),
            (404, "", LIST, Code::BucketMissing, Retry::Permanent),
            (404, "NoSuchBucket", GET, Code::BucketMissing, Retry::Permanent),
            (412, "PreconditionFailed", GET, Code::ObjectChanged, Retry::Permanent),
            (412, "PreconditionFailed", PUT, Code::ObjectChanged, Retry::Permanent),
            (403, "AccessDenied", PUT, Code::WriteRefused, Retry::Permanent),
            (409, "ConditionalRequestConflict", PUT, Code::StoreUnavailable, transient),
            (403, "AccessDenied", GET, Code::AccessDenied, Retry::Permanent),
            (403, "", GET, Code::AccessDenied, Retry::Permanent),
            (401, "", LIST, Code::AccessDenied, Retry::Permanent),
            (403, "InvalidAccessKeyId", LIST, Code::AccessDenied, Retry::Permanent),
            (403, "SignatureDoesNotMatch", LIST, Code::AccessDenied, Retry::Permanent),
            (400, "ExpiredToken", LIST, Code::AccessDenied, Retry::Permanent),
            (403, "RequestTimeTooSkewed", LIST, Code::AccessDenied, Retry::Permanent),
            (400, "KMS.DisabledException", GET, Code::AccessDenied, Retry::Permanent),
            (403, "InvalidObjectState", GET, Code::AccessDenied, Retry::Permanent),
            (301, "PermanentRedirect", GET, Code::WrongRegion, Retry::Permanent),
            (301, "", LIST, Code::WrongRegion, Retry::Permanent),
            (400, "AuthorizationHeaderMalformed", LIST, Code::WrongRegion, Retry::Permanent),
            (400, "InvalidArgument", LIST, Code::StoreProtocol, Retry::Permanent),
            (501, "NotImplemented", LIST, Code::StoreProtocol, Retry::Permanent),
            (407, "", LIST, Code::ConnectFailed, Retry::Permanent),
            (503, "SlowDown", GET, Code::StoreUnavailable, transient),
            (429, "", GET, Code::StoreUnavailable, transient),
            (500, "InternalError", GET, Code::StoreUnavailable, transient),
            (502, "", GET, Code::StoreUnavailable, transient),
            (400, "RequestTimeout", GET, Code::StoreUnavailable, transient),
            (200, "InternalError", GET, Code::StoreUnavailable, transient),
        ];
        for (status, code, doing, expected, retry) in table {
            let failure = of(status, code, doing);
            assert_eq!((failure.error.code, failure.retry), (expected, retry), "{status} {code}");
            assert!(failure.error.class.is_some(), "{status} {code}");
            assert!(!failure.error.message.ends_with('.'), "{}", failure.error);
        }
    }

    #[test]
    fn refusals_name_the_permission() {
        let hint = |doing| of(403, "AccessDenied", doing).error.hint.unwrap();
        assert!(hint(GET).contains("s3:GetObject"));
        assert!(hint(LIST).contains("s3:ListBucket"));
        let answer = Answer {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: "not authorized to perform: kms:Decrypt on resource".to_owned(),
            ..Answer::default()
        };
        let failure = from_answer(&answer, GET, &place());
        assert!(failure.error.hint.unwrap().contains("kms:Decrypt"));
    }

    #[test]
    fn a_wrong_region_is_named() {
        let answer = Answer {
            status: 301,
            code: "PermanentRedirect".to_owned(),
            region: Some("eu-west-1".to_owned()),
            request_id: Some("ID1".to_owned()),
            ..Answer::default()
        };
        let error = from_answer(&answer, LIST, &place()).error;
        assert_eq!(
            error.message,
            "cannot list `a/`: the bucket `backups` is in region `eu-west-1`, not in `us-east-1` \
             (301 PermanentRedirect, request id `ID1`)"
        );
        assert_eq!(error.hint.unwrap(), "Set `s3.region: eu-west-1`.");
    }

    #[test]
    fn a_port_without_tls_is_not_blamed_on_certificates() {
        let tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let failure = from_transport(&tls, false, false, LIST, &place());
        assert_eq!(failure.error.code, Code::TlsFailed);
        assert!(failure.error.message.ends_with("does not speak TLS"), "{}", failure.error);
        assert!(failure.error.hint.unwrap().contains("http://"));
    }

    #[test]
    fn missing_credentials_are_one_short_sentence() {
        let none = CredentialsError::not_loaded("no credentials found in chain. Attempted: …");
        let error = from_transport(&none, false, false, Doing::List { prefix: "" }, &place()).error;
        assert_eq!(error.code, Code::CredentialsMissing);
        assert_eq!(
            error.message,
            "cannot list the bucket: no credentials were found where the job says to look"
        );
    }

    #[test]
    fn a_server_may_ask_to_wait_but_not_for_ever() {
        let answer = Answer { status: 503, retry_after: Some(9999), ..Answer::default() };
        let after = Some(Duration::from_mins(1));
        assert_eq!(from_answer(&answer, GET, &place()).retry, Retry::Transient { after });
    }

    #[test]
    fn a_servers_words_are_tamed() {
        assert_eq!(quote("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(quote(&"x".repeat(5000)).chars().count(), MAX_QUOTE + 1);
        assert_eq!(element("<Error><Region>eu</Region></Error>", "Region"), Some("eu"));
        assert_eq!(element("<Error><Region>eu", "Region"), None);
    }
}
