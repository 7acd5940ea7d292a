//! What the WAL of a planned range says before PostgreSQL is started: whether the target can be
//! reached, and what the archive promises.

use super::{
    DrillPlan, FailureClass, Finding,
    expectation::{LastTransaction, Promise},
    job::Target,
    plan::PlanRefusal,
};
use crate::archive::BackupInfo;
use crate::pg::{
    Lsn, SegmentNumber, SegmentSize,
    wal::scan::{DamageKind, ScanStart, ScanTarget, WalDamage, WalSummary},
};

/// Damage in the planned range.
#[derive(Clone, Debug)]
pub struct Damage {
    pub class: FailureClass,
    /// The object's key.
    pub key: String,
    pub segment: SegmentNumber,
    pub lsn: Lsn,
    /// Byte of the decoded segment.
    pub offset: u64,
    pub detail: String,
    /// Bytes of the segment before the damage that replay may still read; 0 for none.
    pub usable: u64,
}

impl Damage {
    /// An object that does not decode to a segment.
    #[must_use]
    pub fn undecodable(key: &str, segment: SegmentNumber, size: SegmentSize, why: &str) -> Self {
        Self {
            class: FailureClass::WalCorrupt,
            key: key.to_owned(),
            segment,
            lsn: segment.start(size),
            offset: 0,
            detail: why.to_owned(),
            usable: 0,
        }
    }

    /// What a scan found in the object of this key.
    #[must_use]
    pub fn in_object(damage: &WalDamage, key: String, size: SegmentSize) -> Self {
        let class = match damage.kind {
            DamageKind::Corrupt | DamageKind::WrongSize => FailureClass::WalCorrupt,
            DamageKind::ForeignSystem => FailureClass::SystemIdMismatch,
            DamageKind::MinimalWal => FailureClass::WalLevelMinimal,
        };
        // The good records of a damaged segment are still replayed; a record that began in the
        // segment before is not, so nothing of this one is then.
        let usable = match damage.kind {
            DamageKind::Corrupt | DamageKind::MinimalWal => damage.offset.min(size.bytes()),
            DamageKind::ForeignSystem | DamageKind::WrongSize => 0,
        };
        Self {
            class,
            key,
            segment: damage.segment,
            lsn: damage.lsn,
            offset: damage.offset,
            detail: damage.detail.clone(),
            usable,
        }
    }

    /// The finding, with what was lost behind it. `last_good` is the last commit before the damage.
    #[must_use]
    pub fn finding(&self, last_good: Option<jiff::Timestamp>) -> Finding {
        let good = last_good.map_or_else(
            || "no commit lies before it".to_owned(),
            |at| format!("the last good commit before it is of {at}"),
        );
        Finding::new(
            self.class,
            self.key.clone(),
            format!(
                "{} At {}, byte {} of the segment; {good}.",
                sentence(&self.detail),
                self.lsn,
                self.offset
            ),
            "Nothing after this position can be recovered from this archive: take a new base backup \
             and find out what wrote the segment.",
        )
        .at(self.lsn)
    }
}

/// Ends a sentence with a full stop, whoever wrote it.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// What the WAL allows.
#[derive(Debug)]
pub enum Outlook {
    /// Replay to the target, or to the end where there is none.
    Replay {
        target: Option<Target>,
    },
    /// Not worth a replay: consistency cannot be reached.
    Damaged,
    /// The same, and this says why, unless it is not known how the backup ends.
    Inconsistent(Finding),
    Refused(PlanRefusal),
}

/// Judges the WAL once it has been read; adds what it found to `findings`.
pub fn wal(
    plan: &DrillPlan,
    summary: &WalSummary,
    damage: Option<&Damage>,
    findings: &mut Vec<Finding>,
) -> Outlook {
    if let Some(at) = summary.minimal_wal_at {
        findings.push(minimal_wal(at));
        return Outlook::Damaged;
    }
    if let Some(damage) = damage {
        findings.push(damage.finding(summary.last_commit.map(|commit| commit.at)));
        if summary.consistent_at.is_none() {
            findings.push(unreachable_consistency(&plan.backup.id, &damage.key, damage.lsn));
            return Outlook::Damaged;
        }
        if !summary.target_reached {
            // Up to the damage all is good: the replay shows how far that is.
            return Outlook::Replay { target: None };
        }
    }
    if let Some(open) = &summary.open_end {
        findings.push(never_closed(open, plan.segment_size));
    }
    // PostgreSQL goes by the record that ends the backup, however long the log is: `WAL ends before end
    // of online backup`.
    let to_the_end = !summary.target_reached || plan.target == Target::Latest;
    if summary.consistent_at.is_none() && to_the_end {
        let begin = plan.backup.info.as_ref().ok().and_then(BackupInfo::replay_start);
        let begin = begin.unwrap_or_default();
        return Outlook::Inconsistent(never_ends(&plan.backup.id, begin, summary.end));
    }
    let target = match &plan.target {
        Target::Latest => return Outlook::Replay { target: None },
        other => other.clone(),
    };
    if !summary.target_reached {
        return Outlook::Refused(unreachable(plan, summary));
    }
    if summary.consistent_at.is_none() && target != Target::Immediate {
        let finding = Finding::new(
            FailureClass::TargetBeforeConsistency,
            plan.target.to_string(),
            format!("it lies before backup `{}` becomes consistent", plan.backup.id),
            "Choose a later target or an earlier backup.",
        );
        return Outlook::Refused(PlanRefusal {
            findings: vec![finding],
            window: plan.window.clone(),
        });
    }
    Outlook::Replay { target: Some(target) }
}

