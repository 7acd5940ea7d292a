//! One drill from job to report.

pub mod catalog;
mod course;
mod floor;
mod forecast;
mod judge;
mod keep;
mod leftovers;
mod notify;
mod proved;
pub mod rescue;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use self::course::Beginning;
use self::{
    course::{Course, RunningStage},
    keep::Keeper,
    notify::Notifier,
};
use crate::{
    check::{self, CheckContext, Observations, Phase},
    drill::{
        Code, DrillPlan, DrillReport, Error, FailureClass, Job,
        error::ErrorKind,
        job::{BasicAuth, Depth, MetricsSpec},
        plan::{self, PlanRefusal},
        row_floor::RowCounts,
        selftest::SelftestReport,
        stage::{Stage, StageEnd, Volume},
    },
    engine::{Engine, EngineContext, Redacted, RestoreEnd, Restored, native::NativeEngine},
    store::{self, SharedStore, secret},
    survey,
    telemetry::{self, Progress, push::Login},
    verify,
};

/// A drill to run.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    pub job: Job,
    /// The same seed gives the same choices; `None` draws one.
    pub seed: Option<u64>,
    /// Which drill it is; `None`: one that begins now.
    pub beginning: Option<Beginning>,
    pub progress: Progress,
    /// Ends the drill; the sandbox is removed all the same.
    pub cancel: CancellationToken,
    /// Another build of this program serves the sandbox as its helper: for callers that are not `pgassay`,
    /// such as tests.
    pub helper: Option<PathBuf>,
}

/// What planning alone says.
#[derive(Debug)]
pub enum PlanOutcome {
    Planned(Box<DrillPlan>),
    Refused(PlanRefusal),
}

/// Plans without fetching anything but the catalog.
///
/// # Errors
/// Whatever keeps the catalog from being read.
pub async fn plan_only(request: &DrillRequest) -> Result<PlanOutcome, Error> {
    let store = store::open(&request.job).await?;
    let seed = request.seed.unwrap_or_else(rand::random);
    plan_from(&store, request, seed, &request.cancel).await
}

async fn plan_from(
    store: &SharedStore,
    request: &DrillRequest,
    seed: u64,
    cancel: &CancellationToken,
) -> Result<PlanOutcome, Error> {
    let job = &request.job;
    let catalog = survey::survey(store, &job.archive, &request.progress, cancel).await?;
    let proved = proved::known(job, &catalog).await?;
    Ok(match plan::plan_knowing(job, &catalog, Timestamp::now(), seed, proved.as_ref()) {
        Ok(plan) => PlanOutcome::Planned(Box::new(plan)),
        Err(refusal) => PlanOutcome::Refused(refusal),
    })
}

/// Runs one drill. Whatever the archive, the store or the machine do ends in a report.
///
/// # Errors
/// Only where there is nothing to report on: errors of [`ErrorKind::Usage`].
pub async fn drill(request: DrillRequest) -> Result<DrillReport, Error> {
    // A secret that is not there is better known before anything is fetched.
    let aides = Aides::of(&request.job).await?;
    aided(&aides, &request).await
}

/// Runs one drill that nobody waits for: what [`drill`] gives as an error is in its report, too.
pub async fn unattended(request: DrillRequest) -> DrillReport {
    let job = &request.job;
    let (aides, error) = match Aides::of(job).await {
        Ok(aides) => match aided(&aides, &request).await {
            Ok(report) => return report,
            Err(error) => (aides, error),
        },
        // The report is kept without them.
        Err(error) => (Aides::none(job), error),
    };
    let mut report = never_begun(job, request.seed, request.beginning.clone(), error);
    aides.ended(&mut report).await;
    report
}

/// What became of the report of a drill that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obituary {
    /// The drill had kept one itself.
    Known,
    Kept,
    NotKept,
}

