//! Restores one base backup into a data directory.

use std::{collections::BTreeMap, path::PathBuf};

use tokio_util::sync::CancellationToken;

use super::FetchFailure;
use crate::{
    archive::Backup,
    drill::{Code, Error, Finding},
    store::SharedStore,
};

/// Where a base backup goes.
#[derive(Clone, Debug)]
pub struct BaseTarget {
    /// Made if it is missing; must be empty.
    pub data_dir: PathBuf,
    /// User and group that everything shall belong to; `None` keeps the caller's.
    pub owner: Option<(u32, u32)>,
    /// Make everything durable before returning.
    pub fsync: bool,
}

/// What a restored base backup is.
#[derive(Clone, Debug, Default)]
pub struct BaseRestored {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes read from the store, compressed.
    pub fetched_bytes: u64,
    /// `global/pg_control` as it is in the tar.
    pub pg_control: Vec<u8>,
    pub backup_label: Option<String>,
    /// The first 256 KiB of each configuration file in the top folder, by name:
    /// `postgresql.conf`, `postgresql.auto.conf` and what they may include.
    pub config_texts: BTreeMap<String, String>,
    /// What was left out and why, for the report.
    pub notes: Vec<String>,
    /// Defects that did not stop the restore.
    pub findings: Vec<Finding>,
}

/// Fetches and unpacks every tar of `backup` into `target`. `on_bytes` gets the number of each
/// piece of fetched (compressed) bytes.
///
/// After a failure the folder holds what was written so far.
pub async fn restore_base(
    store: &SharedStore,
    backup: &Backup,
    target: &BaseTarget,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<BaseRestored, FetchFailure> {
    let _ = (store, backup, target, on_bytes, cancel);
    Err(FetchFailure::Local(Error::new(Code::Unsupported, "restoring is not here yet")))
}
