//! What this room's tests share.

use futures_util::StreamExt;

pub(crate) use super::tar::tests::Builder as TarBuilder;
use crate::{
    archive::{Codec, ObjectRef},
    store::{ObjectStore, memory::MemoryStore},
};

/// An object as a listing of `store` shows it.
pub(crate) async fn listed(store: &MemoryStore, key: &str) -> ObjectRef {
    let page = store.list(key).next().await.unwrap().unwrap();
    let object = page.into_iter().find(|object| object.key == key).unwrap();
    ObjectRef {
        codec: Codec::split(key).1,
        key: object.key,
        size: object.size,
        etag: object.etag,
        modified: object.modified,
    }
}
