//! Reads the planned range of WAL once, before PostgreSQL does: every page header, every record and
//! its CRC, and what recovery will need to know.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::fault::Fault;
use super::fold::{Flow, Fold};
use super::page::WalRules;
use super::quiet::{Quiet, Skim};
use super::reader::{Reader, Step};
use super::record::Record;
use super::segment_pages::SegmentPages;
use super::storage::StorageEvent;
use super::tablespace::WalPatch;
use crate::pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// Where and how a scan begins.
#[derive(Clone, Debug)]
pub struct ScanStart {
    pub major: Major,
    pub system_id: u64,
    pub segment_size: SegmentSize,
    /// `START WAL LOCATION` of the backup: the redo point, where a record begins.
    pub start: Lsn,
    /// The timeline that recovery follows: says which page and record timelines are legitimate.
    pub history: TimelineHistory,
    pub target: ScanTarget,
    pub exclusive: bool,
    /// Where consistency ends when the WAL has no `XLOG_BACKUP_END` (backups from a standby): the
    /// `minRecoveryPoint` of the base backup's `pg_control`. Must be `None` for other backups.
    pub min_recovery_point: Option<Lsn>,
}

/// Where replay is to stop (`recoveryStopsBefore` and `recoveryStopsAfter`, `xlogrecovery.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanTarget {
    Latest,
    Immediate,
    Time(Timestamp),
    Lsn(Lsn),
    Xid(u32),
    Name(String),
}

/// Where and how the WAL is damaged. The records before it are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalDamage {
    pub kind: DamageKind,
    pub timeline: TimelineId,
    pub segment: SegmentNumber,
    /// Start of the first record or page that cannot be trusted.
    pub lsn: Lsn,
    /// Its byte offset in the segment.
    pub offset: u64,
    /// One sentence for a person.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// A page header, record header, length or CRC is wrong.
    Corrupt,
    /// The segment's header names another database system.
    ForeignSystem,
    /// The file is not as long as a segment.
    WrongSize,
    /// The bytes are good, but the source turned to `wal_level=minimal` there, and recovery ends
    /// (`CheckRequiredParameterValues`, `access/transam/xlogrecovery.c`).
    MinimalWal,
}

/// Transaction end as the WAL tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// Start of its record.
    pub lsn: Lsn,
    pub at: Timestamp,
    pub xid: u32,
    pub committed: bool,
}

/// The highest values that recovery needs (`xl_parameter_change`, and the checkpoint's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ParameterFloor {
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
}

/// A `CREATE TABLESPACE` in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceCreated {
    /// Start of its record.
    pub lsn: Lsn,
    pub oid: u32,
    pub location: String,
}

/// What the range says. Everything up to `end` has been read and its CRCs hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalSummary {
    pub records: u64,
    /// End of the last record that replay applies: of the last complete record, or of the last one
    /// before the target stops it; after `XLOG_SWITCH` the next segment's start; `MAXALIGN`ed.
    pub end: Lsn,
    /// Timeline of that record.
    pub end_timeline: Option<TimelineId>,
    /// The target was found (always true for `Latest`). Before `consistent_at` is known PostgreSQL
    /// refuses to stop: "requested recovery stop point is before consistent recovery point".
    pub target_reached: bool,
    /// End of `XLOG_BACKUP_END`, or of the first record at or after `min_recovery_point`.
    pub consistent_at: Option<Lsn>,
    pub last_transaction: Option<TransactionEnd>,
    pub last_commit: Option<TransactionEnd>,
    pub parameters: ParameterFloor,
    /// A parameter change to `wal_level=minimal` inside the range.
    pub minimal_wal_at: Option<Lsn>,
    pub tablespaces: Vec<TablespaceCreated>,
    /// What happens to databases as a whole before the backup is consistent, and where its record begins.
    pub databases: Vec<(Lsn, StorageEvent)>,
    /// Bytes to replace in the segments served to replay, so that the tablespaces are made inside the
    /// sandbox (`tablespace::neutralise_tablespaces`), in the order of the log.
    pub patches: Vec<WalPatch>,
    /// Ids of resource managers that are not built in (128 and above).
    pub custom_resource_managers: Vec<u8>,
    /// Where the last segment looks as if it was never written further, if the log ended there and
    /// not at the segment's end. PostgreSQL takes it for the end, too, but `archive_command` is only
    /// given segments that are full or closed by `XLOG_SWITCH`: somebody copied `pg_wal`, or a file
    /// lost its end.
    pub open_end: Option<WalDamage>,
    pub damage: Option<WalDamage>,
}

impl WalSummary {
    /// What is wrong with the log where it breaks off: damage, or [`Self::open_end`].
    #[must_use]
    pub fn defect(&self) -> Option<&WalDamage> {
        self.damage.as_ref().or(self.open_end.as_ref())
    }
}

/// What to do after a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanStep {
    /// Give the next segment.
    Continue,
    /// The target was found or damage begins: later segments are not needed.
    Stop,
}

/// A scan in progress. Holds at most one unfinished record; a clone is a place to return to.
#[derive(Clone, Debug)]
pub struct WalScan {
    reader: Reader,
    fold: Fold,
    /// What ends the log unless another segment follows: then it is damage.
    end: Option<WalDamage>,
    /// The segment before the one being read, for a record that began there.
    timeline_before: Option<TimelineId>,
    stopped: bool,
}

