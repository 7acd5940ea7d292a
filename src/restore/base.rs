//! Restores one base backup into a data directory: every part of every tar, two at a time.

mod examine;
mod journal;
mod look;
mod part;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

pub use self::{
    examine::{BaseExamined, examine_base},
    look::look_into,
};
use self::{
    journal::Journal,
    part::{Again, Part, PartFailure, fetch_part, read_again},
};
use super::{
    FetchFailure,
    pages::{WatchRules, WatchedPages},
    seen_once,
    unpack::{self, Place, Unpacked, Unpacker},
};
use crate::{
    archive::{Backup, TarSet},
    drill::{Code, Error, FailureClass, Finding},
    store::SharedStore,
};

/// Parts fetched at the same time: one decodes while the other waits for the store.
const AT_A_TIME: usize = 2;

/// How often a look at what is there already is said to move.
const TICK: Duration = Duration::from_secs(1);

const NEW_BACKUP: &str = "Nothing can restore this backup whole: take a new one with \
    `barman-cloud-backup`, and use an older one until it is there.";

/// Where a base backup goes.
#[derive(Clone, Debug)]
pub struct BaseTarget {
    /// Made if it is missing; must be empty, unless a run that was broken off has made what is in it.
    pub data_dir: PathBuf,
    /// A folder, made if it is missing, for what another run needs to know to go on where this one is
    /// broken off, or of the run before. The data directory must not be of anybody else's making then,
    /// and no PostgreSQL may have run in it.
    pub journal: Option<PathBuf>,
    /// User and group that everything shall belong to; `None` keeps the caller's.
    pub owner: Option<(u32, u32)>,
    /// Make everything durable before returning.
    pub fsync: bool,
    /// Bytes that the job allows.
    pub memory: u64,
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
    /// All of `postgresql.auto.conf`, which is not written: PostgreSQL reads it also where it is told to
    /// read another configuration.
    pub auto_conf: Option<Vec<u8>>,
    /// What was left out and why, for the report.
    pub notes: Vec<String>,
    /// Defects of the layout, and what is not there, as this reading shows them.
    pub findings: Vec<Finding>,
    /// What the pages of relations looked like.
    pub pages: WatchedPages,
}

/// Fetches and unpacks every tar of `backup` into `target`. Tablespaces go in place, below
/// `pg_tblspc/<oid>`. `on_bytes` gets the number of each piece of fetched (compressed) bytes. A part
/// that seems damaged is read once more, and not written.
///
/// # Errors
/// After a failure the folder holds what was written so far, and nothing writes to it any more. An
/// object that is gone or was replaced since it was listed is a `Store` error of class
/// `deleted_during_drill`; one whose damage only one reading shows is a `Store` error, too. `Damaged` is
/// what the listing or two readings show; what the only reading of the layout shows is in
/// [`BaseRestored::findings`], for the caller to confirm.
pub async fn restore_base(
    store: &SharedStore,
    backup: &Backup,
    target: &BaseTarget,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<BaseRestored, FetchFailure> {
    let parts = parts_of(backup).map_err(FetchFailure::Damaged)?;
    let hint = backup.info.as_ref().ok().and_then(|info| info.data_checksums);
    let rules = WatchRules::within(target.memory, hint);
    let (unpacker, parts, journal) = begin(target, rules, parts, on_bytes, cancel).await?;

    // Ends the other part when one fails.
    let stop = cancel.child_token();
    let mut running = stream::iter(parts)
        .map(|part| restore_part(store, part, &unpacker, journal.as_ref(), on_bytes, &stop, cancel))
        .buffer_unordered(AT_A_TIME);
    let mut fetched_bytes = 0;
    let mut failures = Failures::default();
    while let Some(result) = running.next().await {
        match result {
            Ok(bytes) => fetched_bytes += bytes,
            Err(failure) => {
                stop.cancel();
                failures.add(failure);
            }
        }
    }
    drop(running);
    if cancel.is_cancelled() {
        return Err(FetchFailure::Cancelled);
    }
    failures.into_result()?;

    let unpacked = finish(unpacker, target.fsync).await?;
    let missing = missing(backup, &unpacked);
    let mut restored = BaseRestored::new(unpacked, fetched_bytes);
    restored.findings.extend(missing);
    Ok(restored)
}

/// Opens the data directory, and takes up what the journal says, if there is one. Gives the parts that are
/// left.
async fn begin(
    target: &BaseTarget,
    rules: WatchRules,
    parts: Vec<Part>,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<(Arc<Unpacker>, Vec<Part>, Option<Arc<Journal>>), FetchFailure> {
    let (data_dir, owner, fsync) = (target.data_dir.clone(), target.owner, target.fsync);
    let Some(folder) = target.journal.clone() else {
        let open = move || {
            let unpacker = Unpacker::open(&data_dir, owner)?.watching(rules);
            if fsync { unpacker.writing_back() } else { Ok(unpacker) }
        };
        return Ok((Arc::new(blocking(open).await?), parts, None));
    };
    let stop = cancel.child_token();
    let _stop = stop.clone().drop_guard();
    let moved = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&moved);
    let opened = blocking(move || {
        let journal = Journal::open(&folder, &parts)?;
        let opened = journal.unpacker(&data_dir, owner, rules, &counted, &stop);
        Ok(opened.map(|unpacker| {
            let left = parts.into_iter().filter(|part| !journal.is_done(part)).collect();
            (Arc::new(unpacker), left, Some(Arc::new(journal)))
        }))
    });
    // Nothing comes from the store meanwhile, but whoever watches must see that it moves.
    let telling = async {
        let mut seen = 0;
        loop {
            tokio::time::sleep(TICK).await;
            let now = moved.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, now) != now {
                on_bytes(0);
            }
        }
    };
    tokio::select! {
        opened = opened => opened?,
        () = telling => Err(bug("nobody waits for it")),
    }
}

