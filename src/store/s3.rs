//! The store of archives: S3 and what speaks its protocol.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_types::date_time::{DateTime, Format};
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::{
    ByteStream, GetRange, ListedObject, ObjectStore,
    retry::{Failure, Retry, RetryPolicy},
};
use crate::drill::{Code, Error, FailureClass, job::StoreLocation};

mod config;
pub(super) mod errors;
mod get;
mod lanes;
mod list;

use errors::{Doing, Place};

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection with its TLS handshake.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub response: Duration,
    /// For the next bytes of a body, while somebody waits for them.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_mins(1),
            stall: Duration::from_secs(30),
        }
    }
}

/// What can be set about a client besides its location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
}

/// A bucket of an S3 service, for reading. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct S3Store {
    pub(super) shared: Arc<Shared>,
}

/// What the streams of a store need.
#[derive(Debug)]
pub(super) struct Shared {
    pub client: Client,
    pub place: Place,
    pub options: S3Options,
    /// Whether the endpoint has answered once: until then a wrong address is the likelier cause.
    reached: AtomicBool,
    /// How often it has asked to slow down.
    slowdowns: AtomicU64,
}

impl S3Store {
    /// Makes a client of a location's bucket. Reads secrets and certificates, asks nothing of the
    /// store yet. Keys are the bucket's own: the location's prefix is not added to them.
    ///
    /// # Errors
    /// `UrlInvalid`, `CredentialsMissing`, `TlsFailed`: what cannot be right in the location.
    pub async fn connect(location: &StoreLocation) -> Result<Self, Error> {
        Self::connect_with(location, S3Options::default()).await
    }

    /// As [`Self::connect`], with other retries and timeouts.
    pub async fn connect_with(location: &StoreLocation, options: S3Options) -> Result<Self, Error> {
        let connected = config::connect(location, options.timeouts).await?;
        let place = Place {
            bucket: location.bucket.clone(),
            endpoint: connected.endpoint,
            region: connected.region,
        };
        let shared = Shared {
            client: connected.client,
            place,
            options,
            reached: AtomicBool::new(false),
            slowdowns: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.shared.place.region
    }

    /// The store's clock, from the answer to a cheap request, also to one that it refuses: more than
    /// 15 minutes from this machine's, requests are refused.
    ///
    /// # Errors
    /// Where no answer comes, or one without a date.
    pub async fn server_time(&self) -> Result<Timestamp, Error> {
        let shared = &self.shared;
        let date = shared
            .options
            .retry
            .run(|| async {
                let clock = ServerClock::default();
                let answer = shared
                    .client
                    .head_bucket()
                    .bucket(&shared.place.bucket)
                    .customize()
                    .interceptor(clock.clone())
                    .send()
                    .await;
                match (clock.date(), answer) {
                    (Some(date), _) => Ok(Some(date)),
                    (None, Ok(_)) => Ok(None),
                    (None, Err(error)) => Err(shared.failure(&error, Doing::Probe)),
                }
            })
            .await?;
        date.as_deref()
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| Timestamp::from_second(date.secs()).ok())
            .ok_or_else(|| {
                Error::new(Code::StoreProtocol, "the store's answer has no valid date")
                    .class(FailureClass::ObjectStoreError)
            })
    }
}

impl Shared {
    /// Our error for the SDK's, tried less often while the endpoint has never answered.
    pub(super) fn failure<E>(
        &self,
        error: &aws_sdk_s3::error::SdkError<
            E,
            aws_smithy_runtime_api::client::orchestrator::HttpResponse,
        >,
        doing: Doing<'_>,
    ) -> Failure
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if let Some(answer) = error.raw_response() {
            self.answered();
            if errors::asks_to_slow_down(answer.status().as_u16()) {
                self.slowdowns.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut failure = errors::failure(error, doing, &self.place);
        if failure.retry == Retry::Unreachable && self.reached.load(Ordering::Relaxed) {
            failure.retry = Retry::Transient { after: None };
        }
        failure
    }

    pub(super) fn answered(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        list::objects(self.shared.clone(), prefix.to_owned())
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        list::folders(&self.shared, prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        get::open(self.shared.clone(), range).await
    }

    fn slowdowns(&self) -> u64 {
        self.shared.slowdowns.load(Ordering::Relaxed)
    }

    fn describe(&self) -> String {
        let place = &self.shared.place;
        match &place.endpoint {
            Some(endpoint) => format!("s3://{} at {endpoint}", place.bucket),
            None => format!("s3://{} in {}", place.bucket, place.region),
        }
    }
}

/// Notes the date of an answer, whatever it says.
#[derive(Clone, Debug, Default)]
struct ServerClock(Arc<Mutex<Option<String>>>);

impl ServerClock {
    fn date(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
