//! What an archive offers to be damaged: the recovery point's small files, some of its WAL and its
//! tars, in memory up to a limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use tokio_util::sync::CancellationToken;

use super::{
    segment::{Place, Segment},
    tar::{self, Member},
};
use crate::{
    archive::{Codec, ObjectRef, key::TarName},
    drill::{Code, DrillPlan, Error, plan::PlannedWal},
    pg::{
        Lsn, TimelineId,
        wal::{
            record::RelationFile,
            scan::{ScanStart, ScanTarget, WalScan},
        },
    },
    restore::{
        codec::{decode_small, decoder},
        wal::{SegmentFailure, fetch_segment},
    },
    store::{GetRange, SharedStore, read_all},
};

/// What is taken into memory of one object, decoded, and of all WAL.
pub const OBJECT_LIMIT: u64 = 128 << 20;
pub const WAL_LIMIT: u64 = 192 << 20;
/// Segments behind the backup's first that are looked through for records.
const SCANNED: usize = 64;
/// Blocks that the scanned WAL touches; more are not remembered.
const TOUCHED: usize = 1 << 20;

/// A small file of the archive, decoded.
#[derive(Clone, Debug)]
pub struct Small {
    pub object: ObjectRef,
    pub bytes: Vec<u8>,
}

/// One part of one tar.
#[derive(Clone, Debug)]
pub struct Part {
    pub tar: TarName,
    pub number: u32,
    pub object: ObjectRef,
    /// Decoded, with its members; `None` where it is too large.
    pub content: Option<Content>,
}

#[derive(Clone, Debug)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub members: Vec<Member>,
}

/// How the scanned WAL touches blocks of relations.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Blocks that any record changes.
    pub any: BTreeSet<(RelationFile, u32)>,
    /// Blocks whose first record is a full-page image behind the backup's end.
    pub healed: BTreeSet<(RelationFile, u32)>,
    /// All of the WAL of the recovery point was looked through, and remembered.
    pub complete: bool,
}

/// What an archive offers.
#[derive(Debug)]
pub struct Materials {
    /// The prefix of the server's keys, with its slash.
    pub root: String,
    pub plan: DrillPlan,
    pub info: Small,
    /// By timeline.
    pub histories: BTreeMap<TimelineId, Small>,
    /// Segments in memory, by their index in the plan.
    pub wal: BTreeMap<usize, Segment>,
    /// The segment in the middle of the backup's timeline whose neighbours are in memory, too.
    pub middle: Option<usize>,
    pub parts: Vec<Part>,
    pub touched: Touched,
    /// Where the backup is consistent.
    pub end: Lsn,
    /// Folders of the other backups. They are hidden, so that what is said is said of this one.
    pub others: Vec<String>,
}

impl Materials {
    /// Loads what `plan` needs, as far as the limits allow.
    ///
    /// # Errors
    /// What the store does; and `Bug` where the archive, which a drill has just passed, does not read.
    pub async fn load(
        store: &SharedStore,
        root: String,
        plan: DrillPlan,
        history_objects: Vec<(TimelineId, ObjectRef)>,
        others: Vec<String>,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let info = plan.backup.info_object.clone().ok_or_else(|| unread("backup.info"))?;
        let info = small(store, info).await?;
        let end = plan.backup.info.as_ref().ok().and_then(|info| info.end_xlog);
        let end = end.ok_or_else(|| unread("backup.info"))?;
        let mut histories = BTreeMap::new();
        for (timeline, object) in history_objects {
            histories.insert(timeline, small(store, object).await?);
        }
        let middle = middle(&plan, end);
        let mut this = Self {
            root,
            info,
            histories,
            wal: BTreeMap::new(),
            middle,
            parts: Vec::new(),
            touched: Touched::default(),
            end,
            others,
            plan,
        };
        this.load_wal(store, cancel).await?;
        this.load_parts(store).await?;
        Ok(this)
    }

    async fn load_wal(
        &mut self,
        store: &SharedStore,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let size = self.plan.segment_size;
        let planned = self.plan.wal.clone();
        let wanted = self.wanted(&planned);
        let start = self.plan.backup.info.as_ref().ok();
        let start = start.and_then(crate::archive::BackupInfo::replay_start).unwrap_or_default();
        let mut scan = WalScan::new(ScanStart {
            major: self.plan.major,
            system_id: self.plan.system_id,
            segment_size: size,
            start,
            history: self.plan.history.clone(),
            target: ScanTarget::Latest,
            exclusive: false,
            min_recovery_point: None,
        });
        for (index, segment) in planned.iter().enumerate() {
            let scanned = index < SCANNED;
            if !scanned && !wanted.contains(&index) {
                continue;
            }
            let fetched = fetch_segment(store, &segment.object, size.bytes(), cancel).await;
            let bytes = match fetched {
                Ok(bytes) => bytes,
                Err(SegmentFailure::Store(error)) => return Err(error),
                Err(SegmentFailure::Damaged { .. }) => return Err(unread(&segment.object.key)),
                Err(SegmentFailure::Cancelled) => return Err(stopped()),
            };
            let mut records: Vec<(u64, Place)> = Vec::new();
            if scanned {
                let (touched, end) = (&mut self.touched, self.end);
                scan.segment_with(segment.timeline, segment.number, bytes.as_slice(), |record| {
                    let number = size.segment_of(record.start).0;
                    records.extend(Place::of(record, size).map(|place| (number, place)));
                    for block in record.blocks.iter().filter(|b| b.fork == 0) {
                        let place = (block.relation, block.block);
                        let heals = block.image.is_some_and(|image| image.apply);
                        if touched.any.len() < TOUCHED
                            && touched.any.insert(place)
                            && heals
                            && record.start >= end
                        {
                            touched.healed.insert(place);
                        }
                    }
                });
            }
            if wanted.contains(&index) {
                let own = records.into_iter().filter(|(n, _)| *n == segment.number.0);
                let records = own.map(|(_, place)| place).collect();
                let kept = Segment { planned: segment.clone(), bytes: bytes.into(), records };
                self.wal.insert(index, kept);
            }
        }
        self.touched.complete = planned.len() <= SCANNED && self.touched.any.len() < TOUCHED;
        Ok(())
    }

