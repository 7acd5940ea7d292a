//! What the records say to recovery, and where its target stops it (`PerformWalRecovery`,
//! `recoveryStopsBefore` and `recoveryStopsAfter`, `access/transam/xlogrecovery.c`).

use super::fault::{Defect, Fault};
use super::quiet::Quiet;
use super::record::{FIRST_CUSTOM, RM_TBLSPC, RM_XACT, RM_XLOG, Record};
use super::scan::{
    ParameterFloor, ScanStart, ScanTarget, TablespaceCreated, WalDamage, WalSummary,
};
use super::storage::RM_DBASE;
use super::tablespace;
use super::walk::SegmentFacts;
use super::xact::{self, Ending};
use super::xlog::{self, LogEvent};
use crate::pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// Whether the target was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    Target,
}

#[derive(Clone, Debug)]
pub(super) struct Fold {
    summary: WalSummary,
    major: Major,
    segment_size: SegmentSize,
    history: TimelineHistory,
    target: Target,
    exclusive: bool,
    backup_start: Lsn,
    min_recovery_point: Option<Lsn>,
    replay_timeline: TimelineId,
    /// Whether this is one recovery, with the window of one backup.
    one_recovery: bool,
    /// `false`: any timeline up to that of `history` may come.
    ancestors_known: bool,
    stopped: bool,
    /// Records that say what counts for more than their place in the log.
    lasting: u64,
}

/// [`ScanTarget`] with the time as records have it.
#[derive(Clone, Debug)]
enum Target {
    Latest,
    Immediate,
    Time(i64),
    Lsn(Lsn),
    Xid(u32),
    Name(String),
}

