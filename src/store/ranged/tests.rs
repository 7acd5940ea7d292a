use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::store::{
    MemoryStore,
    faulty::{Call, Fault, Faulty, Rule},
    read_all,
};

const KEY: &str = "base/data.tar";

fn content(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8 ^ (n / 65_536) as u8).collect()
}

fn cut(connections: usize, piece: u64) -> Cut {
    Cut { connections, piece }
}

/// A store with one object, and the etag that it is listed with.
async fn filled(length: usize) -> (MemoryStore, Bytes, String) {
    let bytes = content(length);
    let store = MemoryStore::new([(KEY, bytes.clone())]);
    let mut pages = store.list("");
    let etag = pages.next().await.unwrap().unwrap().remove(0).etag.unwrap();
    (store, bytes, etag)
}

fn listed(etag: &str, size: u64) -> GetRange<'_> {
    GetRange { if_match: Some(etag), listed: Some(size), ..GetRange::whole(KEY) }
}

/// What a body gives, and the error that it ends with.
async fn read(store: &impl ObjectStore, range: GetRange<'_>) -> (Vec<u8>, Option<Code>) {
    let mut got = Vec::new();
    let mut body = match store.get(range).await {
        Ok(body) => body,
        Err(error) => return (got, Some(error.code)),
    };
    while let Some(item) = body.next().await {
        match item {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(error) => {
                assert!(body.next().await.is_none(), "a body ends with its error");
                return (got, Some(error.code));
            }
        }
    }
    (got, None)
}

/// A store that counts what is asked of it and what it has given.
#[derive(Clone, Debug)]
struct Watched<S> {
    inner: S,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Offset and length of each request.
    asked: Mutex<Vec<(u64, Option<u64>)>>,
    given: AtomicU64,
    /// Requests and bodies that have neither ended nor been dropped.
    open: AtomicUsize,
    slowdowns: AtomicU64,
}

impl<S> Watched<S> {
    fn new(inner: S) -> Self {
        Self { inner, seen: Arc::default() }
    }

    fn asked(&self) -> BTreeSet<(u64, Option<u64>)> {
        self.seen.asked.lock().unwrap().iter().copied().collect()
    }

    fn given(&self) -> u64 {
        self.seen.given.load(SeqCst)
    }

    fn open(&self) -> usize {
        self.seen.open.load(SeqCst)
    }
}

