//! Names that do not resolve, ports where nobody listens, peers that say nothing, TLS.

use std::time::Duration;

use pgassay::{
    drill::{Code, job::Credentials},
    store::{GetRange, S3Store},
};

use super::{
    client, client_with, list, list_error, location,
    peer::{Peer, Reply},
    quick, read,
    tls::Authority,
};

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let error = list_error(&client("http://pgassay.invalid:9000").await).await;
    assert_eq!(error.code, Code::DnsFailed, "{error}");
    assert!(error.message.contains("http://pgassay.invalid:9000"), "{error}");
    assert!(error.message.contains("after 4 attempts"), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "https"] {
        let mut at = location(&format!("{scheme}://{address}"), Credentials::Anonymous);
        let authority = Authority::new();
        at.s3.ca_bundle = Some(authority.bundle());
        let store = S3Store::connect_with(&at, quick()).await.unwrap();
        let error = list_error(&store).await;
        assert_eq!(error.code, Code::ConnectFailed, "{error}");
        assert!(error.message.contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_never_answers() {
    let peer = Peer::start(|_, _| Reply::raw("").then_hang()).await;
    let mut options = quick();
    options.timeouts.response = Duration::from_millis(50);
    let error = list_error(&client_with(&peer.endpoint(), options).await).await;
    assert_eq!(error.code, Code::StoreUnavailable, "{error}");
    assert!(error.message.contains("did not answer in time"), "{error}");
    assert_eq!(peer.requests().len(), 5);
}

#[tokio::test]
async fn a_peer_that_speaks_no_http() {
    let peer = Peer::start(|_, _| Reply::raw("220 mail.example.net ESMTP\r\n")).await;
    let error = list_error(&client(&peer.endpoint()).await).await;
    assert!(matches!(error.code, Code::StoreUnavailable | Code::StoreProtocol), "{error}");
}

#[tokio::test]
async fn an_authority_must_be_trusted() {
    let authority = Authority::new();
    let peer = Peer::start_tls(authority.acceptor(), |_, _| Reply::new(200, &[], "hello")).await;

    let mut at = location(&peer.endpoint(), Credentials::Anonymous);
    let other = Authority::new();
    at.s3.ca_bundle = Some(other.bundle());
    let store = S3Store::connect_with(&at, quick()).await.unwrap();
    let error = read(&store, GetRange::whole("a")).await.unwrap_err();
    assert_eq!(error.code, Code::TlsFailed, "{error}");
    assert!(error.hint.unwrap().contains("s3.caBundle"));
    assert_eq!(peer.requests().len(), 0);

    at.s3.ca_bundle = Some(authority.bundle());
    let store = S3Store::connect_with(&at, quick()).await.unwrap();
    assert_eq!(read(&store, GetRange::whole("a")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let peer = Peer::start_tls(authority.acceptor(), |_, _| Reply::new(200, &[], "hello")).await;
    // The certificate is for 127.0.0.1; 127.0.0.2 is the same machine.
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = peer.endpoint().replace("https://", "");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let mut at = location(&format!("https://127.0.0.2:{port}"), Credentials::Anonymous);
    at.s3.ca_bundle = Some(authority.bundle());
    let error = list_error(&S3Store::connect_with(&at, quick()).await.unwrap()).await;
    assert_eq!(error.code, Code::TlsFailed, "{error}");
}

#[tokio::test]
async fn tls_to_a_plain_port() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            use tokio::io::AsyncWriteExt;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let authority = Authority::new();
    let mut at = location(&format!("https://{address}"), Credentials::Anonymous);
    at.s3.ca_bundle = Some(authority.bundle());
    let error = list_error(&S3Store::connect_with(&at, quick()).await.unwrap()).await;
    assert_eq!(error.code, Code::TlsFailed, "{error}");
}

#[tokio::test]
async fn a_bundle_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("ca.pem");
    let mut at = location("https://127.0.0.1:1", Credentials::Anonymous);
    at.s3.ca_bundle = Some(bundle.clone());
    for content in [None, Some("not a certificate")] {
        if let Some(content) = content {
            std::fs::write(&bundle, content).unwrap();
        }
        let error = S3Store::connect(&at).await.unwrap_err();
        assert_eq!(error.code, Code::TlsFailed, "{error}");
        assert!(error.message.contains(bundle.to_str().unwrap()), "{error}");
        assert!(error.hint.unwrap().contains("caBundle"));
    }
}

#[tokio::test]
async fn a_reached_store_that_goes_away_is_waited_for_longer() {
    let peer = Peer::start(|_, _| {
        Reply::new(
            200,
            &[],
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        )
    })
    .await;
    let store = client(&peer.endpoint()).await;
    list(&store, "a/").await.unwrap();
    drop(peer);
    let error = list_error(&store).await;
    assert!(error.message.contains("after 5 attempts"), "{error}");
}