/// Fetches and unpacks a part. Damage ends the others, and is looked at a second time.
async fn restore_part(
    store: &SharedStore,
    part: Part,
    unpacker: &Arc<Unpacker>,
    journal: Option<&Arc<Journal>>,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    stop: &CancellationToken,
    cancel: &CancellationToken,
) -> Result<u64, PartFailure> {
    let first = fetch_part(store, part.clone(), Arc::clone(unpacker), on_bytes, stop).await;
    let finding = match (first, journal) {
        (Err(PartFailure::Damaged(finding)), _) => finding,
        (Ok(bytes), Some(journal)) => {
            let (journal, unpacker) = (Arc::clone(journal), Arc::clone(unpacker));
            let settled = tokio::task::spawn_blocking(move || journal.settle(&part, &unpacker));
            let settled = settled.await.map_err(|error| {
                Error::new(Code::Bug, format!("remembering a part of a base backup: {error}"))
            });
            settled.flatten().map_err(PartFailure::Local)?;
            return Ok(bytes);
        }
        (first, _) => return first,
    };
    stop.cancel();
    let key = part.object.key.clone();
    Err(match read_again(store, part, finding, on_bytes, cancel).await {
        Again::Stands(finding) => PartFailure::Damaged(finding),
        Again::Differs(error) => PartFailure::Store(error),
        Again::Missed(first, Some(missed)) => {
            PartFailure::Store(seen_once(&key, &first.detail, Some(&missed)))
        }
        Again::Missed(_, None) => PartFailure::Cancelled,
    })
}

async fn finish(unpacker: Arc<Unpacker>, fsync: bool) -> Result<Unpacked, FetchFailure> {
    let unpacker =
        Arc::into_inner(unpacker).ok_or_else(|| bug("a thread still works on the backup"))?;
    blocking(move || unpacker.finish(fsync)).await
}

impl BaseRestored {
    fn new(unpacked: Unpacked, fetched_bytes: u64) -> Self {
        Self {
            files: unpacked.files,
            bytes: unpacked.bytes,
            fetched_bytes,
            pg_control: unpacked.pg_control,
            backup_label: unpacked.backup_label,
            config_texts: unpacked.config_texts,
            auto_conf: unpacked.auto_conf,
            notes: unpacked.notes,
            findings: unpacked.findings,
            pages: unpacked.pages,
        }
    }
}

/// What parts in flight came to, together.
#[derive(Default)]
struct Failures {
    findings: Vec<Finding>,
    local: Option<Error>,
    store: Option<Error>,
    any: bool,
}

impl Failures {
    fn add(&mut self, failure: PartFailure) {
        self.any = true;
        match failure {
            PartFailure::Damaged(finding) => self.findings.push(finding),
            PartFailure::Local(error) => self.local = self.local.take().or(Some(error)),
            PartFailure::Store(error) => self.store = self.store.take().or(Some(error)),
            PartFailure::Cancelled => {}
        }
    }