/// Counts one until it is dropped.
struct Guard(Arc<Seen>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Watched<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        self.inner.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.inner.list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        self.seen.asked.lock().unwrap().push((range.offset, range.length));
        self.seen.open.fetch_add(1, SeqCst);
        let guard = Guard(Arc::clone(&self.seen));
        let body = self.inner.get(range).await?;
        let seen = Arc::clone(&self.seen);
        Ok(body
            .inspect(move |item| {
                let _guard = &guard;
                if let Ok(bytes) = item {
                    seen.given.fetch_add(bytes.len() as u64, SeqCst);
                }
            })
            .boxed())
    }

    fn slowdowns(&self) -> u64 {
        self.seen.slowdowns.load(SeqCst)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Lets every task do all that it can.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pieces_are_asked_for_once_and_the_last_one_without_a_bound() {
    let (memory, bytes, etag) = filled(1_000_000).await;
    let watched = Watched::new(memory);
    let store = Ranged::new(watched.clone(), cut(8, 300_000));
    let (got, error) = read(&store, listed(&etag, 1_000_000)).await;
    assert!(got == bytes && error.is_none());
    let piece = |offset| (offset, Some(300_000));
    let asked = [piece(0), piece(300_000), piece(600_000), (900_000, None)];
    assert_eq!(watched.asked(), BTreeSet::from(asked));
    assert_eq!(watched.seen.asked.lock().unwrap().len(), 4);
    // Also from the middle on, and with pieces that end with the object.
    let range = GetRange { offset: 100_000, ..listed(&etag, 1_000_000) };
    assert!(read(&store, range).await.0 == bytes[100_000..]);
    assert!(watched.asked().contains(&(700_000, None)));
}

#[tokio::test]
async fn what_is_small_unbound_or_of_unknown_size_is_one_request() {
    let (memory, bytes, etag) = filled(200_000).await;
    let whole = listed(&etag, 200_000);
    for (connections, piece, range) in [
        (8, 100_000, whole.clone()),
        (1, 1000, whole.clone()),
        (8, 1000, GetRange { if_match: None, ..whole.clone() }),
        (8, 1000, GetRange { listed: None, ..whole.clone() }),
        (8, 1000, GetRange { length: Some(200_000), ..whole }),
    ] {
        let watched = Watched::new(memory.clone());
        let store = Ranged::new(watched.clone(), cut(connections, piece));
        let asked = (range.offset, range.length);
        assert!(read(&store, range).await.0 == bytes);
        assert_eq!(watched.asked(), BTreeSet::from([asked]));
    }
}

#[tokio::test]
async fn a_store_without_ranges_gives_the_whole_object() {
    /// Refuses every range, as a server does that answers 200 to it.
    #[derive(Debug)]
    struct Rangeless(MemoryStore);

    #[async_trait]
    impl ObjectStore for Rangeless {
        fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
            self.0.list(prefix)
        }

        async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
            self.0.list_folders(prefix).await
        }

        async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
            if (range.offset, range.length) == (0, None) {
                return self.0.get(range).await;
            }
            Err(Error::new(Code::StoreProtocol, "no range, although one was asked for"))
        }

        fn describe(&self) -> String {
            self.0.describe()
        }
    }

    let (memory, bytes, etag) = filled(200_000).await;
    let store = Ranged::new(Rangeless(memory), cut(8, 1000));
    let (got, error) = read(&store, listed(&etag, 200_000)).await;
    assert!(got == bytes && error.is_none());
}

/// What a single request gives of an object that is listed with another size.
async fn alone(memory: &MemoryStore, etag: &str) -> Vec<u8> {
    read(memory, GetRange { if_match: Some(etag), ..GetRange::whole(KEY) }).await.0
}

