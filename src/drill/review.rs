//! The review of a span of time: every job that was drilled, and what was never drilled.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Verdict,
    format::duration,
    history::Past,
    trend::{Held, Trend},
};

/// Version of the review's JSON. Adding a field does not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// A crossing of the objective that is farther away needs no attention yet.
const SOON: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Every archive over a span of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Review {
    pub schema_version: u32,
    pub made_at: Timestamp,
    pub since: Timestamp,
    /// Before then.
    pub until: Timestamp,
    /// Trends and forecasts rest on the drills from then on, where that is before the span, too.
    pub trends_since: Timestamp,
    /// By name.
    pub jobs: Vec<JobReview>,
    /// Jobs that were named and have no report at all.
    pub never_drilled: Vec<NeverDrilled>,
    /// Reports that could not be read: nothing here counts them.
    pub unreadable: Vec<UnreadableReport>,
}

/// One job over the span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReview {
    pub job: String,
    pub archive_url: String,
    pub server: String,
    /// The newest drill, also one before the span.
    pub last: LastDrill,
    /// The newest pass, also one before the span.
    pub last_pass_at: Option<Timestamp>,
    pub trend: Trend,
    /// What somebody should look at: a sentence each, the worst first.
    pub attention: Vec<String>,
}

/// How a drill ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastDrill {
    pub drill_id: String,
    pub at: Timestamp,
    pub verdict: Verdict,
    pub reason: String,
}

/// A job without a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeverDrilled {
    pub job: String,
    pub archive_url: String,
    pub server: String,
}

/// A report that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableReport {
    pub job: String,
    pub drill_id: String,
    pub at: Timestamp,
    pub why: String,
}

impl JobReview {
    /// Of the drills that a job's trend rests on, in any order; `before` are the newest drill and the newest
    /// pass before them. The span begins `since`. `None` where there is no drill at all.
    #[must_use]
    pub fn of(
        drills: &[&Past],
        before: &[&Past],
        since: Timestamp,
        now: Timestamp,
    ) -> Option<Self> {
        let all = || drills.iter().chain(before).copied();
        let last = all().max_by_key(|past| past.started_at)?;
        let passes = all().filter(|past| past.verdict == Verdict::Pass);
        let last_pass_at = passes.map(|past| past.started_at).max();
        let trend = Trend::counted_from(since, drills, now);
        Some(Self {
            job: last.job.clone(),
            archive_url: last.archive_url.clone(),
            server: last.server.clone(),
            attention: attention(last, last_pass_at, &trend, now),
            last: LastDrill {
                drill_id: last.drill_id.clone(),
                at: last.started_at,
                verdict: last.verdict,
                reason: last.reason.clone(),
            },
            last_pass_at,
            trend,
        })
    }
}

impl Review {
    /// Jobs that need attention, those that were never drilled among them.
    #[must_use]
    pub fn attention_count(&self) -> usize {
        let jobs = self.jobs.iter().filter(|job| !job.attention.is_empty()).count();
        jobs + self.never_drilled.len()
    }
}

fn attention(
    last: &Past,
    last_pass_at: Option<Timestamp>,
    trend: &Trend,
    now: Timestamp,
) -> Vec<String> {
    let mut said = Vec::new();
    if last.verdict != Verdict::Pass {
        said.push(format!("the last drill ended in `{}`: {}", last.verdict, last.reason));
    }
    match last_pass_at {
        None => said.push("no drill has ever passed".to_owned()),
        Some(_) if trend.verdicts.all() == 0 => {
            said.push("there was no drill in this time".to_owned());
        }
        Some(at) if trend.verdicts.pass == 0 => said.push(format!(
            "no drill of this time passed; the last pass is {} ago",
            duration(now.duration_since(at).as_secs_f64())
        )),
        Some(_) => {}
    }
    for (name, held) in [("RTO", trend.rto_objective), ("RPO", trend.rpo_objective)] {
        if held.missed > 0 {
            said.push(format!("the {name} objective was {}", against(held)));
        }
    }
    if let Ok(forecast) = &trend.forecast
        && let Some(at) = forecast.crosses_at
        && at.duration_since(now) < SOON
    {
        let worst = duration(forecast.worst_case_seconds);
        said.push(if at <= now {
            format!(
                "just before the next base backup a restore takes {worst}, over the RTO objective"
            )
        } else {
            let day = at.strftime("%Y-%m-%d");
            format!(
                "the worst case of the restore time, {worst} now, crosses its objective on {day}"
            )
        });
    }
    for slow in &trend.slow {
        said.push(format!(
            "the stage `{}` took {} in the last drill, its median is {}",
            slow.stage.name(),
            duration(slow.seconds),
            duration(slow.median)
        ));
    }
    said
}

/// `held 28 times, missed 2`.
#[must_use]
pub fn against(held: Held) -> String {
    let times =
        |number: u64| if number == 1 { "once".to_owned() } else { format!("{number} times") };
    match (held.held, held.missed) {
        (0, 0) if held.objective_seconds.is_some() => "not measured".to_owned(),
        (0, 0) => "not stated".to_owned(),
        (kept, 0) => format!("held {}", times(kept)),
        (0, missed) => format!("missed {}", times(missed)),
        (kept, missed) => format!("held {}, missed {}", times(kept), times(missed)),
    }
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
