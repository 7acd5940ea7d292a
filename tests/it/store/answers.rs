//! Against answers that a peer makes up: refusals, nonsense, broken bodies.

use std::{sync::Arc, time::Duration};

use pgassay::{
    drill::{Code, FailureClass, job::Credentials},
    store::{GetRange, ObjectStore, S3Store, s3::S3Options},
};

use super::{
    body_error, client, client_with, content, list, list_error, location,
    peer::{Peer, Reply, Request},
    quick, read,
};

const ETAG: (&str, &str) = ("etag", "\"abc\"");

/// An answer with the rest of `bytes` that a request asks for, of which `sent` bytes arrive.
pub(super) fn rest(bytes: &[u8], request: &Request, sent: usize) -> Reply {
    let Some(range) = request.header("range") else {
        return Reply::announcing(200, &[ETAG], bytes.len(), &bytes[..sent.min(bytes.len())]);
    };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = if last.is_empty() { bytes.len() } else { last.parse::<usize>().unwrap() + 1 };
    let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
    let body = &bytes[first..end];
    let headers = [ETAG, ("content-range", range.as_str())];
    Reply::announcing(206, &headers, body.len(), &body[..sent.min(body.len())])
}

/// Reads `bytes` from a peer whose answers hold at most `sent` bytes each and end as `end` says.
async fn read_broken(
    bytes: Vec<u8>,
    sent: usize,
    end: fn(Reply) -> Reply,
    options: S3Options,
) -> (Peer, S3Store) {
    let bytes = Arc::new(bytes);
    let served = bytes.clone();
    let peer = Peer::start(move |_, request| {
        let reply = rest(&served, request, sent);
        if request.header("range").is_none() || sent < bytes.len() { end(reply) } else { reply }
    })
    .await;
    let store = client_with(&peer.endpoint(), options).await;
    (peer, store)
}

#[tokio::test]
async fn a_short_body_is_resumed_where_it_ended() {
    let bytes = content(500_000);
    let (peer, store) = read_broken(bytes.clone(), 200_000, |reply| reply, quick()).await;
    let range = GetRange { if_match: Some("\"abc\""), ..GetRange::whole("a/b") };
    assert!(read(&store, range).await.unwrap() == bytes);
    let requests = peer.requests();
    let ranges: Vec<_> = requests.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-499999"), Some("bytes=400000-499999")]);
    for request in requests {
        assert_eq!(request.header("if-match"), Some("\"abc\""));
        assert_eq!(request.target, "/backups/a/b?x-id=GetObject");
        assert_eq!(request.header("x-amz-checksum-mode"), None, "some stores refuse it");
    }
}

#[tokio::test]
async fn a_reset_body_is_resumed_with_the_tag_of_the_first_answer() {
    let bytes = content(300_000);
    let (peer, store) = read_broken(bytes.clone(), 100_000, Reply::then_reset, quick()).await;
    assert!(read(&store, GetRange::whole("a")).await.unwrap() == bytes);
    let requests = peer.requests();
    assert!(requests.len() > 1);
    assert_eq!(requests[0].header("if-match"), None);
    assert_eq!(requests[1].header("if-match"), Some("\"abc\""));
}

