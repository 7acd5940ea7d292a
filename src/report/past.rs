//! Summaries of many kept reports: read several at a time, and remembered in a file of the user, since a
//! report never changes once it is kept.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    thread,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::remembered::{Known, Recalled, Remembered};
use super::kept::{KeptId, ReportStore, Wanted};
use crate::drill::{
    Code, Error, Verdict,
    history::{Past, Unreadable},
    job::StoreLocation,
    trend::LOOKS_BACK,
};

pub mod remembered;

/// Reports of a job that are read at the same time, each held whole meanwhile.
const PARALLEL: usize = 16;

/// Reports that a forecast rests on at most.
pub const MOST_FOR_FORECAST: usize = 200;

/// A kept report: its summary, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub id: KeptId,
    pub past: Result<Past, Unreadable>,
}

/// The past of the jobs of one store.
#[derive(Clone, Debug)]
pub struct PastReader {
    store: Arc<dyn ReportStore>,
    remembered: Option<Remembered>,
}

impl PastReader {
    /// `cache` is the folder for what is remembered; without one every report is read every time.
    #[must_use]
    pub fn new(
        store: Arc<dyn ReportStore>,
        location: &StoreLocation,
        cache: Option<&Path>,
    ) -> Self {
        Self { store, remembered: cache.map(|folder| Remembered::new(folder, location)) }
    }

