//! A bandwidth limit over all the streams of a store.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::Instant;

use super::{ByteStream, GetRange, ListedObject, ObjectStore};
use crate::drill::Error;

/// Idle time that may be made up for later: short, so that the limit holds over any few seconds.
const BURST: Duration = Duration::from_millis(250);

/// Largest piece that is let through at once, so that a stream does not take a second's worth.
const PIECE: usize = 64 * 1024;

/// A store whose bodies come at no more than so many bytes a second, all streams together.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    inner: S,
    bucket: Arc<Bucket>,
}

impl<S: ObjectStore> Limited<S> {
    /// `rate` in bytes a second.
    pub fn new(inner: S, rate: NonZeroU64) -> Self {
        Self { inner, bucket: Arc::new(Bucket::new(rate)) }
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Limited<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        self.inner.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let body = self.inner.get(range).await?;
        let bucket = self.bucket.clone();
        Ok(body
            .flat_map(|item| stream::iter(pieces(item)))
            .then(move |item| {
                let bucket = bucket.clone();
                async move {
                    if let Ok(bytes) = &item {
                        let at = bucket.reserve(Instant::now(), bytes.len() as u64);
                        tokio::time::sleep_until(at).await;
                    }
                    item
                }
            })
            .boxed())
    }

    fn slowdowns(&self) -> u64 {
        self.inner.slowdowns()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

fn pieces(item: Result<Bytes, Error>) -> Vec<Result<Bytes, Error>> {
    match item {
        Ok(mut bytes) => {
            let mut pieces = Vec::with_capacity(bytes.len() / PIECE + 1);
            while bytes.len() > PIECE {
                pieces.push(Ok(bytes.split_to(PIECE)));
            }
            pieces.push(Ok(bytes));
            pieces
        }
        Err(error) => vec![Err(error)],
    }
}

/// A token bucket as the time at which it will be paid up: callers get their turns in order.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    paid_until: Mutex<Option<Instant>>,
}

impl Bucket {
    fn new(rate: NonZeroU64) -> Self {
        Self { rate, paid_until: Mutex::new(None) }
    }

    /// Takes `bytes` and says when they may be handed on.
    fn reserve(&self, now: Instant, bytes: u64) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match *paid_until {
            Some(paid) => paid.max(now.checked_sub(BURST).unwrap_or(paid)),
            None => now,
        };
        let end = start + cost;
        *paid_until = Some(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MemoryStore, Ranged, ranged::Cut, read_all};

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[test]
    fn streams_share_one_rate() {
        let bucket = Bucket::new(rate(1000));
        let now = Instant::now();
        let waits: Vec<_> = (0..3).map(|_| (bucket.reserve(now, 500) - now).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 1500]);
    }

    #[test]
    fn idle_time_is_made_up_for_only_in_part() {
        let bucket = Bucket::new(rate(1000));
        let now = Instant::now();
        bucket.reserve(now, 1);
        let later = now + Duration::from_mins(1);
        let at = bucket.reserve(later, 1000);
        assert_eq!((at - later).as_millis(), 750);
    }

    proptest! {
        #[test]
        fn never_faster_than_the_rate(
            takes in prop::collection::vec((0..2000_u64, 1..5000_u64), 1..50),
        ) {
            let bucket = Bucket::new(rate(1000));
            let start = Instant::now();
            let (mut now, mut sum) = (start, 0);
            for (pause, bytes) in takes {
                now += Duration::from_millis(pause);
                let at = bucket.reserve(now, bytes);
                sum += bytes;
                let paid = (at - start + BURST).as_secs_f64() * 1000.0;
                prop_assert!(sum as f64 <= paid + 1.0, "{sum} bytes by {paid}");
            }
        }
    }

    #[tokio::test]
    async fn bytes_pass_unchanged() {
        let content = (0..300_000_u32).map(|n| n as u8).collect::<Bytes>();
        let store = MemoryStore::new([("a", content.clone())]);
        let limited = Limited::new(store, rate(u64::MAX));
        let pieces: Vec<_> = limited.get(GetRange::whole("a")).await.unwrap().collect().await;
        let pieces: Vec<Bytes> = pieces.into_iter().map(Result::unwrap).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(pieces.concat(), content);
    }

    #[tokio::test]
    async fn pieces_of_one_object_share_the_rate_too() {
        let content = (0..3_000_000_u32).map(|n| n as u8).collect::<Bytes>();
        let memory = MemoryStore::new([("a", content.clone())]);
        let etag = memory.list("").next().await.unwrap().unwrap().remove(0).etag;
        let limited = Limited::new(memory, rate(100_000_000));
        let store = Ranged::new(limited.clone(), Cut { connections: 8, piece: 100_000 });
        let start = Instant::now();
        let whole = GetRange::whole("a");
        let range = GetRange { if_match: etag.as_deref(), listed: Some(3_000_000), ..whole };
        assert_eq!(read_all(&store, range, 3_000_000).await.unwrap(), content);
        // Every byte was paid for, and none was given before it was.
        let paid = limited.bucket.paid_until.lock().unwrap().unwrap();
        assert!(paid - start >= Duration::from_millis(30) && Instant::now() >= paid);
    }
}