#[tokio::test]
async fn a_stalled_body_is_resumed() {
    let bytes = content(300_000);
    let mut options = quick();
    options.timeouts.stall = Duration::from_millis(100);
    let (peer, store) = read_broken(bytes.clone(), 200_000, Reply::then_hang, options).await;
    assert!(read(&store, GetRange::whole("a")).await.unwrap() == bytes);
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_never_moves_on_is_given_up() {
    let peer = Peer::start(|nth, request| {
        rest(&content(300_000), request, if nth == 0 { 100_000 } else { 0 })
    })
    .await;
    let store = client(&peer.endpoint()).await;
    let error = body_error(&store, GetRange::whole("a")).await;
    assert_eq!(error.code, Code::BodyIncomplete, "{error}");
    assert_eq!(error.class, Some(FailureClass::ObjectReadIncomplete));
    assert!(error.message.contains("beyond byte 100000"), "{error}");
    assert_eq!(peer.requests().len(), 5);
}

#[tokio::test]
async fn an_object_that_is_replaced_halfway_is_not_spliced() {
    let other_tag = |request: &Request| {
        let first = request.header("range").unwrap();
        let first: usize = first["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
        let range = format!("bytes {first}-299999/300000");
        let headers = [("etag", "\"other\""), ("content-range", range.as_str())];
        Reply::new(206, &headers, vec![0; 300_000 - first])
    };
    let refused = |_: &Request| Reply::error(412, "PreconditionFailed", "no");
    let second: [fn(&Request) -> Reply; 2] = [other_tag, refused];
    for second in second {
        let peer = Peer::start(move |nth, request| match nth {
            0 => rest(&content(300_000), request, 100_000),
            _ => second(request),
        })
        .await;
        let store = client(&peer.endpoint()).await;
        let error = body_error(&store, GetRange::whole("a")).await;
        assert_eq!(error.code, Code::ObjectChanged, "{error}");
    }
}

#[tokio::test]
async fn wrong_ranges_are_not_taken_for_the_right_ones() {
    // The server ignores the range.
    let peer = Peer::start(|_, _| Reply::new(200, &[ETAG], content(1000))).await;
    let store = client(&peer.endpoint()).await;
    let range = GetRange { offset: 10, ..GetRange::whole("a") };
    assert_eq!(body_error(&store, range).await.code, Code::StoreProtocol);
    for wrong in ["bytes 0-9/1000", "bytes 10-18/1000", "bytes 10-19/*", "rows 10-19/1000"] {
        let peer =
            Peer::start(move |_, _| Reply::new(206, &[("content-range", wrong)], content(10)))
                .await;
        let store = client(&peer.endpoint()).await;
        let range = GetRange { offset: 10, length: Some(10), ..GetRange::whole("a") };
        assert_eq!(body_error(&store, range).await.code, Code::StoreProtocol, "{wrong}");
    }
}

#[tokio::test]
async fn a_server_that_gives_less_than_asked_is_asked_again() {
    let bytes = content(100_000);
    let served = bytes.clone();
    // Answers with 30,000 bytes at most, honestly declared.
    let peer = Peer::start(move |_, request| {
        let range = request.header("range").unwrap();
        let first: usize = range["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
        let end = served.len().min(first + 30_000);
        let range = format!("bytes {first}-{}/{}", end - 1, served.len());
        Reply::new(206, &[ETAG, ("content-range", &range)], &served[first..end])
    })
    .await;
    let store = client(&peer.endpoint()).await;
    let range = GetRange { offset: 1, ..GetRange::whole("a") };
    assert!(read(&store, range).await.unwrap() == bytes[1..]);
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn a_body_without_a_length_is_refused() {
    let peer =
        Peer::start(|_, _| Reply::raw("HTTP/1.1 200 X\r\nconnection: close\r\n\r\nhello")).await;
    let store = client(&peer.endpoint()).await;
    let error = body_error(&store, GetRange::whole("a")).await;
    assert_eq!(error.code, Code::StoreProtocol, "{error}");
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let peer = Peer::start(|nth, _| match nth {
        0 => Reply::error(503, "SlowDown", "Please reduce your request rate."),
        1 => Reply::error(500, "InternalError", "We encountered an internal error."),
        2 => Reply::raw("").then_reset(),
        _ => Reply::new(200, &[ETAG], "hello"),
    })
    .await;
    let store = client(&peer.endpoint()).await;
    assert_eq!(read(&store, GetRange::whole("a")).await.unwrap(), "hello");
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn a_store_that_stays_busy_is_given_up() {
    let peer =
        Peer::start(|_, _| Reply::error(503, "SlowDown", "Please reduce your request rate.")).await;
    let error = list_error(&client(&peer.endpoint()).await).await;
    assert_eq!(error.code, Code::StoreUnavailable);
    assert_eq!(
        error.message,
        "cannot list `a/`: the store asks to slow down (503 SlowDown: Please reduce your request rate) \
         (after 5 attempts)"
    );
    assert_eq!(peer.requests().len(), 5);
}

#[tokio::test]
async fn another_region_is_named_from_header_or_body() {
    let replies: [fn() -> Reply; 2] = [
        || {
            Reply::error_with(
                301,
                "PermanentRedirect",
                "Use the endpoint.",
                "",
                &[("x-amz-bucket-region", "eu-west-1")],
            )
        },
        || {
            Reply::error_with(
                400,
                "AuthorizationHeaderMalformed",
                "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
                "<Region>eu-west-1</Region>",
                &[],
            )
        },
    ];
    for reply in replies {
        let peer = Peer::start(move |_, _| reply()).await;
        let store = client(&peer.endpoint()).await;
        for error in [list_error(&store).await, body_error(&store, GetRange::whole("a")).await] {
            assert_eq!(error.code, Code::WrongRegion, "{error}");
            assert!(
                error.message.contains("is in region `eu-west-1`, not in `us-east-1`"),
                "{error}"
            );
            assert_eq!(error.hint.as_deref(), Some("Set `s3.region: eu-west-1`."));
        }
        assert_eq!(peer.requests().len(), 2, "a wrong region is not tried again");
    }
}

#[tokio::test]
async fn refusals_have_their_own_sentences() {
    let table = [
        (403, "AccessDenied", "refuses access", "s3:GetObject"),
        (403, "InvalidAccessKeyId", "does not know the access key id", "s3.credentials"),
        (403, "SignatureDoesNotMatch", "signature does not match", "secret access key"),
        (400, "ExpiredToken", "has expired", "new credentials"),
        (403, "RequestTimeTooSkewed", "clock", "NTP"),
        (403, "KMS.AccessDeniedException", "decrypt", "kms:Decrypt"),
    ];
    for (status, code, sentence, hint) in table {
        let peer = Peer::start(move |_, _| {
            Reply::error_with(status, code, "Said so.", "", &[("x-amz-request-id", "REQ1")])
        })
        .await;
        let store = client(&peer.endpoint()).await;
        let error = body_error(&store, GetRange::whole("a")).await;
        assert_eq!(
            (error.code, error.class),
            (Code::AccessDenied, Some(FailureClass::AccessDenied))
        );
        assert!(error.message.contains(sentence), "{error}");
        assert!(
            error.message.contains(&format!("({status} {code}: Said so, request id `REQ1`)")),
            "{error}"
        );
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        assert_eq!(peer.requests().len(), 1, "a refusal is not tried again");
    }
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_one_too() {
    let peer = Peer::start(|_, _| Reply::new(403, &[], "<html>go away</html>")).await;
    let store = client(&peer.endpoint()).await;
    assert_eq!(list_error(&store).await.code, Code::AccessDenied);
    assert_eq!(body_error(&store, GetRange::whole("a")).await.code, Code::AccessDenied);
}

fn listing(inner: &str) -> String {
    format!("<?xml version=\"1.0\"?><ListBucketResult>{inner}</ListBucketResult>")
}

fn entry(key: &str) -> String {
    format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>\"e\"</ETag></Contents>")
}

/// Nothing here may pass as a listing: an archive that looks empty is reported as lost.
#[tokio::test]
async fn nonsense_is_no_listing() {
    let whole = listing(&format!(
        "<IsTruncated>false</IsTruncated><KeyCount>2</KeyCount>{}{}",
        entry("a/1"),
        entry("a/2")
    ));
    let cut_between = whole.split("<Contents><Key>a/2").next().unwrap().to_owned();
    let cut_inside = whole.split("a/2").next().unwrap().to_owned();
    let nonsense = [
        "<html><body>Welcome to the guest network</body></html>".to_owned(),
        String::new(),
        "{}".to_owned(),
        "<?xml version=\"1.0\"?><ListBucketResult>".to_owned(),
        "<ListBucketResult/>".to_owned(),
        listing(""),
        listing("<IsTruncated>true</IsTruncated>"),
        listing(&format!("<IsTruncated>false</IsTruncated><KeyCount>2</KeyCount>{}", entry("a/1"))),
        listing(&format!("<IsTruncated>false</IsTruncated>{}", entry("b/1"))),
        listing("<IsTruncated>false</IsTruncated><Contents><Key>a/1</Key></Contents>"),
        cut_between,
        cut_inside,
    ];
    for body in nonsense {
        let served = body.clone();
        let peer = Peer::start(move |_, _| Reply::new(200, &[], &served)).await;
        let error = list_error(&client(&peer.endpoint()).await).await;
        assert_eq!(error.code, Code::StoreProtocol, "{body}: {error}");
    }
    let peer = Peer::start(move |_, _| Reply::new(200, &[], &whole)).await;
    assert_eq!(list(&client(&peer.endpoint()).await, "a/").await.unwrap().concat().len(), 2);
}

#[tokio::test]
async fn a_listing_that_goes_round_is_left() {
    let peer = Peer::start(|nth, _| {
        let token = if nth % 2 == 0 { "one" } else { "two" };
        Reply::new(200, &[], listing(&format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>{}",
            entry("a/1")
        )))
    })
    .await;
    let error = list_error(&client(&peer.endpoint()).await).await;
    assert_eq!(error.code, Code::StoreProtocol, "{error}");
    assert!(error.message.contains("same continuation token"), "{error}");
    assert_eq!(peer.requests().len(), 3);
}

#[tokio::test]
async fn a_listing_that_breaks_is_asked_for_again() {
    let peer = Peer::start(|nth, _| {
        let whole = listing("<IsTruncated>false</IsTruncated>");
        match nth {
            0 => Reply::announcing(200, &[], whole.len(), &whole[..40]),
            1 => Reply::announcing(200, &[], whole.len(), &whole[..40]).then_reset(),
            _ => Reply::new(200, &[], whole),
        }
    })
    .await;
    let store = client(&peer.endpoint()).await;
    assert_eq!(list(&store, "a/").await.unwrap().concat(), []);
    assert_eq!(peer.requests().len(), 3);
    let broken = Peer::start(|_, _| Reply::announcing(200, &[], 100, "<ListBu")).await;
    let error = list_error(&client(&broken.endpoint()).await).await;
    assert_eq!(error.code, Code::StoreUnavailable, "{error}");
}

#[tokio::test]
async fn folders_go_on_over_pages() {
    let peer = Peer::start(|_, request| {
        let folder = |name: &str| format!("<CommonPrefixes><Prefix>p/{name}/</Prefix></CommonPrefixes>");
        assert!(request.target.contains("delimiter=%2F"), "{}", request.target);
        Reply::new(200, &[], if request.target.contains("continuation-token=next") {
            listing(&format!("<IsTruncated>false</IsTruncated>{}{}", folder("b"), folder("")))
        } else {
            listing(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>{}",
                folder("a")
            ))
        })
    })
    .await;
    let store = client(&peer.endpoint()).await;
    assert_eq!(store.list_folders("p/").await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_plain_listing_has_no_delimiter() {
    let peer =
        Peer::start(|_, _| Reply::new(200, &[], listing("<IsTruncated>false</IsTruncated>"))).await;
    list(&client(&peer.endpoint()).await, "a/").await.unwrap();
    let target = &peer.requests()[0].target;
    assert!(target.starts_with("/backups?") || target.starts_with("/backups/?"), "{target}");
    assert!(!target.contains("delimiter"), "{target}");
    assert!(target.contains("prefix=a%2F") && target.contains("max-keys=1000"), "{target}");
}

#[tokio::test]
async fn requests_carry_the_signature_of_their_keys_or_none() {
    let peer =
        Peer::start(|_, _| Reply::new(200, &[], listing("<IsTruncated>false</IsTruncated>"))).await;
    list(&client(&peer.endpoint()).await, "a/").await.unwrap();

    let keys = super::Keys::new("AKIAEXAMPLE", super::SECRET);
    std::fs::write(keys.path("token"), "a-token\r\n").unwrap();
    let credentials = Credentials::Static {
        access_key_id: keys.source("id"),
        secret_access_key: keys.source("secret"),
        session_token: Some(keys.source("token")),
    };
    let mut at = location(&peer.endpoint(), credentials);
    at.s3.region = Some("eu-central-1".to_owned());
    let store = S3Store::connect_with(&at, quick()).await.unwrap();
    assert_eq!(store.region(), "eu-central-1");
    list(&store, "a/").await.unwrap();

    let [anonymous, signed] = &peer.requests()[..] else { panic!("two requests") };
    assert_eq!(anonymous.header("authorization"), None);
    let authorization = signed.header("authorization").unwrap();
    assert!(authorization.contains("Credential=AKIAEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/s3/aws4_request"), "{authorization}");
    assert_eq!(signed.header("x-amz-security-token"), Some("a-token"));
}
