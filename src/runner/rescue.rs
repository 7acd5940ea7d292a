//! A rescue from job to report.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{PlanOutcome, course};
use crate::{
    archive::Catalog,
    drill::{
        DrillPlan, Error, Finding, Job,
        error::ErrorKind,
        format::{bytes, counted},
        job::{BackupChoice, Depth, Target, TargetChoice},
        measure,
        plan::{self, PlanRefusal, Window},
        report::ErrorReport,
        rescue::{
            self, RescueOutcome, RescueReport, RescuedCluster, SCHEMA_VERSION, Step, next_steps,
        },
        stage::{Stage, StageEnd, StageLog, Volume},
    },
    engine::{
        EngineContext,
        native::{
            NativeEngine,
            identity::Identity,
            rescue::{
                RescueEnd, RescueOrder, Rescued,
                ground::Ground,
                state::{Asked, Claim, State},
            },
        },
    },
    store::{self, SharedStore},
    survey,
    telemetry::{Progress, progress::ProgressEvent},
};

/// A rescue to run.
#[derive(Clone, Debug)]
pub struct RescueRequest {
    pub job: Job,
    /// The data directory to be; absolute.
    pub dir: PathBuf,
    /// Where tablespaces go, by OID; absolute.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Goes on with a damaged base backup.
    pub accept_damage: bool,
    /// Removes what an interrupted rescue into the same folder has left.
    pub anew: bool,
    /// The same seed gives the same choices; `None` draws one.
    pub seed: Option<u64>,
    pub progress: Progress,
    /// Stops it; the next run goes on.
    pub cancel: CancellationToken,
    /// See [`super::DrillRequest::helper`].
    pub helper: Option<PathBuf>,
}

impl RescueRequest {
    /// The job as a rescue takes it. What a drill must keep to is no rule in an outage: its time limit, its
    /// bandwidth, its budget for disk and the age of the backup; nor is a choice that is there to drill
    /// another recovery each time. It is always durable.
    fn adapted(&self) -> Job {
        let mut job = self.job.clone();
        job.depth = Depth::Restore;
        job.limits.total = None;
        job.limits.bandwidth = None;
        job.sandbox.disk_budget = None;
        job.sandbox.fsync = true;
        let point = &mut job.recovery_point;
        point.within = None;
        if !matches!(point.backup, BackupChoice::Id(_)) {
            point.backup = BackupChoice::Latest;
        }
        if point.target == TargetChoice::Random {
            point.target = TargetChoice::Given(Target::Latest);
            point.exclusive = false;
        }
        job
    }

    fn ground(&self) -> Result<Ground, Error> {
        let identity = Identity::choose(self.job.sandbox.user.as_deref())?;
        Ground::look(&self.dir, &self.tablespaces, &identity)
    }
}

/// A plan, and bytes free where the cluster is to be.
#[derive(Debug)]
pub struct RescuePlan {
    pub outcome: PlanOutcome,
    pub free_disk: Option<u64>,
}

/// Plans without changing anything.
///
/// # Errors
/// Whatever is wrong with the folder, or keeps the catalog from being read.
pub async fn plan_only(request: &RescueRequest) -> Result<RescuePlan, Error> {
    let ground = request.ground()?;
    let job = request.adapted();
    let store = store::open(&job).await?;
    let catalog = survey::survey(&store, &job.archive, &request.progress, &request.cancel).await?;
    let seed = request.seed.unwrap_or_else(rand::random);
    let outcome = match plan::plan(&job, &catalog, Timestamp::now(), seed) {
        Ok(plan) => PlanOutcome::Planned(Box::new(plan)),
        Err(refusal) => PlanOutcome::Refused(refusal),
    };
    let stat = rustix::fs::statvfs(ground.parent()).ok();
    let free_disk = stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    Ok(RescuePlan { outcome, free_disk })
}

/// Runs one rescue. Whatever the archive, the store or the machine do ends in a report.
///
/// # Errors
/// Where nothing was begun: what is wrong with the folder, and errors of [`ErrorKind::Usage`].
pub async fn rescue(request: RescueRequest) -> Result<RescueReport, Error> {
    Box::pin(run(None, request)).await
}

