//! What a drill has learned so far.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    drill::{
        CheckOutcome, DrillPlan, Error, Job,
        expectation::Promise,
        format::counted,
        job::{Depth, EngineKind, Target, TargetChoice},
        plan::{PlanRefusal, Window},
        reached::Reached,
        report::{BackupSummary, CheckReport, CheckStatus, DrillCause, SandboxReport},
        row_floor::RowCounts,
        stage::{Stage, StageEnd, StageLog, Volume},
    },
    engine::{RestoreEnd, Restored},
    telemetry::{Progress, progress::ProgressEvent},
    verify::PointRead,
};

/// Which drill it is, and why there is one.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// UUIDv7.
    pub drill_id: String,
    pub started_at: Timestamp,
    pub cause: Option<DrillCause>,
}

impl Beginning {
    /// Of a drill that somebody asks for now.
    fn now() -> Self {
        let drill_id = uuid::Uuid::now_v7().to_string();
        Self { drill_id, started_at: Timestamp::now(), cause: None }
    }
}

/// Grows from stage to stage and becomes the report.
#[derive(Debug)]
pub struct Course {
    pub drill_id: String,
    pub seed: u64,
    pub started_at: Timestamp,
    pub cause: Option<DrillCause>,
    pub job: String,
    pub labels: BTreeMap<String, String>,
    pub depth: Depth,
    pub engine: EngineKind,
    pub target: String,
    pub targeted: bool,
    /// What was planned, where a plan could be made.
    pub plan: Option<Arc<DrillPlan>>,
    pub backup: Option<BackupSummary>,
    pub window: Option<Window>,
    /// When the newest usable segment was stored, as the listing says.
    pub newest_wal_archived: Option<Timestamp>,
    pub promise: Option<Promise>,
    pub reached: Option<Reached>,
    pub heartbeat: Option<Timestamp>,
    pub stages: StageLog,
    pub checks: Vec<CheckReport>,
    pub row_counts: Option<RowCounts>,
    pub errors: Vec<Error>,
    pub sandbox: Option<SandboxReport>,
    pub notes: Vec<String>,
}

/// A stage under way.
#[derive(Debug)]
pub struct RunningStage {
    stage: Stage,
    since: Instant,
    progress: Progress,
}

impl RunningStage {
    /// Starts to time a stage.
    pub fn start(stage: Stage, progress: &Progress) -> Self {
        progress.emit(ProgressEvent::StageStarted { stage, total_bytes: None });
        Self { stage, since: Instant::now(), progress: progress.clone() }
    }

    /// Writes the stage into the log.
    pub fn end(self, course: &mut Course, end: StageEnd, volume: Volume) {
        let duration = self.since.elapsed();
        course.stages.push(self.stage, duration, end, volume);
        let seconds = duration.as_secs_f64();
        self.progress.emit(ProgressEvent::StageFinished { stage: self.stage, seconds, end });
    }
}

impl Course {
    /// At the start of a drill.
    pub fn begin(job: &Job, seed: u64, beginning: Option<Beginning>) -> Self {
        let Beginning { drill_id, started_at, cause } = beginning.unwrap_or_else(Beginning::now);
        Self {
            drill_id,
            seed,
            started_at,
            cause,
            job: job.name.clone(),
            labels: job.labels.clone(),
            depth: job.depth,
            engine: job.engine,
            target: job.recovery_point.to_string(),
            targeted: job.recovery_point.target != TargetChoice::Given(Target::Latest),
            plan: None,
            backup: None,
            window: None,
            newest_wal_archived: None,
            promise: None,
            reached: None,
            heartbeat: None,
            stages: StageLog::default(),
            checks: Vec::new(),
            row_counts: None,
            errors: Vec::new(),
            sandbox: None,
            notes: Vec::new(),
        }
    }

    /// The archive cannot give what the job asks for.
    pub fn refused(&mut self, refusal: PlanRefusal) {
        // Once the WAL was read, the window ends at a commit and no more at the listing's time.
        if self.window.is_none() {
            self.newest_wal_archived = refusal.window.to_time;
        }
        self.window = Some(refusal.window);
        self.check("plan", CheckOutcome::Failed(refusal.findings), Duration::ZERO);
    }

