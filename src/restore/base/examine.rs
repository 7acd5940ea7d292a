//! Reads one base backup to the last block of every tar, and writes nothing.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    AT_A_TIME, BaseRestored, finish, missing,
    part::{Again, Part, PartFailure, fetch_part, read_again},
    parts_of,
};
use crate::{
    archive::Backup,
    drill::{Error, Finding},
    restore::{FetchFailure, pages::WatchRules, seen_once, unpack::Unpacker},
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
    /// Parts that the store did not give, gave in two versions, or seemed to give damaged at the only
    /// reading that could be had: nothing is known of them.
    pub errors: Vec<Error>,
    /// It was cancelled when something had been seen already that may be wrong, which is all that is here.
    pub cut_off: bool,
}

/// Fetches every tar of `backup` as [`super::restore_base`] does and reads it to its end; goes on
/// after damage, so that all of it is found. A part that seems damaged is read once more: what the
/// second reading does not show was the store's doing, and where there is none nothing is known. Whether
/// checksums of pages are computed is `backup.info`'s to say, and not `rules`'. `on_bytes` gets the number
/// of each piece of fetched (compressed) bytes.
///
/// # Errors
/// Cancelled before anything was seen that may be wrong, or this machine failed.
pub async fn examine_base(
    store: &SharedStore,
    backup: &Backup,
    rules: WatchRules,
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
    let rules = WatchRules { checksums, ..rules };
    let unpacker = Arc::new(Unpacker::examine().watching(rules));
    let mut running = stream::iter(parts)
        .map(|part| examine_part(store, part, &unpacker, on_bytes, cancel))
        .buffer_unordered(AT_A_TIME);
    let (mut fetched_bytes, mut damaged) = (0, Vec::new());
    let (mut local, mut differs) = (None, false);
    while let Some(result) = running.next().await {
        examined.whole &= matches!(result, PartRead::Whole(_));
        match result {
            PartRead::Whole(bytes) => fetched_bytes += bytes,
            PartRead::Differs(error) => {
                differs = true;
                examined.errors.push(error);
            }
            PartRead::Failed(PartFailure::Damaged(finding)) => damaged.push(finding),
            PartRead::Once(error) | PartRead::Failed(PartFailure::Store(error)) => {
                examined.errors.push(error);
            }
            PartRead::Failed(PartFailure::Local(error)) => local = local.or(Some(error)),
            // The parts that are left say the same at once.
            PartRead::Failed(PartFailure::Cancelled) => {}
        }
    }
    drop(running);
    if cancel.is_cancelled() {
        return cut_off(examined, damaged, unpacker).await;
    }
    if let Some(error) = local {
        return Err(FetchFailure::Local(error));
    }
    damaged.sort_by(|a: &Finding, b| a.subject.cmp(&b.subject));
    let unpacked = finish(unpacker, false).await?;
    let mut findings = std::mem::take(&mut examined.restored.findings);
    if differs {
        // What was seen is in part of bytes that are not in the archive.
        findings.extend(damaged);
        examined.restored = BaseRestored { fetched_bytes, findings, ..BaseRestored::default() };
        return Ok(examined);
    }
    findings.extend(unpacked.findings.iter().cloned());
    findings.extend(damaged);
    if examined.whole {
        findings.extend(missing(backup, &unpacked));
    }
    examined.restored = BaseRestored::new(unpacked, fetched_bytes);
    examined.restored.findings = findings;
    Ok(examined)
}

/// What was seen before it was cancelled.
async fn cut_off(
    mut examined: BaseExamined,
    damaged: Vec<Finding>,
    unpacker: Arc<Unpacker>,
) -> Result<BaseExamined, FetchFailure> {
    let unpacked = finish(unpacker, false).await?;
    let mut findings = std::mem::take(&mut examined.restored.findings);
    findings.extend(damaged);
    findings.extend(unpacked.findings);
    let pages = unpacked.pages;
    if findings.is_empty() && examined.errors.is_empty() && !pages.has_suspects() {
        return Err(FetchFailure::Cancelled);
    }
    let restored = BaseRestored { findings, pages, ..BaseRestored::default() };
    Ok(BaseExamined { restored, whole: false, cut_off: true, ..examined })
}

enum PartRead {
    Whole(u64),
    /// Damaged at the first reading and sound at the second.
    Differs(Error),
    /// Damaged at the first reading, and there was no second.
    Once(Error),
    Failed(PartFailure),
}

async fn examine_part(
    store: &SharedStore,
    part: Part,
    unpacker: &Arc<Unpacker>,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> PartRead {
    let first = fetch_part(store, part.clone(), Arc::clone(unpacker), on_bytes, cancel).await;
    let finding = match first {
        Ok(bytes) => return PartRead::Whole(bytes),
        Err(PartFailure::Damaged(finding)) => finding,
        Err(failure) => return PartRead::Failed(failure),
    };
    let key = part.object.key.clone();
    match read_again(store, part, finding, &|_| (), cancel).await {
        Again::Stands(finding) => PartRead::Failed(PartFailure::Damaged(finding)),
        Again::Differs(error) => PartRead::Differs(error),
        Again::Missed(finding, why) => {
            PartRead::Once(seen_once(&key, &finding.detail, why.as_ref()))
        }
    }
}
