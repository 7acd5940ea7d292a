//! What stored sizes say: those that no sound object can have, and those that are far from what came
//! before.

use super::{Known, PlannedWal, source::Source};
use crate::{
    archive::{Backup, Codec, ObjectRef, wal_index::StoredSegment},
    drill::{FailureClass, Finding, format::bytes},
    pg::SegmentSize,
};

/// A tar ends in two blocks of zeros (POSIX `pax`, "ustar Interchange Format").
const EMPTY_TAR: u64 = 1024;
const TAR_BLOCK: u64 = 512;
/// A member's header alone, with name, owner, time and checksum, takes more in every compression.
const LEAST_COMPRESSED: u64 = 16;

/// A cluster may shrink while it is backed up: so many times is allowed for beyond the codec's limit.
const SHRINKING: u64 = 20;
/// Below this `cluster_size` says nothing.
const WORTH_A_LOOK: u64 = 1 << 20;

/// So many predecessors make a trend, and no more than so many are looked at.
const TREND_LEAST: usize = 2;
const TREND_MOST: usize = 7;
/// A backup is anomalous when it has less than this share of the trend, in percent, or more than that.
const TREND_BELOW: u64 = 50;
const TREND_ABOVE: u64 = 300;

/// The most that a codec shrinks anything; `None` where there is no useful limit.
///
/// Deflate's longest match is 258 bytes in two bits (RFC 1951), LZ4 adds 255 bytes of length with each
/// byte, snappy copies 64 bytes with three.
const fn limit(codec: Codec) -> Option<u64> {
    match codec {
        Codec::Plain => Some(1),
        Codec::Snappy => Some(22),
        Codec::Lz4 => Some(255),
        Codec::Gzip => Some(1032),
        Codec::Bzip2 | Codec::Xz | Codec::Zstd => None,
    }
}

/// Parts of a tar that cannot be one, and a backup that is smaller than the cluster could ever get.
pub(super) fn impossible(source: &Source<'_>) -> Vec<Finding> {
    const HINT: &str = "Take a new base backup and look at the log of the one that wrote this.";
    let id = &source.backup.id;
    let mut found: Vec<Finding> = source
        .backup
        .objects()
        .filter_map(|part| {
            let name = part.key.rsplit('/').next().unwrap_or(&part.key);
            let subject = format!("base/{id}/{name}");
            Some(Finding::new(FailureClass::ArchiveCorrupt, subject, no_tar(part)?, HINT))
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let limits = source.backup.objects().map(|part| limit(part.codec));
    let limit = limits.reduce(|a, b| Some(a?.max(b?))).flatten();
    let stored = source.backup.total_bytes();
    if let (Some(limit), Some(cluster)) = (limit, source.info.cluster_size)
        && cluster >= WORTH_A_LOOK
        && stored.saturating_mul(limit).saturating_mul(SHRINKING) < cluster
    {
        found.push(Finding::new(
            FailureClass::BackupAnomalousSize,
            format!("base/{id}/"),
            format!(
                "the whole backup has {}, and the cluster had {}: no compression makes it that small",
                bytes(stored),
                bytes(cluster)
            ),
            HINT,
        ));
    }
    found
}

fn no_tar(part: &ObjectRef) -> Option<String> {
    let size = part.size;
    match part.codec {
        _ if size == 0 => Some("it is empty".to_owned()),
        Codec::Plain if size < EMPTY_TAR || !size.is_multiple_of(TAR_BLOCK) => {
            Some(format!("it has {size} bytes, and a tar is made of blocks of {TAR_BLOCK}"))
        }
        Codec::Plain => None,
        _ if size < LEAST_COMPRESSED => {
            Some(format!("it has {size} bytes, less than any compressed tar"))
        }
        _ => None,
    }
}

/// So many segments of a plan are named one by one.
const NAMED: usize = 20;

/// The first planned segments that cannot be one by their stored size.
pub(super) fn odd_segments(wal: &PlannedWal, size: SegmentSize) -> Vec<Finding> {
    wal.stored().filter_map(|segment| odd_segment(&segment, size)).take(NAMED).collect()
}

/// A segment that cannot be one by its stored size.
pub(in crate::drill) fn odd_segment(segment: &StoredSegment, size: SegmentSize) -> Option<Finding> {
    if !segment.is_odd(size) {
        return None;
    }
    let detail = if segment.bytes == 0 {
        "the object is empty".to_owned()
    } else {
        format!("the object has {} bytes, and a segment {}", segment.bytes, size.bytes())
    };
    let name = segment.number.file_name(segment.timeline, size);
    let hint = "Archive the segment again from the primary's `pg_wal` if it is still there, and take \
                a new base backup.";
    let finding = Finding::new(FailureClass::WalCorrupt, name, detail, hint);
    Some(finding.at(segment.number.start(size)))
}

/// A backup whose stored size is far from its predecessors'. Not a defect by itself: tables may have
/// been dropped, or loaded.
pub(in crate::drill) fn trend(known: &Known<'_>, backup: &Backup) -> Option<Finding> {
    let codec = |backup: &Backup| backup.data.parts.values().next().map(|part| part.codec);
    let system = |backup: &Backup| backup.info.as_ref().ok().and_then(|info| info.system_id);
    let mut before: Vec<u64> = known
        .catalog
        .backups
        .iter()
        .rev()
        .filter(|other| other.id < backup.id && other.claims_done())
        .filter(|other| codec(other) == codec(backup) && system(other) == system(backup))
        .map(Backup::total_bytes)
        .filter(|stored| *stored > 0)
        .take(TREND_MOST)
        .collect();
    if before.len() < TREND_LEAST {
        return None;
    }
    before.sort_unstable();
    let (count, median) = (before.len(), before[before.len() / 2]);
    let stored = backup.total_bytes();
    let share = stored.saturating_mul(100) / median;
    if (TREND_BELOW..=TREND_ABOVE).contains(&share) {
        return None;
    }
    let detail = format!(
        "it has {}, which is {share} % of the {} that the median of {count} backups before it has",
        bytes(stored),
        bytes(median)
    );
    Some(Finding::new(
        FailureClass::BackupAnomalousSize,
        format!("base/{}/", backup.id),
        detail,
        "See whether that much was removed or loaded; a drill of this backup shows what is in it.",
    ))
}
