//! One tar object on its way from the store to the disk.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::NEW_BACKUP;
use crate::{
    archive::ObjectRef,
    drill::{Code, Error, FailureClass, Finding},
    restore::{
        ahead::{Ahead, Near, read_ahead},
        codec::buffered_decoder,
        pipe::{FeedEnd, pipe},
        two_readings,
        unpack::{Place, TarSource, UnpackFailure, Unpacker},
        vanished,
    },
    store::{GetRange, SharedStore},
};

#[derive(Clone)]
pub(super) struct Part {
    pub(super) object: ObjectRef,
    pub(super) place: Place,
    pub(super) number: u32,
}

pub(super) enum PartFailure {
    Damaged(Finding),
    Local(Error),
    Store(Error),
    Cancelled,
}

/// Unpacks a part; see [`stream_part`].
pub(super) async fn fetch_part(
    store: &SharedStore,
    part: Part,
    unpacker: Arc<Unpacker>,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    stop: &CancellationToken,
) -> Result<u64, PartFailure> {
    let unpack = move |source: TarSource<'_>, input: Ahead, stop: &CancellationToken| {
        unpacker.unpack(source, input, stop)
    };
    stream_part(store, part, unpack, on_bytes, stop).await
}

/// What the second reading of a part that seemed damaged shows.
pub(super) enum Again {
    Stands(Finding),
    /// It is sound: nothing is known of the part.
    Differs(Error),
    /// There was none, and why; without a reason it was cancelled. The finding is the first reading's.
    Missed(Finding, Option<Error>),
}

/// Reads a part that seems damaged once more and writes nothing: stores and networks err once.
pub(super) async fn read_again(
    store: &SharedStore,
    part: Part,
    first: Finding,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    stop: &CancellationToken,
) -> Again {
    let key = part.object.key.clone();
    let again = Arc::new(Unpacker::examine());
    match fetch_part(store, part, again, on_bytes, stop).await {
        Ok(_) => Again::Differs(two_readings(&key, &first.detail)),
        Err(PartFailure::Damaged(second)) => Again::Stands(second),
        Err(PartFailure::Store(error) | PartFailure::Local(error)) => {
            Again::Missed(first, Some(error))
        }
        Err(PartFailure::Cancelled) => Again::Missed(first, None),
    }
}

/// Gives a part's tar to `consume`: on a thread of its own, ahead of which another one decodes. Returns
/// the bytes that were fetched. Whatever happens, no thread works on the part afterwards.
pub(super) async fn stream_part(
    store: &SharedStore,
    part: Part,
    consume: impl FnOnce(TarSource<'_>, Ahead, &CancellationToken) -> Result<(), UnpackFailure>
    + Send
    + 'static,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    stop: &CancellationToken,
) -> Result<u64, PartFailure> {
    let Part { object, place, number } = part;
    let range = GetRange {
        if_match: object.etag.as_deref(),
        listed: Some(object.size),
        ..GetRange::whole(&object.key)
    };
    let body = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(PartFailure::Cancelled),
        body = store.get(range) => body.map_err(store_failed)?,
    };
    let (feeder, reader) = pipe();
    let (taken, near) = (reader.taken(), Near::default());
    // A body that hangs must not keep the thread that decodes from ending.
    let gone = stop.child_token();
    let thread = tokio::task::spawn_blocking({
        let (key, codec, stop) = (object.key.clone(), object.codec, stop.clone());
        let (taken, near, gone) = (taken.clone(), near.clone(), gone.clone());
        move || {
            let source = TarSource { key: &key, place, part: number };
            let consume = |input: Ahead| {
                let _gone = gone.drop_guard();
                consume(source, input, &stop)
            };
            read_ahead(|| buffered_decoder(codec, reader), taken, near, consume)
        }
    });
    let end = match feeder.feed(body, object.size, on_bytes, &gone).await {
        FeedEnd::Cancelled if !stop.is_cancelled() => FeedEnd::ReaderGone { bytes: taken.bytes() },
        end => end,
    };
    let unpacked = thread.await.map_err(|error| {
        let what = format!("the thread that unpacks `{}` died: {error}", object.key);
        PartFailure::Local(Error::new(Code::Bug, what))
    })?;

    // A body of another length explains all that its decoder had to say.
    if let FeedEnd::Complete { bytes } = end
        && bytes != object.size
    {
        return Err(PartFailure::Damaged(incomplete(&object, bytes)));
    }
    match (unpacked, end) {
        (Ok(()), FeedEnd::Complete { bytes } | FeedEnd::ReaderGone { bytes }) => Ok(bytes),
        (Err(UnpackFailure::Damaged { offset, member, what }), _) => {
            let member = member
                .map_or(String::new(), |name| format!(", in the member `{}`", name.escape_debug()));
            let detail = format!(
                "{what}, at byte {offset} of the tar (near byte {} of {} of the object){member}",
                near.bytes(),
                object.size
            );
            let class = FailureClass::ArchiveCorrupt;
            Err(PartFailure::Damaged(Finding::new(class, object.key, detail, NEW_BACKUP)))
        }
        (Err(UnpackFailure::Local(error)), _) => Err(PartFailure::Local(error)),
        (_, FeedEnd::Store(error)) => Err(store_failed(error)),
        (Err(UnpackFailure::Cancelled), _) | (_, FeedEnd::Cancelled) => Err(PartFailure::Cancelled),
        (Err(UnpackFailure::Input(error)), _) => {
            let what = format!("the body of `{}` was lost on its way: {error}", object.key);
            Err(PartFailure::Local(Error::new(Code::Bug, what)))
        }
    }
}

fn store_failed(error: Error) -> PartFailure {
    PartFailure::Store(match error.code {
        Code::BodyIncomplete => error.class(FailureClass::ObjectReadIncomplete),
        _ => vanished(error),
    })
}

fn incomplete(object: &ObjectRef, bytes: u64) -> Finding {
    let more = if bytes > object.size { "at least " } else { "" };
    Finding::new(
        FailureClass::ObjectReadIncomplete,
        &*object.key,
        format!(
            "the store gave {more}{bytes} bytes of an object that it lists with {}",
            object.size
        ),
        "Fetch the object with another tool and compare its length; if the store keeps giving another \
         one, the object is lost and a new base backup is needed.",
    )
}
