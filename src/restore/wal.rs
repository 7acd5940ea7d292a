//! Fetches one WAL segment, whole or as it comes. What its pages and records say is the reader's
//! business.

mod flight;
mod pieces;

use std::io::ErrorKind;

use tokio_util::sync::CancellationToken;

pub use self::{
    flight::Flight,
    pieces::{Keep, PieceSink, Pieces, Spares, in_pieces},
};
use super::{
    codec::{ExactError, decode_exact},
    pipe::{FeedEnd, PipeReader, pipe},
    vanished,
};
use crate::{
    archive::{Codec, ObjectRef},
    drill::{Code, Error, FailureClass},
    store::{ByteStream, GetRange, SharedStore},
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
    /// The store failed, or who keeps what is decoded; nothing is known of the segment.
    Store(Error),
    /// The object is damaged; `detail` is one sentence without the key.
    Damaged { detail: String, kind: SegmentDamage },
    /// The caller's token was cancelled.
    Cancelled,
}

/// Why a segment was not decoded to its end.
#[derive(Debug)]
enum Undecoded {
    Exact(ExactError),
    /// What was decoded could not be kept.
    Kept(Error),
}

impl From<ExactError> for Undecoded {
    fn from(error: ExactError) -> Self {
        Self::Exact(error)
    }
}

impl From<Error> for Undecoded {
    fn from(error: Error) -> Self {
        Self::Kept(error)
    }
}

/// Fetches a segment of exactly `expected` bytes and decodes it as it comes, off the threads that run
/// futures. Holds no more than the segment; the object's size is looked at first.
///
/// An object that is gone or was replaced since it was listed is an error of class
/// `deleted_during_drill`.
///
/// # Errors
/// See [`SegmentFailure`].
pub async fn fetch_segment(
    store: &SharedStore,
    object: &ObjectRef,
    expected: u64,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, SegmentFailure> {
    let decode = move |codec, reader: PipeReader| Ok(decode_exact(codec, reader, expected)?);
    decode_segment(store, object, expected, cancel, decode).await
}

/// As [`fetch_segment`], and hands the segment over piece by piece, before it is known whether the
/// rest of it is sound. Where nobody takes the pieces any more it is read to its end all the same.
///
/// # Errors
/// See [`SegmentFailure`].
pub async fn stream_segment(
    store: &SharedStore,
    object: &ObjectRef,
    expected: u64,
    sink: PieceSink,
    cancel: &CancellationToken,
) -> Result<(), SegmentFailure> {
    let decode = move |codec, reader: PipeReader| sink.decode(codec, reader, expected);
    decode_segment(store, object, expected, cancel, decode).await
}

/// Opens the body of an object that may hold a segment by its size.
async fn open_segment(
    store: &SharedStore,
    object: &ObjectRef,
    expected: u64,
    cancel: &CancellationToken,
) -> Result<ByteStream, SegmentFailure> {
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
    let range = GetRange { if_match: object.etag.as_deref(), ..GetRange::whole(&object.key) };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SegmentFailure::Cancelled),
        body = store.get(range) => body.map_err(lost),
    }
}

async fn decode_segment<T: Send + 'static>(
    store: &SharedStore,
    object: &ObjectRef,
    expected: u64,
    cancel: &CancellationToken,
    decode: impl FnOnce(Codec, PipeReader) -> Result<T, Undecoded> + Send + 'static,
) -> Result<T, SegmentFailure> {
    let damaged = |detail: String, kind| Err(SegmentFailure::Damaged { detail, kind });
    let body = open_segment(store, object, expected, cancel).await?;
    let (feeder, reader) = pipe();
    let codec = object.codec;
    let thread = tokio::task::spawn_blocking(move || decode(codec, reader));
    let end = feeder.feed(body, object.size, &|_| (), cancel).await;
    let decoded = thread.await.map_err(|error| {
        let what = format!("the thread that decodes `{}` died: {error}", object.key);
        SegmentFailure::Store(Error::new(Code::Bug, what))
    })?;
    let decoded = match decoded {
        Ok(decoded) => Ok(decoded),
        Err(Undecoded::Exact(error)) => Err(error),
        Err(Undecoded::Kept(error)) => return Err(SegmentFailure::Store(error)),
    };
    // A body of another length explains all that its decoder had to say.
    if let FeedEnd::Complete { bytes } = end
        && bytes != object.size
    {
        return Err(SegmentFailure::Store(incomplete(object, bytes)));
    }
    match (decoded, end) {
        (Ok(segment), FeedEnd::Complete { .. } | FeedEnd::ReaderGone { .. }) => Ok(segment),
        (Err(error @ ExactError::WrongSize { .. }), _) => {
            damaged(format!("the object {error}"), SegmentDamage::WrongSize)
        }
        (Err(ExactError::Stream(error)), _) if is_damage(error.kind()) => {
            damaged(format!("the {codec:?} stream is damaged: {error}"), SegmentDamage::Stream)
        }
        (_, FeedEnd::Store(error)) => Err(lost(error)),
        (_, FeedEnd::Cancelled) => Err(SegmentFailure::Cancelled),
        (Err(ExactError::Stream(error)), FeedEnd::Complete { .. } | FeedEnd::ReaderGone { .. }) => {
            let what = format!("the body of `{}` was lost on its way: {error}", object.key);
            Err(SegmentFailure::Store(Error::new(Code::Bug, what)))
        }
    }
}

