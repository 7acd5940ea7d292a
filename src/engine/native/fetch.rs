//! Base and WAL on their way from the store.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::AbortOnDropHandle;

use super::{
    Run,
    flow::Machine,
    judge,
    spool::{
        Spool, Spooled,
        coming::{ComingWal, course},
        interrupted,
    },
};
use crate::{
    drill::{
        Code, Error, FailureClass, Finding,
        job::Target,
        outlook::{self, Outlook},
    },
    engine::RestoreEnd,
    pg::Lsn,
    restore::{
        FetchFailure,
        base::{BaseRestored, BaseTarget, restore_base},
    },
    telemetry::progress::ProgressEvent,
};

/// How far fetching led.
pub(super) enum Fetched {
    /// The base, and the WAL, which may still be on its way.
    Both(Box<(BaseRestored, ComingWal)>),
    End(RestoreEnd),
}

impl Run {
    /// Base and WAL at the same time, unless one decides whether the other is worth it.
    pub(super) async fn fetch(&mut self, machine: &Machine, begin: Lsn) -> Result<Fetched, Error> {
        let plan = Arc::clone(&self.context.plan);
        let info = plan.backup.info.as_ref().ok();
        // Where `backup.info` quotes no label the backup's own one must be read first.
        let standby = info.is_none_or(|info| info.is_from_standby() || info.backup_label.is_none());
        let wal_decides = matches!(plan.target, Target::Time(_) | Target::Xid(_) | Target::Name(_));
        if standby {
            // Consistency is told by the base's own pg_control then.
            let restored = match self.base(machine).await? {
                Ok(restored) => restored,
                Err(findings) => return Ok(self.damaged(findings)),
            };
            let own = judge::base(&plan, &restored, begin).ok();
            let point = own.and_then(|own| own.min_recovery_point());
            let mut wal = self.wal(machine, begin, point);
            wal.all().await?;
            return Ok(Fetched::Both(Box::new((restored, wal))));
        }
        if wal_decides {
            let mut wal = self.wal(machine, begin, None);
            let spooled = wal.all().await?;
            let mut found = Vec::new();
            match outlook::wal(&plan, &spooled.summary, spooled.damage.as_ref(), &mut found) {
                Outlook::Replay { .. } => {}
                Outlook::Damaged => return Ok(self.damaged(found)),
                Outlook::Inconsistent(finding) => {
                    found.push(finding);
                    return Ok(self.damaged(found));
                }
                Outlook::Refused(refusal) => {
                    self.take_proven();
                    self.findings.extend(found);
                    return Ok(Fetched::End(RestoreEnd::Refused(refusal)));
                }
            }
            return Ok(match self.base(machine).await? {
                Ok(restored) => Fetched::Both(Box::new((restored, wal))),
                Err(findings) => {
                    self.findings.extend(found);
                    self.damaged(findings)
                }
            });
        }
        let mut wal = self.wal(machine, begin, None);
        let restored = {
            let mut base = std::pin::pin!(self.base(machine));
            loop {
                let is_over = wal.is_over();
                tokio::select! {
                    restored = &mut base => break restored?,
                    landed = wal.landed(), if !is_over => landed?,
                }
            }
        };
        Ok(match restored {
            Ok(restored) => Fetched::Both(Box::new((restored, wal))),
            Err(findings) => {
                let spooled = wal.all().await?;
                self.judge_wal(&spooled);
                self.damaged(findings)
            }
        })
    }

    fn damaged(&mut self, findings: Vec<Finding>) -> Fetched {
        self.take_proven();
        self.findings.extend(findings);
        Fetched::End(RestoreEnd::Damaged)
    }

    /// What base or WAL alone has proven, which is forgotten.
    pub fn take_proven(&mut self) -> Vec<Finding> {
        std::mem::take(&mut *self.proven.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds to what is proven.
    pub fn prove(&self, found: impl IntoIterator<Item = Finding>) {
        add(&self.proven, found);
    }

    /// What the WAL says, once all of it was read; adds what it found to the findings.
    pub fn judge_wal(&mut self, spooled: &Spooled) -> Outlook {
        let damage = spooled.damage.as_ref();
        outlook::wal(&self.context.plan, &spooled.summary, damage, &mut self.findings)
    }

    fn counter(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let (activity, progress) = (Arc::clone(&self.activity), self.context.progress.clone());
        move |bytes| progress.emit(ProgressEvent::Fetched { bytes: activity.fetch(bytes) })
    }

    /// The base backup; damage that makes it unusable comes as findings.
    async fn base(&self, machine: &Machine) -> Result<Result<BaseRestored, Vec<Finding>>, Error> {
        let (job, plan) = (&self.context.job, &self.context.plan);
        let target = BaseTarget {
            data_dir: machine.place.data.clone(),
            journal: self.keeping.as_ref().map(|keeping| keeping.journal.clone()),
            owner: machine.identity.owner(),
            fsync: job.sandbox.fsync,
            memory: job.sandbox.memory,
        };
        let counter = self.counter();
        let restored =
            restore_base(&self.context.store, &plan.backup, &target, &counter, &self.cancel).await;
        match restored {
            Ok(restored) => Ok(Ok(restored)),
            Err(FetchFailure::Damaged(findings)) => {
                self.prove(findings.iter().cloned());
                Ok(Err(findings))
            }
            Err(FetchFailure::Store(error)) => Err(vanished(error)),
            Err(FetchFailure::Local(error)) => Err(error),
            Err(FetchFailure::Cancelled) => Err(interrupted()),
        }
    }

    /// Begins to fetch the WAL.
    fn wal(&self, machine: &Machine, begin: Lsn, min_recovery_point: Option<Lsn>) -> ComingWal {
        let (job, plan) = (&self.context.job, Arc::clone(&self.context.plan));
        let spool = Spool {
            dir: machine.place.wal.clone(),
            size: plan.segment_size,
            owner: machine.identity.owner(),
            fsync: job.sandbox.fsync,
            memory: job.sandbox.memory,
            resumes: self.keeping.is_some(),
        };
        let first = plan.segment_size.segment_of(begin);
        let (course, reach, pace) = course(first, plan.segment_size);
        if !self.begins_early() {
            pace.unlimited();
        }
        let start = outlook::scan_start(&plan, begin, min_recovery_point);
        let (store, cancel) = (Arc::clone(&self.context.store), self.cancel.clone());
        let (counter, proven) = (self.counter(), Arc::clone(&self.proven));
        let work = async move {
            let spooled = spool.fill(&store, &plan.wal, start, &counter, course, &cancel).await?;
            // Whether the backup ends in this WAL may be the base's to say, damage is not.
            let mut found = Vec::new();
            outlook::wal(&plan, &spooled.summary, spooled.damage.as_ref(), &mut found);
            add(&proven, found);
            Ok(spooled)
        };
        ComingWal::new(AbortOnDropHandle::new(tokio::spawn(work)), reach, pace)
    }
}

fn add(proven: &Mutex<Vec<Finding>>, found: impl IntoIterator<Item = Finding>) {
    proven.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
}

/// An object of the base backup that is not there any more was there when the plan was made.
fn vanished(error: Error) -> Error {
    match error.code {
        Code::ObjectMissing | Code::ObjectChanged => error
            .class(FailureClass::DeletedDuringDrill)
            .hint("Retention or another writer works on this archive: run the drill again."),
        _ => error,
    }
}
