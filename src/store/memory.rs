//! A store in memory: a seam's stand-in for tests and for archives that are made up on the spot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;

use super::{ByteStream, GetRange, ListedObject, ObjectStore};
use crate::drill::{Code, Error};

/// Pieces of a body.
const PIECE: usize = 16 * 1024;

/// Keys and their bytes. Clones share them. Behaves as S3 does: ordered listings of 1,000 entries a
/// page, ranges, entity tags.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    objects: Arc<RwLock<BTreeMap<String, Object>>>,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    etag: String,
    modified: Timestamp,
}

impl MemoryStore {
    /// A store of these objects, modified at the epoch.
    pub fn new<K: Into<String>, B: Into<Bytes>>(objects: impl IntoIterator<Item = (K, B)>) -> Self {
        let store = Self::default();
        for (key, bytes) in objects {
            store.put(key, bytes);
        }
        store
    }

    /// Adds or replaces an object.
    pub fn put(&self, key: impl Into<String>, bytes: impl Into<Bytes>) {
        self.put_at(key, bytes, Timestamp::UNIX_EPOCH);
    }

    /// Adds or replaces an object with its time of modification.
    pub fn put_at(&self, key: impl Into<String>, bytes: impl Into<Bytes>, modified: Timestamp) {
        let bytes = bytes.into();
        let etag = format!("\"{:08x}-{}\"", crc32c::crc32c(&bytes), bytes.len());
        self.objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.into(), Object { bytes, etag, modified });
    }

    /// Removes an object; false where there was none.
    pub fn remove(&self, key: &str) -> bool {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }

    /// An object's bytes.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        Some(self.objects.read().unwrap_or_else(PoisonError::into_inner).get(key)?.bytes.clone())
    }

    fn listed(&self, prefix: &str) -> Vec<ListedObject> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| ListedObject {
                key: key.clone(),
                size: object.bytes.len() as u64,
                etag: Some(object.etag.clone()),
                modified: Some(object.modified),
            })
            .collect()
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        let pages: Vec<_> =
            self.listed(prefix).chunks(1000).map(|page| Ok(page.to_vec())).collect();
        stream::iter(pages).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let names: BTreeSet<String> = self
            .listed(prefix)
            .iter()
            .filter_map(|object| object.key[prefix.len()..].split_once('/'))
            .map(|(name, _)| name.to_owned())
            .collect();
        Ok(names.into_iter().collect())
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let object = {
            let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
            objects.get(range.key).cloned()
        };
        let object = object.ok_or_else(|| {
            Error::new(Code::ObjectMissing, format!("the object `{}` does not exist", range.key))
        })?;
        if range.if_match.is_some_and(|etag| etag != object.etag) {
            return Err(Error::new(
                Code::ObjectChanged,
                format!("the object `{}` was replaced after it was listed", range.key),
            ));
        }
        let size = object.bytes.len() as u64;
        let start = range.offset.min(size);
        let end = range.length.map_or(size, |length| start.saturating_add(length).min(size));
        let mut bytes = object.bytes.slice(start as usize..end as usize);
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            pieces.push(Ok(bytes.split_to(PIECE.min(bytes.len()))));
        }
        Ok(stream::iter(pieces).boxed())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;
    use crate::store::read_all;

    #[tokio::test]
    async fn lists_folders_and_reads_ranges() {
        let store = MemoryStore::new([("a/b/c", "0123456789"), ("a/b2/d", "x"), ("b", "y")]);
        assert_eq!(store.list_folders("a/").await.unwrap(), ["b", "b2"]);
        let pages: Vec<_> = store.list("a/").try_collect().await.unwrap();
        assert_eq!(pages.concat().len(), 2);
        let range = GetRange { offset: 3, length: Some(4), ..GetRange::whole("a/b/c") };
        assert_eq!(read_all(&store, range, 100).await.unwrap(), "3456");
        let changed = GetRange { if_match: Some("\"other\""), ..GetRange::whole("b") };
        assert_eq!(store.get(changed).await.err().unwrap().code, Code::ObjectChanged);
        assert!(store.remove("b"));
        let gone = store.get(GetRange::whole("b")).await.err().unwrap();
        assert_eq!(gone.code, Code::ObjectMissing);
    }
}
