//! A rescue: the same way as a drill's up to the recovered cluster, which is then stopped and becomes the
//! operator's. It may be broken off anywhere and goes on from there.
//!
//! No role is made, and nothing but recovery writes to the cluster: what it reached is read from its own
//! files, at rest.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use self::{
    ground::Ground,
    state::{ANEW, Asked, Claim, Phase, PlanPrint, Prepared, State},
};
use super::{
    NativeEngine, Run,
    flow::{AllThere, Gathered, Machine},
    identity::Identity,
    place::{self, Place},
    sandbox::Cluster,
    supervised, tree,
};
use crate::{
    drill::{
        Code, Error, FailureClass, Finding,
        expectation::Promise,
        plan::PlanRefusal,
        reached::{Reached, compare},
        report::SandboxReport,
        rescue::{RescuedCluster, first_overrides, needs_consent},
        stage::{Stage, StageLog, Volume},
    },
    engine::{EngineContext, RestoreEnd, postgres_install},
    restore::unpack::is_of_layout,
};

pub mod ground;
mod hand_over;
mod inspect;
mod recovery;
pub mod state;

/// `pg_control` of the base backup, before PostgreSQL has changed it.
const CONTROL: &str = "pg_control";
/// What `ALTER SYSTEM` wrote in production.
const AUTO_CONF: &str = "postgresql.auto.conf";

/// What a run leaves for the next one.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Of the base backup.
    pub journal: PathBuf,
    /// Damage of the base backup is accepted.
    pub consent: bool,
}

/// What to rescue to where, and the right to do it there.
#[derive(Debug)]
pub struct RescueOrder {
    pub ground: Ground,
    pub claim: Claim,
    /// Goes on with a damaged base backup.
    pub consent: bool,
}

/// How a rescue went.
#[derive(Debug)]
pub struct Rescued {
    pub end: RescueEnd,
    /// An earlier run had begun.
    pub resumed: bool,
    pub findings: Vec<Finding>,
    pub promise: Option<Promise>,
    pub stages: StageLog,
    pub notes: Vec<String>,
    /// Where the next run goes on from.
    pub state: Option<PathBuf>,
}

/// Where a rescue ended.
#[derive(Debug)]
pub enum RescueEnd {
    /// The cluster is in its folder.
    Restored { reached: Reached, cluster: Box<RescuedCluster> },
    /// The backup is not good. Whether consent to its damage would lead on.
    Damaged { consent_helps: bool },
    /// The target cannot be reached, known once the WAL was read.
    Refused(PlanRefusal),
    /// Could not do it.
    Errored(Error),
}

impl NativeEngine {
    /// Restores into the folder of the order. Cancelling the context's token makes it return soon with
    /// `Errored(Interrupted)`. Where the cluster could not be handed over, the next rescue into the same
    /// folder goes on.
    pub async fn rescue(&self, context: EngineContext, order: RescueOrder) -> Rescued {
        let RescueOrder { ground, mut claim, consent } = order;
        let mut context = context;
        let resumed = claim.state().is_some();
        if let Some(state) = claim.state().filter(|state| state.is_judged()) {
            // What came later was not judged.
            let known = usize::try_from(state.plan.segments).unwrap_or(usize::MAX);
            Arc::make_mut(&mut context.plan).wal.truncate(known);
        }
        let mut run = Run::new(context, self.program.as_deref());
        run.keeping = Some(Keeping { journal: ground.work.join("base"), consent });
        let (cancel, activity) = (run.cancel.clone(), Arc::clone(&run.activity));
        let limit = run.context.job.limits.no_progress;
        let ended = Box::pin(supervised(
            run.context.cancel.clone(),
            None,
            (&activity, limit),
            run.rescue_flow(&ground, &mut claim),
        ))
        .await;
        cancel.cancel();
        run.end_server().await;
        let end =
            ended.unwrap_or_else(|error| RescueEnd::Errored(in_other_words(run.named(error))));
        let proven = run.take_proven();
        run.findings.extend(proven);
        let Run { stages, findings, promise, mut notes, .. } = run;
        let mut state = Some(ground.work.clone());
        if matches!(end, RescueEnd::Restored { .. }) {
            match claim.finish() {
                Ok(()) => state = None,
                Err(error) => notes.push(format!(
                    "`{}` could not be removed ({error}); nothing in it is needed any more",
                    ground.work.display()
                )),
            }
        } else if claim.state().is_none() {
            state = None;
        }
        Rescued { end, resumed, findings, promise, stages: stages.finish(), notes, state }
    }
}

