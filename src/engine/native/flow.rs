//! The order of a drill: place, bytes, judgement, recovery, mending.

use std::{
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, fchown},
    path::Path,
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Run, config,
    confirm::FirstReading,
    fetch::Fetched,
    identity::Identity,
    judge,
    lease::{self, JobLock, Lease, LeaseRecord},
    pages::{JudgedPages, PageCase},
    place::{self, Place},
    recover::{Material, Recovered},
    rescue::consent_helps,
    sandbox::{Cluster, Hold},
    spool::{Spooled, coming::ComingWal},
};
use crate::{
    archive::BackupInfo,
    drill::{
        Code, Error, Finding,
        job::{Depth, Target},
        moved_databases,
        outlook::{self, Outlook},
        own_files::OwnFiles,
        report::SandboxReport,
        stage::{Stage, Volume},
    },
    engine::{
        RestoreEnd,
        postgres_install::{self, Installation},
    },
    pg::{Lsn, SegmentNumber, conf, relation_file::RelationFile, wal::scan::WalSummary},
    restore::{base::BaseRestored, pages::Prints},
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
        let mut all = match self.gather(&machine).await? {
            Gathered::All(all) => all,
            Gathered::End(end) => return Ok(end),
        };
        self.stages.begin(Stage::Start, Instant::now(), None);
        make_ready(&machine)?;
        match self.recover(&machine, &all.material, &mut all.wal).await? {
            Recovered::Open(reached) => self.open(&machine, reached).await,
            Recovered::Stopped(cause) => self.stopped(cause),
            Recovered::Ended(end) => Ok(end),
        }
    }

    /// Base and WAL onto the disk, and the judgement of both. Where recovery may begin before all of the
    /// WAL is there, the rest of it is still on its way, and what it promises is not known.
    pub async fn gather(&mut self, machine: &Machine) -> Result<Gathered, Error> {
        let begin = self.begin()?;
        self.stages.begin(
            Stage::Fetch,
            Instant::now(),
            Some(self.context.plan.base_bytes + self.context.plan.wal_bytes),
        );
        let (mut restored, mut wal) = match self.fetch(machine, begin).await? {
            Fetched::Both(both) => *both,
            Fetched::End(end) => return Ok(Gathered::End(end)),
        };
        let plan = Arc::clone(&self.context.plan);
        self.preloads = conf::preloads(&restored.config_texts);
        let found = std::mem::take(&mut restored.findings);
        let own = judge::base(&plan, &restored, begin);
        let base = Base { machine, begin, restored: &restored };
        // The WAL of the backup's own time is enough to begin with where nothing is wrong.
        if let (true, true, Ok(own)) = (self.begins_early(), found.is_empty(), &own)
            && !own.is_from_standby()
            && let Some(consistent) = wal.consistent().await
        {
            let (there, reach) = (Instant::now(), wal.reach());
            // A restore would recover from here on: what is judged first is no part of the RTO. Nor is WAL
            // to come for nothing meanwhile, so that the spool stays held up.
            // What keeps it from looking is told when it looks again, with all of the WAL.
            let looked = self.look(base, own, &consistent, reach.settled).await.ok();
            if let Some(looked) = looked.filter(|looked| looked.is_final && looked.found.is_empty())
            {
                self.fetched(there, &restored, wal.moved());
                self.looked_at(looked);
                return Ok(Gathered::All(Box::new(AllThere {
                    material: Material {
                        control: own.control,
                        config_texts: restored.config_texts,
                        bytes: restored.bytes,
                        target: None,
                    },
                    wal,
                    pg_control: restored.pg_control,
                    auto_conf: restored.auto_conf,
                    made_tablespaces: Vec::new(),
                    base_findings: Vec::new(),
                })));
            }
        }
        let spooled = wal.all().await?;
        let summary = &spooled.summary;
        // From here on it is judged together.
        self.take_proven();
        self.fetched(Instant::now(), &restored, wal.moved());
        // Judged before the base where the target allows it; the answer is the same.
        let outlook = self.judge_wal(&spooled);
        if !found.is_empty() && !self.goes_on(&found) {
            let prints = Prints::default();
            self.confirm(FirstReading { found, prints, begin, control: None, wal: summary })
                .await?;
            return Ok(Gathered::End(RestoreEnd::Damaged));
        }
        let layout = found;
        let own = match own {
            Ok(own) => own,
            Err(mut found) => {
                found.extend(layout);
                let (prints, wal) = (Prints::default(), summary);
                self.confirm(FirstReading { found, prints, begin, control: None, wal }).await?;
                return Ok(Gathered::End(RestoreEnd::Damaged));
            }
        };
        let target = match self.course(outlook) {
            Ok(target) => target,
            Err(end) => return Ok(Gathered::End(*end)),
        };
        let end = spooled.last.map_or(SegmentNumber(0), SegmentNumber::next);
        let mut looked = self.look(base, &own, summary, end).await?;
        let prints = std::mem::take(&mut looked.prints);
        let mut found = std::mem::take(&mut looked.found);
        found.extend(layout);
        self.looked_at(looked);
        let of_wal = self.findings.len();
        let control = Some(&own.control);
        self.confirm(FirstReading { found, prints, begin, control, wal: summary }).await?;
        postgres_install::check_tablespaces(&machine.server, !summary.tablespaces.is_empty())?;
        self.promise = Some(outlook::promise(&plan, summary));
        let tablespaces = summary.tablespaces.iter();
        Ok(Gathered::All(Box::new(AllThere {
            material: Material {
                control: own.control,
                config_texts: restored.config_texts,
                bytes: restored.bytes,
                target,
            },
            made_tablespaces: tablespaces.map(|made| (made.oid, made.location.clone())).collect(),
            wal,
            pg_control: restored.pg_control,
            auto_conf: restored.auto_conf,
            base_findings: self.findings[of_wal..].to_vec(),
        })))
    }

    /// Whether recovery may begin before all of the WAL has been read. Where a target must lie in it, that
    /// decides whether there is anything to recover, and a rescue keeps what the WAL has shown for the run
    /// that goes on after it.
    pub fn begins_early(&self) -> bool {
        self.context.plan.target == Target::Latest && self.keeping.is_none()
    }

    /// The stage `Fetch` was over at `there`: the base is there, and so much WAL.
    fn fetched(&mut self, there: Instant, restored: &BaseRestored, wal: Volume) {
        let volume = Volume {
            fetched_bytes: restored.fetched_bytes + wal.fetched_bytes,
            restored_bytes: restored.bytes + wal.restored_bytes,
            files: restored.files,
            wal_segments: wal.wal_segments,
        };
        self.stages.done(there, volume);
        self.notes.extend(restored.notes.iter().cloned());
    }

    /// Where recovery is to go by what the WAL says, or where the drill ends.
    fn course(&mut self, outlook: Outlook) -> Result<Option<Target>, Box<RestoreEnd>> {
        match outlook {
            Outlook::Replay { target } => Ok(target),
            Outlook::Damaged => Err(Box::new(RestoreEnd::Damaged)),
            Outlook::Inconsistent(finding) => {
                self.findings.push(finding);
                Err(Box::new(RestoreEnd::Damaged))
            }
            Outlook::Refused(refusal) => Err(Box::new(RestoreEnd::Refused(refusal))),
        }
    }

    /// What all of the WAL says, learned while PostgreSQL replays the first of it; the end of the drill
    /// where it need not go on.
    pub fn learn(&mut self, spooled: &Spooled) -> Option<RestoreEnd> {
        self.take_proven();
        let outlook = self.judge_wal(spooled);
        if let Err(end) = self.course(outlook) {
            return Some(*end);
        }
        self.promise = Some(outlook::promise(&self.context.plan, &spooled.summary));
        None
    }

    /// What the base and the WAL before `end` say of each other.
    async fn look(
        &self,
        base: Base<'_>,
        own: &OwnFiles,
        wal: &WalSummary,
        end: SegmentNumber,
    ) -> Result<Looked, Error> {
        let Base { machine, begin, restored } = base;
        let plan = Arc::clone(&self.context.plan);
        let (mut found, mut notes) =
            moved_databases(&plan.backup.id, restored, wal, self.context.job.depth);
        let case = PageCase {
            plan,
            begin,
            min_recovery_point: own.min_recovery_point(),
            data: machine.place.data.clone(),
            wal: machine.place.wal.clone(),
            activity: Arc::clone(&self.activity),
            cancel: self.cancel.clone(),
            end,
        };
        let suspects = restored.pages.clone().judged_by(&own.control)?;
        let JudgedPages { verdict, prints, is_final } = case.judged(suspects).await?;
        notes.extend(verdict.notes());
        found.extend(verdict.findings);
        Ok(Looked { found, notes, prints, unfinished: verdict.unfinished, is_final })
    }

    fn looked_at(&mut self, looked: Looked) {
        self.notes.extend(looked.notes);
        self.unfinished = looked.unfinished;
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
        let making = lease::making(&base)?;
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
        drop(making);
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
}

/// The base backup, as it lies on the disk.
#[derive(Clone, Copy, Debug)]
struct Base<'a> {
    machine: &'a Machine,
    begin: Lsn,
    restored: &'a BaseRestored,
}

/// What its pages and its databases say.
#[derive(Debug)]
struct Looked {
    found: Vec<Finding>,
    notes: Vec<String>,
    prints: Prints,
    unfinished: Vec<RelationFile>,
    /// More WAL would not change it.
    is_final: bool,
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
    /// Some of it may still be on its way.
    pub wal: ComingWal,
    pub pg_control: Vec<u8>,
    /// All of `postgresql.auto.conf`, which is not among the files.
    pub auto_conf: Option<Vec<u8>>,
    /// Tablespaces that the WAL makes: OID and location.
    pub made_tablespaces: Vec<(u32, String)>,
    /// What of the findings is of the base backup.
    pub base_findings: Vec<Finding>,
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
