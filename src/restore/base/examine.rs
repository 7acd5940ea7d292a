//! Reads one base backup to the last block of every tar, and writes nothing.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    AT_A_TIME, BaseRestored, finish, missing,
    part::{Part, PartFailure, fetch_part},
    parts_of,
};
use crate::{
    archive::Backup,
    drill::{Error, Finding},
    restore::{FetchFailure, pages::WatchRules, two_readings, unpack::Unpacker},
    store::SharedStore,
};

/// What the tars of a backup hold.
#[derive(Debug, Default)]
pub struct BaseExamined {
    /// As a restore would have it; incomplete where parts could not be read. Its findings are all
    /// defects of the tars and of their layout.
    pub restored: BaseRestored,
    /// Every part was read to its end: what is not in `restored` is not in the backup.
    pub whole: bool,
    /// Parts that the store did not give, or gave in two versions: nothing is known of them.
    pub errors: Vec<Error>,
}

/// Fetches every tar of `backup` as [`super::restore_base`] does and reads it to its end; goes on
/// after damage, so that all of it is found. A part that seems damaged is read once more: what the
/// second reading does not show was the store's doing. `on_bytes` gets the number of each piece of
/// fetched (compressed) bytes.
///
/// # Errors
/// Cancelled, or this machine failed.
pub async fn examine_base(
    store: &SharedStore,
    backup: &Backup,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<BaseExamined, FetchFailure> {
    let mut examined = BaseExamined { whole: true, ..BaseExamined::default() };
    let parts = match parts_of(backup) {
        Ok(parts) => parts,
        Err(findings) => {
            // The parts that are there are read all the same.
            examined.whole = false;
            examined.restored.findings = findings;
            super::listed_parts(backup)
        }
    };
    let checksums = backup.info.as_ref().ok().and_then(|info| info.data_checksums);
    let rules = WatchRules { checksums, ..WatchRules::default() };
    let unpacker = Arc::new(Unpacker::examine().watching(rules));
    let mut running = stream::iter(parts)
        .map(|part| examine_part(store, part, &unpacker, on_bytes, cancel))
        .buffer_unordered(AT_A_TIME);
    let (mut fetched_bytes, mut damaged) = (0, Vec::new());
    let mut local = None;
    while let Some(result) = running.next().await {
        examined.whole &= result.is_ok();
        match result {
            Ok(bytes) => fetched_bytes += bytes,
            Err(PartFailure::Damaged(finding)) => damaged.push(finding),
            Err(PartFailure::Store(error)) => examined.errors.push(error),
            Err(PartFailure::Local(error)) => local = local.or(Some(error)),
            Err(PartFailure::Cancelled) => break,
        }
    }
    drop(running);
    if cancel.is_cancelled() {
        return Err(FetchFailure::Cancelled);
    }
    if let Some(error) = local {
        return Err(FetchFailure::Local(error));
    }
    damaged.sort_by(|a: &Finding, b| a.subject.cmp(&b.subject));
    let unpacked = finish(unpacker, false).await?;
    let mut findings = std::mem::take(&mut examined.restored.findings);
    findings.extend(unpacked.findings.iter().cloned());
    findings.extend(damaged);
    if examined.whole {
        findings.extend(missing(backup, &unpacked));
    }
    examined.restored = BaseRestored::new(unpacked, fetched_bytes);
    examined.restored.findings = findings;
    Ok(examined)
}

async fn examine_part(
    store: &SharedStore,
    part: Part,
    unpacker: &Arc<Unpacker>,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<u64, PartFailure> {
    let first = fetch_part(store, part.clone(), Arc::clone(unpacker), on_bytes, cancel).await;
    let Err(PartFailure::Damaged(finding)) = first else { return first };
    let again = Arc::new(Unpacker::examine());
    let key = part.object.key.clone();
    match fetch_part(store, part, again, &|_| (), cancel).await {
        Ok(_) => Err(PartFailure::Store(two_readings(&key, &finding.detail))),
        // The first reading stands, whatever became of the second.
        Err(PartFailure::Cancelled) => Err(PartFailure::Cancelled),
        Err(PartFailure::Damaged(second)) => Err(PartFailure::Damaged(second)),
        Err(PartFailure::Store(_) | PartFailure::Local(_)) => Err(PartFailure::Damaged(finding)),
    }
}