/// Reports a drill that was killed before it could do that itself.
pub async fn killed(job: &Job, beginning: Beginning) -> Obituary {
    let aides = Aides::of(job).await.unwrap_or_else(|_| Aides::none(job));
    if aides.keeper.has(&beginning).await {
        return Obituary::Known;
    }
    let message = "the drill was killed: the service that ran it ended without a word";
    let error = Error::new(Code::Interrupted, message).class(FailureClass::InfraError);
    let mut report = never_begun(job, None, Some(beginning), error);
    if aides.ended(&mut report).await { Obituary::Kept } else { Obituary::NotKept }
}

fn never_begun(
    job: &Job,
    seed: Option<u64>,
    beginning: Option<Beginning>,
    error: Error,
) -> DrillReport {
    let mut course = Course::begin(job, seed.unwrap_or_else(rand::random), beginning);
    course.errors.push(error);
    judge::conclude(job, course, Timestamp::now())
}

async fn aided(aides: &Aides<'_>, request: &DrillRequest) -> Result<DrillReport, Error> {
    aides.notifier.started().await;
    let leftovers = leftovers::remove(&request.job).await;
    let mut report = drilled(None, request).await?;
    report.notes.extend(leftovers);
    aides.ended(&mut report).await;
    Ok(report)
}

/// Those who take the report.
struct Aides<'a> {
    job: &'a Job,
    keeper: Keeper<'a>,
    notifier: Notifier<'a>,
}

impl<'a> Aides<'a> {
    async fn of(job: &'a Job) -> Result<Self, Error> {
        let keeper = Keeper::of(job).await?;
        Ok(Self { job, keeper, notifier: Notifier::of(job).await? })
    }

    /// Without their secrets: reports are kept, not signed, and nobody is told.
    fn none(job: &'a Job) -> Self {
        Self { job, keeper: Keeper::without_key(job), notifier: Notifier::none(job) }
    }

    /// False where the report could not be kept.
    async fn ended(&self, report: &mut DrillReport) -> bool {
        let kept = self.keeper.keep(report).await;
        deliver(self.job, report).await;
        self.notifier.ended(report).await;
        kept
    }
}

/// Runs one drill of the archive as `store` shows it, wherever the job says that it lies. The report is
/// neither kept nor delivered: that is the caller's.
///
/// # Errors
/// As [`drill`].
pub async fn drill_on(store: SharedStore, request: DrillRequest) -> Result<DrillReport, Error> {
    drilled(Some(store), &request).await
}

async fn drilled(store: Option<SharedStore>, request: &DrillRequest) -> Result<DrillReport, Error> {
    let deadline = Deadline::start(request);
    let mut course = Course::begin(
        &request.job,
        request.seed.unwrap_or_else(rand::random),
        request.beginning.clone(),
    );
    let outcome = run(store, request, &deadline.token, &mut course).await;
    if let Err(error) = outcome {
        let error = deadline.explain(error);
        if error.code.kind() == ErrorKind::Usage {
            return Err(error);
        }
        course.errors.push(error);
    }
    Ok(judge::conclude(&request.job, course, Timestamp::now()))
}

/// Delivers the metrics. Failing to is said, and changes no verdict.
async fn deliver(job: &Job, report: &DrillReport) {
    let (spec, login) = destination(job).await;
    if spec.pushgateway.is_none() && spec.textfile.is_none() {
        return;
    }
    let worst_case = forecast::worst_case(job, report).await;
    for error in telemetry::deliver(report, worst_case, &spec, login.as_ref()).await {
        warn(&error, &error.message);
    }
}

/// Delivers the metrics of a self-test to the places that the job names. Failing to is said.
pub async fn deliver_selftest(job: &Job, report: &SelftestReport) {
    let (spec, login) = destination(job).await;
    for error in telemetry::deliver_selftest(report, &spec, login.as_ref()).await {
        warn(&error, &error.message);
    }
}

/// Where metrics go, and who we are there; not to a gateway whose login cannot be had.
async fn destination(job: &Job) -> (MetricsSpec, Option<Login>) {
    let mut spec = job.metrics.clone();
    let login = match &spec.basic_auth {
        Some(auth) if spec.pushgateway.is_some() => login(auth).await,
        _ => Ok(None),
    };
    let login = login.unwrap_or_else(|error| {
        let error = error.hint("Set the variable or file that `metrics.basicAuth` names.");
        warn(&error, &format!("metrics are not pushed: {error}"));
        spec.pushgateway = None;
        None
    });
    (spec, login)
}

