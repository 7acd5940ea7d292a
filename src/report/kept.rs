//! The store of finished reports, which the history, trends and the monthly review read.
//!
//! Layout, in a folder or below a prefix of a bucket:
//! `reports/v1/<job>/<YYYY>/<MM>/<YYYYMMDD>T<HHMMSS.mmm>Z-<drill id>.json`, in UTC. A name tells all
//! that a listing shows; evidence of a report has its name with `.dsse` at the end. Names sort by time, and no two drills share one, so that any number of
//! writers may add to a store without knowing of each other.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    drill::{
        Code, Error, FailureClass,
        job::{StoreLocation, StoreScheme},
    },
    store::s3_write::S3Writer,
};

mod bucket;
mod folder;
mod listing;
mod name;
mod wanted;

pub use name::KeptId;
pub(in crate::report) use name::escape;
pub use wanted::Wanted;

use bucket::Bucket;
use folder::Folder;

/// Root of this layout's version.
const ROOT: &str = "reports/v1";

/// Largest report that is read back: one is some kilobytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Keeps reports until they are removed.
#[async_trait]
pub trait ReportStore: Send + Sync + fmt::Debug {
    /// Keeps a report. It is seen whole or not at all. Keeping the same bytes again changes nothing.
    ///
    /// # Errors
    /// `ReportStore` where another report has the id, and what the folder or bucket gives.
    async fn put(&self, id: &KeptId, report: Bytes) -> Result<(), Error>;

    /// The names of the jobs that have reports, sorted. A job stays in it when its last report has been
    /// removed from a folder.
    async fn jobs(&self) -> Result<Vec<String>, Error>;

    /// What is asked for, newest first. Reads names only, and of these only as many months as it takes.
    async fn list(&self, wanted: &Wanted) -> Result<Vec<KeptId>, Error>;

    /// A kept report's bytes; `None`: it is not kept, or not any more.
    async fn find(&self, id: &KeptId) -> Result<Option<Bytes>, Error>;

    /// A kept report's bytes.
    ///
    /// # Errors
    /// `ReportStore` where there is none.
    async fn get(&self, id: &KeptId) -> Result<Bytes, Error> {
        let missing = || error(format!("the report {id} is not kept in {}", self.describe()));
        self.find(id).await?.ok_or_else(missing)
    }

    /// Keeps the evidence of a report: a DSSE envelope, beside it. It is seen whole or not at all.
    ///
    /// # Errors
    /// `ReportStore` where the report has other evidence, and what the folder or bucket gives.
    async fn put_evidence(&self, id: &KeptId, envelope: Bytes) -> Result<(), Error>;

    /// The evidence of a report; `None`: none is kept.
    async fn evidence(&self, id: &KeptId) -> Result<Option<Bytes>, Error>;

    /// Removes a report and its evidence. That it is gone already is no error, so that several may remove at once.
    ///
    /// # Errors
    /// What the folder or bucket gives; the report may be gone all the same.
    async fn remove(&self, id: &KeptId) -> Result<(), Error>;

    /// Whether the place is there, with or without reports. Of a bucket the first listing tells.
    async fn exists(&self) -> Result<bool, Error>;

    /// What messages call this store.
    fn describe(&self) -> String;
}

/// Opens the store of a job's `report.store`: `file:///folder` or `s3://bucket/prefix`.
///
/// # Errors
/// Those of [`S3Writer::connect`]. Nothing is asked of the store yet.
pub async fn open(location: &StoreLocation) -> Result<Box<dyn ReportStore>, Error> {
    Ok(match location.scheme {
        StoreScheme::File => Box::new(Kept(Folder::new(&location.prefix)?)),
        StoreScheme::S3 => {
            let writer = S3Writer::connect(location).await?;
            Box::new(Kept(Bucket::new(writer, &location.prefix)))
        }
    })
}

/// A tree of small files, which is all that the layout needs. Paths have slashes and no leading one.
#[async_trait]
trait Shelf: Send + Sync + fmt::Debug {
    /// Names of the folders in a folder; none where it does not exist.
    async fn folders(&self, path: &str) -> Result<Vec<String>, Error>;
    /// Names of the files in a folder; none where it does not exist.
    async fn files(&self, path: &str) -> Result<Vec<String>, Error>;
    /// Adds a file, whole or not at all. False where another file has the name.
    async fn create(&self, folder: &str, file: &str, bytes: Bytes) -> Result<bool, Error>;
    /// A file's bytes, no more than the limit.
    async fn read(&self, path: &str, limit: usize) -> Result<Option<Bytes>, Error>;
    /// Takes a file away. None with the name is as good.
    async fn remove(&self, path: &str) -> Result<(), Error>;
    /// Whether the root of the tree is there.
    async fn exists(&self) -> Result<bool, Error>;
    fn describe(&self) -> String;
}

/// The layout over a tree.
#[derive(Debug)]
struct Kept<S>(S);

#[async_trait]
impl<S: Shelf> ReportStore for Kept<S> {
    async fn put(&self, id: &KeptId, report: Bytes) -> Result<(), Error> {
        let (folder, file) = (id.folder(), id.file());
        let created = self
            .0
            .create(&folder, &file, report)
            .await
            .map_err(|error| error.context(format!("cannot keep the report {id}")))?;
        if created {
            return Ok(());
        }
        Err(error(format!("cannot keep the report {id}: another one is kept under that id")))
    }

    async fn jobs(&self) -> Result<Vec<String>, Error> {
        listing::jobs(&self.0).await.map_err(listing)
    }

    async fn list(&self, wanted: &Wanted) -> Result<Vec<KeptId>, Error> {
        listing::list(&self.0, wanted).await.map_err(listing)
    }

    async fn find(&self, id: &KeptId) -> Result<Option<Bytes>, Error> {
        let path = format!("{}/{}", id.folder(), id.file());
        let read = self.0.read(&path, MAX_BYTES).await;
        read.map_err(|error| error.context(format!("cannot read the report {id}")))
    }

    async fn put_evidence(&self, id: &KeptId, envelope: Bytes) -> Result<(), Error> {
        let refused = |error: Error| error.context(format!("cannot keep the evidence of {id}"));
        let created = self.0.create(&id.folder(), &id.evidence_file(), envelope).await;
        if created.map_err(refused)? {
            return Ok(());
        }
        Err(error(format!("cannot keep the evidence of {id}: it has other evidence already")))
    }

    async fn evidence(&self, id: &KeptId) -> Result<Option<Bytes>, Error> {
        let path = format!("{}/{}", id.folder(), id.evidence_file());
        let read = self.0.read(&path, MAX_BYTES).await;
        read.map_err(|error| error.context(format!("cannot read the evidence of {id}")))
    }

    async fn remove(&self, id: &KeptId) -> Result<(), Error> {
        // The report last: what is still listed can be removed again.
        for file in [id.evidence_file(), id.file()] {
            let removed = self.0.remove(&format!("{}/{file}", id.folder())).await;
            removed.map_err(|error| error.context(format!("cannot remove the report {id}")))?;
        }
        Ok(())
    }

    async fn exists(&self) -> Result<bool, Error> {
        self.0.exists().await
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn listing(error: Error) -> Error {
    error.context("cannot list the kept reports")
}

fn error(message: String) -> Error {
    Error::new(Code::ReportStore, message).class(FailureClass::InfraError)
}
