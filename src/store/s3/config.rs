//! From a location in a job to a client of the SDK: endpoint, region, trust, proxy, credentials.

use std::{path::Path, time::Duration};

use aws_config::{
    BehaviorVersion,
    ecs::EcsCredentialsProvider,
    environment::region::EnvironmentVariableRegionProvider,
    identity::IdentityCache,
    imds::{credentials::ImdsCredentialsProvider, region::ImdsRegionProvider},
    meta::{credentials::CredentialsProviderChain, region::ProvideRegion},
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider},
    provider_config::ProviderConfig,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::{
    Client,
    config::{
        Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig,
    },
};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Timeouts, lanes::Lanes};
use crate::{
    drill::{
        Code, Error, FailureClass,
        job::{Credentials, S3Spec, StoreLocation, StoreScheme},
    },
    store::secret,
};

/// Region of the signature where an endpoint is given and nothing names one: what stores other than
/// AWS expect.
const DEFAULT_REGION: &str = "us-east-1";

/// Longest time for a credential to be fetched: a `credential_process` may ask a slow service.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to a store that speaks HTTP/2: as many as large objects are read over by default.
const LANES: usize = 8;

/// A client, and what messages say about it.
pub(super) struct Connected {
    pub client: Client,
    /// Without user or password.
    pub endpoint: Option<String>,
    pub region: String,
}

/// Makes a client. Nothing is asked of the store yet.
pub(super) async fn connect(
    location: &StoreLocation,
    timeouts: Timeouts,
) -> Result<Connected, Error> {
    if location.scheme != StoreScheme::S3 {
        return Err(Error::new(Code::UrlInvalid, "an archive must be at an `s3://` URL")
            .class(FailureClass::ConfigError));
    }
    let spec = &location.s3;
    let endpoint = endpoint(spec)?;
    let ca = ca_bundle(spec).await?;
    let region = region(spec, endpoint.is_some()).await;

    let http = {
        let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
        // The system's certificates are not even read where they are not needed: a small machine
        // may have none.
        let trust = match &ca {
            Some(pem) => TrustStore::empty().with_pem_certificate(pem.as_slice()),
            None if plain => TrustStore::empty(),
            None => TrustStore::default(),
        };
        let proxy = if endpoint.as_deref().is_some_and(is_loopback) {
            ProxyConfig::disabled()
        } else {
            ProxyConfig::from_env()
        };
        http_client(trust, proxy, timeouts)?
    };

    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(http.clone())
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIAL_TIMEOUT).build())
        .retry_config(RetryConfig::disabled());
    if let Some(url) = &endpoint {
        loader = loader.endpoint_url(url);
    }
    if let Credentials::Profile(name) = &spec.credentials {
        loader = loader.profile_name(name);
    }
    let provider = credentials(spec, &region, ca.as_deref(), timeouts).await?;
    loader = match provider.clone() {
        Some(provider) => loader.credentials_provider(provider),
        None => loader.no_credentials(),
    };
    let shared = loader.load().await;

    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .http_client(http)
        .force_path_style(spec.path_style)
        .retry_config(RetryConfig::disabled())
        // Stores other than AWS refuse the newer checksums; every object is verified by its own.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Bodies have a time limit of their own, which knows about slow readers.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if provider.is_none() {
        config = config.allow_no_auth();
    }
    let endpoint = endpoint.or_else(|| shared.endpoint_url().map(str::to_owned));
    Ok(Connected {
        client: Client::from_conf(config.build()),
        endpoint: endpoint.as_deref().map(without_user),
        region: region.to_string(),
    })
}

/// The endpoint as a URL of scheme and host.
fn endpoint(spec: &S3Spec) -> Result<Option<String>, Error> {
    let Some(endpoint) = &spec.endpoint else { return Ok(None) };
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match rest {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(Some(endpoint.clone())),
        _ => Err(Error::new(
            Code::UrlInvalid,
            format!(
                "the endpoint `{}` is not an `https://` or `http://` URL",
                without_user(endpoint)
            ),
        )
        .class(FailureClass::ConfigError)
        .hint("Write `s3.endpoint` with its scheme, such as `https://s3.example.net`.")),
    }
}

/// A URL without the user and password that somebody may have put there.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Whether an endpoint is on this machine: never behind a proxy.
fn is_loopback(url: &str) -> bool {
    let url = without_user(url);
    let Some((_, rest)) = url.split_once("://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The certificates to trust: the job's, else those of `AWS_CA_BUNDLE`, which barman-cloud obeys
/// too.
async fn ca_bundle(spec: &S3Spec) -> Result<Option<Vec<u8>>, Error> {
    let from_env = || std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty());
    let (path, place) = match (&spec.ca_bundle, from_env()) {
        (Some(path), _) => (path.clone(), "`s3.caBundle`"),
        (None, Some(path)) => (path.into(), "`AWS_CA_BUNDLE`"),
        (None, None) => return Ok(None),
    };
    let pem = tokio::fs::read(&path).await.map_err(|error| {
        bad_bundle(&path, &error.to_string()).hint(format!("Check the path in {place}."))
    })?;
    check_bundle(&pem)
        .map_err(|why| bad_bundle(&path, &why).hint(format!(
            "{place} must name a PEM file with the certificate of the authority that signed the endpoint's."
        )))?;
    Ok(Some(pem))
}

/// The SDK takes any bytes here and panics on bad ones at the first connection.
fn check_bundle(pem: &[u8]) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

fn bad_bundle(path: &Path, why: &str) -> Error {
    Error::new(
        Code::TlsFailed,
        format!("the certificates in `{}` cannot be used: {why}", path.display()),
    )
    .class(FailureClass::ConfigError)
}

fn http_client(
    trust: TrustStore,
    proxy: ProxyConfig,
    timeouts: Timeouts,
) -> Result<SharedHttpClient, Error> {
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| Error::new(Code::TlsFailed, format!("TLS cannot be set up: {error}")))?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.response)
        .build();
    let connector = SharedHttpConnector::new(Lanes::new(LANES, move || {
        SharedHttpConnector::new(
            Connector::builder()
                .connector_settings(settings.clone())
                .proxy_config(proxy.clone())
                .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(tls.clone())
                .build(),
        )
    }));
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// The region: the job's, the environment's, the profile's; then `us-east-1` for an endpoint, and
/// for AWS itself that of the machine. A wrong guess is answered with the right name.
async fn region(spec: &S3Spec, has_endpoint: bool) -> Region {
    if let Some(region) = &spec.region {
        return Region::new(region.clone());
    }
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return region;
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Credentials::Profile(name) = &spec.credentials {
        profile = profile.profile_name(name);
    }
    if let Some(region) = profile.build().region().await {
        return region;
    }
    let on_aws = matches!(spec.credentials, Credentials::DefaultChain | Credentials::InstanceRole);
    if !has_endpoint
        && on_aws
        && let Some(region) = ImdsRegionProvider::builder().build().region().await
    {
        return region;
    }
    Region::new(DEFAULT_REGION)
}

