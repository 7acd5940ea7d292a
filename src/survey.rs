//! Surveys an archive: one listing and the few small files that say what it means.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{
        Catalog, CatalogBuilder,
        catalog::builder::{Unread, Wanted, WantedFile},
        codec::Codec,
    },
    drill::{Code, Error, job::ArchiveLocation},
    restore::codec::decode_small,
    store::{GetRange, SharedStore},
    telemetry::{Progress, progress::ProgressEvent},
};

pub mod servers;

pub use servers::{ServerSummary, servers};

/// Small files read at the same time.
const CONCURRENCY: usize = 8;
/// A `backup.info` lists every tablespace and holds a label; real ones take some kilobytes.
const MAX_INFO_BYTES: u64 = 1 << 20;
/// A line for every timeline.
const MAX_HISTORY_BYTES: u64 = 1 << 20;
const MAX_KEEP_BYTES: u64 = 64 << 10;

/// A hole behind which a segment was stored this short a time ago is looked at again, so often and
/// with such a pause: long enough for an upload of 16 MiB to end.
const FRESH: SignedDuration = SignedDuration::from_mins(2);
const SECOND_LOOKS: u32 = 2;
const PAUSE: Duration = Duration::from_secs(2);

/// The prefix of a server's keys, such as `postgres/orders/`.
#[must_use]
pub fn server_root(location: &ArchiveLocation) -> String {
    match location.store.prefix.as_str() {
        "" => format!("{}/", location.server),
        prefix => format!("{prefix}/{}/", location.server),
    }
}

/// Lists the server's prefix once and reads its `backup.info`, keep and history files. An object
/// that vanishes or changes in between is noted, not an error. Memory is that of the WAL index.
///
/// # Errors
/// `ArchiveEmpty` where nothing lies below the prefix, with a hint that names the servers that do;
/// `Interrupted`; and what the store cannot do.
pub async fn survey(
    store: &SharedStore,
    location: &ArchiveLocation,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Catalog, Error> {
    let work = run(store, location, progress, PAUSE);
    match cancel.run_until_cancelled(work).await {
        Some(outcome) => outcome,
        None => Err(Error::new(Code::Interrupted, "stopped while the archive was surveyed")),
    }
}

async fn run(
    store: &SharedStore,
    location: &ArchiveLocation,
    progress: &Progress,
    pause: Duration,
) -> Result<Catalog, Error> {
    let root = server_root(location);
    let mut builder = CatalogBuilder::new(&root);
    let mut pages = store.list(&root);
    while let Some(page) = pages.try_next().await? {
        for object in page {
            builder.add(&object.key, object.size, object.etag.as_deref(), object.modified);
        }
    }
    if builder.object_count() == 0 {
        return Err(empty(store, location, &root).await);
    }
    let text = format!("{} objects listed", builder.object_count());
    progress.emit(ProgressEvent::Note { text });

    let wanted = builder.wanted();
    let mut contents = stream::iter(wanted)
        .map(|wanted| async move {
            let content = content(store, &wanted).await?;
            Ok::<_, Error>((wanted, content))
        })
        .buffered(CONCURRENCY);
    while let Some((wanted, content)) = contents.try_next().await? {
        if let Err(Unread { why, .. }) = &content {
            builder.note(format!("`{}` was not read: {why}", wanted.object.key));
        }
        builder.content(wanted.what, content.as_deref().map_err(Clone::clone));
    }
    drop(contents);
    look_again(store, &mut builder, pause).await?;
    Ok(builder.finish())
}

/// A listing takes time, and archivers upload several segments at once, in no order: a hole near the
/// end counts only when it stays.
async fn look_again(
    store: &SharedStore,
    builder: &mut CatalogBuilder,
    pause: Duration,
) -> Result<(), Error> {
    for _ in 0..SECOND_LOOKS {
        let since = Timestamp::now().checked_sub(FRESH).unwrap_or(Timestamp::MIN);
        let folders = builder.unsettled_folders(since);
        if folders.is_empty() {
            break;
        }
        tokio::time::sleep(pause).await;
        for folder in folders {
            let mut pages = store.list(&folder);
            while let Some(page) = pages.try_next().await? {
                for object in page {
                    let etag = object.etag.as_deref();
                    builder.add_late(&object.key, object.size, etag, object.modified);
                }
            }
        }
    }
    Ok(())
}

/// The inner error says why this file says nothing; the outer one ends the survey.
async fn content(store: &SharedStore, wanted: &Wanted) -> Result<Result<Vec<u8>, Unread>, Error> {
    let unread = |why: String| Ok(Err(Unread { why, changed: false }));
    let changed = |why: &str| Ok(Err(Unread { why: why.to_owned(), changed: true }));
    let object = &wanted.object;
    let max = match wanted.what {
        WantedFile::Info(_) => MAX_INFO_BYTES,
        WantedFile::History(_) => MAX_HISTORY_BYTES,
        WantedFile::Keep(_) => MAX_KEEP_BYTES,
    };
    if object.size > max {
        return unread(format!("it has {} bytes, more than {max}", object.size));
    }
    // What was listed beside it belongs to this version of it and to no other.
    let range = GetRange { if_match: object.etag.as_deref(), ..GetRange::whole(&object.key) };
    let mut bytes = Vec::with_capacity(usize::try_from(object.size).unwrap_or(0));
    let body = async {
        let mut body = store.get(range).await?;
        while let Some(piece) = body.try_next().await? {
            if (bytes.len() + piece.len()) as u64 > max {
                return Ok(false);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(true)
    };
    match body.await {
        Ok(true) => {}
        Ok(false) => return unread(format!("it has more than {max} bytes")),
        Err(Error { code: Code::ObjectMissing, .. }) => {
            return changed("it was removed after it had been listed");
        }
        Err(Error { code: Code::ObjectChanged, .. }) => {
            return changed("it was replaced after it had been listed");
        }
        Err(error) => return Err(error.context(format_args!("reading `{}`", object.key))),
    }
    if object.codec == Codec::Plain {
        return Ok(Ok(bytes));
    }
    decode_small(object.codec, &bytes, max)
        .map(Ok)
        .or_else(|error| unread(format!("it does not decode: {error}")))
}

async fn empty(store: &SharedStore, location: &ArchiveLocation, root: &str) -> Error {
    let message = format!("there is nothing below `{root}` in {}", store.describe());
    let error = Error::new(Code::ArchiveEmpty, message);
    // The listing worked a moment ago: its answer is the one to tell, whatever this one says.
    let found = servers(store, &location.store.prefix).await.unwrap_or_default();
    if found.is_empty() {
        error.hint(
            "No server's archive was found there: compare `archive.url` and `archive.server` with \
             what the backup tool writes to, or run `pgassay init URL`.",
        )
    } else {
        error.hint(format!(
            "Set `archive.url` and `archive.server` (`--server`) to one that is there: {}.",
            found.iter().map(ServerSummary::describe).collect::<Vec<_>>().join(", ")
        ))
    }
}

#[cfg(test)]
mod tests;
