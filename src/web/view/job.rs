//! One job: when it drills, what its last drills came to, and whether somebody should look at it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ArchiveView, BeatView, DrillView, RunningView};
use crate::{
    calendar::{Calendar, Expression},
    drill::Job,
    schedule::{
        agenda::{Cause, Wait},
        overdue::{Since, overdue_at},
    },
    service::{NextSlot, Shown, ShownJob},
    web::recent::{Pass, Reading, Standing},
};

/// One job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    pub job: String,
    /// Whether a file of the folder has it. Of others there are reports alone.
    pub in_folder: bool,
    pub archive: ArchiveView,
    /// Whether its reports are kept: otherwise only what ended while the service ran is known.
    pub keeps_reports: bool,
    pub schedule: Option<ScheduleView>,
    /// A new base backup is a reason for a drill, too.
    pub after_backup: bool,
    pub next: Option<NextView>,
    /// A drill that has come and not begun.
    pub waiting: Option<WaitView>,
    pub running: Option<RunningView>,
    pub last: Option<DrillView>,
    pub last_pass: Option<PassView>,
    pub rto_objective_seconds: Option<f64>,
    pub rpo_objective_seconds: Option<f64>,
    /// Why it is not known how the job stands: its store cannot be read, or its newest report.
    pub unknown: Option<String>,
    /// From when on nothing has passed for two periods of the job; null where it has none.
    pub overdue_at: Option<Timestamp>,
    pub overdue: bool,
    /// The newest drills, the oldest of them first.
    pub recent: Vec<BeatView>,
}

/// When a job drills.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScheduleView {
    pub expression: String,
    pub time_zone: String,
    pub words: String,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct NextView {
    pub slot: Timestamp,
    /// When in the window of its slot the drill begins.
    pub start: Timestamp,
}

/// A drill that waits.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct WaitView {
    pub since: Timestamp,
    /// `slot`, `backup` or `hand`.
    pub cause: &'static str,
    /// It waits for the drill before it; otherwise for room.
    pub behind_its_own: bool,
}

/// A drill that passed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PassView {
    pub drill_id: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

impl JobView {
    /// A job of the folder.
    #[must_use]
    pub fn of(
        shown: &ShownJob,
        all: &Shown,
        standing: Option<&Standing>,
        reading: &Reading,
        now: Timestamp,
    ) -> Self {
        let job = &*shown.job;
        let last_pass = standing.and_then(|standing| standing.last_pass.as_ref());
        let overdue_at = overdue(job, shown.since, standing);
        let kept = job.report_store.is_some();
        let unknown = unknown(&job.name, kept, standing, reading);
        let overdue = unknown.is_none() && overdue_at.is_some_and(|at| at <= now);
        let seconds = |objective: std::time::Duration| objective.as_secs_f64();
        Self {
            job: job.name.clone(),
            in_folder: true,
            archive: ArchiveView::of(job),
            keeps_reports: kept,
            schedule: schedule(job),
            after_backup: job.timing.after_backup,
            next: shown.next.map(|NextSlot { slot, start }| NextView { slot, start }),
            waiting: shown.waiting.as_ref().map(WaitView::of),
            running: all.running(&job.name).map(RunningView::of),
            last: standing.and_then(|standing| standing.last.as_deref()).map(DrillView::of),
            last_pass: last_pass.map(PassView::of),
            rto_objective_seconds: job.objectives.rto.map(seconds),
            rpo_objective_seconds: job.objectives.rpo.map(seconds),
            unknown,
            overdue_at,
            overdue,
            recent: beats(standing),
        }
    }

    /// A job of which there are reports alone.
    #[must_use]
    pub fn of_reports(standing: &Standing, all: &Shown, reading: &Reading) -> Self {
        let last = standing.last.as_deref();
        let objective =
            |measure: Option<crate::drill::history::Measure>| measure?.objective_seconds;
        Self {
            job: standing.job.clone(),
            in_folder: false,
            archive: ArchiveView::named(
                last.map_or("", |last| &last.archive_url),
                last.map_or("", |last| &last.server),
            ),
            keeps_reports: true,
            schedule: None,
            after_backup: false,
            next: None,
            waiting: None,
            // Its file may have gone since it began.
            running: all.running(&standing.job).map(RunningView::of),
            last: last.map(DrillView::of),
            last_pass: standing.last_pass.as_ref().map(PassView::of),
            rto_objective_seconds: objective(last.and_then(|last| last.rto)),
            rpo_objective_seconds: objective(last.and_then(|last| last.rpo)),
            unknown: unknown(&standing.job, false, Some(standing), reading),
            overdue_at: None,
            overdue: false,
            recent: beats(Some(standing)),
        }
    }

    /// Whether its last drill passed, as deep as the job looks.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let passed = self.last_pass.as_ref().map(|pass| &pass.drill_id);
        self.last.as_ref().is_some_and(|last| passed == Some(&last.drill_id))
    }

    /// It is overdue, or its last drill did not pass, or it is not known how it stands.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.overdue || self.unknown.is_some() || !self.is_good()
    }
}

fn beats(standing: Option<&Standing>) -> Vec<BeatView> {
    standing.map_or_else(Vec::new, |standing| standing.beats.iter().map(BeatView::of).collect())
}

/// `kept`: its reports are in a store.
fn unknown(
    job: &str,
    kept: bool,
    standing: Option<&Standing>,
    reading: &Reading,
) -> Option<String> {
    let why = if kept && reading.at.is_none() {
        "its reports are being read"
    } else if reading.unknown.contains(job) {
        "its reports cannot be read now"
    } else if standing.is_some_and(Standing::is_unreadable) {
        "its newest report cannot be read"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// From when on a job is overdue.
#[must_use]
pub fn overdue(
    job: &Job,
    known_since: Timestamp,
    standing: Option<&Standing>,
) -> Option<Timestamp> {
    let apart = standing.and_then(|standing| standing.backups_apart);
    let apart = apart.and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
    let pass = standing.and_then(|standing| standing.last_pass.as_ref());
    // The service may have started long after the job's first drill.
    let first = || {
        let first = standing.and_then(|standing| standing.beats.first());
        first.map_or(known_since, |first| first.id.at().min(known_since))
    };
    let since = pass.map_or_else(
        || Since::Start(first()),
        |pass| Since::Pass { started_at: pass.started_at, finished_at: pass.finished_at },
    );
    overdue_at(&job.timing, apart, since)
}

fn schedule(job: &Job) -> Option<ScheduleView> {
    let expression = job.timing.schedule.as_deref()?;
    // It was read before: what is wrong with it would have been told.
    let words = Expression::parse(expression).ok()?.words();
    let calendar = Calendar::parse(expression, job.timing.time_zone.as_deref()).ok()?;
    let time_zone = calendar.zone().name().to_owned();
    Some(ScheduleView { expression: expression.to_owned(), time_zone, words })
}

impl WaitView {
    fn of(wait: &Wait) -> Self {
        let cause = match wait.cause {
            Cause::Slot(_) => "slot",
            Cause::Backup(_) => "backup",
            Cause::Hand(_) => "hand",
        };
        Self { since: wait.since, cause, behind_its_own: wait.behind_its_own }
    }
}

impl PassView {
    fn of(pass: &Pass) -> Self {
        Self {
            drill_id: pass.drill_id.clone(),
            started_at: pass.started_at,
            finished_at: pass.finished_at,
        }
    }
}
