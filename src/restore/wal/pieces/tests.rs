use std::{collections::BTreeSet, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::*;

use crate::{
    archive::{Codec, ObjectRef},
    pg::{
        Major, TimelineHistory, TimelineId,
        wal::{
            testing::{self, LogWriter},
            walk::WalWalk,
        },
    },
    restore::{
        codec::tests::encode,
        testing::listed,
        wal::{SegmentDamage, SegmentFailure, stream_segment},
    },
    store::{SharedStore, memory::MemoryStore},
};

const SEGMENT: u64 = 4 * PIECE as u64;
const PAGE: usize = 8192;

fn segment() -> Vec<u8> {
    (0..SEGMENT).map(|i| ((i * i) >> 7) as u8).collect()
}

/// Streams an object and gives what `read` makes of its pages, and how it ended.
async fn stream<T: Send + 'static>(
    codec: Codec,
    bytes: Vec<u8>,
    spares: &Spares,
    read: impl FnOnce(Pieces) -> T + Send + 'static,
) -> (T, Result<(), SegmentFailure>) {
    let key = format!("wals/x{}", codec.extension());
    let store = MemoryStore::new([(key.clone(), bytes)]);
    let object = listed(&store, &key).await;
    let store: SharedStore = Arc::new(store);
    let (sink, pieces) = in_pieces(SEGMENT, 0, spares, None);
    let reading = tokio::task::spawn_blocking(move || read(pieces));
    let end = stream_segment(&store, &object, SEGMENT, sink, &CancellationToken::new()).await;
    (reading.await.unwrap(), end)
}

fn all(mut pieces: Pieces) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let page = pages_at(&mut pieces, all.len());
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn pages_at(pieces: &mut Pieces, offset: usize) -> Vec<u8> {
    pieces.page(offset as u64).to_vec()
}

#[tokio::test]
async fn pages_come_in_order_in_every_codec() {
    let spares = Spares::default();
    for codec in Codec::ALL {
        let (read, end) = stream(codec, encode(codec, &segment()), &spares, all).await;
        end.unwrap();
        assert!(read == segment(), "{codec:?}");
    }
    // The last segment's pieces: no more were made than were on their way at once.
    assert!(spares.lock().len() <= 5, "{}", spares.lock().len());
}

#[tokio::test]
async fn a_page_that_was_passed_is_gone() {
    const FAR: usize = 2 * PIECE + 5 * PAGE;
    let whole = encode(Codec::Gzip, &segment());
    let (pages, end) = stream(Codec::Gzip, whole, &Spares::default(), |mut pieces| {
        let far = pages_at(&mut pieces, FAR);
        assert!(!pieces.rewind());
        [far, pages_at(&mut pieces, 0), pages_at(&mut pieces, SEGMENT as usize)]
    })
    .await;
    end.unwrap();
    assert!(pages == [segment()[FAR..FAR + PAGE].to_vec(), vec![], vec![]]);
}

