//! From objects to files: decoders, the tar reader, unpacking into the sandbox.
//!
//! Everything here is streaming: memory is bounded by constants, never by what the archive holds or
//! claims. Damage comes back as findings, what the machine or the store did as errors.

pub mod base;
pub mod codec;
pub mod pipe;
pub mod tar;
pub mod unpack;
pub mod wal;

use crate::drill::{Error, Finding};

/// Why something could not be fetched and unpacked.
#[derive(Debug)]
pub enum FetchFailure {
    /// The store failed; nothing is known of the backup.
    Store(Error),
    /// The archive is damaged.
    Damaged(Vec<Finding>),
    /// This machine failed: disk, permissions.
    Local(Error),
    /// The caller's token was cancelled.
    Cancelled,
}
