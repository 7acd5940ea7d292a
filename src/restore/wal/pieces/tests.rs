use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    archive::Codec,
    restore::{
        codec::tests::encode,
        testing::listed,
        wal::{SegmentDamage, SegmentFailure, stream_segment},
    },
    store::{SharedStore, memory::MemoryStore},
};

const SEGMENT: u64 = 4 * PIECE as u64;

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
        sink.sender.blocking_send(Piece { bytes, quiet: Vec::new() }).unwrap();
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
