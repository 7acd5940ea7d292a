//! A store that goes wrong on purpose: what happens when a listing fails, a body breaks, a byte
//! flips or an object vanishes between listing and reading.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{ByteStream, GetRange, ListedObject, ObjectStore};
use crate::drill::{Code, Error};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with an error of this code; a listing fails at its first page.
    Error(Code),
    /// A body or listing fails after this many bytes or pages.
    ErrorAfter(u64, Code),
    /// A body ends after this many bytes, a listing after this many pages, as if that were all.
    EndAfter(u64),
    /// A body or listing stands still after this many bytes or pages.
    HangAfter(u64),
    /// The byte at this offset of the object is inverted.
    FlipByte(u64),
    /// All bytes from this offset of the object on are zeros.
    ZerosFrom(u64),
    /// The byte at this offset of the object changes places with the next one: no sum can tell.
    SwapBytes(u64),
    /// Each piece of a body or page of a listing takes this long.
    Slow(Duration),
    /// The call is never answered.
    Hang,
}

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    List,
    ListFolders,
    Get,
}

/// A fault and the calls that it hits.
#[derive(Clone, Debug)]
pub struct Rule {
    pub call: Call,
    /// Part of the key or prefix; empty hits all.
    pub key: String,
    /// Which of the calls that fit, counted from 1.
    pub nth: RangeInclusive<u64>,
    pub fault: Fault,
}

impl Rule {
    /// Hits every call of the kind whose key or prefix contains `key`.
    pub fn every(call: Call, key: impl Into<String>, fault: Fault) -> Self {
        Self { call, key: key.into(), nth: 1..=u64::MAX, fault }
    }

    /// Hits the `nth` such call only, counted from 1.
    pub fn nth(call: Call, key: impl Into<String>, nth: u64, fault: Fault) -> Self {
        Self { call, key: key.into(), nth: nth..=nth, fault }
    }
}

/// A store with faults. The first rule that fits a call decides. Clones share counts.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<(Rule, AtomicU64)>,
    calls: Mutex<Vec<(Call, String)>>,
}

impl<S: ObjectStore> Faulty<S> {
    pub fn new(inner: S, rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, AtomicU64::new(0))).collect();
        Self { inner, state: Arc::new(State { rules, calls: Mutex::default() }) }
    }

    /// Every call so far with its key or prefix, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<(Call, String)> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls of a kind there were for keys that contain `key`.
    #[must_use]
    pub fn count(&self, call: Call, key: &str) -> usize {
        self.calls().iter().filter(|(kind, name)| *kind == call && name.contains(key)).count()
    }
}

impl State {
    fn note(&self, call: Call, key: &str) -> Option<Fault> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((call, key.to_owned()));
        let mut hit = None;
        for (rule, count) in &self.rules {
            if rule.call == call && key.contains(&rule.key) {
                let nth = count.fetch_add(1, Ordering::SeqCst) + 1;
                if hit.is_none() && rule.nth.contains(&nth) {
                    hit = Some(rule.fault);
                }
            }
        }
        hit
    }
}

fn injected(code: Code) -> Error {
    Error::new(code, "a fault was injected")
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Faulty<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        let pages = self.inner.list(prefix);
        match self.state.note(Call::List, prefix) {
            None | Some(Fault::FlipByte(_) | Fault::SwapBytes(_) | Fault::ZerosFrom(_)) => pages,
            Some(Fault::Error(code)) => stream::iter([Err(injected(code))]).boxed(),
            Some(Fault::ErrorAfter(count, code)) => {
                pages.take(count as usize).chain(stream::iter([Err(injected(code))])).boxed()
            }
            Some(Fault::EndAfter(count)) => pages.take(count as usize).boxed(),
            Some(Fault::HangAfter(count)) => {
                pages.take(count as usize).chain(stream::pending()).boxed()
            }
            Some(Fault::Slow(pause)) => slow(pages, pause),
            Some(Fault::Hang) => stream::pending().boxed(),
        }
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        match self.state.note(Call::ListFolders, prefix) {
            Some(Fault::Error(code) | Fault::ErrorAfter(_, code)) => return Err(injected(code)),
            Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::Hang | Fault::HangAfter(_)) => std::future::pending().await,
            Some(Fault::EndAfter(count)) => {
                let mut names = self.inner.list_folders(prefix).await?;
                names.truncate(count as usize);
                return Ok(names);
            }
            None | Some(Fault::FlipByte(_) | Fault::SwapBytes(_) | Fault::ZerosFrom(_)) => {}
        }
        self.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let fault = self.state.note(Call::Get, range.key);
        match fault {
            Some(Fault::Error(code)) => return Err(injected(code)),
            Some(Fault::Hang) => std::future::pending().await,
            _ => {}
        }
        let offset = range.offset;
        let body = self.inner.get(range).await?;
        Ok(match fault {
            Some(Fault::ErrorAfter(count, code)) => {
                cut(body, count).chain(stream::iter([Err(injected(code))])).boxed()
            }
            Some(Fault::EndAfter(count)) => cut(body, count),
            Some(Fault::HangAfter(count)) => cut(body, count).chain(stream::pending()).boxed(),
            Some(Fault::FlipByte(at)) => change(body, offset, at, |bytes| bytes[0] ^= 0xff),
            Some(Fault::SwapBytes(at)) => change(body, offset, at, |bytes| {
                assert!(bytes.len() > 1, "the bytes to swap are in two pieces of the body");
                bytes.swap(0, 1);
            }),
            Some(Fault::ZerosFrom(at)) => blank(body, offset, at),
            Some(Fault::Slow(pause)) => slow(body, pause),
            _ => body,
        })
    }

    fn slowdowns(&self) -> u64 {
        self.inner.slowdowns()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

fn slow<T: Send + 'static>(items: BoxStream<'static, T>, pause: Duration) -> BoxStream<'static, T> {
    items
        .then(move |item| async move {
            tokio::time::sleep(pause).await;
            item
        })
        .boxed()
}