#[tokio::test]
async fn what_nobody_reads_is_decoded_all_the_same() {
    let whole = encode(Codec::Gzip, &segment());
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    for (object, good) in [(whole, true), (flipped, false)] {
        let read = |mut pieces: Pieces| pages_at(&mut pieces, 0);
        let (page, end) = stream(Codec::Gzip, object, &Spares::default(), read).await;
        assert!(page == segment()[..PAGE]);
        match end {
            Ok(()) => assert!(good),
            Err(SegmentFailure::Damaged { kind: SegmentDamage::Stream, .. }) => assert!(!good),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_short_segment_ends_early_and_a_long_one_at_its_length() {
    for (length, expected) in
        [(300_000, 300_000 / PAGE * PAGE), (SEGMENT as usize + 50_000, SEGMENT as usize)]
    {
        let bytes: Vec<u8> = segment().into_iter().cycle().take(length).collect();
        let object = encode(Codec::Zstd, &bytes);
        let (read, end) = stream(Codec::Zstd, object, &Spares::default(), all).await;
        assert!(read == bytes[..expected]);
        let Err(SegmentFailure::Damaged { kind, .. }) = end else { panic!("{end:?}") };
        assert_eq!(kind, SegmentDamage::WrongSize);
    }
}

#[tokio::test]
async fn the_first_page_can_be_seen_before_the_pages_are_read() {
    let (sink, mut pieces) = in_pieces(SEGMENT, 0, &Spares::default(), None);
    let sending = tokio::task::spawn_blocking(move || {
        let bytes = [vec![7; PAGE], vec![8; PAGE]].concat();
        let mut piece = Piece::at(0, &sink.spares);
        let fill = |to: &mut [u8]| {
            to[..bytes.len()].copy_from_slice(&bytes);
            Ok::<_, ()>(bytes.len())
        };
        piece.fill(fill).unwrap();
        sink.sender.blocking_send(piece).unwrap();
    });
    assert_eq!(pieces.first_page().await, [7; PAGE]);
    assert_eq!(pieces.first_page().await, [7; PAGE]);
    sending.await.unwrap();
    tokio::task::spawn_blocking(move || {
        assert_eq!(pieces.page(0), [7; PAGE]);
        assert_eq!(pieces.page(PAGE as u64), [8; PAGE]);
        assert_eq!(pieces.page(2 * PAGE as u64), [0_u8; 0]);
    })
    .await
    .unwrap();
}

/// Two segments of WAL of which most has nothing to say.
fn log() -> Vec<Vec<u8>> {
    let mut log = LogWriter::new(Major::V15);
    let mut xid = 0;
    while log.segments().len() < 2 {
        for _ in 0..1000 {
            xid += 1;
            log.main(10, 0, xid, &[7; 300]);
        }
        log.commit(xid, i64::from(xid));
        log.checkpoint(0x10, Lsn(0x1000), 88);
    }
    log.segments()
}

fn rules() -> WalRules {
    testing::rules(Major::V15, TimelineHistory::root(TimelineId(1)))
}

#[tokio::test]
async fn what_was_skimmed_says_what_the_whole_segment_says() {
    let number = testing::FIRST_SEGMENT;
    let bytes = log().remove(0);
    let length = bytes.len() as u64;
    let mut whole = WalWalk::new(rules(), number);
    assert_eq!(whole.segment(TimelineId(1), number, &bytes, |_| ()), []);
    for codec in [Codec::Plain, Codec::Lz4] {
        let store = MemoryStore::new([("wals/x", encode(codec, &bytes))]);
        let object = ObjectRef { codec, ..listed(&store, "wals/x").await };
        let store: SharedStore = Arc::new(store);
        let skim = Skim::new(rules(), number, &BTreeSet::new());
        let (sink, mut pieces) = in_pieces(length, 0, &Spares::default(), Some(skim));
        let reading = tokio::task::spawn_blocking(move || {
            let mut walk = WalWalk::new(rules(), number);
            let walked = walk.pages(TimelineId(1), number, &mut pieces, |_| ());
            assert!(walked.broken.is_empty() && !pieces.missed());
            assert!((pieces.piece.bytes.len() as u64) < length / 4);
            // A page that quiet records fill is not there, which is said; pages of the start are.
            assert_eq!(pieces.page(0).len(), PAGE);
            assert!(!pieces.missed());
            let filled = length / 2 + 10 * PAGE as u64;
            assert!(pieces.page(filled).is_empty() && pieces.missed());
            walk
        });
        stream_segment(&store, &object, length, sink, &CancellationToken::new()).await.unwrap();
        let walk = reading.await.unwrap();
        assert_eq!(walk.summary(), whole.summary());
        assert_eq!(walk.stretch(), whole.stretch());
    }
}

#[tokio::test]
async fn what_nobody_reads_is_not_skimmed_and_decoded_all_the_same() {
    let number = testing::FIRST_SEGMENT;
    let bytes = log().remove(0);
    let mut flipped = encode(Codec::Gzip, &bytes);
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    let store = MemoryStore::new([("wals/x.gz", flipped)]);
    let object = listed(&store, "wals/x.gz").await;
    let store: SharedStore = Arc::new(store);
    let skim = Skim::new(rules(), number, &BTreeSet::new());
    let length = bytes.len() as u64;
    let (sink, pieces) = in_pieces(length, 0, &Spares::default(), Some(skim));
    drop(pieces);
    let end = stream_segment(&store, &object, length, sink, &CancellationToken::new()).await;
    assert!(matches!(end, Err(SegmentFailure::Damaged { kind: SegmentDamage::Stream, .. })));
}
