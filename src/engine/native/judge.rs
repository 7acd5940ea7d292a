//! What the fetched bytes say before PostgreSQL is started: whether the backup is what `backup.info`
//! says, whether the target can be reached, and what the archive promises.

use super::spool::{Damage, Spooled};
use crate::{
    drill::{
        DrillPlan, FailureClass, Finding,
        expectation::{LastTransaction, Promise},
        job::Target,
        own_files::{self, Claims},
        plan::PlanRefusal,
    },
    pg::{
        ControlFile, Lsn,
        wal::scan::{ScanTarget, WalDamage},
    },
    restore::base::BaseRestored,
};

/// Reads `pg_control` and `backup_label` and compares them with `backup.info`.
///
/// # Errors
/// The findings that make recovery pointless, all of them.
pub fn base(
    plan: &DrillPlan,
    restored: &BaseRestored,
    begin: Lsn,
) -> Result<ControlFile, Vec<Finding>> {
    let claims = Claims {
        backup: &plan.backup.id,
        system_id: plan.system_id,
        major: plan.major,
        segment_size: plan.segment_size,
        begin,
        data_checksums: plan.backup.info.as_ref().ok().and_then(|info| info.data_checksums),
    };
    let files = own_files::judge(&claims, &restored.pg_control, restored.backup_label.as_deref())?;
    Ok(files.control)
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
    Refused(PlanRefusal),
}

/// Judges the WAL once it has been read; adds what it found to `findings`.
pub fn wal(plan: &DrillPlan, spooled: &Spooled, findings: &mut Vec<Finding>) -> Outlook {
    let summary = &spooled.summary;
    if let Some(at) = summary.minimal_wal_at {
        findings.push(
            Finding::new(
                FailureClass::WalLevelMinimal,
                "wal_level",
                format!("the source ran with wal_level=minimal at {at}: replay cannot pass it"),
                "Take a base backup after wal_level was raised again.",
            )
            .at(at),
        );
        return Outlook::Damaged;
    }
    if let Some(damage) = &spooled.damage {
        findings.push(damage.finding(summary.last_commit.map(|commit| commit.at)));
        if summary.consistent_at.is_none() {
            findings.push(unreachable_consistency(plan, damage));
            return Outlook::Damaged;
        }
        if !summary.target_reached {
            // Up to the damage all is good: the replay shows how far that is.
            return Outlook::Replay { target: None };
        }
    }
    if let Some(open) = &summary.open_end {
        findings.push(never_closed(plan, open));
    }
    let target = match &plan.target {
        Target::Latest => return Outlook::Replay { target: None },
        other => other.clone(),
    };
    if !summary.target_reached {
        return Outlook::Refused(unreachable(plan, spooled));
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
fn never_closed(plan: &DrillPlan, open: &WalDamage) -> Finding {
    let name = open.segment.file_name(open.timeline, plan.segment_size);
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

fn unreachable_consistency(plan: &DrillPlan, damage: &Damage) -> Finding {
    Finding::new(
        FailureClass::WalMissingForConsistency,
        damage.key.clone(),
        format!(
            "backup `{}` needs the WAL behind this damage to become consistent",
            plan.backup.id
        ),
        "This backup cannot be recovered: take a new one.",
    )
    .at(damage.lsn)
}

fn unreachable(plan: &DrillPlan, spooled: &Spooled) -> PlanRefusal {
    let last = spooled.summary.last_commit.map(|commit| commit.at);
    let mut window = plan.window.clone();
    window.to_time = last.or(window.to_time);
    window.to_lsn = Some(spooled.summary.end);
    let reach = last.map_or_else(
        || format!("the WAL ends at {}", spooled.summary.end),
        |at| format!("the WAL ends at {} and its last commit is of {at}", spooled.summary.end),
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
pub fn promise(plan: &DrillPlan, spooled: &Spooled) -> Promise {
    Promise {
        timeline: spooled.summary.end_timeline.unwrap_or(plan.history.timeline),
        end: spooled.summary.end,
        last_transaction: spooled.summary.last_transaction.map(|end| LastTransaction {
            at: end.at,
            xid: end.xid,
            lsn: end.lsn,
            committed: end.committed,
        }),
    }
}

/// The target as the scan of the WAL knows it.
#[must_use]
pub fn scan_target(target: &Target) -> ScanTarget {
    match target {
        Target::Latest => ScanTarget::Latest,
        Target::Immediate => ScanTarget::Immediate,
        Target::Time(at) => ScanTarget::Time(*at),
        Target::Lsn(lsn) => ScanTarget::Lsn(*lsn),
        Target::Xid(xid) => ScanTarget::Xid(*xid),
        Target::Name(name) => ScanTarget::Name(name.clone()),
    }
}
