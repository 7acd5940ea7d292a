//! An object as the listing saw it.

use jiff::Timestamp;

use super::Codec;

/// One object: enough to fetch exactly the bytes that were listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// The full key in the bucket.
    pub key: String,
    /// Bytes as stored, compressed.
    pub size: u64,
    /// The entity tag as listed, sent as `If-Match`; `None` where the listing had none.
    pub etag: Option<String>,
    pub modified: Option<Timestamp>,
    /// By the key's extension.
    pub codec: Codec,
}
