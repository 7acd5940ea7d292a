//! From kept reports to a review.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    drill::{
        Error, Job, Verdict,
        history::Past,
        review::{JobReview, NeverDrilled, Review, SCHEMA_VERSION, UnreadableReport},
        trend::LOOKS_BACK,
    },
    report::{
        kept::Wanted,
        past::{PastReader, Told},
    },
};

/// Jobs that are looked back at at the same time.
const PARALLEL: usize = 16;

/// A span of time, and when it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub since: Timestamp,
    pub until: Timestamp,
    pub now: Timestamp,
}

impl Span {
    /// When the drills begin that trends rest on: a short span says little of them.
    fn trends_since(self) -> Timestamp {
        self.since.min(self.until.checked_sub(LOOKS_BACK).unwrap_or(Timestamp::MIN))
    }
}

/// Reviews the jobs of some stores; none named means all of a store. Of `expected`, jobs that have no
/// report at all were never drilled.
///
/// # Errors
/// What a store gives.
pub async fn review(
    stores: &[(&PastReader, Vec<String>)],
    expected: &[Job],
    span: Span,
) -> Result<Review, Error> {
    let (mut jobs, mut unreadable) = (Vec::new(), Vec::new());
    for (reader, names) in stores {
        let names = if names.is_empty() { reader.store().jobs().await? } else { names.clone() };
        let wanted = Wanted {
            jobs: names.clone(),
            since: Some(span.trends_since()),
            until: Some(span.until),
            ..Wanted::default()
        };
        let mut past: BTreeMap<String, Vec<Past>> = BTreeMap::new();
        // A store without a job has nothing to list, and no name would mean every job.
        let told = if names.is_empty() { Vec::new() } else { reader.read(&wanted).await? };
        for Told { id, past: read } in told {
            match read {
                Ok(one) => past.entry(id.job().to_owned()).or_default().push(one),
                Err(why) => unreadable.push(UnreadableReport {
                    job: id.job().to_owned(),
                    drill_id: id.drill_id().to_owned(),
                    at: id.at(),
                    why: why.to_string(),
                }),
            }
        }
        let reviewed = stream::iter(names).map(|name| {
            let drills = past.remove(&name).unwrap_or_default();
            of_job(reader, name, drills, span)
        });
        let reviewed: Vec<Option<JobReview>> =
            reviewed.buffer_unordered(PARALLEL).try_collect().await?;
        jobs.extend(reviewed.into_iter().flatten());
    }
    jobs.sort_by(|a, b| (&a.job, &a.archive_url).cmp(&(&b.job, &b.archive_url)));
    let known = |name: &str| jobs.iter().any(|job| job.job == name);
    let mut never_drilled: Vec<NeverDrilled> = expected
        .iter()
        .filter(|job| !known(&job.name))
        .map(|job| NeverDrilled {
            job: job.name.clone(),
            archive_url: job.archive.store.url(),
            server: job.archive.server.clone(),
        })
        .collect();
    never_drilled.sort_by(|a, b| a.job.cmp(&b.job));
    Ok(Review {
        schema_version: SCHEMA_VERSION,
        made_at: span.now,
        since: span.since,
        until: span.until,
        trends_since: span.trends_since(),
        jobs,
        never_drilled,
        unreadable,
    })
}

async fn of_job(
    reader: &PastReader,
    name: String,
    drills: Vec<Past>,
    span: Span,
) -> Result<Option<JobReview>, Error> {
    let (mut before, begin) = (Vec::new(), span.trends_since());
    if !drills.iter().any(|past| past.verdict == Verdict::Pass) {
        before.extend(reader.newest(&name, begin, |p| p.verdict == Verdict::Pass).await?);
    }
    if drills.is_empty() {
        before.extend(reader.newest(&name, begin, |_| true).await?);
    }
    let drills: Vec<&Past> = drills.iter().collect();
    let before: Vec<&Past> = before.iter().collect();
    Ok(JobReview::of(&drills, &before, span.since, span.now))
}
