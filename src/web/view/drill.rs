//! One drill: over, or running.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    drill::{
        history::{Measure, Past},
        report::DrillCause,
        stage::StageEnd,
    },
    service::ShownDrill,
    telemetry::live::{LiveCheck, LiveStage},
    web::recent::Beat,
};

/// A drill that is over, in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DrillView {
    pub drill_id: String,
    pub job: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// `pass`, `breach`, `fail` or `inconclusive`.
    pub verdict: &'static str,
    pub reason: String,
    pub rto: Option<MeasureView>,
    pub rpo: Option<MeasureView>,
    pub backup_id: Option<String>,
}

/// A restore time or a data loss against its objective.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct MeasureView {
    pub seconds: f64,
    pub objective_seconds: Option<f64>,
    pub exceeded: bool,
    /// Whether it was measured in a way that can be held against an objective.
    pub counts: bool,
}

/// A drill among the newest of a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BeatView {
    pub drill_id: String,
    pub started_at: Timestamp,
    /// Null where the report cannot be read.
    pub verdict: Option<&'static str>,
    pub rto_seconds: Option<f64>,
}

/// A drill that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunningView {
    pub drill_id: String,
    pub job: String,
    pub started_at: Timestamp,
    /// Null where somebody asked for it.
    pub cause: Option<CauseView>,
    /// In the order in which they began; the last one may still run.
    pub stages: Vec<StageView>,
    pub checks: Vec<CheckView>,
    /// The newest last.
    pub notes: Vec<String>,
}

/// Why a drill began that nobody asked for.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CauseView {
    /// A slot of its schedule.
    Slot { at: Timestamp },
    /// A base backup that was new.
    Backup { ended_at: Timestamp },
}

/// A stage that has begun.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StageView {
    pub stage: &'static str,
    pub began_at: Timestamp,
    /// Null while it runs.
    pub seconds: Option<f64>,
    /// `done`, or `aborted` where the drill left it without finishing it; null while it runs.
    pub end: Option<&'static str>,
    pub fetched_bytes: u64,
    /// Bytes that it will fetch, where that is known.
    pub total_bytes: Option<u64>,
    /// The segment that replay has asked for last, and the end of the WAL.
    pub replay_lsn: Option<String>,
    pub replay_end_lsn: Option<String>,
    /// The share that is done, from 0 to 1, where it can be told; null where it was left.
    pub share: Option<f64>,
}

/// A check that has begun.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckView {
    pub check: String,
    /// `passed`, `failed`, `skipped` or `errored`; null while it runs.
    pub status: Option<&'static str>,
    pub seconds: Option<f64>,
    pub done: Option<u64>,
    /// May be an estimate.
    pub total: Option<u64>,
    /// Of `done` and `total`.
    pub unit: Option<&'static str>,
}

impl DrillView {
    #[must_use]
    pub fn of(past: &Past) -> Self {
        Self {
            drill_id: past.drill_id.clone(),
            job: past.job.clone(),
            // As names of reports have it, so that `since` and `until` meet it.
            started_at: millisecond(past.started_at),
            finished_at: past.finished_at,
            verdict: past.verdict.name(),
            reason: past.reason.clone(),
            rto: past.rto.map(MeasureView::of),
            rpo: past.rpo.map(MeasureView::of),
            backup_id: past.backup.as_ref().map(|backup| backup.id.clone()),
        }
    }
}

fn millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

impl MeasureView {
    fn of(Measure { seconds, objective_seconds, exceeded, counts }: Measure) -> Self {
        Self { seconds, objective_seconds, exceeded, counts }
    }
}

impl BeatView {
    #[must_use]
    pub fn of(beat: &Beat) -> Self {
        Self {
            drill_id: beat.id.drill_id().to_owned(),
            started_at: beat.id.at(),
            verdict: beat.verdict.map(crate::drill::Verdict::name),
            rto_seconds: beat.rto_seconds,
        }
    }
}

impl RunningView {
    #[must_use]
    pub fn of(shown: &ShownDrill) -> Self {
        let course = shown.live.course();
        Self {
            drill_id: shown.drill.drill_id.clone(),
            job: shown.drill.job.clone(),
            started_at: shown.drill.started_at,
            cause: shown.drill.cause.map(|cause| match cause {
                DrillCause::Slot { at } => CauseView::Slot { at },
                DrillCause::Backup { ended_at } => CauseView::Backup { ended_at },
            }),
            stages: course.stages.iter().map(StageView::of).collect(),
            checks: course.checks.iter().map(CheckView::of).collect(),
            notes: course.notes,
        }
    }

    /// The stage that runs, or the one that ended last.
    #[must_use]
    pub fn stage(&self) -> Option<&StageView> {
        self.stages.last()
    }
}

impl StageView {
    fn of(stage: &LiveStage) -> Self {
        Self {
            stage: stage.stage.name(),
            began_at: stage.began_at,
            seconds: stage.seconds,
            end: stage.end.map(|end| match end {
                StageEnd::Done => "done",
                StageEnd::Aborted => "aborted",
            }),
            fetched_bytes: stage.fetched_bytes,
            total_bytes: stage.total_bytes,
            replay_lsn: stage.replay.map(|replay| replay.at.to_string()),
            replay_end_lsn: stage.replay.map(|replay| replay.end.to_string()),
            share: stage.share(),
        }
    }
}

impl CheckView {
    fn of(check: &LiveCheck) -> Self {
        let progress = check.progress;
        Self {
            check: check.name.clone(),
            status: check.status,
            seconds: check.seconds,
            done: progress.map(|(done, ..)| done),
            total: progress.map(|(_, total, _)| total),
            unit: progress.map(|(.., unit)| unit),
        }
    }
}
