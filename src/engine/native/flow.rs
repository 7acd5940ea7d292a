//! The order of a drill: place, bytes, judgement, recovery, mending.

use std::{
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, fchown},
    path::Path,
    sync::{Arc, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Run, config,
    confirm::FirstReading,
    identity::Identity,
    judge,
    lease::{self, JobLock, Lease, LeaseRecord},
    pages::PageCase,
    place::{self, Place},
    recover::Material,
    rescue::consent_helps,
    sandbox::{Cluster, Hold},
    spool::{Spool, Spooled, interrupted},
};
use crate::{
    archive::BackupInfo,
    drill::{
        Code, Error, FailureClass, Finding,
        job::{Depth, Target},
        moved_databases,
        outlook::{self, Outlook},
        report::SandboxReport,
        stage::{Stage, Volume},
    },
    engine::{
        RestoreEnd,
        postgres_install::{self, Installation},
    },
    pg::{Lsn, conf, wal::scan::WalSummary},
    restore::{
        FetchFailure,
        base::{BaseRestored, BaseTarget, restore_base},
        pages::Prints,
    },
    telemetry::progress::ProgressEvent,
};

/// The machine's side of the drill.
#[derive(Clone, Debug)]
pub struct Machine {
    pub identity: Identity,
    pub server: Installation,
    pub place: Place,
}

impl Run {
    /// Everything up to the open cluster.
    pub async fn flow(&mut self) -> Result<RestoreEnd, Error> {
        let machine = self.prepare()?;
        let all = match self.gather(&machine).await? {
            Gathered::All(all) => all,
            Gathered::End(end) => return Ok(end),
        };
        self.stages.begin(Stage::Start, Instant::now(), None);
        make_ready(&machine)?;
        match self.recover(&machine, &all.material).await? {
            Ok(reached) => self.open(&machine, reached).await,
            Err(cause) => self.stopped(cause),
        }
    }

    /// Base and WAL onto the disk, and the judgement of both.
    pub async fn gather(&mut self, machine: &Machine) -> Result<Gathered, Error> {
        let begin = self.begin()?;
        self.stages.begin(
            Stage::Fetch,
            Instant::now(),
            Some(self.context.plan.base_bytes + self.context.plan.wal_bytes),
        );
        let fetched = self.fetch(machine, begin).await?;
        // From here on it is judged together.
        self.take_proven();
        let (mut restored, spooled) = match fetched {
            Fetched::Both(both) => *both,
            Fetched::End(end) => return Ok(Gathered::End(end)),
        };
        let volume = Volume {
            fetched_bytes: restored.fetched_bytes + spooled.volume.fetched_bytes,
            restored_bytes: restored.bytes + spooled.volume.restored_bytes,
            files: restored.files,
            wal_segments: spooled.volume.wal_segments,
        };
        self.stages.done(Instant::now(), volume);
        self.notes.extend(restored.notes.iter().cloned());
        self.preloads = conf::preloads(&restored.config_texts);
        // Judged before the base where the target allows it; the answer is the same.
        let outlook = self.judge_wal(&spooled);
        let found = std::mem::take(&mut restored.findings);
        if !found.is_empty() && !self.goes_on(&found) {
            let (prints, wal) = (Prints::default(), &spooled.summary);
            self.confirm(FirstReading { found, prints, begin, control: None, wal }).await?;
            return Ok(Gathered::End(RestoreEnd::Damaged));
        }
        let layout = found;
        let own = match judge::base(&self.context.plan, &restored, begin) {
            Ok(own) => own,
            Err(mut found) => {
                found.extend(layout);
                let (prints, wal) = (Prints::default(), &spooled.summary);
                self.confirm(FirstReading { found, prints, begin, control: None, wal }).await?;
                return Ok(Gathered::End(RestoreEnd::Damaged));
            }
        };
        let target = match outlook {
            Outlook::Replay { target } => target,
            Outlook::Damaged => return Ok(Gathered::End(RestoreEnd::Damaged)),
            Outlook::Inconsistent(finding) => {
                self.findings.push(finding);
                return Ok(Gathered::End(RestoreEnd::Damaged));
            }
            Outlook::Refused(refusal) => return Ok(Gathered::End(RestoreEnd::Refused(refusal))),
        };
        let (backup, depth) = (&self.context.plan.backup.id, self.context.job.depth);
        let (mut found, notes) = moved_databases(backup, &restored, &spooled.summary, depth);
        self.notes.extend(notes);
        let case = PageCase {
            plan: Arc::clone(&self.context.plan),
            control: own.control,
            begin,
            min_recovery_point: own.min_recovery_point(),
            data: machine.place.data.clone(),
            wal: machine.place.wal.clone(),
            activity: Arc::clone(&self.activity),
            cancel: self.cancel.clone(),
            last: spooled.last,
        };
        let (pages, prints) = case.judged(std::mem::take(&mut restored.pages)).await?;
        self.notes.extend(pages.notes());
        found.extend(layout);
        found.extend(pages.findings);
        self.unfinished = pages.unfinished;
        let (control, wal) = (Some(&own.control), &spooled.summary);
        let of_wal = self.findings.len();
        self.confirm(FirstReading { found, prints, begin, control, wal }).await?;
        postgres_install::check_tablespaces(
            &machine.server,
            !spooled.summary.tablespaces.is_empty(),
        )?;
        self.promise = Some(outlook::promise(&self.context.plan, &spooled.summary));
        let tablespaces = spooled.summary.tablespaces.into_iter();
        Ok(Gathered::All(Box::new(AllThere {
            material: Material {
                control: own.control,
                config_texts: restored.config_texts,
                floor: spooled.summary.parameters,
                custom_resource_managers: spooled.summary.custom_resource_managers,
                last: spooled.last,
                target,
            },
            pg_control: restored.pg_control,
            auto_conf: restored.auto_conf,
            made_tablespaces: tablespaces.map(|made| (made.oid, made.location)).collect(),
            base_findings: self.findings[of_wal..].to_vec(),
        })))
    }

