//! Large objects over several connections: pieces of an object are asked for at the same time and given
//! out in order. On a link with latency one connection is far from filling it.
//!
//! The piece that is being read passes through as it comes; those ahead of it wait in memory. All of them
//! together are bounded, over all bodies of a store: where nobody reads, nothing more is asked for. How
//! many there are follows what they bring ([`climb`]).

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream, stream::BoxStream};

use self::{body::Body, traffic::Traffic};
use super::{ByteStream, GetRange, ListedObject, ObjectStore};
use crate::drill::{Code, Error};

mod body;
pub mod climb;
mod traffic;

/// A request costs a round trip: smaller pieces would wait longer than they are read.
const SMALLEST: u64 = 1 << 20;
/// Larger ones gain nothing any more.
const LARGEST: u64 = 8 << 20;
/// Bytes of all pieces under way: a part of what a job allows, within these bounds.
const PART: u64 = 16;
const BUDGET: (u64, u64) = (8 << 20, 64 << 20);

/// How objects are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Most pieces that are under way at the same time, each over a connection of its own.
    pub connections: usize,
    /// Bytes of a piece.
    pub piece: u64,
}

impl Cut {
    /// At most `connections` for a job that allows `memory` bytes, of which all pieces together take a
    /// sixteenth, at least 8 and at most 64 MiB. With less memory pieces are smaller, and more of the
    /// time goes by between them: a piece of 1 MiB takes as long to ask for as to read where a
    /// connection brings 50 MB/s and an answer takes 20 ms.
    #[must_use]
    pub fn within(connections: NonZeroUsize, memory: u64) -> Self {
        let budget = (memory / PART).clamp(BUDGET.0, BUDGET.1);
        let connections = connections.get().min((budget / SMALLEST) as usize);
        Self { connections, piece: (budget / connections as u64).clamp(SMALLEST, LARGEST) }
    }
}

/// A store whose large objects are read over several connections, where the reader says how long they
/// are ([`GetRange::listed`]) and which they are ([`GetRange::if_match`]).
#[derive(Clone, Debug)]
pub struct Ranged<S> {
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    inner: S,
    cut: Cut,
    traffic: Arc<Traffic>,
}

impl<S: ObjectStore> Ranged<S> {
    /// Reads from `inner`, which retries and resumes on its own.
    pub fn new(inner: S, cut: Cut) -> Self {
        Self::with_interval(inner, cut, traffic::INTERVAL)
    }

    fn with_interval(inner: S, cut: Cut, interval: Duration) -> Self {
        let traffic = Traffic::new(cut.connections, interval);
        Self { shared: Arc::new(Shared { inner, cut, traffic }) }
    }
}

#[async_trait]
impl<S: ObjectStore + 'static> ObjectStore for Ranged<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        self.shared.inner.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.shared.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let Cut { connections, piece } = self.shared.cut;
        let (Some(listed), Some(etag), None) = (range.listed, range.if_match, range.length) else {
            return self.shared.inner.get(range).await;
        };
        // What two requests would not halve is not worth another connection.
        if connections < 2 || listed.saturating_sub(range.offset) <= 2 * piece {
            return self.shared.inner.get(range).await;
        }
        let body = match Body::open(&self.shared, &range, etag, listed).await {
            Ok(body) => body,
            // A store that does not know ranges still has the object.
            Err(Error { code: Code::StoreProtocol, .. }) => {
                return self.shared.inner.get(range).await;
            }
            Err(error) => return Err(error),
        };
        Ok(stream::try_unfold(body, |mut body| async move {
            let bytes = body.next().await?;
            Ok(bytes.map(|bytes| (bytes, body)))
        })
        .boxed())
    }

    fn slowdowns(&self) -> u64 {
        self.shared.inner.slowdowns()
    }

    fn describe(&self) -> String {
        self.shared.inner.describe()
    }
}

#[cfg(test)]
#[path = "ranged/tests.rs"]
mod tests;
