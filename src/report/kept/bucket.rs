//! Reports below a prefix of a bucket.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::Shelf;
use crate::{
    drill::{Code, Error},
    store::{
        GetRange, ObjectStore, read_all,
        s3_write::{Created, S3Writer},
    },
};

#[derive(Debug)]
pub(super) struct Bucket {
    writer: S3Writer,
    /// Empty, or ends in a slash.
    prefix: String,
}

impl Bucket {
    /// `prefix` without slashes at its ends.
    pub(super) fn new(writer: S3Writer, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { writer, prefix }
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

#[async_trait]
impl Shelf for Bucket {
    async fn folders(&self, path: &str) -> Result<Vec<String>, Error> {
        self.writer.reader().list_folders(&format!("{}/", self.key(path))).await
    }

    async fn files(&self, path: &str) -> Result<Vec<String>, Error> {
        let folder = format!("{}/", self.key(path));
        let mut pages = self.writer.reader().list(&folder);
        let mut names = Vec::new();
        while let Some(page) = pages.try_next().await? {
            names.extend(
                page.iter()
                    .filter_map(|object| object.key.strip_prefix(&folder))
                    .filter(|name| !name.contains('/'))
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    async fn create(&self, folder: &str, file: &str, bytes: Bytes) -> Result<bool, Error> {
        let key = format!("{}/{file}", self.key(folder));
        Ok(self.writer.create(&key, bytes).await? != Created::Taken)
    }

    async fn read(&self, path: &str, limit: usize) -> Result<Option<Bytes>, Error> {
        let key = self.key(path);
        match read_all(self.writer.reader(), GetRange::whole(&key), limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.code == Code::ObjectMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), Error> {
        self.writer.remove_report(&self.key(path)).await
    }

    async fn exists(&self) -> Result<bool, Error> {
        Ok(true)
    }

    fn describe(&self) -> String {
        format!("{} under `{}`", self.writer.describe(), self.prefix)
    }
}