/// Whether the decoder said it, and not the pipe before it.
const fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn lost(error: Error) -> SegmentFailure {
    SegmentFailure::Store(vanished(error))
}

fn incomplete(object: &ObjectRef, bytes: u64) -> Error {
    let (key, listed) = (&object.key, object.size);
    let what = format!("the body of `{key}` has {bytes} bytes, listed were {listed}");
    Error::new(Code::BodyIncomplete, what)
        .hint("Run the drill again; if it stays, look at what lies between here and the store.")
        .class(FailureClass::ObjectReadIncomplete)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        restore::{codec::tests::encode, testing::listed},
        store::{
            faulty::{Call, Fault, Faulty, Rule},
            memory::MemoryStore,
        },
    };

    const SEGMENT: u64 = 1 << 20;

    fn segment() -> Vec<u8> {
        (0..SEGMENT).map(|i| ((i * i) >> 7) as u8).collect()
    }

    type Fetched = Result<Vec<u8>, SegmentFailure>;

    async fn fetch_bytes(codec: Codec, bytes: Vec<u8>) -> Fetched {
        let key = format!("wals/x{}", codec.extension());
        let store = MemoryStore::new([(key.clone(), bytes)]);
        let object = listed(&store, &key).await;
        let store: SharedStore = Arc::new(store);
        fetch_segment(&store, &object, SEGMENT, &CancellationToken::new()).await
    }

    fn damage(result: Fetched) -> SegmentDamage {
        match result {
            Err(SegmentFailure::Damaged { kind, .. }) => kind,
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }

    fn store_error(result: Fetched) -> Error {
        match result {
            Err(SegmentFailure::Store(error)) => error,
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }

    #[tokio::test]
    async fn every_codec() {
        for codec in Codec::ALL {
            let whole = encode(codec, &segment());
            assert!(fetch_bytes(codec, whole.clone()).await.unwrap() == segment(), "{codec:?}");
            let short = encode(codec, &segment()[..1000]);
            assert_eq!(damage(fetch_bytes(codec, short).await), SegmentDamage::WrongSize);
            let long = encode(codec, &[&segment()[..], b"x"].concat());
            assert_eq!(damage(fetch_bytes(codec, long).await), SegmentDamage::WrongSize);
            if codec != Codec::Plain {
                let cut = whole[..whole.len() - 2].to_vec();
                assert_eq!(damage(fetch_bytes(codec, cut).await), SegmentDamage::Stream);
                assert_eq!(damage(fetch_bytes(codec, Vec::new()).await), SegmentDamage::Stream);
            }
        }
    }

    #[tokio::test]
    async fn an_object_too_large_for_a_segment_is_not_fetched() {
        let store = MemoryStore::new([("x.gz", vec![0; 2 * SEGMENT as usize])]);
        let object = listed(&store, "x.gz").await;
        let faulty = Faulty::new(store, []);
        let shared: SharedStore = Arc::new(faulty.clone());
        let result = fetch_segment(&shared, &object, SEGMENT, &CancellationToken::new()).await;
        assert_eq!(damage(result), SegmentDamage::WrongSize);
        assert_eq!(faulty.count(Call::Get, "x.gz"), 0);
    }

    #[tokio::test]
    async fn damage_is_told_while_the_rest_of_the_body_hangs() {
        let mut bytes = encode(Codec::Gzip, &segment());
        bytes[0] ^= 1;
        let most = bytes.len() as u64 - 1;
        let store = MemoryStore::new([("x.gz", bytes)]);
        let object = listed(&store, "x.gz").await;
        let rule = Rule::every(Call::Get, "", Fault::HangAfter(most));
        let hanging: SharedStore = Arc::new(Faulty::new(store, [rule]));
        let fetched = fetch_segment(&hanging, &object, SEGMENT, &CancellationToken::new()).await;
        assert_eq!(damage(fetched), SegmentDamage::Stream);
    }

    #[tokio::test]
    async fn what_the_store_did_is_not_damage() {
        let store = MemoryStore::new([("x.gz", encode(Codec::Gzip, &segment()))]);
        let object = listed(&store, "x.gz").await;
        let cancel = CancellationToken::new();
        let with = |fault| -> SharedStore {
            Arc::new(Faulty::new(store.clone(), [Rule::every(Call::Get, "", fault)]))
        };
        let gone = with(Fault::Error(Code::ObjectMissing));
        let error = store_error(fetch_segment(&gone, &object, SEGMENT, &cancel).await);
        assert_eq!(error.class, Some(FailureClass::DeletedDuringDrill));
        let short = with(Fault::EndAfter(500));
        let error = store_error(fetch_segment(&short, &object, SEGMENT, &cancel).await);
        assert_eq!(error.code, Code::BodyIncomplete);
        let broken = with(Fault::ErrorAfter(500, Code::StoreUnavailable));
        let error = store_error(fetch_segment(&broken, &object, SEGMENT, &cancel).await);
        assert_eq!(error.code, Code::StoreUnavailable);

        for fault in [Fault::Hang, Fault::HangAfter(500)] {
            let (hanging, cancel) = (with(fault), CancellationToken::new());
            let mut fetching = std::pin::pin!(fetch_segment(&hanging, &object, SEGMENT, &cancel));
            assert!(futures_util::poll!(&mut fetching).is_pending());
            cancel.cancel();
            assert!(matches!(fetching.await, Err(SegmentFailure::Cancelled)));
        }
    }
}