    /// Whether a rescue was told to restore a base backup with such defects all the same.
    fn goes_on(&self, found: &[Finding]) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.consent) && consent_helps(found)
    }

    /// Finds user, server and folder, refuses what cannot work, and takes the locks. Nothing has been
    /// fetched yet.
    fn prepare(&mut self) -> Result<Machine, Error> {
        let (job, plan) = (Arc::clone(&self.context.job), Arc::clone(&self.context.plan));
        let identity = Identity::choose(job.sandbox.user.as_deref())?;
        let server =
            postgres_install::choose(plan.major, job.sandbox.postgres_bin.as_deref(), &identity)?;
        let tablespaces = !plan.backup.tablespaces.is_empty();
        postgres_install::check_tablespaces(&server, tablespaces)?;
        let base = place::base(job.sandbox.work_dir.as_deref(), &identity)?;
        let job_lock = JobLock::take(&base, &job.name)?;
        place::check_room(&base, plan.disk_bytes, job.sandbox.disk_budget)?;
        let short = self.context.drill_id.rsplit('-').next().unwrap_or_default();
        let name = format!("{}-{}", lease::file_name(&job.name), lease::file_name(short));
        let place = Place::create(&base, &name, &identity, &self.program)?;
        let now = Timestamp::now();
        let pid = std::process::id();
        let record = LeaseRecord {
            drill_id: self.context.drill_id.clone(),
            job: job.name.clone(),
            owner_pid: pid,
            owner_start: lease::process_start(pid).unwrap_or_default(),
            started: now,
            deadline: job.limits.total.and_then(|total| now.checked_add(total).ok()),
            keep_until: None,
        };
        let lease = match Lease::take(&place.root, record) {
            Ok(lease) => lease,
            Err(error) => {
                let _ = super::tree::remove(&place.root);
                return Err(error);
            }
        };
        self.cluster = Some(Cluster {
            report: SandboxReport {
                path: place.root.display().to_string(),
                postgres: server.version.clone(),
                ..SandboxReport::default()
            },
            place: place.clone(),
            server: None,
            wal: None,
        });
        let keep_on_failure = job.sandbox.keep_on_failure;
        self.hold = Some(Hold { lease, _job_lock: job_lock, keep_on_failure });
        Ok(Machine { identity, server, place })
    }

    /// Where the backup says that replay begins.
    fn begin(&self) -> Result<Lsn, Error> {
        let plan = &self.context.plan;
        let info = plan.backup.info.as_ref();
        info.ok().and_then(BackupInfo::replay_start).ok_or_else(|| {
            Error::new(
                Code::Bug,
                format!("the plan chose backup `{}` without a begin LSN", plan.backup.id),
            )
        })
    }

    /// Base and WAL at the same time, unless one decides whether the other is worth it.
    async fn fetch(&mut self, machine: &Machine, begin: Lsn) -> Result<Fetched, Error> {
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
            let spooled = self.wal(machine, begin, point).await?;
            return Ok(Fetched::Both(Box::new((restored, spooled))));
        }
        if wal_decides {
            let spooled = self.wal(machine, begin, None).await?;
            let mut found = Vec::new();
            match outlook::wal(&plan, &spooled.summary, spooled.damage.as_ref(), &mut found) {
                Outlook::Replay { .. } => {}
                Outlook::Damaged => return Ok(self.damaged(found)),
                Outlook::Inconsistent(finding) => {
                    found.push(finding);
                    return Ok(self.damaged(found));
                }
                Outlook::Refused(refusal) => {
                    self.findings.extend(found);
                    return Ok(Fetched::End(RestoreEnd::Refused(refusal)));
                }
            }
            return Ok(match self.base(machine).await? {
                Ok(restored) => Fetched::Both(Box::new((restored, spooled))),
                Err(findings) => {
                    self.findings.extend(found);
                    self.damaged(findings)
                }
            });
        }
        let (restored, spooled) =
            tokio::try_join!(self.base(machine), self.wal(machine, begin, None))?;
        Ok(match restored {
            Ok(restored) => Fetched::Both(Box::new((restored, spooled))),
            Err(findings) => {
                let mut found = Vec::new();
                outlook::wal(&plan, &spooled.summary, spooled.damage.as_ref(), &mut found);
                self.findings.extend(found);
                self.damaged(findings)
            }
        })
    }

    fn damaged(&mut self, findings: Vec<Finding>) -> Fetched {
        self.findings.extend(findings);
        Fetched::End(RestoreEnd::Damaged)
    }

    /// What base or WAL alone has proven, which is forgotten.
    pub fn take_proven(&mut self) -> Vec<Finding> {
        std::mem::take(self.proven.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    fn prove(&self, findings: Vec<Finding>) {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).extend(findings);
    }

    fn judge_wal(&mut self, spooled: &Spooled) -> Outlook {
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
                self.prove(findings.clone());
                Ok(Err(findings))
            }
            Err(FetchFailure::Store(error)) => Err(vanished(error)),
            Err(FetchFailure::Local(error)) => Err(error),
            Err(FetchFailure::Cancelled) => Err(interrupted()),
        }
    }

    async fn wal(
        &self,
        machine: &Machine,
        begin: Lsn,
        min_recovery_point: Option<Lsn>,
    ) -> Result<Spooled, Error> {
        let (job, plan) = (&self.context.job, &self.context.plan);
        let spool = Spool {
            dir: machine.place.wal.clone(),
            size: plan.segment_size,
            owner: machine.identity.owner(),
            fsync: job.sandbox.fsync,
            memory: job.sandbox.memory,
            resumes: self.keeping.is_some(),
        };
        let start = outlook::scan_start(plan, begin, min_recovery_point);
        let counter = self.counter();
        let spooled =
            spool.fill(&self.context.store, &plan.wal, start, &counter, &self.cancel).await?;
        // Whether the backup ends in this WAL may be the base's to say, damage is not.
        let mut found = Vec::new();
        outlook::wal(plan, &spooled.summary, spooled.damage.as_ref(), &mut found);
        self.prove(found);
        Ok(spooled)
    }
}