impl Run {
    async fn rescue_flow(
        &mut self,
        ground: &Ground,
        claim: &mut Claim,
    ) -> Result<RescueEnd, Error> {
        let (machine, state) = self.prepare_rescue(ground, claim)?;
        let consent = self.keeping.as_ref().is_some_and(|keeping| keeping.consent);
        let (prepared, reached) = match state.phase.clone() {
            Phase::HandingOver { prepared, reached, tablespaces } => {
                self.take_up(&prepared);
                let end = Arrived { machine: &machine, prepared, reached, tablespaces };
                return self.hand_over(ground, end).await;
            }
            Phase::Recovering(prepared) => {
                self.take_up(&prepared);
                self.forget_servers(&machine).await?;
                let reached = self.replay_to_end(&machine, &prepared).await?;
                (prepared, reached.map(|reached| self.as_resumed(reached)))
            }
            Phase::AwaitingConsent(prepared) => {
                self.take_up(&prepared);
                if !consent {
                    return Ok(RescueEnd::Damaged { consent_helps: true });
                }
                self.begin_recovery(&machine, &state, claim, prepared).await?
            }
            Phase::Fetching => {
                let all = match self.gather(&machine).await? {
                    Gathered::All(all) => all,
                    Gathered::End(end) => return self.ended_early(end),
                };
                let (prepared, damaged) = self.keep(&machine, *all)?;
                if damaged && !consent {
                    let phase = Phase::AwaitingConsent(prepared);
                    claim.record(State { phase, ..state })?;
                    return Ok(RescueEnd::Damaged { consent_helps: true });
                }
                self.begin_recovery(&machine, &state, claim, prepared).await?
            }
        };
        let reached = match reached {
            Ok(reached) => reached,
            Err(cause) => {
                // An error of the machine is none of the backup's.
                self.stopped(cause)?;
                return Ok(RescueEnd::Damaged { consent_helps: false });
            }
        };
        self.stages.begin(Stage::HandOver, Instant::now(), None);
        self.stop_cleanly().await?;
        self.findings.extend(compare(&self.promised(&reached), &reached));
        let places = hand_over::tablespaces_inside(&machine.place.data)?;
        let tablespaces: Vec<(u32, PathBuf)> =
            places.into_iter().map(|oid| (oid, ground.tablespace(oid))).collect();
        let prepared = Prepared { findings: self.findings.clone(), ..prepared };
        let phase = Phase::HandingOver {
            prepared: prepared.clone(),
            reached: reached.clone(),
            tablespaces: tablespaces.clone(),
        };
        claim.record(State { phase, ..state })?;
        self.hand_over(ground, Arrived { machine: &machine, prepared, reached, tablespaces }).await
    }