    /// All segments where they fit into memory, else those that damages ask for.
    fn wanted(&self, planned: &PlannedWal) -> BTreeSet<usize> {
        let size = self.plan.segment_size.bytes();
        if planned.len() as u64 * size <= WAL_LIMIT {
            return (0..planned.len()).collect();
        }
        if size > OBJECT_LIMIT {
            return BTreeSet::new();
        }
        let middle = self.middle.into_iter().flat_map(|m| m - 1..=m + 1);
        middle.chain([0, self.end_index(), planned.len() - 1]).chain(self.fork_index()).collect()
    }

    /// The last segment that the backup needs, as an index in the plan.
    #[must_use]
    pub fn end_index(&self) -> usize {
        let last = self.plan.segment_size.segment_before(self.end);
        self.plan.wal.position(last).unwrap_or(0)
    }

    /// The first segment of another timeline than the backup's.
    #[must_use]
    pub fn fork_index(&self) -> Option<usize> {
        let first = self.plan.wal.first()?.timeline;
        self.plan.wal.stored().position(|segment| segment.timeline != first)
    }

    async fn load_parts(&mut self, store: &SharedStore) -> Result<(), Error> {
        let backup = &self.plan.backup;
        let spaces = backup.tablespaces.iter().map(|(oid, set)| (TarName::Tablespace(*oid), set));
        for (tar, set) in std::iter::once((TarName::Data, &backup.data)).chain(spaces) {
            for (number, object) in &set.parts {
                let object = object.clone();
                self.parts.push(Part { tar, number: *number, object, content: None });
            }
        }
        let mut room = OBJECT_LIMIT;
        for part in &mut self.parts {
            part.content = content(store, &part.object, room).await?;
            room -= part.content.as_ref().map_or(0, |content| content.bytes.len() as u64);
        }
        Ok(())
    }
}

/// A segment well behind the backup's end and before its timeline's, with neighbours on both sides.
fn middle(plan: &DrillPlan, end: Lsn) -> Option<usize> {
    let first = plan.wal.first()?.timeline;
    let last_needed = plan.segment_size.segment_before(end);
    let from = plan.wal.stored().position(|segment| segment.number > last_needed)? + 1;
    let until = plan.wal.stored().position(|s| s.timeline != first).unwrap_or(plan.wal.len());
    let until = until.min(SCANNED).checked_sub(1)?;
    (from < until).then(|| usize::midpoint(from, until))
}

async fn small(store: &SharedStore, object: ObjectRef) -> Result<Small, Error> {
    const MAX: usize = 1 << 20;
    let bytes = read_all(store, GetRange::whole(&object.key), MAX).await?;
    let bytes = if object.codec == Codec::Plain {
        bytes.to_vec()
    } else {
        decode_small(object.codec, &bytes, MAX as u64).map_err(|_| unread(&object.key))?
    };
    Ok(Small { object, bytes })
}

/// The decoded tar and its members, where it takes no more than `room`.
async fn content(
    store: &SharedStore,
    object: &ObjectRef,
    room: u64,
) -> Result<Option<Content>, Error> {
    if object.size > room {
        return Ok(None);
    }
    let stored = read_all(store, GetRange::whole(&object.key), room as usize).await?;
    let (codec, key) = (object.codec, object.key.clone());
    let decode = move || {
        let mut bytes = Vec::new();
        let input = std::io::Cursor::new(stored);
        decoder(codec, input).take(room + 1).read_to_end(&mut bytes).map_err(|_| unread(&key))?;
        if bytes.len() as u64 > room {
            return Ok(None);
        }
        let members = tar::members(&bytes).ok_or_else(|| unread(&key))?;
        Ok(Some(Content { bytes, members }))
    };
    tokio::task::spawn_blocking(decode)
        .await
        .map_err(|error| Error::new(Code::Bug, format!("decoding a tar ended: {error}")))?
}

fn unread(key: &str) -> Error {
    Error::new(Code::ObjectChanged, format!("`{key}` cannot be read as it was a moment ago"))
        .hint("Run the self-test on an archive that a drill passes and that nothing changes.")
}

fn stopped() -> Error {
    Error::new(Code::Interrupted, "the self-test was interrupted")
}