#[tokio::test]
async fn an_object_of_another_length_than_listed_reads_as_it_is() {
    let (memory, _, etag) = filled(100_000).await;
    let expected = alone(&memory, &etag).await;
    // Shorter by a part of a piece, to a piece's end, by several; longer by a byte, by more than a piece.
    for size in
        [100_001, 105_000, 110_000, 120_000, 155_000, 99_999, 95_000, 90_000, 50_000, 31_000]
    {
        for connections in [2, 8] {
            let store = Ranged::new(memory.clone(), cut(connections, 10_000));
            let (got, error) = read(&store, listed(&etag, size)).await;
            assert!(got == expected, "{} bytes where {size} are listed", got.len());
            assert_eq!(error, None);
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_ends_there() {
    let (memory, bytes, etag) = filled(100_000).await;
    // Each request counts; the third piece is the short one.
    let rule = Rule::nth(Call::Get, KEY, 3, Fault::EndAfter(5_000));
    let store = Ranged::new(Faulty::new(memory, [rule]), cut(2, 10_000));
    let (got, error) = read(&store, listed(&etag, 100_000)).await;
    assert!(got == bytes[..25_000] && error.is_none(), "{}", got.len());
}

#[tokio::test]
async fn errors_come_behind_the_bytes_before_them() {
    let (memory, bytes, etag) = filled(100_000).await;
    for (code, at) in [
        (Code::ObjectChanged, Fault::Error(Code::ObjectChanged)),
        (Code::StoreUnavailable, Fault::Error(Code::StoreUnavailable)),
        (Code::BodyIncomplete, Fault::ErrorAfter(4_000, Code::BodyIncomplete)),
    ] {
        let faulty = Faulty::new(memory.clone(), [Rule::nth(Call::Get, KEY, 4, at)]);
        let watched = Watched::new(faulty);
        let store = Ranged::new(watched.clone(), cut(8, 10_000));
        let (got, error) = read(&store, listed(&etag, 100_000)).await;
        let more = if matches!(at, Fault::ErrorAfter(..)) { 4_000 } else { 0 };
        assert_eq!((got.len(), error), (30_000 + more, Some(code)));
        assert!(got == bytes[..got.len()]);
        settle().await;
        assert_eq!(watched.open(), 0, "requests go on behind the error");
    }
    // The first request's is the caller's at once.
    let rule = Rule::nth(Call::Get, KEY, 1, Fault::Error(Code::ObjectMissing));
    let faulty = Faulty::new(memory, [rule]);
    let store = Ranged::new(faulty.clone(), cut(8, 10_000));
    let error = store.get(listed(&etag, 100_000)).await.err().unwrap();
    assert_eq!((error.code, faulty.count(Call::Get, KEY)), (Code::ObjectMissing, 1));
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_not_spliced() {
    let (memory, bytes, etag) = filled(100_000).await;
    let store = Ranged::new(memory.clone(), cut(2, 10_000));
    let mut body = store.get(listed(&etag, 100_000)).await.unwrap();
    let mut got = body.next().await.unwrap().unwrap().to_vec();
    memory.put(KEY, content(100_001));
    let error = loop {
        match body.next().await.unwrap() {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::ObjectChanged);
    assert!(!got.is_empty() && got == bytes[..got.len()]);
}

#[tokio::test]
async fn dropping_a_body_ends_all_of_its_requests() {
    let (memory, _, etag) = filled(100_000).await;
    for fault in [Fault::Hang, Fault::HangAfter(1), Fault::HangAfter(5_000)] {
        let faulty = Faulty::new(memory.clone(), [Rule::nth(Call::Get, KEY, 2, fault)]);
        let watched = Watched::new(faulty);
        let store = Ranged::new(watched.clone(), cut(4, 10_000));
        let mut body = store.get(listed(&etag, 100_000)).await.unwrap();
        let mut got = 0;
        // To where it hangs.
        loop {
            let next = body.next();
            let mut next = std::pin::pin!(next);
            let mut polled = futures_util::poll!(&mut next);
            for _ in 0..1000 {
                if polled.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
                polled = futures_util::poll!(&mut next);
            }
            match polled {
                Poll::Ready(item) => got += item.unwrap().unwrap().len(),
                Poll::Pending => break,
            }
        }
        assert!((10_000..=15_000).contains(&got), "{got}");
        assert!(watched.open() > 0);
        drop(body);
        settle().await;
        assert_eq!(watched.open(), 0);
        // And nothing of it counts any more: the next body has all connections.
        let (got, _) = read(&store, listed(&etag, 100_000)).await;
        assert_eq!(got.len(), 100_000);
    }
}

#[tokio::test]
async fn where_nobody_reads_nothing_is_fetched_beyond_the_budget() {
    // Pieces of the memory's bodies are of 16 KiB: so many bytes come at once.
    const ONE: u64 = 16 * 1024;
    let (memory, bytes, etag) = filled(4_000_000).await;
    let size = bytes.len() as u64;
    for (bodies, connections) in [(1, 2), (1, 8), (3, 8), (5, 4)] {
        let watched = Watched::new(memory.clone());
        let store = Ranged::new(watched.clone(), cut(connections, 100_000));
        let mut open = Vec::new();
        for _ in 0..bodies {
            open.push((store.get(listed(&etag, size)).await.unwrap(), 0_u64));
        }
        let (mut taken, mut most, mut ended) = (0, 0, 0);
        let mut turn = 0;
        while ended < bodies {
            turn += 1;
            let (body, read) = &mut open[turn % bodies];
            match body.next().await {
                Some(item) => {
                    let bytes = item.unwrap();
                    *read += bytes.len() as u64;
                    taken += bytes.len() as u64;
                }
                None if *read == size => {
                    ended += 1;
                    *read += 1;
                }
                None => {}
            }
            // As if each took long to write.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            most = most.max(watched.given() - taken);
        }
        let pieces = connections.max(bodies) as u64;
        let bound = pieces * (100_000 + ONE);
        assert!(most <= bound, "{bodies} bodies, {connections} connections: {most} of {bound}");
        assert!(most >= 50_000, "nothing is fetched ahead: {most}");
    }
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_gets_one_request_at_a_time() {
    let (memory, bytes, etag) = filled(1_000_000).await;
    let watched = Watched::new(memory);
    // It learns at every piece of a body.
    let store = Ranged::with_interval(watched.clone(), cut(8, 20_000), Duration::ZERO);
    let mut body = store.get(listed(&etag, 1_000_000)).await.unwrap();
    let mut got = 0;
    while let Some(item) = body.next().await {
        got += item.unwrap().len();
        watched.seen.slowdowns.fetch_add(1, SeqCst);
        settle().await;
        // What was ahead when it asked for the first time is taken.
        let under_way = (watched.given() as usize).saturating_sub(got);
        assert!(got < 100_000 || under_way < 20_000, "{under_way} bytes at {got}");
    }
    assert_eq!(got, bytes.len());
}

#[test]
fn memory_bounds_what_is_under_way() {
    let of = |connections, memory: u64| {
        Cut::within(NonZeroUsize::new(connections).unwrap(), memory << 20)
    };
    assert_eq!(of(8, 512), cut(8, 4 << 20));
    assert_eq!(of(8, 64), cut(8, 1 << 20));
    assert_eq!(of(8, 1 << 20), cut(8, 8 << 20));
    assert_eq!(of(64, 64), cut(8, 1 << 20));
    assert_eq!(of(64, 1 << 20), cut(64, 1 << 20));
    assert_eq!(of(1, 64), cut(1, 8 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_come_in_order_whatever_the_pieces(
        length in 0..200_000_usize,
        offset in 0..1000_u64,
        piece in 1..60_000_u64,
        connections in 1..10_usize,
        lie in -70_000..70_000_i64,
        faults in prop::collection::vec((1..12_u64, 0..30_000_u64, 0..3_u8), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (memory, bytes, etag) = filled(length).await;
            let rules = faults.iter().map(|&(nth, after, kind)| {
                let fault = match kind {
                    0 => Fault::ErrorAfter(after, Code::BodyIncomplete),
                    1 => Fault::Error(Code::StoreUnavailable),
                    _ => Fault::FlipByte(after * 7),
                };
                Rule::nth(Call::Get, KEY, nth, fault)
            });
            let piece = piece.max(length as u64 / 50);
            let store = Ranged::new(Faulty::new(memory, rules), cut(connections, piece));
            let size = (length as u64).saturating_add_signed(lie);
            let range = GetRange { offset, ..listed(&etag, size) };
            let (got, error) = read(&store, range).await;
            let expected = &bytes[bytes.len().min(offset as usize)..];
            // All of it, or up to an error; never anything else in between but a byte that the store got
            // wrong.
            if error.is_none() {
                assert_eq!(got.len(), expected.len());
            }
            assert!(got.len() <= expected.len());
            let wrong = got.iter().zip(expected).filter(|(got, expected)| got != expected).count();
            assert!(wrong <= faults.len(), "{wrong} bytes are wrong");
            if faults.is_empty() {
                assert_eq!(error, None);
            }
        });
    }
}

#[tokio::test]
async fn small_objects_read_whole_as_ever() {
    let store = Ranged::new(MemoryStore::new([("a", "hello")]), cut(8, 1 << 20));
    assert_eq!(read_all(&store, GetRange::whole("a"), 10).await.unwrap(), "hello");
    assert_eq!(store.list_folders("").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.describe(), "memory");
}