    /// The reports themselves.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ReportStore> {
        &self.store
    }

    /// What is asked for, newest first.
    ///
    /// # Errors
    /// What the store gives. A report that was removed meanwhile is no error.
    pub async fn read(&self, wanted: &Wanted) -> Result<Vec<Told>, Error> {
        self.read_ended(wanted, &[]).await
    }

    /// As [`Self::read`], but only drills that ended in one of these verdicts; none means any. What cannot
    /// be read has no verdict. The others are let go job by job, so that they take no memory.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn read_ended(
        &self,
        wanted: &Wanted,
        verdicts: &[Verdict],
    ) -> Result<Vec<Told>, Error> {
        let ids = self.store.list(wanted).await?;
        let Wanted { since, until, each, limit, .. } = wanted;
        let all = (since, until, each, limit) == (&None, &None, &None, &None);
        self.tell(ids, all, verdicts).await
    }

    /// The summaries of these, newest first.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn of(&self, ids: Vec<KeptId>) -> Result<Vec<Told>, Error> {
        self.tell(ids, false, &[]).await
    }

    /// The report of a drill of one of these jobs, by names alone; no job named means all.
    ///
    /// # Errors
    /// What the store gives.
    pub async fn find(&self, jobs: &[String], drill_id: &str) -> Result<Option<KeptId>, Error> {
        // Ids of drills hold when they began, to the millisecond (UUIDv7).
        let began = Uuid::parse_str(drill_id)
            .ok()
            .and_then(|id| id.get_timestamp())
            .and_then(|at| Timestamp::from_second(i64::try_from(at.to_unix().0).ok()?).ok());
        let day = SignedDuration::from_hours(24);
        let near = Wanted {
            jobs: jobs.to_vec(),
            since: began.and_then(|at| at.checked_sub(day).ok()),
            until: began.and_then(|at| at.checked_add(day).ok()),
            ..Wanted::default()
        };
        let ids = self.store.list(&near).await?;
        Ok(ids.into_iter().find(|kept| kept.drill_id() == drill_id))
    }

    /// The drills of a job that a forecast as of a time rests on, newest first, without the one of this id.
    /// What cannot be read as a report says nothing.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn for_forecast(
        &self,
        job: &str,
        as_of: Timestamp,
        without: Option<&str>,
    ) -> Result<Vec<Past>, Error> {
        let since = as_of.checked_sub(LOOKS_BACK).ok();
        let wanted = Wanted { since, ..Wanted::job(job).limit(MOST_FOR_FORECAST) };
        let mut ids = self.store.list(&wanted).await?;
        ids.retain(|id| without != Some(id.drill_id()));
        let told = self.of(ids).await?;
        Ok(told.into_iter().filter_map(|told| told.past.ok()).collect())
    }

    /// The newest drill of a job before a time that is as wanted. Reads no more reports than it takes.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn newest(
        &self,
        job: &str,
        before: Timestamp,
        wanted: impl Fn(&Past) -> bool,
    ) -> Result<Option<Past>, Error> {
        let names = Wanted { until: Some(before), ..Wanted::job(job) };
        let ids = self.store.list(&names).await?;
        for stride in ids.chunks(PARALLEL) {
            let told = self.of(stride.to_vec()).await?;
            let found =
                told.into_iter().filter_map(|told| told.past.ok()).find(|past| wanted(past));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// `all`: the ids are every report that the store has of their jobs.
    async fn tell(
        &self,
        ids: Vec<KeptId>,
        all: bool,
        verdicts: &[Verdict],
    ) -> Result<Vec<Told>, Error> {
        let mut jobs: BTreeMap<String, Vec<KeptId>> = BTreeMap::new();
        for id in ids {
            match jobs.get_mut(id.job()) {
                Some(of_job) => of_job.push(id),
                None => drop(jobs.insert(id.job().to_owned(), vec![id])),
            }
        }
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut by_job = stream::iter(jobs)
            .map(|(job, ids)| self.of_job(job, ids, all, verdicts))
            .buffer_unordered(threads);
        let mut told = Vec::new();
        while let Some(mut of_job) = by_job.try_next().await? {
            told.append(&mut of_job);
        }
        told.sort_unstable_by(|a, b| b.id.cmp(&a.id));
        Ok(told)
    }

    /// The summaries of reports of one job, in any order.
    async fn of_job(
        &self,
        job: String,
        ids: Vec<KeptId>,
        all: bool,
        verdicts: &[Verdict],
    ) -> Result<Vec<Told>, Error> {
        let (remembered, name, wanted) = (self.remembered.clone(), job.clone(), verdicts.to_vec());
        let work = move || recall(remembered.as_ref(), &name, ids, all, &wanted);
        let recalled = tokio::task::spawn_blocking(work).await.map_err(ended)?;
        let Memory { known, listed, mut told, unknown } = recalled;
        let reading = stream::iter(unknown).map(|id| self.read_one(id));
        let mut reading = reading.buffer_unordered(PARALLEL);
        let mut fresh = Vec::new();
        while let Some(one) = reading.try_next().await? {
            fresh.extend(one);
        }
        if let Some(remembered) = self.remembered.clone() {
            let write = move || {
                let read =
                    fresh.iter().filter_map(|told| Some((&told.id, told.past.as_ref().ok()?)));
                remembered.write(&job, &known, read, listed.as_ref());
                fresh
            };
            fresh = tokio::task::spawn_blocking(write).await.map_err(ended)?;
        }
        if !verdicts.is_empty() {
            fresh.retain(|told| {
                told.past.as_ref().is_ok_and(|past| verdicts.contains(&past.verdict))
            });
        }
        told.append(&mut fresh);
        Ok(told)
    }

    /// On a thread of its own, since a hundred thousand reports are some CPU seconds. `None`: it is gone.
    async fn read_one(&self, id: KeptId) -> Result<Option<Told>, Error> {
        let store = self.store.clone();
        let read = tokio::spawn(async move {
            let Some(bytes) = store.find(&id).await? else { return Ok(None) };
            Ok(Some(Told { past: Past::read(&bytes), id }))
        });
        read.await.map_err(ended)?
    }
}

/// What is known of a job without reading a report.
struct Memory {
    known: Known,
    /// The names of all reports, where they were listed.
    listed: Option<HashSet<String>>,
    told: Vec<Told>,
    unknown: Vec<KeptId>,
}

fn recall(
    remembered: Option<&Remembered>,
    job: &str,
    ids: Vec<KeptId>,
    all: bool,
    verdicts: &[Verdict],
) -> Memory {
    let known = remembered.map_or_else(Known::default, |remembered| remembered.load(job));
    let mut listed = all.then(|| HashSet::with_capacity(ids.len()));
    let (mut told, mut unknown) = (Vec::new(), Vec::new());
    for id in ids {
        let name = id.file();
        match known.get(&name, verdicts) {
            Recalled::Past(past) => told.push(Told { id, past: Ok(*past) }),
            Recalled::Other => {}
            Recalled::Unknown => unknown.push(id),
        }
        if let Some(listed) = &mut listed {
            listed.insert(name);
        }
    }
    Memory { known, listed, told, unknown }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn ended(error: tokio::task::JoinError) -> Error {
    Error::new(Code::Bug, format!("a task that reads reports ended early: {error}"))
}

#[cfg(test)]
mod tests;
