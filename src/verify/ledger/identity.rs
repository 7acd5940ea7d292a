//! What makes an object this one: its key, entity tag, size and time, as hashes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::archive::ObjectRef;

/// Of several objects together. Nobody makes two alike by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(u64, u64);

/// Of one segment, together with what it must agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentId {
    pub(super) key: u64,
    pub(super) content: u64,
}

impl Identity {
    /// Of these objects, in order; `None` stands for one that is not there. Without an entity tag a
    /// replaced object could not be told: then there is no identity.
    #[must_use]
    pub fn of(objects: impl IntoIterator<Item = Option<ObjectRef>>) -> Option<Self> {
        let mut sum = Sha256::new();
        for object in objects {
            match object {
                Some(object) => {
                    sum.update([1]);
                    add(&mut sum, &object)?;
                }
                None => sum.update([0]),
            }
        }
        let sum = sum.finalize();
        Some(Self(word(&sum[..8]), word(&sum[8..16])))
    }

    /// A number of it, for what is to be spread evenly.
    #[must_use]
    pub const fn low(self) -> u64 {
        self.1
    }

    /// Of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let sum = Sha256::digest(text);
        Self(word(&sum[..8]), word(&sum[8..16]))
    }
}

impl SegmentId {
    /// Of an object that was held against `rules`; `None` without an entity tag.
    #[must_use]
    pub fn of(object: &ObjectRef, rules: Identity) -> Option<Self> {
        let mut sum = Sha256::new();
        sum.update(rules.0.to_be_bytes());
        sum.update(rules.1.to_be_bytes());
        add(&mut sum, object)?;
        let key = Sha256::digest(&object.key);
        Some(Self { key: word(&key[..8]), content: word(&sum.finalize()[..8]) })
    }
}

fn add(sum: &mut Sha256, object: &ObjectRef) -> Option<()> {
    let tag = object.etag.as_deref()?;
    let modified = object.modified.map_or(i64::MIN, Timestamp::as_microsecond);
    for text in [&object.key, tag] {
        sum.update((text.len() as u64).to_be_bytes());
        sum.update(text);
    }
    sum.update(object.size.to_be_bytes());
    sum.update(modified.to_be_bytes());
    Some(())
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