fn cut(body: ByteStream, count: u64) -> ByteStream {
    body.scan(count, |left, item| {
        let item = match item {
            _ if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(item)
    })
    .boxed()
}

/// Gives `by` what follows the offset `at` in its piece of the body.
fn change(body: ByteStream, offset: u64, at: u64, by: fn(&mut [u8])) -> ByteStream {
    let mut position = offset;
    body.map(move |item| {
        let bytes: Bytes = item?;
        let start = position;
        position += bytes.len() as u64;
        if !(start..position).contains(&at) {
            return Ok(bytes);
        }
        let mut bytes = BytesMut::from(&bytes[..]);
        by(&mut bytes[(at - start) as usize..]);
        Ok(bytes.freeze())
    })
    .boxed()
}

fn blank(body: ByteStream, offset: u64, from: u64) -> ByteStream {
    let mut position = offset;
    body.map(move |item| {
        let mut bytes = BytesMut::from(&item?[..]);
        let good = from.saturating_sub(position).min(bytes.len() as u64);
        position += bytes.len() as u64;
        bytes[good as usize..].fill(0);
        Ok(bytes.freeze())
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, read_all};

    fn store(rules: impl IntoIterator<Item = Rule>) -> Faulty<MemoryStore> {
        let content = Bytes::from(vec![7_u8; 40_000]);
        Faulty::new(MemoryStore::new([("base/a", content.clone()), ("wals/b", content)]), rules)
    }

    async fn read(store: &Faulty<MemoryStore>, key: &str) -> Result<Bytes, Error> {
        read_all(store, GetRange::whole(key), 1 << 20).await
    }

    #[tokio::test]
    async fn hits_the_nth_call_of_a_key() {
        let store = store([Rule::nth(Call::Get, "base", 2, Fault::Error(Code::ObjectMissing))]);
        assert!(read(&store, "base/a").await.is_ok());
        assert!(read(&store, "wals/b").await.is_ok());
        assert_eq!(read(&store, "base/a").await.unwrap_err().code, Code::ObjectMissing);
        assert!(read(&store, "base/a").await.is_ok());
        assert_eq!(store.count(Call::Get, "base/a"), 3);
        assert_eq!(store.count(Call::List, ""), 0);
    }

    #[tokio::test]
    async fn breaks_cuts_and_flips_bodies() {
        let rule = |fault| Rule::every(Call::Get, "", fault);
        let broken = store([rule(Fault::ErrorAfter(20_000, Code::BodyIncomplete))]);
        let mut body = broken.get(GetRange::whole("base/a")).await.unwrap();
        let mut seen = 0;
        while let Some(item) = body.next().await {
            match item {
                Ok(bytes) => seen += bytes.len(),
                Err(error) => assert_eq!(error.code, Code::BodyIncomplete),
            }
        }
        assert_eq!(seen, 20_000);

        let short = store([rule(Fault::EndAfter(20_001))]);
        assert_eq!(read(&short, "base/a").await.unwrap().len(), 20_001);

        let flipped = store([rule(Fault::FlipByte(30_000))]);
        let bytes = read(&flipped, "base/a").await.unwrap();
        let wrong: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] != 7).collect();
        assert_eq!(wrong, [30_000]);
        let range = GetRange { offset: 29_999, length: Some(3), ..GetRange::whole("base/a") };
        assert_eq!(read_all(&flipped, range, 9).await.unwrap(), &[7, 7 ^ 0xff, 7][..]);

        let blank = store([rule(Fault::ZerosFrom(30_000))]);
        let bytes = read(&blank, "base/a").await.unwrap();
        let good = bytes.iter().take_while(|byte| **byte == 7).count();
        assert!(good == 30_000 && bytes[good..].iter().all(|byte| *byte == 0));
        let range = GetRange { offset: 29_999, length: Some(3), ..GetRange::whole("base/a") };
        assert_eq!(read_all(&blank, range, 9).await.unwrap(), &[7, 0, 0][..]);
    }

    #[tokio::test]
    async fn listings_fail_too() {
        let store = store([Rule::every(Call::List, "", Fault::Error(Code::AccessDenied))]);
        let page = store.list("base/").next().await.unwrap();
        assert_eq!(page.unwrap_err().code, Code::AccessDenied);
    }
}