/// Runs one rescue of the archive as `store` shows it, wherever the job says that it lies.
///
/// # Errors
/// As [`rescue`].
pub async fn rescue_on(store: SharedStore, request: RescueRequest) -> Result<RescueReport, Error> {
    Box::pin(run(Some(store), request)).await
}

async fn run(given: Option<SharedStore>, request: RescueRequest) -> Result<RescueReport, Error> {
    let ground = request.ground()?;
    let claim = Claim::take(&ground, request.anew)?;
    let job = Arc::new(request.adapted());
    let mut diary = Diary::begin(&job, &ground, claim.state());
    let ended = steps(given, &request, &job, ground, claim, &mut diary).await;
    if let Err(error) = ended {
        if error.code.kind() == ErrorKind::Usage {
            return Err(error);
        }
        diary.errors.push(error);
    }
    Ok(diary.conclude(&job, Timestamp::now()))
}

async fn steps(
    given: Option<SharedStore>,
    request: &RescueRequest,
    job: &Arc<Job>,
    ground: Ground,
    claim: Claim,
    diary: &mut Diary,
) -> Result<(), Error> {
    let progress = &request.progress;
    progress.emit(ProgressEvent::StageStarted { stage: Stage::Plan, total_bytes: None });
    let since = Instant::now();
    let planned = async {
        let store = match given {
            Some(store) => store,
            None => store::open(job).await?,
        };
        let catalog = survey::survey(&store, &job.archive, progress, &request.cancel).await?;
        Ok::<_, Error>((store, catalog))
    };
    let planned = planned.await;
    let end = if planned.is_ok() { StageEnd::Done } else { StageEnd::Aborted };
    let took = since.elapsed();
    diary.stages.push(Stage::Plan, took, end, Volume::default());
    let seconds = took.as_secs_f64();
    progress.emit(ProgressEvent::StageFinished { stage: Stage::Plan, seconds, end });
    let (store, catalog) = planned?;

    let now = Timestamp::now();
    diary.newest = catalog.wal.newest_stored();
    let seed = request.seed.unwrap_or_else(rand::random);
    let asked = as_before(job, claim.state());
    let plan = match plan::plan(&asked, &catalog, now, seed) {
        Ok(plan) => Arc::new(plan),
        Err(refusal) => {
            diary.other_backups = other_backups(job, &catalog, now, None);
            diary.refused(refusal);
            return Ok(());
        }
    };
    diary.planned(&plan);
    tell(progress, &plan, claim.state(), &ground);
    let context = EngineContext {
        job: Arc::clone(job),
        plan: Arc::clone(&plan),
        store,
        drill_id: diary.rescue_id.clone(),
        progress: progress.clone(),
        cancel: request.cancel.clone(),
    };
    let engine = request.helper.clone().map_or_else(NativeEngine::new, NativeEngine::with_program);
    let order = RescueOrder { ground, claim, consent: request.accept_damage };
    let rescued = Box::pin(engine.rescue(context, order)).await;
    if !matches!(rescued.end, RescueEnd::Restored { .. }) {
        diary.other_backups = other_backups(job, &catalog, now, Some(&plan));
    }
    diary.rescued(rescued)
}

/// The backup that an interrupted rescue has begun with, where the same is asked for: a newer one may have
/// come, or chance would choose another.
fn as_before(job: &Job, state: Option<&State>) -> Job {
    let mut job = job.clone();
    if let Some(state) = state.filter(|state| state.asked.backup == Asked::by(&job).backup) {
        job.recovery_point.backup = BackupChoice::Id(state.plan.backup.clone());
        job.recovery_point.within = None;
    }
    job
}