    /// There is a plan.
    pub fn planned(&mut self, plan: &Arc<DrillPlan>) {
        self.plan = Some(plan.clone());
        let info = plan.backup.info.as_ref().ok();
        self.backup = Some(summary(plan));
        self.target.clone_from(&plan.target_words);
        for key in info.map(|i| i.unknown_keys.as_slice()).unwrap_or_default() {
            self.notes.push(format!("`backup.info` has the key `{key}`, which is not known here"));
        }
        self.newest_wal_archived = plan.window.to_time;
        self.window = Some(plan.window.clone());
        let outcome = if plan.findings.is_empty() {
            CheckOutcome::Passed(format!(
                "the base backup is complete by its listing, {} WAL segments follow without a hole",
                plan.wal.len()
            ))
        } else {
            CheckOutcome::Failed(plan.findings.clone())
        };
        self.check("plan", outcome, Duration::ZERO);
    }

    /// The engine came back.
    pub fn restored(&mut self, restored: &mut Restored) {
        self.stages.0.append(&mut restored.stages.0);
        self.notes.append(&mut restored.notes);
        self.promise.clone_from(&restored.promise);
        let findings = std::mem::take(&mut restored.findings);
        let outcome = match &restored.end {
            _ if !findings.is_empty() => CheckOutcome::Failed(findings),
            RestoreEnd::Ready { .. } => CheckOutcome::Passed(
                "every fetched byte was decoded, every WAL record's CRC holds, recovery ended"
                    .to_owned(),
            ),
            RestoreEnd::Damaged => CheckOutcome::Failed(Vec::new()),
            RestoreEnd::Refused(_) | RestoreEnd::Errored(_) => return,
        };
        self.check("restore", outcome, Duration::ZERO);
    }

    /// The read tier came back.
    pub fn read(&mut self, read: PointRead) {
        let PointRead { base, wal, errors, notes, promise, files, wal_records, .. } = read;
        self.notes.extend(notes);
        self.promise = promise;
        let files = format!("{} to the last block of every tar", counted(files, "file"));
        let records = format!("{}, each with a CRC that holds", counted(wal_records, "WAL record"));
        // What could not be read is not known to be good.
        let unread = !errors.is_empty() || self.promise.is_none();
        for (name, findings, looked_at) in [("base", base, files), ("wal", wal, records)] {
            let outcome = match (findings.is_empty(), unread) {
                (false, _) => CheckOutcome::Failed(findings),
                (true, true) => CheckOutcome::Skipped("not everything could be read".to_owned()),
                (true, false) => CheckOutcome::Passed(looked_at),
            };
            self.check(name, outcome, Duration::ZERO);
        }
        self.errors.extend(errors);
    }

    /// Whether a required check has failed so far.
    pub fn has_failed(&self) -> bool {
        !self.errors.is_empty() || self.checks.iter().any(|c| c.status != CheckStatus::Passed)
    }

    /// Adds what was examined.
    pub fn check(&mut self, name: &str, outcome: CheckOutcome, took: Duration) {
        self.checks.push(CheckReport::new(name, outcome, took.as_secs_f64()));
    }
}

/// The base backup of a plan.
pub(super) fn summary(plan: &DrillPlan) -> BackupSummary {
    let info = plan.backup.info.as_ref().ok();
    BackupSummary {
        id: plan.backup.id.clone(),
        name: info.and_then(|i| i.backup_name.clone()),
        why: plan.why.clone(),
        begin_at: info.and_then(|i| i.begin_time),
        end_at: info.and_then(|i| i.end_time),
        begin_lsn: info.and_then(|i| i.begin_xlog).unwrap_or_default(),
        end_lsn: info.and_then(|i| i.end_xlog).unwrap_or_default(),
        timeline: info.and_then(|i| i.timeline).unwrap_or(plan.expectation.timeline),
        system_id: plan.system_id,
        major: plan.major,
        compressed_bytes: plan.base_bytes,
        wal_segments: plan.wal.len() as u64,
        wal_bytes: plan.wal_bytes,
        interval_seconds: plan.backups_apart.map(|apart| apart.as_secs_f64()),
    }
}