/// The last segment looks as if it had never been written to its end. PostgreSQL takes that for the
/// end of the log, but an `archive_command` is only given segments that are full or closed.
#[must_use]
pub fn never_closed(open: &WalDamage, size: SegmentSize) -> Finding {
    let name = open.segment.file_name(open.timeline, size);
    Finding::new(
        FailureClass::WalCorrupt,
        name,
        format!(
            "it is neither full nor closed by a segment switch: nothing was written from byte {} on, \
             although PostgreSQL archives finished segments only",
            open.offset
        ),
        "Compare the object with the source's `pg_wal`; if somebody copied it from there unfinished, \
         archive the finished segment.",
    )
    .at(open.lsn)
}

/// No record ends the backup that began at `begin`, although the WAL is sound as far as `end`.
#[must_use]
pub fn never_ends(backup: &str, begin: Lsn, end: Lsn) -> Finding {
    Finding::new(
        FailureClass::WalMissingForConsistency,
        format!("base/{backup}"),
        format!(
            "the WAL from {begin} to {end} can be read, but it does not hold the end of this backup: it \
             is not the WAL that was written while the backup was taken, or a part of it is not"
        ),
        "This backup cannot be recovered: take a new one, and find out what else writes to this \
         archive (a clone of the database has the same system identifier).",
    )
    .at(end)
}

/// Recovery ends at the first record that says so (`CheckRequiredParameterValues`).
#[must_use]
pub fn minimal_wal(at: Lsn) -> Finding {
    Finding::new(
        FailureClass::WalLevelMinimal,
        "wal_level",
        format!("the source ran with wal_level=minimal at {at}: replay cannot pass it"),
        "Take a base backup after wal_level was raised again.",
    )
    .at(at)
}

/// Damage before the end of a backup's own WAL.
#[must_use]
pub fn unreachable_consistency(backup: &str, key: &str, at: Lsn) -> Finding {
    Finding::new(
        FailureClass::WalMissingForConsistency,
        key,
        format!("backup `{backup}` needs the WAL behind this damage to become consistent"),
        "This backup cannot be recovered: take a new one.",
    )
    .at(at)
}

fn unreachable(plan: &DrillPlan, summary: &WalSummary) -> PlanRefusal {
    let last = summary.last_commit.map(|commit| commit.at);
    let mut window = plan.window.clone();
    window.to_time = last.or(window.to_time);
    window.to_lsn = Some(summary.end);
    let reach = last.map_or_else(
        || format!("the WAL ends at {}", summary.end),
        |at| format!("the WAL ends at {} and its last commit is of {at}", summary.end),
    );
    let finding = Finding::new(
        FailureClass::TargetUnreachable,
        plan.target.to_string(),
        format!("the archive does not reach it: {reach}"),
        "Choose a target inside this window, or `latest`.",
    );
    PlanRefusal { findings: vec![finding], window }
}

/// What replay must reach.
#[must_use]
pub fn promise(plan: &DrillPlan, summary: &WalSummary) -> Promise {
    Promise {
        timeline: summary.end_timeline.unwrap_or(plan.history.timeline),
        end: summary.end,
        last_transaction: summary.last_transaction.map(|end| LastTransaction {
            at: end.at,
            xid: end.xid,
            lsn: end.lsn,
            committed: end.committed,
        }),
    }
}

/// How the WAL of a plan is scanned, from where replay begins. `min_recovery_point` only for backups
/// from a standby.
#[must_use]
pub fn scan_start(plan: &DrillPlan, begin: Lsn, min_recovery_point: Option<Lsn>) -> ScanStart {
    ScanStart {
        major: plan.major,
        system_id: plan.system_id,
        segment_size: plan.segment_size,
        start: begin,
        history: plan.history.clone(),
        target: scan_target(&plan.target),
        exclusive: plan.exclusive,
        min_recovery_point,
    }
}

/// The target as the scan of the WAL knows it.
fn scan_target(target: &Target) -> ScanTarget {
    match target {
        Target::Latest => ScanTarget::Latest,
        Target::Immediate => ScanTarget::Immediate,
        Target::Time(at) => ScanTarget::Time(*at),
        Target::Lsn(lsn) => ScanTarget::Lsn(*lsn),
        Target::Xid(xid) => ScanTarget::Xid(*xid),
        Target::Name(name) => ScanTarget::Name(name.clone()),
    }
}
