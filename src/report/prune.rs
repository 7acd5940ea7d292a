//! Removing old reports, by age and count, job by job.
//!
//! Any number may do so at once, beside drills that keep new reports: a report is removed by its name or
//! is gone already, and what is listed meanwhile only makes others older. What each leaves is never less
//! than its own rules say.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::{
    kept::{KeptId, Wanted},
    past::PastReader,
};
use crate::drill::{Error, Verdict};

/// Reports that are removed at the same time.
const PARALLEL: usize = 16;

/// Reports that are read at once in search of a pass.
const STRIDE: usize = 32;

/// Which reports may go: those that every rule which is given lets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Only what is older.
    pub older_than: Option<Duration>,
    /// Never one of the newest so many of its job.
    pub keep: Option<usize>,
}

/// What becomes of the reports of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    pub job: String,
    /// The newest first.
    pub remove: Vec<KeptId>,
    /// What the rules let go and stays all the same, and why.
    pub spared: Vec<(KeptId, &'static str)>,
    pub left: usize,
}

/// Says what is to be removed, and removes nothing. `jobs`: none means all of the store.
///
/// # Errors
/// What the store gives.
pub async fn plan(
    reader: &PastReader,
    jobs: &[String],
    policy: Policy,
    now: Timestamp,
) -> Result<Vec<JobPlan>, Error> {
    let jobs = if jobs.is_empty() { reader.store().jobs().await? } else { jobs.to_vec() };
    let planned = stream::iter(jobs).map(|job| of_job(reader, job, policy, now));
    let mut plans: Vec<JobPlan> = planned.buffer_unordered(PARALLEL).try_collect().await?;
    plans.sort_by(|a, b| a.job.cmp(&b.job));
    Ok(plans)
}

async fn of_job(
    reader: &PastReader,
    job: String,
    policy: Policy,
    now: Timestamp,
) -> Result<JobPlan, Error> {
    let ids = reader.store().list(&Wanted::job(&job)).await?;
    let age =
        policy.older_than.map(|age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
    let before = age.map(|age| now.checked_sub(age).unwrap_or(Timestamp::MIN));
    let may_go = |index: usize, id: &KeptId| {
        index >= policy.keep.unwrap_or(0) && before.is_none_or(|before| id.at() < before)
    };
    let any = ids.iter().enumerate().any(|(index, id)| may_go(index, id));
    let needed = if any { needed(reader, &ids).await? } else { Vec::new() };
    let (mut remove, mut spared) = (Vec::new(), Vec::new());
    let all = ids.len();
    for (index, id) in ids.into_iter().enumerate() {
        if !may_go(index, &id) {
            continue;
        }
        match needed.iter().find(|(needed, _)| *needed == id) {
            Some((_, why)) => spared.push((id, *why)),
            None => remove.push(id),
        }
    }
    Ok(JobPlan { job, left: all - remove.len(), remove, spared })
}

/// What must stay: the newest pass, the newest sound drill, the newest sound one that counted rows (which
/// `rowFloor` compares with), and what cannot be read and might be one of them.
async fn needed(reader: &PastReader, ids: &[KeptId]) -> Result<Vec<(KeptId, &'static str)>, Error> {
    let mut needed: Vec<(KeptId, &'static str)> = Vec::new();
    let (mut passed, mut sound, mut counted) = (false, false, false);
    for stride in ids.chunks(STRIDE) {
        for told in reader.of(stride.to_vec()).await? {
            let why = match &told.past {
                Err(_) => Some("it cannot be read, and might be the newest pass"),
                Ok(past) => {
                    let pass = past.verdict == Verdict::Pass && !passed;
                    let first = past.is_sound() && !sound;
                    let floor = past.is_sound() && past.counted_rows && !counted;
                    (passed, sound, counted) = (passed || pass, sound || first, counted || floor);
                    match (pass, first, floor) {
                        (true, ..) => Some("the newest pass of its job"),
                        (_, true, _) => Some("the newest sound drill of its job"),
                        (.., true) => Some("the newest drill of its job that counted rows"),
                        (false, false, false) => None,
                    }
                }
            };
            needed.extend(why.map(|why| (told.id, why)));
            if passed && counted {
                return Ok(needed);
            }
        }
    }
    Ok(needed)
}

/// Removes what the plans say.
///
/// # Errors
/// What the store gives; some reports are gone then, and a second run removes the rest.
pub async fn carry_out(reader: &PastReader, plans: &[JobPlan]) -> Result<(), Error> {
    let ids = plans.iter().flat_map(|plan| &plan.remove);
    stream::iter(ids)
        .map(Ok)
        .try_for_each_concurrent(PARALLEL, |id| reader.store().remove(id))
        .await
}

#[cfg(test)]
mod tests;