/// Where credentials come from, or `None` for requests without a signature.
async fn credentials(
    spec: &S3Spec,
    region: &Region,
    ca: Option<&[u8]>,
    timeouts: Timeouts,
) -> Result<Option<SharedCredentialsProvider>, Error> {
    // Token services may be AWS's own or the store's: both authorities are trusted here.
    let config = || -> Result<ProviderConfig, Error> {
        let mut trust = TrustStore::default();
        if let Some(pem) = ca {
            trust = trust.with_pem_certificate(pem);
        }
        Ok(ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_http_client(http_client(trust, ProxyConfig::from_env(), timeouts)?))
    };
    Ok(match &spec.credentials {
        Credentials::Anonymous => None,
        Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let id = secret::read(access_key_id).await?;
            let key = secret::read(secret_access_key).await?;
            let token = match session_token {
                Some(source) => Some(secret::read(source).await?.expose().to_owned()),
                None => None,
            };
            Some(SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                id.expose(),
                key.expose(),
                token,
                None,
                "job",
            )))
        }
        Credentials::Profile(name) => Some(SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder()
                .configure(&config()?)
                .profile_name(name)
                .build(),
        )),
        Credentials::WebIdentity { role_arn, token_file } => {
            // Fails early with the path: the provider itself would only say so at the first request.
            tokio::fs::metadata(token_file).await.map_err(|error| {
                Error::new(
                    Code::CredentialsMissing,
                    format!("the token file `{}` cannot be read: {error}", token_file.display()),
                )
                .class(FailureClass::ConfigError)
                .hint("Check `credentials.webIdentity.tokenFile` and the volume that holds it.")
            })?;
            Some(SharedCredentialsProvider::new(
                WebIdentityTokenCredentialsProvider::builder()
                    .configure(&config()?)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: token_file.clone(),
                        role_arn: role_arn.clone(),
                        session_name: "pgassay".to_owned(),
                    })
                    .build(),
            ))
        }
        Credentials::InstanceRole => {
            let config = config()?;
            let container = EcsCredentialsProvider::builder().configure(&config).build();
            let machine = ImdsCredentialsProvider::builder().configure(&config).build();
            Some(SharedCredentialsProvider::new(
                CredentialsProviderChain::first_try("container", container)
                    .or_else("instance", machine),
            ))
        }
        Credentials::DefaultChain => Some(SharedCredentialsProvider::new(
            aws_config::default_provider::credentials::DefaultCredentialsChain::builder()
                .configure(config()?)
                .region(region.clone())
                .build()
                .await,
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_need_a_scheme() {
        let of =
            |url: &str| endpoint(&S3Spec { endpoint: Some(url.to_owned()), ..S3Spec::default() });
        assert_eq!(of("https://s3.example.net").unwrap().unwrap(), "https://s3.example.net");
        for wrong in ["s3.example.net", "https://", "http:///x", "ftp://a", ""] {
            assert_eq!(of(wrong).unwrap_err().code, Code::UrlInvalid, "{wrong}");
        }
        let error = of("user:hush@host").unwrap_err();
        assert!(error.hint.unwrap().contains("endpoint"));
        assert_eq!(endpoint(&S3Spec::default()).unwrap(), None);
    }

    #[test]
    fn urls_lose_their_user() {
        assert_eq!(without_user("https://u:p@host:9000/a@b"), "https://host:9000/a@b");
        assert_eq!(without_user("https://host"), "https://host");
    }

    #[test]
    fn knows_this_machine() {
        for url in [
            "http://127.0.0.1:9000",
            "http://localhost",
            "https://[::1]:80/",
            "http://s3.localhost:1",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1", "https://localhost.example.net", "http://[::2]", "x"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn bundles_are_checked_before_use() {
        assert!(check_bundle(b"").unwrap_err().contains("no certificate"));
        assert!(check_bundle(b"hello").unwrap_err().contains("no certificate"));
        let wrong = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(check_bundle(wrong).is_err());
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(check_bundle(cut).is_err());
    }

    #[tokio::test]
    async fn the_jobs_region_wins() {
        let spec = S3Spec { region: Some("eu-central-1".to_owned()), ..S3Spec::default() };
        assert_eq!(region(&spec, true).await.as_ref(), "eu-central-1");
    }
}