    /// Finds user, server and folders, refuses what cannot work, and records what is done. Nothing has been
    /// fetched yet.
    fn prepare_rescue(
        &mut self,
        ground: &Ground,
        claim: &mut Claim,
    ) -> Result<(Machine, State), Error> {
        let (job, plan) = (Arc::clone(&self.context.job), Arc::clone(&self.context.plan));
        let identity = Identity::choose(job.sandbox.user.as_deref())?;
        let server =
            postgres_install::choose(plan.major, job.sandbox.postgres_bin.as_deref(), &identity)?;
        let oids: Vec<u32> = plan.backup.tablespaces.keys().copied().collect();
        postgres_install::check_tablespaces(&server, !oids.is_empty())?;
        let asked = Asked::by(&job);
        let state = if let Some(state) = claim.state().cloned() {
            accord(&state, &asked, state.plan.difference(&plan), ground)?;
            // In the meantime more WAL may have come.
            let plan = if state.is_judged() { state.plan.clone() } else { PlanPrint::of(&plan) };
            State { plan, ..state }
        } else {
            ground.tablespaces_exist(&oids)?;
            State::new(self.context.drill_id.clone(), asked, &plan, Timestamp::now())
        };
        if !state.is_handing_over() {
            ground.tablespaces_are_vacant(oids.into_iter())?;
            let there = bytes_below(&ground.work);
            let needed = plan.disk_bytes.saturating_sub(there);
            place::check_room(ground.parent(), needed, None).map_err(|error| Error {
                hint: Some("Free some room there, or name a folder on another file system.".into()),
                ..error
            })?;
        }
        claim.record(state.clone())?;
        let place = if state.is_handing_over() {
            Place::at(ground.work.clone())
        } else {
            Place::reopen(ground.work.clone(), &identity, &self.program)?
        };
        self.cluster = Some(Cluster {
            report: SandboxReport {
                path: ground.dir.display().to_string(),
                postgres: server.version.clone(),
                ..SandboxReport::default()
            },
            place: place.clone(),
            server: None,
            wal: None,
        });
        Ok((Machine { identity, server, place }, state))
    }

    /// What an earlier run has found.
    fn take_up(&mut self, prepared: &Prepared) {
        self.findings.extend(prepared.findings.iter().cloned());
        self.notes.extend(prepared.notes.iter().cloned());
        self.promise = Some(prepared.promise.clone());
    }

    /// Keeps what the bytes have shown, so that they need not be read again; and says whether the base backup
    /// is damaged.
    fn keep(&self, machine: &Machine, all: AllThere) -> Result<(Prepared, bool), Error> {
        let AllThere { material, wal, pg_control, auto_conf, made_tablespaces, base_findings } =
            all;
        let reach = wal.reach();
        let root = &machine.place.root;
        write_durably(&root.join(CONTROL), &pg_control)?;
        match auto_conf {
            Some(text) => write_durably(&root.join(AUTO_CONF), &text)?,
            None => drop(fs::remove_file(root.join(AUTO_CONF))),
        }
        let Some(promise) = self.promise.clone() else {
            return Err(Error::new(Code::Bug, "nothing is known of what recovery must reach"));
        };
        let prepared = Prepared {
            to_target: material.target.is_some(),
            promise,
            findings: self.findings.clone(),
            notes: self.notes.clone(),
            floor: reach.needs.parameters,
            custom_resource_managers: reach.needs.custom_resource_managers.clone(),
            last: reach.end.and_then(|end| end.last),
            made_tablespaces,
        };
        Ok((prepared, needs_consent(&base_findings)))
    }

    /// Makes the folder the operator's.
    async fn hand_over(
        &mut self,
        ground: &Ground,
        arrived: Arrived<'_>,
    ) -> Result<RescueEnd, Error> {
        if self.stages.current() != Some(Stage::HandOver) {
            self.stages.begin(Stage::HandOver, Instant::now(), None);
        }
        let Arrived { machine, prepared, reached, tablespaces } = arrived;
        let (place, dir) = (machine.place.clone(), ground.dir.clone());
        let (owner, places) = (machine.identity.owner(), tablespaces.clone());
        let moved =
            tokio::task::spawn_blocking(move || hand_over::hand_over(&place, &dir, owner, &places));
        let notes = moved
            .await
            .map_err(|error| Error::new(Code::Bug, format!("handing over ended: {error}")))??;
        self.notes.extend(notes);
        let report = std::mem::take(&mut self.cluster()?.report);
        let plan = Arc::clone(&self.context.plan);
        let (mut cluster, notes) = inspect::cluster(&inspect::Look {
            dir: &ground.dir,
            machine,
            info: plan.backup.info.as_ref().ok(),
            made_tablespaces: &prepared.made_tablespaces,
            reached: &reached,
            report,
        });
        self.notes.extend(notes);
        if cluster.config_elsewhere.is_none() {
            let (shim, dir) = (self.program.clone(), ground.dir.clone());
            let (machine, overrides) = (machine.clone(), first_overrides(&cluster));
            let asked = tokio::task::spawn_blocking(move || {
                inspect::refusal(&shim, &machine, &dir, &overrides)
            });
            cluster.refused_configuration = asked.await.ok().flatten();
        }
        self.stages.done(Instant::now(), Volume::default());
        Ok(RescueEnd::Restored { reached, cluster: Box::new(cluster) })
    }

