//! Requests over several pools of connections. Over HTTP/2, which a proxy before a store may speak, a pool
//! sends everything over one connection: on a link with latency that is no faster than one request.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Makes a pool.
type Make = dyn Fn() -> SharedHttpConnector + Send + Sync;

/// Gives each request to the pool that has the least to do, the first of them: over HTTP/1, where a
/// connection has one request at a time, they have one connection each and it is used again.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    make: Box<Make>,
}

#[derive(Default)]
struct Lane {
    /// Made at first use: it reads the system's certificates.
    pool: OnceLock<SharedHttpConnector>,
    /// Requests whose answers have not been read to their ends.
    busy: Arc<AtomicUsize>,
}

impl Lanes {
    pub(super) fn new(
        lanes: usize,
        make: impl Fn() -> SharedHttpConnector + Send + Sync + 'static,
    ) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { lanes, make: Box::new(make) }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = self.lanes.iter().map(|lane| lane.busy.load(Ordering::Relaxed));
        f.debug_tuple("Lanes").field(&busy.collect::<Vec<_>>()).finish()
    }
}

impl HttpConnector for Lanes {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let lane = self.lanes.iter().min_by_key(|lane| lane.busy.load(Ordering::Relaxed));
        let Some(lane) = lane else { return (self.make)().call(request) };
        let busy = Busy::count(&lane.busy);
        let answer = lane.pool.get_or_init(&self.make).call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
            *answer.body_mut() = SdkBody::from_body_1_x(Counted { body, _busy: busy });
            Ok(answer)
        })
    }
}

/// Counts one until it is dropped.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn count(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, which keeps its pool busy until it is dropped.
struct Counted {
    body: SdkBody,
    _busy: Busy,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}
