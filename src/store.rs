//! Object stores. Reading an archive goes through [`ObjectStore`], which cannot write by
//! construction; kept reports go to another store, with another credential.

use std::{fmt, num::NonZeroU64, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use jiff::Timestamp;

use self::ranged::Cut;
use crate::drill::{Code, Error, FailureClass, Job};

pub mod faulty;
pub mod limit;
pub mod memory;
pub mod ranged;
pub mod retry;
pub mod s3;
pub mod s3_write;
pub mod secret;

pub use faulty::Faulty;
pub use limit::Limited;
pub use memory::MemoryStore;
pub use ranged::Ranged;
pub use s3::S3Store;

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub key: String,
    pub size: u64,
    pub etag: Option<String>,
    pub modified: Option<Timestamp>,
}

/// The bytes to read of an object, and which object they must belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRange<'a> {
    pub key: &'a str,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; `None` reads to the end.
    pub length: Option<u64>,
    /// The entity tag seen at listing; another one is [`crate::drill::Code::ObjectChanged`].
    pub if_match: Option<&'a str>,
    /// The size seen at listing, of an object that is read to its end: with it a large one may be read
    /// over several connections. It bounds nothing; what is longer or shorter reads as it is.
    pub listed: Option<u64>,
}

impl<'a> GetRange<'a> {
    /// All of an object, whichever it is.
    #[must_use]
    pub fn whole(key: &'a str) -> Self {
        Self { key, offset: 0, length: None, if_match: None, listed: None }
    }
}

/// An object's body in pieces. After an error the stream has ended.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A read-only object store. Implementations retry by class of error and resume broken bodies by
/// range, so that an error that comes out of here is final. Dropping a future or stream cancels it.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Every object whose key starts with `prefix`, page by page, in key order.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>>;

    /// The names one level below `prefix` (which ends in a slash or is empty), without the slash:
    /// `a/b/c` and `a/b2/d` below `a/` give `b` and `b2`.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error>;

    /// Opens an object for reading. Behind its end there is nothing: a body from there on is empty.
    ///
    /// # Errors
    /// `ObjectMissing` for 404, `ObjectChanged` for 412, `AccessDenied` for 403, and what else
    /// [`crate::drill::Code`] lists under `S`.
    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error>;

    /// How often the store has asked to slow down so far; such requests were tried again.
    fn slowdowns(&self) -> u64 {
        0
    }

    /// What reports and messages call this store: `s3://bucket` and the endpoint, never a secret.
    fn describe(&self) -> String;
}

/// A shared store.
pub type SharedStore = Arc<dyn ObjectStore>;

#[async_trait]
impl<S: ObjectStore + ?Sized> ObjectStore for Arc<S> {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        (**self).list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        (**self).list_folders(prefix).await
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        (**self).get(range).await
    }

    fn slowdowns(&self) -> u64 {
        (**self).slowdowns()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// Reads a small object into memory, such as `backup.info` or a `.history` file.
///
/// # Errors
/// `StoreProtocol` where there are more than `limit` bytes, and what [`ObjectStore::get`] gives.
pub async fn read_all<S: ObjectStore + ?Sized>(
    store: &S,
    range: GetRange<'_>,
    limit: usize,
) -> Result<Bytes, Error> {
    let key = range.key;
    let mut body = store.get(range).await?;
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await.transpose()? {
        if all.len() + bytes.len() > limit {
            return Err(Error::new(
                Code::StoreProtocol,
                format!("the object `{key}` is larger than {limit} bytes"),
            )
            .class(FailureClass::ObjectStoreError));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

/// Connects to the archive of a job for reading, within the job's limits: all bodies together come at
/// no more than its bandwidth, over no more than its connections.
///
/// # Errors
/// What [`S3Store::connect`] says of a bad configuration; nothing is requested yet.
pub async fn open(job: &Job) -> Result<SharedStore, Error> {
    let store = S3Store::connect(&job.archive.store).await?;
    let cut = Cut::within(job.limits.connections, job.sandbox.memory);
    Ok(match job.limits.bandwidth.and_then(NonZeroU64::new) {
        // Below the cut: what is read ahead is paid for, too.
        Some(rate) => Arc::new(Ranged::new(Limited::new(store, rate), cut)),
        None => Arc::new(Ranged::new(store, cut)),
    })
}