/// What is about to be done, before anything is fetched.
fn tell(progress: &Progress, plan: &DrillPlan, state: Option<&State>, ground: &Ground) {
    let note = |text: String| progress.emit(ProgressEvent::Note { text });
    if let Some(state) = state {
        note(format!("goes on with the rescue that was begun at {}", state.started_at));
    }
    note(format!(
        "backup {} to {}: {} and {} in {}; at most {} on disk in `{}`",
        plan.backup.id,
        plan.target,
        bytes(plan.base_bytes),
        bytes(plan.wal_bytes),
        counted(plan.wal.len() as u64, "WAL segment"),
        bytes(plan.disk_bytes),
        ground.parent().display(),
    ));
    note(format!("chosen: {}", plan.why));
    if let (Target::Latest, Some(at)) = (&plan.target, plan.window.to_time) {
        note(format!("what was committed after about {at} is in no archived WAL and is lost"));
    }
    for finding in &plan.findings {
        note(format!("the listing shows already: {}", finding.summary()));
    }
}

/// Other backups that the listing shows to be whole and to lead to the target, the newest one first.
fn other_backups(
    job: &Job,
    catalog: &Catalog,
    now: Timestamp,
    plan: Option<&DrillPlan>,
) -> Vec<String> {
    const MOST: usize = 3;
    let others = catalog.backups.iter().rev().filter(|b| plan.is_none_or(|p| p.backup.id != b.id));
    let leads = others.filter(|backup| {
        let mut job = job.clone();
        job.recovery_point.backup = BackupChoice::Id(backup.id.clone());
        job.recovery_point.within = None;
        plan::plan(&job, catalog, now, 0).is_ok_and(|other| other.findings.is_empty())
    });
    leads.take(MOST).map(|backup| backup.id.clone()).collect()
}

/// What a rescue has learned so far.
struct Diary {
    rescue_id: String,
    started_at: Timestamp,
    resumed: bool,
    directory: String,
    state: Option<String>,
    backup: Option<crate::drill::report::BackupSummary>,
    target: String,
    targeted: bool,
    window: Option<Window>,
    newest: Option<(String, Timestamp)>,
    promise: Option<crate::drill::expectation::Promise>,
    reached: Option<crate::drill::reached::Reached>,
    stages: StageLog,
    findings: Vec<Finding>,
    errors: Vec<Error>,
    other_backups: Vec<String>,
    cluster: Option<RescuedCluster>,
    consent_helps: bool,
    notes: Vec<String>,
}

impl Diary {
    fn begin(job: &Job, ground: &Ground, state: Option<&State>) -> Self {
        let id = || uuid::Uuid::now_v7().to_string();
        Self {
            rescue_id: state.map_or_else(id, |state| state.rescue_id.clone()),
            started_at: Timestamp::now(),
            resumed: state.is_some(),
            directory: ground.dir.display().to_string(),
            state: state.map(|_| ground.work.display().to_string()),
            backup: None,
            target: job.recovery_point.to_string(),
            targeted: job.recovery_point.target != TargetChoice::Given(Target::Latest),
            window: None,
            newest: None,
            promise: None,
            reached: None,
            stages: StageLog::default(),
            findings: Vec::new(),
            errors: Vec::new(),
            other_backups: Vec::new(),
            cluster: None,
            consent_helps: false,
            notes: Vec::new(),
        }
    }

    fn refused(&mut self, refusal: PlanRefusal) {
        self.window = Some(refusal.window);
        self.findings.extend(refusal.findings);
    }

    fn planned(&mut self, plan: &DrillPlan) {
        self.backup = Some(course::summary(plan));
        self.window = Some(plan.window.clone());
        self.findings.extend(plan.findings.iter().cloned());
        self.notes.extend(plan.notes.iter().cloned());
    }

    fn rescued(&mut self, rescued: Rescued) -> Result<(), Error> {
        let Rescued { end, resumed, findings, promise, mut stages, notes, state } = rescued;
        self.resumed = resumed;
        self.stages.0.append(&mut stages.0);
        self.findings.extend(findings);
        self.promise = promise;
        self.notes.extend(notes);
        self.state = state.map(|path| path.display().to_string());
        match end {
            RescueEnd::Restored { reached, cluster } => {
                self.reached = Some(reached);
                self.cluster = Some(*cluster);
            }
            RescueEnd::Damaged { consent_helps } => self.consent_helps = consent_helps,
            RescueEnd::Refused(refusal) => self.refused(refusal),
            RescueEnd::Errored(error) => return Err(error),
        }
        Ok(())
    }