impl WalScan {
    /// Begins at `start.start`; the first segment given must hold it.
    #[must_use]
    pub fn new(start: ScanStart) -> Self {
        let fold = Fold::new(&start);
        let rules = WalRules {
            major: start.major,
            system_id: start.system_id,
            segment_size: start.segment_size,
            history: start.history,
            ancestors_known: true,
        };
        let reader = Reader::new(rules, start.start);
        Self { reader, fold, end: None, timeline_before: None, stopped: false }
    }

    /// Looks for quiet records in a segment while it is decoded, so that the scan may pass over them;
    /// `None` where the target makes it read them all.
    #[must_use]
    pub fn skim(&self, number: SegmentNumber) -> Option<Skim> {
        let skim = || Skim::new(self.reader.rules().clone(), number, &BTreeSet::new());
        self.fold.may_pass(number).then(skim)
    }

    /// Reads one decoded segment. Segments come in order, each on the timeline that replay reads
    /// (`TimelineHistory::timeline_of_segment`). Records that the pages give as quiet by the same rules are
    /// passed over where they would only be counted.
    pub fn segment(
        &mut self,
        timeline: TimelineId,
        number: SegmentNumber,
        pages: impl SegmentPages,
    ) -> ScanStep {
        self.segment_with(timeline, number, pages, |_| ())
    }

    /// As [`WalScan::segment`], and shows every record that replay applies and is not passed over.
    pub fn segment_with(
        &mut self,
        timeline: TimelineId,
        number: SegmentNumber,
        mut pages: impl SegmentPages,
        mut visit: impl FnMut(&Record<'_>),
    ) -> ScanStep {
        if self.stopped {
            return ScanStep::Stop;
        }
        if let Some(mut damage) = self.end.take() {
            damage.detail.push_str(" Later segments exist, so the log did not end there.");
            return self.damaged(damage);
        }
        let skimmed = pages.skimmed_by() == Some(self.reader.rules());
        let mut segment = match self.reader.enter(number, &mut pages) {
            Ok(segment) => segment,
            Err(fault) => {
                let damage = self.locate(fault, timeline, number).0;
                return self.damaged(damage);
            }
        };
        loop {
            let passes = |quiet: &Quiet| self.fold.passes(quiet);
            if skimmed && let Some(quiet) = self.reader.pass(&mut segment, passes) {
                self.fold.pass_quiet(&quiet);
                continue;
            }
            match self.reader.next(&mut segment) {
                Step::SegmentEnd => break,
                Step::Record(record) => match self.fold.apply(&record, &mut visit) {
                    Ok(Flow::GoOn) => {}
                    Ok(Flow::Target) => self.stopped = true,
                    Err(fault) => {
                        let damage = self.locate(fault, timeline, number).0;
                        return self.damaged(damage);
                    }
                },
                // What follows the target is read only for what replay must not follow.
                Step::Fault(_) if self.stopped => break,
                Step::Fault(fault) => {
                    let (damage, unwritten) = self.locate(fault, timeline, number);
                    if !unwritten {
                        return self.damaged(damage);
                    }
                    self.end = Some(damage);
                    break;
                }
            }
        }
        self.timeline_before = Some(timeline);
        if self.stopped { ScanStep::Stop } else { ScanStep::Continue }
    }

    /// What lies before this is good, whatever comes behind it: neither damage nor a patch will be found
    /// there. A record that is not complete may be damaged yet, and so may what looks like the log's end.
    #[must_use]
    pub fn settled(&self) -> Lsn {
        let settled = self.reader.settled();
        self.end.as_ref().map_or(settled, |end| settled.min(end.lsn))
    }

    /// What has been found so far.
    #[must_use]
    pub const fn so_far(&self) -> &WalSummary {
        self.fold.summary()
    }

    /// The damage that has ended the scan, if it has.
    #[must_use]
    pub const fn damage(&self) -> Option<&WalDamage> {
        self.fold.summary().damage.as_ref()
    }

    /// What was found. An unfinished record at the end is the archive's end, not damage.
    #[must_use]
    pub fn finish(mut self) -> WalSummary {
        if !self.stopped
            && self.end.is_none()
            && let Err(fault) = self.reader.check_unfinished()
        {
            let number = self.reader.rules().segment_size.segment_of(fault.lsn);
            let timeline = self.reader.rules().history.timeline_at(fault.lsn);
            let damage = self.locate(fault, self.timeline_before.unwrap_or(timeline), number).0;
            self.damaged(damage);
        }
        WalSummary { open_end: self.end, ..self.fold.finish() }
    }

    fn damaged(&mut self, damage: WalDamage) -> ScanStep {
        self.fold.damaged(damage);
        self.stopped = true;
        ScanStep::Stop
    }

    fn locate(
        &self,
        fault: Fault,
        timeline: TimelineId,
        number: SegmentNumber,
    ) -> (WalDamage, bool) {
        let size = self.reader.rules().segment_size;
        locate(fault, size, (timeline, number), self.timeline_before)
    }
}

/// Says in which segment a fault lies, and whether it looks like space that was never written. `here`
/// is the segment being read, `before` the timeline of the one before it.
pub(super) fn locate(
    fault: Fault,
    size: SegmentSize,
    here: (TimelineId, SegmentNumber),
    before: Option<TimelineId>,
) -> (WalDamage, bool) {
    let Fault { lsn, defect } = fault;
    let (timeline, number) = here;
    let segment = size.segment_of(lsn);
    let damage = WalDamage {
        kind: defect.kind,
        timeline: if segment == number { timeline } else { before.unwrap_or(timeline) },
        segment,
        lsn,
        offset: lsn.0 - segment.start(size).0,
        detail: defect.detail,
    };
    (damage, defect.unwritten)
}

#[cfg(test)]
mod tests;