async fn login(auth: &BasicAuth) -> Result<Option<Login>, Error> {
    let username = secret::read(&auth.username).await?.expose().to_owned();
    let password = secret::read(&auth.password).await?.expose().to_owned();
    Ok(Some(Login { username, password }))
}

/// Everything between the first listing and the end of the teardown. What is learned goes into
/// `course`; an error is what ended it early.
async fn run(
    given: Option<SharedStore>,
    request: &DrillRequest,
    cancel: &CancellationToken,
    course: &mut Course,
) -> Result<(), Error> {
    let job = Arc::new(request.job.clone());
    // A secret that is not there is better known before anything is fetched.
    let passwords = passwords(&job).await?;
    let (store, plan) = {
        let stage = RunningStage::start(Stage::Plan, &request.progress);
        let planned = async {
            let store = match given {
                Some(store) => store,
                None => store::open(&job).await?,
            };
            let outcome = plan_from(&store, request, course.seed, cancel).await?;
            Ok::<_, Error>((store, outcome))
        };
        let planned = planned.await;
        let end = if planned.is_ok() { StageEnd::Done } else { StageEnd::Aborted };
        stage.end(course, end, Volume::default());
        match planned? {
            (store, PlanOutcome::Planned(plan)) => (store, Arc::new(*plan)),
            (_, PlanOutcome::Refused(refusal)) => {
                course.refused(refusal);
                return Ok(());
            }
        }
    };
    course.planned(&plan);
    match job.depth {
        Depth::Catalog => return Ok(()),
        Depth::Read => return read(request, &store, &plan, cancel, course).await,
        Depth::Restore | Depth::Deep => {}
    }

    let context = EngineContext {
        job: job.clone(),
        plan: plan.clone(),
        store,
        drill_id: course.drill_id.clone(),
        progress: request.progress.clone(),
        cancel: cancel.clone(),
    };
    let engine = request.helper.clone().map_or_else(NativeEngine::new, NativeEngine::with_program);
    let mut restored = engine.restore(context).await;
    course.restored(&mut restored);
    let examined = examine(request, &job, cancel, passwords, &mut restored, course).await;
    if let Some(sandbox) = restored.sandbox.take() {
        let stage = RunningStage::start(Stage::Teardown, &request.progress);
        let failed = course.has_failed() || examined.is_err();
        course.sandbox = Some(sandbox.teardown(failed).await);
        stage.end(course, StageEnd::Done, Volume::default());
    }
    examined
}

/// Reads what recovery would read, and restores nothing.
async fn read(
    request: &DrillRequest,
    store: &SharedStore,
    plan: &DrillPlan,
    cancel: &CancellationToken,
    course: &mut Course,
) -> Result<(), Error> {
    let stage = RunningStage::start(Stage::Fetch, &request.progress);
    let read = verify::read_plan(store, plan, &request.progress, cancel).await;
    let (end, volume) = match &read {
        Ok(read) => (
            StageEnd::Done,
            Volume {
                fetched_bytes: read.bytes,
                restored_bytes: 0,
                files: read.files,
                wal_segments: read.wal_segments,
            },
        ),
        Err(_) => (StageEnd::Aborted, Volume::default()),
    };
    stage.end(course, end, volume);
    course.read(read?);
    Ok(())
}