    fn outcome(&self) -> RescueOutcome {
        match (&self.cluster, self.errors.is_empty()) {
            (Some(_), _) => RescueOutcome::of_cluster(&self.findings),
            (None, true) => RescueOutcome::Impossible,
            (None, false) => RescueOutcome::BrokenOff,
        }
    }

    fn reason(&self, outcome: RescueOutcome) -> String {
        match (outcome, &self.reached) {
            (RescueOutcome::BrokenOff, _) => {
                self.errors.first().map_or_else(String::new, |error| error.message.clone())
            }
            (_, Some(reached)) => rescue::reason(reached, &self.findings),
            (_, None) => {
                let worst = self.findings.iter().find(|finding| !finding.class.is_environment());
                let worst = worst.or(self.findings.first());
                worst.map_or_else(|| "the backup cannot be recovered".to_owned(), Finding::summary)
            }
        }
    }

    /// What to do next where there is no cluster.
    fn without_cluster(&self, outcome: RescueOutcome, job: &Job) -> Vec<Step> {
        let step = |what: String| Step { what, command: None };
        let mut steps = Vec::new();
        if outcome == RescueOutcome::BrokenOff && self.state.is_some() {
            steps.push(step(
                "Run the same command again: it goes on from what is there.".to_owned(),
            ));
        }
        if self.consent_helps {
            steps.push(step(
                "The base backup is damaged and nothing was recovered from it. `--accept-damage` goes on \
                 with it all the same, and leaves the damage in the cluster."
                    .to_owned(),
            ));
        }
        if outcome == RescueOutcome::Impossible {
            match self.other_backups.first() {
                Some(other) => steps.push(step(format!(
                    "Another backup leads to the same target, by the listing: `--backup {other}`{}.",
                    if self.state.is_some() { " with `--anew`, or into another folder" } else { "" }
                ))),
                None => steps.push(step(format!(
                    "No other backup in the archive leads to this target, by the listing: see `pgassay \
                     catalog` for what `{}` has, and another target.",
                    job.archive.server
                ))),
            }
        }
        if let Some(state) = &self.state {
            steps.push(step(format!(
                "`{state}` holds what was restored so far; `--anew` begins again without it."
            )));
        }
        steps
    }

    fn conclude(mut self, job: &Job, finished_at: Timestamp) -> RescueReport {
        let outcome = self.outcome();
        let next = match &self.cluster {
            Some(cluster) => next_steps(cluster, &job.archive.server),
            None => self.without_cluster(outcome, job),
        };
        if self.cluster.is_some() && !job.checks.is_empty() {
            self.notes.push("the job's checks were not run: a rescue makes no role".to_owned());
        }
        let left_behind =
            self.reached.as_ref().zip(self.window.as_ref()).and_then(|(reached, window)| {
                let newest = self.newest.as_ref();
                rescue::left_behind(reached.end, self.targeted, &self.findings, window, newest)
            });
        let measured = if self.resumed { None } else { self.stages.rto() };
        RescueReport {
            schema_version: SCHEMA_VERSION,
            pgassay_version: env!("CARGO_PKG_VERSION").to_owned(),
            reason: self.reason(outcome),
            rescue_id: self.rescue_id,
            job: job.name.clone(),
            archive_url: job.archive.store.url(),
            server: job.archive.server.clone(),
            started_at: self.started_at,
            finished_at,
            outcome,
            resumed: self.resumed,
            directory: self.directory,
            state: self.state,
            backup: self.backup,
            target: self.target,
            window: self.window,
            promise: self.promise,
            reached: self.reached,
            left_behind,
            rto: measure::rto(measured, job.objectives.rto, "native", true),
            stages: self.stages,
            findings: self.findings,
            errors: self.errors.iter().map(ErrorReport::from).collect(),
            other_backups: self.other_backups,
            cluster: self.cluster,
            next,
            notes: self.notes,
        }
    }
}
