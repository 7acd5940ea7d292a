//! Listing the stores of all jobs, each once however many jobs name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    MOST_BEATS, Recent, Standing,
    standing::{Counts, News, exported},
};
use crate::{
    drill::{
        Code, Error,
        job::{StoreLocation, StoreScheme},
        trend::Trend,
    },
    report::{
        json,
        kept::{KeptId, Wanted},
        past::{PastReader, Told},
    },
    service::Shown,
    web::stores::{self, Stores},
};

/// Jobs that are looked back at at the same time.
const PARALLEL: usize = 8;

/// A store that takes longer for a listing has hung.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the stores of all jobs hold.
#[derive(Debug)]
pub struct Shelves {
    stores: Stores,
    /// Jobs of the folder, and which drills say how they stand.
    named: BTreeMap<String, Counts>,
    /// Jobs that no file of the folder names, but a store.
    others: BTreeSet<String>,
    /// Jobs whose store has not been listed since they came or changed.
    fresh: BTreeSet<String>,
    /// When each was listed to its end.
    listed: Vec<(StoreLocation, Timestamp)>,
    problems: Vec<(StoreLocation, String)>,
}

impl Shelves {
    pub fn new(stores: Stores) -> Self {
        Self {
            stores,
            named: BTreeMap::new(),
            others: BTreeSet::new(),
            fresh: BTreeSet::new(),
            listed: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Whether other jobs are there than before, or their reports are elsewhere.
    pub fn is_other(&self, shown: &Shown) -> bool {
        let same = |(name, counts): (&String, &Counts)| {
            shown.job(name).is_some_and(|shown| Counts::of(&shown.job) == *counts)
        };
        shown.jobs.len() != self.named.len() || !self.named.iter().all(same)
    }

    /// Whether a job is in the folder or in a store.
    pub fn knows(&self, name: &str) -> bool {
        self.named.contains_key(name) || self.others.contains(name)
    }

    /// Takes the jobs that there are now. What was known of those that are others now is forgotten.
    pub fn follow(&mut self, shown: &Shown, recent: &Recent) {
        let jobs = shown.jobs.iter().map(|shown| &shown.job);
        let named: BTreeMap<String, Counts> =
            jobs.map(|job| (job.name.clone(), Counts::of(job))).collect();
        for (name, counts) in &named {
            if self.named.get(name) != Some(counts) {
                recent.forget(name);
                if counts.store.is_some() {
                    self.fresh.insert(name.clone());
                }
            }
        }
        self.fresh.retain(|name| named.contains_key(name));
        self.named = named;
        self.others.clear();
        let named = &self.named;
        let wanted =
            |at: &StoreLocation| named.values().any(|counts| counts.store.as_ref() == Some(at));
        self.listed.retain(|(at, _)| wanted(at));
        self.problems.retain(|(at, _)| wanted(at));
    }

    /// The same of every job of the folder.
    pub fn known(&self) -> BTreeMap<String, Counts> {
        self.named.clone()
    }

    /// Which drills say how a job stands.
    pub fn counts(&self, job: &str) -> Option<Counts> {
        self.named.get(job).cloned()
    }

    fn locations(&self) -> impl Iterator<Item = &StoreLocation> {
        self.named.values().filter_map(|counts| counts.store.as_ref())
    }

    /// Whether every store was listed, or has said why it cannot be.
    pub fn all_asked(&self) -> bool {
        let has = |known: &StoreLocation, location: &StoreLocation| known == location;
        self.locations().all(|location| {
            self.listed.iter().any(|(at, _)| has(at, location))
                || self.problems.iter().any(|(at, _)| has(at, location))
        })
    }

    /// When the store was listed that was not for the longest time; `None`: there is no store.
    pub fn listed_at(&self) -> Option<Timestamp> {
        self.listed.iter().map(|(_, when)| *when).min()
    }

    /// Jobs whose reports are not known: their store could not be listed the last time, or was not since.
    pub fn unknown(&self) -> BTreeSet<String> {
        let failed = |counts: &Counts| {
            let failed = |at: &StoreLocation| self.problems.iter().any(|(known, _)| known == at);
            counts.store.as_ref().is_some_and(failed)
        };
        let failed = self.named.iter().filter(|(_, c)| failed(c)).map(|(name, _)| name);
        failed.chain(&self.fresh).cloned().collect()
    }

    /// A sentence for each store that could not be listed.
    pub fn problems(&self) -> Vec<String> {
        self.problems.iter().map(|(_, why)| why.clone()).collect()
    }

    /// Lists the stores of a kind and reads what is new.
    pub async fn list(&mut self, scheme: StoreScheme, recent: &Recent) {
        let locations = stores::each_once(self.locations().filter(|at| at.scheme == scheme));
        let locations: Vec<StoreLocation> = locations.into_iter().cloned().collect();
        for location in locations {
            let listing = timeout(PATIENCE, self.list_one(&location, recent)).await;
            let outcome = listing.unwrap_or_else(|_| {
                let message = format!("{} does not answer", location.url());
                Err(Error::new(Code::ReportStore, message))
            });
            let told = self.problems.iter().any(|(at, _)| *at == location);
            self.problems.retain(|(at, _)| *at != location);
            match outcome {
                Ok(()) => {
                    self.listed.retain(|(at, _)| *at != location);
                    self.listed.push((location, Timestamp::now()));
                }
                Err(error) => {
                    // Credentials may be others by now.
                    self.stores.close(&location).await;
                    if !told {
                        tracing::warn!("the pages do not know what has been drilled: {error}");
                    }
                    self.problems.push((location, error.to_string()));
                }
            }
        }
    }

    /// What the newest drills forecast, of the jobs of a kind of store. Many more reports are read for it than
    /// for anything else. What cannot be read now is left to the next time.
    pub async fn forecast(&self, scheme: StoreScheme, recent: &Recent) {
        let due = recent.all().into_iter().filter_map(|standing| {
            let location = self.named.get(&standing.job)?.store.clone()?;
            let fails = self.problems.iter().any(|(at, _)| *at == location);
            let due = location.scheme == scheme && !fails && standing.to_forecast().is_some();
            due.then_some((location, standing))
        });
        let due: Vec<(StoreLocation, Arc<Standing>)> = due.collect();
        let looked = stream::iter(due).map(|(location, standing)| async move {
            let reader = self.stores.reader(&location).await?;
            look_ahead(&reader, recent, &standing).await
        });
        // What is not done by then is left to the next time.
        let looked = looked.buffer_unordered(PARALLEL).for_each(async |looked| {
            if let Err(error) = looked {
                tracing::debug!("a forecast is not known: {error}");
            }
        });
        let _ = timeout(PATIENCE, looked).await;
    }

    async fn list_one(&mut self, location: &StoreLocation, recent: &Recent) -> Result<(), Error> {
        let reader = self.stores.reader(location).await?;
        let store = reader.store();
        let of_here = self.named.iter().filter(|(_, c)| c.store.as_ref() == Some(location));
        let mut jobs: Vec<String> = of_here.map(|(name, _)| name.clone()).collect();
        // In a bucket every job is some more requests.
        if location.scheme == StoreScheme::File {
            let mut others = store.jobs().await?;
            others.retain(|name| !self.named.contains_key(name));
            self.others.extend(others.iter().cloned());
            jobs.append(&mut others);
        }
        let of_here = jobs.clone();
        let wanted = Wanted { jobs, each: Some(MOST_BEATS), ..Wanted::default() };
        // A job without a report may have had one.
        let mut by_job: BTreeMap<String, Vec<KeptId>> =
            wanted.jobs.iter().map(|job| (job.clone(), Vec::new())).collect();
        // No name would mean every job.
        let listed = if wanted.jobs.is_empty() { Vec::new() } else { store.list(&wanted).await? };
        for id in listed {
            by_job.entry(id.job().to_owned()).or_default().push(id);
        }
        // One question for all that is new, so that they are read side by side.
        let mut unknown: Vec<KeptId> = Vec::new();
        for (job, ids) in &by_job {
            if recent.job(job).is_some_and(|standing| standing.is_stale(ids)) {
                recent.forget(job);
            }
            let standing = recent.job(job);
            let is_new = |id: &&KeptId| standing.as_ref().is_none_or(|known| !known.knows(id));
            unknown.extend(ids.iter().filter(is_new).cloned());
        }
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for one in if unknown.is_empty() { Vec::new() } else { reader.of(unknown).await? } {
            told.entry(one.id.job().to_owned()).or_default().push(one);
        }
        for (job, told) in told {
            recent.take(&job, self.counts(&job), News::Told(told));
        }
        self.fresh.retain(|job| !of_here.contains(job));
        let standings: Vec<Arc<Standing>> =
            by_job.keys().filter_map(|job| recent.job(job)).collect();
        let looked = stream::iter(standings).map(|job| look_closer(&reader, recent, job));
        let looked: Vec<Result<(), Error>> = looked.buffer_unordered(PARALLEL).collect().await;
        looked.into_iter().collect()
    }
}

/// The newest pass, where it is not among the newest drills, and what the newest drill exports.
async fn look_closer(
    reader: &PastReader,
    recent: &Recent,
    standing: Arc<Standing>,
) -> Result<(), Error> {
    let job = &standing.job;
    if let Some(oldest) = standing.beats.first().filter(|_| !standing.searched) {
        let older = standing.last_pass.is_none() && standing.beats.len() == MOST_BEATS;
        let found = if older {
            reader.newest(job, oldest.id.at(), |past| standing.is_pass(past)).await?
        } else {
            None
        };
        recent.tell(job, News::Searched(found.map(Box::new)));
    }
    let Some(last) = standing.to_export() else { return Ok(()) };
    let id = KeptId::new(job, last.started_at, &last.drill_id);
    let Some(bytes) = reader.store().find(&id).await? else { return Ok(()) };
    // An older version's report may lack what metrics are made of.
    let report = json::read(&bytes);
    let families = report.map(|report| exported(&report)).unwrap_or_default();
    recent.tell(job, News::Exported(last.drill_id.clone(), families));
    Ok(())
}

/// The worst case of the restore time as of the newest drill.
async fn look_ahead(
    reader: &PastReader,
    recent: &Recent,
    standing: &Standing,
) -> Result<(), Error> {
    let Some(last) = standing.to_forecast() else { return Ok(()) };
    let past = reader.for_forecast(&standing.job, last.finished_at, None).await?;
    let forecast = Trend::of(&past.iter().collect::<Vec<_>>(), last.finished_at).forecast;
    let seconds = forecast.ok().map(|forecast| forecast.worst_case_seconds);
    recent.tell(&standing.job, News::Forecast(last.drill_id.clone(), seconds));
    Ok(())
}
