//! Surveys an archive: one listing and the few small files that say what it means.

use futures_util::{StreamExt, TryStreamExt, stream};
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
    let work = run(store, location, progress);
    match cancel.run_until_cancelled(work).await {
        Some(outcome) => outcome,
        None => Err(Error::new(Code::Interrupted, "stopped while the archive was surveyed")),
    }
}

async fn run(
    store: &SharedStore,
    location: &ArchiveLocation,
    progress: &Progress,
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
    Ok(builder.finish())
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
    let range = GetRange {
        key: &object.key,
        offset: 0,
        length: None,
        // What was listed beside it belongs to this version of it and to no other.
        if_match: object.etag.as_deref(),
    };
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
    let found = match servers(store, &location.store.prefix).await {
        Ok(found) => found,
        // The listing worked a moment ago: the first answer is the one to tell.
        Err(_) => Vec::new(),
    };
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