/// Names the databases that replay copies from a folder that was removed under the backup: findings
/// and notes.
pub fn moved_databases(
    backup: &str,
    restored: &BaseRestored,
    wal: &WalSummary,
    depth: Depth,
) -> (Vec<Finding>, Vec<String>) {
    let (mut findings, mut notes) = (Vec::new(), Vec::new());
    let held = restored.pages.databases();
    let events = wal.databases.iter().map(|(at, event)| (*at, event));
    for doubt in moved_databases::doubtful(events, |folder| held.contains(&folder)) {
        match doubt.finding(backup) {
            Some(finding) => findings.push(finding),
            None if depth < Depth::Deep => findings.push(doubt.unlooked(backup)),
            None => notes.push(doubt.question(backup)),
        }
    }
    (findings, notes)
}

/// How far it is before PostgreSQL is started.
#[derive(Debug)]
pub enum Gathered {
    All(Box<AllThere>),
    End(RestoreEnd),
}

/// Base and WAL, judged.
#[derive(Debug)]
pub struct AllThere {
    pub material: Material,
    pub pg_control: Vec<u8>,
    /// All of `postgresql.auto.conf`, which is not among the files.
    pub auto_conf: Option<Vec<u8>>,
    /// Tablespaces that the WAL makes: OID and location.
    pub made_tablespaces: Vec<(u32, String)>,
    /// What of the findings is of the base backup.
    pub base_findings: Vec<Finding>,
}

/// How far fetching led.
enum Fetched {
    Both(Box<(BaseRestored, Spooled)>),
    End(RestoreEnd),
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

/// Makes the data directory what PostgreSQL needs to begin an archive recovery that stays inside.
pub fn make_ready(machine: &Machine) -> Result<(), Error> {
    let (data, owner) = (&machine.place.data, machine.identity.owner());
    config::disarm(data, owner)?;
    empty_pg_wal(data, owner)
        .map_err(|error| Error::io(format!("empty `{}`", data.join("pg_wal").display()), &error))?;
    let signal = data.join("recovery.signal");
    let made = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&signal)?;
        owner.map_or(Ok(()), |(uid, gid)| fchown(&file, Some(uid), Some(gid)))
    };
    made().map_err(|error| Error::io(format!("write `{}`", signal.display()), &error))
}

/// Segments that the backup brought must not be read: only what was verified is replayed.
fn empty_pg_wal(data: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let pg_wal = data.join("pg_wal");
    match std::fs::symlink_metadata(&pg_wal) {
        Ok(meta) if meta.is_dir() => {
            for entry in std::fs::read_dir(&pg_wal)? {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    std::fs::remove_file(entry.path())?;
                }
            }
            return Ok(());
        }
        // A link to where production kept its WAL.
        Ok(_) => std::fs::remove_file(&pg_wal)?,
        Err(_) => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&pg_wal)?;
    owner.map_or(Ok(()), |(uid, gid)| chown(&pg_wal, Some(uid), Some(gid)))
}