/// Looks at the recovered cluster.
async fn examine(
    request: &DrillRequest,
    job: &Arc<Job>,
    cancel: &CancellationToken,
    passwords: BTreeMap<String, Redacted>,
    restored: &mut Restored,
    course: &mut Course,
) -> Result<(), Error> {
    let end = std::mem::replace(&mut restored.end, RestoreEnd::Damaged);
    let (reached, cluster) = match end {
        RestoreEnd::Ready { reached, cluster } => (reached, cluster),
        RestoreEnd::Damaged => return Ok(()),
        RestoreEnd::Refused(refusal) => {
            course.refused(refusal);
            return Ok(());
        }
        RestoreEnd::Errored(error) => return Err(error),
    };
    course.reached = Some(reached.clone());
    let first = Instant::now();
    if let Err(failure) = check::connection::first_write(&cluster, cancel).await {
        course.check("firstQuery", failure.into(), first.elapsed());
        return Ok(());
    }
    course.stages.extend_promote(first.elapsed());

    let context = CheckContext {
        promise: restored.promise.clone(),
        reached,
        cluster,
        seed: course.seed,
        floor: floor::known(job, course).await,
        passwords,
        preloads: std::mem::take(&mut restored.preloads),
        observations: Observations::after(std::mem::take(&mut restored.unfinished)),
        progress: request.progress.clone(),
        cancel: cancel.clone(),
    };
    let stage = RunningStage::start(Stage::Verify, &request.progress);
    let checks = check::registry(job);
    let mut reports = check::run_all(&checks, &context, Phase::Running).await;
    let mut stopped = Ok(());
    if checks.iter().any(|c| c.phase() == Phase::Stopped) {
        if let Some(sandbox) = restored.sandbox.as_mut() {
            stopped = sandbox.stop_server().await;
        }
        if stopped.is_ok() {
            reports.extend(check::run_all(&checks, &context, Phase::Stopped).await);
        }
    }
    course.checks.extend(reports);
    let seen = context.observations.snapshot();
    course.heartbeat = seen.heartbeat;
    course.row_counts = seen.all_read.then(|| {
        let spec = job.row_floor();
        RowCounts::bounded(check::row_floor::row_counts(&seen, spec), spec)
    });
    let end = if cancel.is_cancelled() { StageEnd::Aborted } else { StageEnd::Done };
    stage.end(course, end, Volume::default());
    stopped?;
    if cancel.is_cancelled() { Err(interrupted()) } else { Ok(()) }
}

/// Passwords of the roles that are to log in.
async fn passwords(job: &Job) -> Result<BTreeMap<String, Redacted>, Error> {
    let mut passwords = BTreeMap::new();
    for role in job.login_roles() {
        let Some(source) = &role.password else { continue };
        let secret = secret::read(source).await.map_err(|error| {
            error.hint("Set the variable or file that `loginRoles` names in the job.")
        })?;
        passwords.insert(role.name.clone(), Redacted(secret.expose().to_owned()));
    }
    Ok(passwords)
}

/// What failed beside the drill: the verdict stands.
fn warn(error: &Error, message: &str) {
    let hint = error.hint.as_deref().unwrap_or_default();
    tracing::warn!(code = error.code.as_str(), hint, "{message}");
}

fn interrupted() -> Error {
    Error::new(Code::Interrupted, "the drill was interrupted")
}

/// The job's total limit: a token that also ends when the time is over.
struct Deadline {
    token: CancellationToken,
    caller: CancellationToken,
    limit: Option<std::time::Duration>,
    watch: Option<tokio::task::JoinHandle<()>>,
}

impl Deadline {
    fn start(request: &DrillRequest) -> Self {
        let token = request.cancel.child_token();
        let limit = request.job.limits.total;
        let watch = limit.map(|limit| {
            let token = token.clone();
            tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                token.cancel();
            })
        });
        Self { token, caller: request.cancel.clone(), limit, watch }
    }

    /// An interruption that nobody asked for is the deadline.
    fn explain(&self, error: Error) -> Error {
        match self.limit {
            Some(limit) if error.code == Code::Interrupted && !self.caller.is_cancelled() => {
                let message =
                    format!("the drill took longer than `limits.total`, {} s", limit.as_secs());
                Error::new(Code::DeadlineExceeded, message).class(FailureClass::NoProgress).hint(
                    "Raise `limits.total` in the job, or look at the stages for the slow one.",
                )
            }
            _ => error,
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}