/// What the kind of a record has to say.
enum Said<'a> {
    Nothing,
    Log(LogEvent<'a>),
    Ending(Ending),
    Tablespace(tablespace::Creation<'a>),
}

impl Fold {
    pub(super) fn new(start: &ScanStart) -> Self {
        let target = match &start.target {
            ScanTarget::Latest => Target::Latest,
            ScanTarget::Immediate => Target::Immediate,
            ScanTarget::Time(time) => Target::Time(xact::target_time(*time)),
            ScanTarget::Lsn(lsn) => Target::Lsn(*lsn),
            ScanTarget::Xid(xid) => Target::Xid(*xid),
            ScanTarget::Name(name) => Target::Name(name.clone()),
        };
        let replay_timeline = start.history.timeline_at(start.start);
        let summary = WalSummary {
            end: start.start,
            target_reached: matches!(target, Target::Latest),
            ..WalSummary::default()
        };
        Self {
            summary,
            major: start.major,
            segment_size: start.segment_size,
            history: start.history.clone(),
            target,
            exclusive: start.exclusive,
            backup_start: start.start,
            // Zero is `InvalidXLogRecPtr`: none.
            min_recovery_point: start.min_recovery_point.filter(|lsn| *lsn != Lsn::INVALID),
            replay_timeline,
            one_recovery: true,
            ancestors_known: true,
            stopped: false,
            lasting: 0,
        }
    }

    /// Reads what is there, and keeps nothing of which there may be any amount.
    pub(super) const fn everything(mut self) -> Self {
        self.one_recovery = false;
        self
    }

    /// Takes timelines as the records have them, since nobody knows where this one comes from.
    pub(super) const fn ancestors_unknown(mut self) -> Self {
        self.ancestors_known = false;
        self
    }

    /// Goes on from here along the path of another timeline.
    pub(super) fn follow(&mut self, history: TimelineHistory) {
        self.history = history;
        self.ancestors_known = true;
    }

    /// Goes on with the record at `start` after a hole.
    pub(super) fn resume(&mut self, start: Lsn) {
        self.replay_timeline = self.history.timeline_at(start);
    }

    pub(super) const fn summary(&self) -> &WalSummary {
        &self.summary
    }

    pub(super) const fn lasting(&self) -> u64 {
        self.lasting
    }

    /// Goes past records that are not read.
    pub(super) fn pass(&mut self, facts: &SegmentFacts) {
        self.summary.records += facts.records;
        if let Some(end) = facts.end {
            self.replay_timeline = self.history.timeline_at(end);
            (self.summary.end, self.summary.end_timeline) = (end, Some(self.replay_timeline));
        }
        if facts.last_commit.is_some() {
            self.summary.last_transaction = facts.last_commit;
            self.summary.last_commit = facts.last_commit;
        }
    }

    /// Whether quiet records of a segment are worth looking for. They are not where each of them may be the
    /// target or end the backup, nor where reading begins among them.
    pub(super) fn may_pass(&self, number: SegmentNumber) -> bool {
        let holds = |lsn: Lsn| self.segment_size.segment_of(lsn) == number;
        let target = match self.target {
            Target::Time(_) | Target::Xid(_) => true,
            Target::Lsn(target) => holds(target),
            Target::Latest | Target::Immediate | Target::Name(_) => false,
        };
        !target && !holds(self.backup_start) && !self.min_recovery_point.is_some_and(holds)
    }

    /// Whether [`Self::apply`] would only count these: none is the target, and none ends the backup. After
    /// the target nothing is counted.
    pub(super) const fn passes(&self, quiet: &Quiet) -> bool {
        if self.stopped {
            return true;
        }
        let before_target = match self.target {
            // A restore point is never quiet.
            Target::Latest | Target::Name(_) => true,
            Target::Immediate => self.summary.consistent_at.is_none(),
            Target::Lsn(target) => quiet.last.0 < target.0,
            Target::Time(_) | Target::Xid(_) => false,
        };
        // The end of a backup is never quiet; that of one from a standby is any record.
        let consistent = match (self.summary.consistent_at, self.min_recovery_point) {
            (None, Some(point)) => quiet.end.0 < point.0,
            _ => true,
        };
        before_target && consistent
    }

    /// Goes past records that [`Self::note`] would only count.
    pub(super) fn pass_quiet(&mut self, quiet: &Quiet) {
        if self.stopped {
            return;
        }
        self.summary.records += quiet.records;
        self.summary.end = quiet.end;
        self.summary.end_timeline = Some(self.replay_timeline);
        self.summary.last_transaction = quiet.last_transaction.or(self.summary.last_transaction);
        self.summary.last_commit = quiet.last_commit.or(self.summary.last_commit);
    }

    /// Counts in front what `counted` has of a segment and `read` lacks, which was read from here on.
    pub(super) fn count_before(&mut self, read: &Self, counted: &Self) {
        self.summary.records += counted.summary.records.saturating_sub(read.summary.records);
        if read.summary.last_commit == self.summary.last_commit {
            self.summary.last_transaction = counted.summary.last_transaction;
            self.summary.last_commit = counted.summary.last_commit;
        }
    }

    pub(super) const fn count_as(&mut self, other: &Self) {
        self.summary.records = other.summary.records;
        self.summary.last_transaction = other.summary.last_transaction;
        self.summary.last_commit = other.summary.last_commit;
    }

    /// Whether the last record turned to `wal_level=minimal`; says so once.
    pub(super) const fn take_minimal(&mut self) -> bool {
        self.summary.minimal_wal_at.take().is_some()
    }

    pub(super) fn finish(self) -> WalSummary {
        self.summary
    }

    pub(super) fn damaged(&mut self, damage: WalDamage) {
        self.summary.damage = Some(damage);
    }

    /// Takes the next record as the redo loop does. Once the target is found, records are no longer
    /// applied; only their tablespaces are neutralised, in case replay gets further than planned.
    pub(super) fn apply(
        &mut self,
        record: &Record<'_>,
        visit: &mut impl FnMut(&Record<'_>),
    ) -> Result<Flow, Fault> {
        let said = match self.read(record) {
            Ok(said) => said,
            Err(_) if self.stopped => Said::Nothing,
            Err(detail) => return Err(Defect::corrupt(detail.into()).at(record.start)),
        };
        if matches!(said, Said::Tablespace(_)) {
            tablespace::neutralise(record, self.segment_size, &mut self.summary.patches);
        }
        if self.stopped {
            return Ok(Flow::Target);
        }
        if self.stops_before(record, &said) {
            return Ok(self.stop());
        }
        let stops_after = self.stops_after(record, &said);
        self.note(record, said).map_err(|detail| Defect::corrupt(detail).at(record.start))?;
        visit(record);
        // Any record of the transaction manager ends `immediate` at once, all others only before
        // the next record.
        let immediate = matches!(self.target, Target::Immediate)
            && record.rmid == RM_XACT
            && self.summary.consistent_at.is_some();
        if stops_after || immediate {
            return Ok(self.stop());
        }
        Ok(Flow::GoOn)
    }

    const fn stop(&mut self) -> Flow {
        self.stopped = true;
        self.summary.target_reached = true;
        Flow::Target
    }

    fn read<'a>(&self, record: &Record<'a>) -> Result<Said<'a>, &'static str> {
        let said = match record.rmid {
            RM_XLOG => xlog::read(record)?.map(Said::Log),
            RM_XACT => xact::read(record, self.major)?.map(Said::Ending),
            RM_TBLSPC => tablespace::read(record)?.map(Said::Tablespace),
            _ => None,
        };
        Ok(said.unwrap_or(Said::Nothing))
    }

    /// `recoveryStopsBefore`.
    fn stops_before(&self, record: &Record<'_>, said: &Said<'_>) -> bool {
        match (&self.target, said) {
            (Target::Immediate, _) => self.summary.consistent_at.is_some(),
            (Target::Lsn(target), _) => self.exclusive && record.start >= *target,
            (Target::Xid(target), Said::Ending(ending)) => self.exclusive && ending.xid == *target,
            // Always before: the inclusive one takes all that ended at that very time.
            (Target::Time(target), Said::Ending(ending)) if self.exclusive => {
                ending.time >= *target
            }
            (Target::Time(target), Said::Ending(ending)) => ending.time > *target,
            _ => false,
        }
    }

    /// `recoveryStopsAfter`, but for `immediate`.
    fn stops_after(&self, record: &Record<'_>, said: &Said<'_>) -> bool {
        match (&self.target, said) {
            (Target::Name(target), Said::Log(LogEvent::RestorePoint { name })) => {
                target.as_bytes() == *name
            }
            (Target::Lsn(target), _) => !self.exclusive && record.start >= *target,
            (Target::Xid(target), Said::Ending(ending)) => !self.exclusive && ending.xid == *target,
            _ => false,
        }
    }

    /// Takes an applied record into the summary. The error is a sentence.
    fn note(&mut self, record: &Record<'_>, said: Said<'_>) -> Result<(), String> {
        let mut backup_ended = false;
        let lasting = matches!(
            said,
            Said::Tablespace(_)
                | Said::Log(LogEvent::ParameterChange { .. } | LogEvent::BackupEnd { .. })
        );
        self.lasting += u64::from(lasting || matches!(record.rmid, RM_DBASE | FIRST_CUSTOM..));
        match said {
            Said::Nothing | Said::Log(LogEvent::RestorePoint { .. }) => {}
            Said::Log(LogEvent::Timeline { this, previous }) => self.switch(this, previous)?,
            Said::Log(LogEvent::OnlineCheckpoint { timeline }) => {
                if !self.ancestors_known && timeline <= self.history.timeline {
                    self.replay_timeline = timeline;
                }
                if timeline != self.replay_timeline {
                    return Err(format!(
                        "The checkpoint was taken on timeline {timeline}, but replay is on {}.",
                        self.replay_timeline
                    ));
                }
            }
            Said::Log(LogEvent::BackupEnd { start }) => backup_ended = start == self.backup_start,
            Said::Log(LogEvent::ParameterChange { floor, minimal }) => {
                self.summary.parameters = highest(self.summary.parameters, floor);
                if minimal {
                    self.summary.minimal_wal_at.get_or_insert(record.start);
                }
            }
            Said::Ending(ending) => {
                let end = Some(ending.of(record));
                self.summary.last_transaction = end;
                if ending.committed {
                    self.summary.last_commit = end;
                }
            }
            Said::Tablespace(creation) => self.summary.tablespaces.push(TablespaceCreated {
                lsn: record.start,
                oid: creation.oid,
                location: String::from_utf8_lossy(creation.location).into_owned(),
            }),
        }
        if record.rmid == RM_DBASE
            && self.one_recovery
            && self.summary.consistent_at.is_none()
            && let Some(event) = record.storage_event(self.major)
        {
            self.summary.databases.push((record.start, event));
        }
        if record.rmid >= FIRST_CUSTOM {
            let custom = &mut self.summary.custom_resource_managers;
            if let Err(place) = custom.binary_search(&record.rmid) {
                custom.insert(place, record.rmid);
            }
        }
        self.summary.records += 1;
        self.summary.end = record.end;
        self.summary.end_timeline = Some(self.replay_timeline);
        // `CheckRecoveryConsistency`. On a backup from a standby `backupEndPoint` is the
        // `minRecoveryPoint`, and an XLOG_BACKUP_END does not bring it forward.
        let consistent = match self.min_recovery_point {
            Some(point) => record.end >= point,
            None => backup_ended,
        };
        if consistent {
            self.summary.consistent_at.get_or_insert(record.end);
        }
        Ok(())
    }

    /// `checkTimeLineSwitch`.
    fn switch(&mut self, this: TimelineId, previous: TimelineId) -> Result<(), String> {
        if this == self.replay_timeline {
            return Ok(());
        }
        let sound = previous == self.replay_timeline && this > previous;
        let fits = if self.ancestors_known {
            sound && self.history.contains(this)
        } else {
            previous <= this && this <= self.history.timeline
        };
        if !fits {
            return Err(format!(
                "The record turns from timeline {previous} to {this}, but replay is on {}.",
                self.replay_timeline
            ));
        }
        self.replay_timeline = this;
        Ok(())
    }
}

fn highest(a: ParameterFloor, b: ParameterFloor) -> ParameterFloor {
    ParameterFloor {
        max_connections: a.max_connections.max(b.max_connections),
        max_worker_processes: a.max_worker_processes.max(b.max_worker_processes),
        max_wal_senders: a.max_wal_senders.max(b.max_wal_senders),
        max_prepared_transactions: a.max_prepared_transactions.max(b.max_prepared_transactions),
        max_locks_per_transaction: a.max_locks_per_transaction.max(b.max_locks_per_transaction),
    }
}

#[cfg(test)]
mod tests;
