//! What this room's tests share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::Reading;
use crate::{
    drill::Error,
    restore::wal::Spares,
    store::{ByteStream, GetRange, ListedObject, ObjectStore, SharedStore},
    telemetry::Progress,
};

/// A store that ends a run when the `nth` object whose key contains `key` is asked for, which it then
/// never gives.
#[derive(Debug)]
pub(super) struct Ending<S> {
    pub inner: S,
    pub key: String,
    pub nth: u64,
    asked: AtomicU64,
    token: CancellationToken,
}

impl<S> Ending<S> {
    pub(super) fn new(inner: S, key: &str, nth: u64, token: &CancellationToken) -> Arc<Self> {
        let (key, token) = (key.to_owned(), token.clone());
        Arc::new(Self { inner, key, nth, asked: AtomicU64::new(0), token })
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Ending<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        self.inner.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        if range.key.contains(&self.key)
            && self.asked.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
        {
            self.token.cancel();
            std::future::pending::<()>().await;
        }
        self.inner.get(range).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// A run that `cancel` ends and `caller` calls off.
pub(super) fn reading<'a>(
    store: &'a SharedStore,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
    caller: &'a CancellationToken,
) -> Reading<'a> {
    let (clock, bytes, spares) = (Instant::now(), AtomicU64::new(0), Spares::default());
    Reading { store, progress, cancel, caller, clock, bytes, spares }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
