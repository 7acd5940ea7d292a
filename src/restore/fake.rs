//! A store in memory for this room's tests.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::{
    archive::{Codec, ObjectRef},
    drill::{Code, Error},
    store::{ByteStream, GetRange, ListedObject, ObjectStore, SharedStore},
};

/// Objects by key, served in pieces of 10,000 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeStore {
    pub(super) objects: BTreeMap<String, (String, Vec<u8>)>,
    /// The body of this key fails after so many bytes.
    pub(super) breaks: Option<(String, usize)>,
    /// The body of this key never ends nor fails after so many bytes.
    pub(super) hangs: Option<(String, usize)>,
}

/// What a listing would say of `bytes` below `key`.
pub(super) fn object(key: &str, bytes: &[u8]) -> ObjectRef {
    ObjectRef {
        key: key.into(),
        size: bytes.len() as u64,
        etag: Some(format!("\"{}\"", bytes.len())),
        modified: None,
        codec: Codec::split(key).1,
    }
}

impl FakeStore {
    pub(super) fn with(object: &ObjectRef, bytes: &[u8]) -> Self {
        let mut fake = Self::default();
        fake.put(object, bytes);
        fake
    }

    pub(super) fn put(&mut self, object: &ObjectRef, bytes: &[u8]) {
        let etag = object.etag.clone().unwrap_or_default();
        self.objects.insert(object.key.clone(), (etag, bytes.to_vec()));
    }

    pub(super) fn shared(self) -> SharedStore {
        Arc::new(self)
    }
}

#[async_trait]
impl ObjectStore for FakeStore {
    fn list(&self, _: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        stream::empty().boxed()
    }

    async fn list_folders(&self, _: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let Some((etag, bytes)) = self.objects.get(range.key) else {
            return Err(Error::new(Code::ObjectMissing, format!("`{}` is not there", range.key)));
        };
        if range.if_match.is_some_and(|wanted| wanted != etag) {
            return Err(Error::new(Code::ObjectChanged, format!("`{}` was replaced", range.key)));
        }
        let until = |limit: &Option<(String, usize)>| {
            limit.as_ref().filter(|(key, _)| key == range.key).map(|(_, at)| *at)
        };
        let (breaks, hangs) = (until(&self.breaks), until(&self.hangs));
        let end = breaks.or(hangs).unwrap_or(bytes.len());
        let pieces: Vec<_> =
            bytes[..end].chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let pieces = stream::iter(pieces);
        Ok(match (breaks, hangs) {
            (Some(_), _) => {
                let error = Error::new(Code::StoreUnavailable, "the store went away");
                pieces.chain(stream::iter([Err(error)])).boxed()
            }
            (None, Some(_)) => pieces.chain(stream::pending()).boxed(),
            (None, None) => pieces.boxed(),
        })
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}
