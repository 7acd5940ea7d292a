//! Fetches one WAL segment. What its pages and records say is the reader's business.

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    codec::{ExactError, decode_exact},
    vanished,
};
use crate::{
    archive::{Codec, ObjectRef},
    drill::{Code, Error, FailureClass},
    store::{GetRange, SharedStore},
};

/// How a segment's object is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentDamage {
    /// It is sound but not as long as a segment.
    WrongSize,
    /// Its compressed stream is cut or damaged.
    Stream,
}

/// Why a segment could not be had.
#[derive(Debug)]
pub enum SegmentFailure {
    /// The store failed; nothing is known of the segment.
    Store(Error),
    /// The object is damaged; `detail` is one sentence without the key.
    Damaged { detail: String, kind: SegmentDamage },
    /// The caller's token was cancelled.
    Cancelled,
}

/// Fetches and decodes a segment of exactly `expected` bytes. Holds at most the object, whose size is
/// looked at first, and the segment; decodes off the threads that run futures.
///
/// An object that is gone or was replaced since it was listed is an error of class
/// `deleted_during_drill`.
pub async fn fetch_segment(
    store: &SharedStore,
    object: &ObjectRef,
    expected: u64,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, SegmentFailure> {
    let damaged = |detail: String, kind| Err(SegmentFailure::Damaged { detail, kind });
    if object.codec == Codec::Plain && object.size != expected {
        let detail = format!("the object holds {} bytes instead of {expected}", object.size);
        return damaged(detail, SegmentDamage::WrongSize);
    }
    // No codec makes a segment of noise longer by a fifth.
    if object.size > expected + expected / 5 + 64 * 1024 {
        let detail = format!(
            "the object holds {} compressed bytes, more than a segment of {expected} can need",
            object.size
        );
        return damaged(detail, SegmentDamage::WrongSize);
    }
    let body = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(SegmentFailure::Cancelled),
        body = fetch(store, object) => body.map_err(SegmentFailure::Store)?,
    };
    if object.codec == Codec::Plain {
        return Ok(body);
    }
    let codec = object.codec;
    let decoded = tokio::task::spawn_blocking(move || decode_exact(codec, &body, expected)).await;
    match decoded {
        Ok(Ok(segment)) => Ok(segment),
        Ok(Err(error @ ExactError::WrongSize { .. })) => {
            damaged(format!("the object {error}"), SegmentDamage::WrongSize)
        }
        Ok(Err(ExactError::Stream(error))) => {
            damaged(format!("the {codec:?} stream is damaged: {error}"), SegmentDamage::Stream)
        }
        Err(error) => Err(SegmentFailure::Store(Error::new(
            Code::Bug,
            format!("the thread that decodes `{}` died: {error}", object.key),
        ))),
    }
}

async fn fetch(store: &SharedStore, object: &ObjectRef) -> Result<Vec<u8>, Error> {
    let range =
        GetRange { key: &object.key, offset: 0, length: None, if_match: object.etag.as_deref() };
    let mut body = store.get(range).await.map_err(vanished)?;
    let mut out = Vec::with_capacity(usize::try_from(object.size).unwrap_or(0));
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(vanished)?;
        out.extend_from_slice(&piece);
        if out.len() as u64 > object.size {
            break;
        }
    }
    if out.len() as u64 == object.size {
        return Ok(out);
    }
    let got = out.len();
    let what = format!("the body of `{}` has {got} bytes, listed were {}", object.key, object.size);
    Err(Error::new(Code::BodyIncomplete, what)
        .hint("Run the drill again; if it stays, look at what lies between here and the store.")
        .class(FailureClass::ObjectReadIncomplete))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::{
        codec::tests::encode,
        fake::{FakeStore, object},
    };

    const SEGMENT: u64 = 1 << 20;

    fn segment() -> Vec<u8> {
        (0..SEGMENT).map(|i| (i * i >> 7) as u8).collect()
    }

    async fn fetch_one(fake: FakeStore, object: &ObjectRef) -> Result<Vec<u8>, SegmentFailure> {
        fetch_segment(&fake.shared(), object, SEGMENT, &CancellationToken::new()).await
    }

    fn damage(result: Result<Vec<u8>, SegmentFailure>) -> SegmentDamage {
        match result {
            Err(SegmentFailure::Damaged { kind, .. }) => kind,
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }

    #[tokio::test]
    async fn every_codec() {
        for codec in Codec::ALL {
            let bytes = encode(codec, &segment());
            let object = object(&format!("wals/x{}", codec.extension()), &bytes);
            let fetched = fetch_one(FakeStore::with(&object, &bytes), &object).await.unwrap();
            assert!(fetched == segment(), "{codec:?}");

            let short = encode(codec, &segment()[..1000]);
            let object = self::object(&object.key, &short);
            let result = fetch_one(FakeStore::with(&object, &short), &object).await;
            assert_eq!(damage(result), SegmentDamage::WrongSize);
            if codec != Codec::Plain {
                let cut = &bytes[..bytes.len() - 2];
                let object = self::object(&object.key, cut);
                let result = fetch_one(FakeStore::with(&object, cut), &object).await;
                assert_eq!(damage(result), SegmentDamage::Stream);
            }
        }
    }

    #[tokio::test]
    async fn an_object_too_large_for_a_segment_is_not_fetched() {
        let mut object = object("wals/x.gz", b"");
        object.size = 2 * SEGMENT;
        let result = fetch_one(FakeStore::default(), &object).await;
        assert_eq!(damage(result), SegmentDamage::WrongSize);
    }

    #[tokio::test]
    async fn what_the_store_did_is_not_damage() {
        let bytes = encode(Codec::Gzip, &segment());
        let object = object("wals/x.gz", &bytes);
        match fetch_one(FakeStore::default(), &object).await {
            Err(SegmentFailure::Store(error)) => {
                assert_eq!(error.class, Some(FailureClass::DeletedDuringDrill));
            }
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
        match fetch_one(FakeStore::with(&object, &bytes[..500]), &object).await {
            Err(SegmentFailure::Store(error)) => assert_eq!(error.code, Code::BodyIncomplete),
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
        let cancel = CancellationToken::new();
        cancel.cancel();
        let store = FakeStore::with(&object, &bytes).shared();
        let result = fetch_segment(&store, &object, SEGMENT, &cancel).await;
        assert!(matches!(result, Err(SegmentFailure::Cancelled)));
    }
}