    /// What a drill would end with.
    fn ended_early(&self, end: RestoreEnd) -> Result<RescueEnd, Error> {
        Ok(match end {
            RestoreEnd::Damaged => {
                let helps = !self.findings.is_empty()
                    && consent_helps(&self.findings)
                    && !self.keeping.as_ref().is_some_and(|keeping| keeping.consent);
                RescueEnd::Damaged { consent_helps: helps }
            }
            RestoreEnd::Refused(refusal) => RescueEnd::Refused(refusal),
            RestoreEnd::Errored(error) => return Err(error),
            RestoreEnd::Ready { .. } => {
                return Err(Error::new(Code::Bug, "a rescue opened the cluster"));
            }
        })
    }

    /// The next run fetches the base backup anew: what it has is not what the archive holds.
    pub fn forget_base(&self) {
        if let Some(keeping) = &self.keeping
            && let Err(error) = tree::remove(&keeping.journal)
        {
            tracing::warn!(path = %keeping.journal.display(), %error, "cannot be removed");
        }
    }
}

/// An error as it is of a rescue, where it speaks of drills.
fn in_other_words(error: Error) -> Error {
    match error.code {
        Code::Interrupted => Error::new(Code::Interrupted, "the rescue was interrupted"),
        Code::DiskFull => error.hint("Free some room there, and run the rescue again: it goes on."),
        Code::ObjectMissing | Code::ObjectChanged => error.hint(
            "Retention or another writer works on this archive: stop them, and begin again with `--anew`.",
        ),
        _ => error,
    }
}

/// Whether recovery can go on in spite of these defects of a base backup, where somebody wants it to: what
/// is not in the archive, or cannot be decoded, nobody can restore.
pub fn consent_helps(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| match finding.class {
        // Of a database whose folder changed its name while it was copied.
        FailureClass::PageChecksum | FailureClass::RelationMissing => true,
        FailureClass::ArchiveCorrupt | FailureClass::PgdataLayout => is_of_layout(finding),
        class => class.is_environment(),
    })
}

/// A recovered cluster at rest.
struct Arrived<'a> {
    machine: &'a Machine,
    prepared: Prepared,
    reached: Reached,
    tablespaces: Vec<(u32, PathBuf)>,
}

/// Refuses to go on with another rescue than the one that was begun.
fn accord(
    state: &State,
    asked: &Asked,
    difference: Option<String>,
    ground: &Ground,
) -> Result<(), Error> {
    let before = &state.asked;
    let why = if before.archive != asked.archive {
        format!("it is of the archive {}, not of {}", before.archive, asked.archive)
    } else if before.target != asked.target {
        format!("its target is {}, not {}", before.target, asked.target)
    } else if let Some(difference) = difference {
        difference
    } else {
        return Ok(());
    };
    let (work, dir) = (ground.work.display(), ground.dir.display());
    let what = format!("`{work}` holds another rescue into `{dir}` that was broken off: {why}");
    Err(Error::new(Code::RescueOther, what)
        .hint(format!("Go on with that one by asking for the same. {ANEW}")))
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| Error::io(format!("write `{}`", path.display()), &error))
}

/// Bytes that a folder takes on disk, never through a link; hard links count once for each name.
fn bytes_below(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// A file's first bytes, never through a link.
fn read_some(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Configuration files by their names below the data directory.
type Texts = BTreeMap<String, String>;
