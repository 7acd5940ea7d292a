//! Listing the stores of all jobs, each once however many jobs name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use super::{
    MOST_BEATS, Recent, Standing,
    standing::{News, exported},
};
use crate::{
    drill::{
        Code, DrillReport, Error, Verdict,
        history::Past,
        job::{StoreLocation, StoreScheme},
        trend::{LOOKS_BACK, Trend},
    },
    report::{
        kept::{KeptId, Wanted},
        past::{PastReader, Told},
    },
    service::Shown,
    web::stores::Stores,
};

/// Jobs that are looked back at at the same time.
const PARALLEL: usize = 8;

/// Reports that a forecast rests on, as that of a drill does.
const MOST_READ: usize = 200;

/// A store that takes longer for a listing has hung.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the stores of all jobs hold.
#[derive(Debug)]
pub struct Shelves {
    stores: Stores,
    /// Jobs of the folder and where they keep their reports.
    named: BTreeMap<String, Option<StoreLocation>>,
    /// Jobs that no file of the folder names, but a store.
    others: BTreeSet<String>,
    listed: Vec<StoreLocation>,
    problems: Vec<(StoreLocation, String)>,
}

impl Shelves {
    pub fn new(stores: Stores) -> Self {
        Self {
            stores,
            named: BTreeMap::new(),
            others: BTreeSet::new(),
            listed: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Whether other jobs are there than before, or their reports are elsewhere.
    pub fn is_other(&self, shown: &Shown) -> bool {
        let same = |(name, location): (&String, &Option<StoreLocation>)| {
            shown.job(name).is_some_and(|shown| shown.job.report_store == *location)
        };
        shown.jobs.len() != self.named.len() || !self.named.iter().all(same)
    }

    /// Whether a job is in the folder or in a store.
    pub fn knows(&self, name: &str) -> bool {
        self.named.contains_key(name) || self.others.contains(name)
    }

    /// Takes the jobs that there are now.
    pub fn follow(&mut self, shown: &Shown) {
        if !self.is_other(shown) {
            return;
        }
        let jobs = shown.jobs.iter().map(|shown| &shown.job);
        self.named = jobs.map(|job| (job.name.clone(), job.report_store.clone())).collect();
        self.others.clear();
        let named = &self.named;
        let wanted = |at: &StoreLocation| named.values().flatten().any(|known| known == at);
        self.listed.retain(wanted);
        self.problems.retain(|(at, _)| wanted(at));
    }

    /// Every store was listed, or has said why it cannot be.
    pub fn all_listed(&self) -> bool {
        let known = |location| {
            self.listed.contains(location) || self.problems.iter().any(|(at, _)| at == location)
        };
        self.named.values().flatten().all(known)
    }

    /// A sentence for each store that could not be listed.
    pub fn problems(&self) -> Vec<String> {
        self.problems.iter().map(|(_, why)| why.clone()).collect()
    }

    /// Lists the stores of a kind and reads what is new.
    pub async fn list(&mut self, scheme: StoreScheme, recent: &Recent) {
        let mut locations: Vec<StoreLocation> = Vec::new();
        for location in self.named.values().flatten().filter(|at| at.scheme == scheme) {
            if !locations.contains(location) {
                locations.push(location.clone());
            }
        }
        for location in locations {
            let listing = timeout(PATIENCE, self.list_one(&location, recent)).await;
            let outcome = listing.unwrap_or_else(|_| {
                let message = format!("{} does not answer", location.url());
                Err(Error::new(Code::ReportStore, message))
            });
            let told = self.problems.iter().any(|(at, _)| *at == location);
            self.problems.retain(|(at, _)| *at != location);
            match outcome {
                Ok(()) if self.listed.contains(&location) => {}
                Ok(()) => self.listed.push(location),
                Err(error) => {
                    if !told {
                        tracing::warn!("the pages do not know what has been drilled: {error}");
                    }
                    self.problems.push((location, error.to_string()));
                }
            }
        }
    }

    async fn list_one(&mut self, location: &StoreLocation, recent: &Recent) -> Result<(), Error> {
        let reader = self.stores.reader(location).await?;
        let store = reader.store();
        let of_here = self.named.iter().filter(|(_, at)| at.as_ref() == Some(location));
        let mut jobs: Vec<String> = of_here.map(|(name, _)| name.clone()).collect();
        // In a bucket every job is some more requests.
        if location.scheme == StoreScheme::File {
            let mut others = store.jobs().await?;
            others.retain(|name| !self.named.contains_key(name));
            self.others.extend(others.iter().cloned());
            jobs.append(&mut others);
        }
        let wanted = Wanted { jobs, each: Some(MOST_BEATS), ..Wanted::default() };
        let mut by_job: BTreeMap<String, Vec<KeptId>> = BTreeMap::new();
        for id in store.list(&wanted).await? {
            by_job.entry(id.job().to_owned()).or_default().push(id);
        }
        // One question for all that is new, so that they are read side by side.
        let mut unknown: Vec<KeptId> = Vec::new();
        for (job, ids) in &by_job {
            let standing = recent.job(job);
            let is_new = |id: &&KeptId| standing.as_ref().is_none_or(|known| !known.knows(id));
            unknown.extend(ids.iter().filter(is_new).cloned());
        }
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for one in if unknown.is_empty() { Vec::new() } else { reader.of(unknown).await? } {
            told.entry(one.id.job().to_owned()).or_default().push(one);
        }
        for (job, told) in told {
            recent.take(&job, News::Told(told));
        }
        for (job, ids) in &by_job {
            let Some(standing) = recent.job(job) else { continue };
            if standing.is_stale(ids) {
                recent.take(job, News::Listed(ids.clone()));
            }
        }
        let standings: Vec<Arc<Standing>> =
            by_job.keys().filter_map(|job| recent.job(job)).collect();
        let looked = stream::iter(standings).map(|job| look_closer(&reader, recent, job));
        let looked: Vec<Result<(), Error>> = looked.buffer_unordered(PARALLEL).collect().await;
        looked.into_iter().collect()
    }
}

/// The newest pass, where it is not among the newest drills, and what the newest drill forecasts and exports.
async fn look_closer(
    reader: &PastReader,
    recent: &Recent,
    standing: Arc<Standing>,
) -> Result<(), Error> {
    let job = &standing.job;
    if let Some(oldest) = standing.beats.first().filter(|_| !standing.searched) {
        let older = standing.last_pass.is_none() && standing.beats.len() == MOST_BEATS;
        let found = if older {
            let is_pass = |past: &Past| past.verdict == Verdict::Pass;
            reader.newest(job, oldest.id.at(), is_pass).await?
        } else {
            None
        };
        recent.take(job, News::Searched(found.map(Box::new)));
    }
    if let Some(last) = standing.to_forecast() {
        let since = last.finished_at.checked_sub(LOOKS_BACK).ok();
        let wanted = Wanted { since, ..Wanted::job(job).limit(MOST_READ) };
        let told = reader.read(&wanted).await?;
        let past: Vec<&Past> = told.iter().filter_map(|told| told.past.as_ref().ok()).collect();
        let forecast = Trend::of(&past, last.finished_at).forecast;
        let seconds = forecast.ok().map(|forecast| forecast.worst_case_seconds);
        recent.take(job, News::Forecast(last.drill_id.clone(), seconds));
    }
    let Some(last) = standing.to_export() else { return Ok(()) };
    let id = KeptId::new(job, last.started_at, &last.drill_id);
    let Some(bytes) = reader.store().find(&id).await? else { return Ok(()) };
    // An older version's report may lack what metrics are made of.
    let report = serde_json::from_slice::<DrillReport>(&bytes);
    let families = report.map(|report| exported(&report)).unwrap_or_default();
    recent.take(job, News::Exported(last.drill_id.clone(), families));
    Ok(())
}