    /// Damage is known for good; of the rest, this machine's failure explains the other's. What was seen
    /// of the layout is of one reading, which may have been a lie.
    fn into_result(self) -> Result<(), FetchFailure> {
        if !self.any {
            return Ok(());
        }
        Err(match (self.local, self.store) {
            _ if !self.findings.is_empty() => FetchFailure::Damaged(self.findings),
            (Some(error), _) => FetchFailure::Local(error),
            (None, Some(error)) => FetchFailure::Store(error),
            (None, None) => FetchFailure::Cancelled,
        })
    }
}

/// Every part in the order in which it is fetched, or what the listing already shows to be missing.
fn parts_of(backup: &Backup) -> Result<Vec<Part>, Vec<Finding>> {
    let gaps = listing_gaps(backup);
    if gaps.is_empty() { Ok(listed_parts(backup)) } else { Err(gaps) }
}

/// The parts that are not in the listing.
fn listing_gaps(backup: &Backup) -> Vec<Finding> {
    let gaps = backup.part_gaps();
    gaps.iter().map(|name| part_missing(backup, format!("there is no `{name}`"))).collect()
}

/// Whether a finding of a base backup is what one reading of it has shown: neither known from the listing,
/// nor read twice already as a tar is that does not decode.
#[must_use]
pub fn is_of_one_reading(backup: &Backup, finding: &Finding) -> bool {
    match finding.class {
        FailureClass::BackupPartMissing => !listing_gaps(backup).contains(finding),
        FailureClass::ArchiveCorrupt | FailureClass::ObjectReadIncomplete => {
            unpack::is_of_layout(finding)
                || backup.objects().all(|object| object.key != finding.subject)
        }
        class => !class.is_environment(),
    }
}

/// Every part that the listing has.
fn listed_parts(backup: &Backup) -> Vec<Part> {
    let of = |set: &TarSet, place| -> Vec<Part> {
        let parts = set.parts.iter();
        parts.map(|(&number, object)| Part { object: object.clone(), place, number }).collect()
    };
    let mut parts = of(&backup.data, Place::Data);
    for (&oid, set) in &backup.tablespaces {
        parts.extend(of(set, Place::Tablespace(oid)));
    }
    parts
}

fn holds(backup: &Backup, tablespace: u32) -> bool {
    backup.tablespaces.get(&tablespace).is_some_and(|set| !set.parts.is_empty())
}

/// What a data directory must have, once all parts were read.
fn missing(backup: &Backup, unpacked: &Unpacked) -> Vec<Finding> {
    let mut findings = Vec::new();
    let last = backup.data.parts.last_key_value().map_or("", |(_, object)| object.key.as_str());
    // The order of `barman/cloud.py`: everything else, `global/pg_control`, `backup_label`.
    let mut absent = Vec::new();
    if unpacked.pg_control.is_empty() {
        absent.push("`global/pg_control`");
    }
    if unpacked.backup_label.is_none() {
        absent.push("`backup_label`");
    }
    if !absent.is_empty() {
        findings.push(part_missing(
            backup,
            format!(
                "no part holds {}, which barman-cloud-backup writes last: the parts behind `{last}` \
                 are missing",
                absent.join(" and ")
            ),
        ));
    }
    if !unpacked.version_seen {
        findings.push(part_missing(backup, "no part holds `PG_VERSION`".into()));
    }
    for (&oid, target) in &unpacked.tablespace_links {
        if !holds(backup, oid) {
            findings.push(part_missing(
                backup,
                format!("there is no `{oid}.tar` for the tablespace that lay at `{target}`"),
            ));
        }
    }
    findings
}

fn part_missing(backup: &Backup, what: String) -> Finding {
    let subject = format!("base/{}", backup.id);
    Finding::new(FailureClass::BackupPartMissing, subject, what, NEW_BACKUP)
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, FetchFailure> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result.map_err(FetchFailure::Local),
        Err(error) => Err(bug(error)),
    }
}

fn bug(what: impl std::fmt::Display) -> FetchFailure {
    FetchFailure::Local(Error::new(Code::Bug, format!("unpacking a base backup: {what}")))
}

#[cfg(test)]
#[path = "base/tests.rs"]
mod tests;
