//! The newest drills of every job, in memory: what the overview and the metrics are made of. No page waits
//! for a store. What drills of the service came to is taken as they end; drills of others (a `CronJob`, a
//! shell) are found by listing the stores again and again.
//!
//! Memory grows with the number of jobs, some kilobytes for each, and not with the number of reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{broadcast::error::RecvError, watch};

use self::{shelf::Shelves, standing::News};
use super::stores::Stores;
use crate::{drill::job::StoreScheme, service::Desk};

mod shelf;
mod standing;

pub use self::standing::{Beat, Counts, Pass, Standing};

/// How often folders of reports are listed.
const LIST_FOLDERS: Duration = Duration::from_secs(15);

/// How often buckets of reports are: each listing is some requests for every job.
const LIST_BUCKETS: Duration = Duration::from_mins(10);

/// Drills of each job that are remembered.
pub const MOST_BEATS: usize = 30;

/// How the jobs stand. Clones are the same.
#[derive(Clone, Debug)]
pub struct Recent {
    jobs: Arc<RwLock<BTreeMap<String, Arc<Standing>>>>,
    read: watch::Receiver<Reading>,
}

/// How the last listing went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Since when every store has been listed, or has said why it cannot be; `None` until all have.
    pub at: Option<Timestamp>,
    /// What went wrong then, a sentence for each store.
    pub problems: Vec<String>,
    /// Jobs whose reports are not known since.
    pub unknown: BTreeSet<String>,
}

/// Every kind of store.
const EVERY: [StoreScheme; 2] = [StoreScheme::File, StoreScheme::S3];

/// Reads what there is and what comes, for as long as the service of the desk is there.
#[must_use]
pub fn follow(desk: Desk, stores: Stores) -> Recent {
    let (done, read) = watch::channel(Reading::default());
    let recent = Recent { jobs: Arc::default(), read };
    tokio::spawn(keep_up(recent.clone(), desk, stores, done));
    recent
}

impl Recent {
    /// How a job stands; `None`: no report of it is known.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<Arc<Standing>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Standing>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How the last listing went.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let reading = self.read.borrow().clone();
        if self.read.has_changed().is_ok() {
            return reading;
        }
        // Who followed is gone: nothing is known from then on.
        let problem = "reports are not followed any more: start the service anew".to_owned();
        Reading { at: None, problems: vec![problem], unknown: reading.unknown }
    }

    /// Waits for the first listing of every store.
    pub async fn loaded(&self) {
        // An error is the end of the service.
        let _ = self.read.clone().wait_for(|reading| reading.at.is_some()).await;
    }

    /// Takes something in; the lock is not held meanwhile, since there is one writer.
    fn take(&self, job: &str, counts: Option<Counts>, news: News) {
        let before = self.job(job);
        let before = before.map_or_else(|| Standing::new(job, counts), |known| (*known).clone());
        let standing = Arc::new(before.with(news));
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(job.to_owned(), standing);
    }

    /// Takes in something more of a job that is known. It may have been forgotten meanwhile.
    fn tell(&self, job: &str, news: News) {
        if self.job(job).is_some() {
            self.take(job, None, news);
        }
    }

    fn forget(&self, job: &str) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).remove(job);
    }

    fn retain(&self, stays: impl Fn(&str) -> bool) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|name, _| stays(name));
    }
}

async fn keep_up(recent: Recent, mut desk: Desk, stores: Stores, done: watch::Sender<Reading>) {
    let mut reports = desk.reports();
    let mut shelves = Shelves::new(stores);
    let mut folders = tokio::time::interval(LIST_FOLDERS);
    let mut buckets = tokio::time::interval(LIST_BUCKETS);
    for clock in [&mut folders, &mut buckets] {
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    // Reports were missed while stores were listed.
    let mut missed = false;
    loop {
        let mut due: Vec<StoreScheme> = Vec::new();
        tokio::select! {
            () = std::future::ready(()), if missed => due = EVERY.to_vec(),
            _ = folders.tick() => due.push(StoreScheme::File),
            _ = buckets.tick() => due.push(StoreScheme::S3),
            changed = desk.changed() => {
                if !changed {
                    return;
                }
            }
            report = reports.recv() => {
                match report {
                    Ok(report) => {
                        recent.take(&report.job, shelves.counts(&report.job), News::of(&report));
                    }
                    // The stores have them.
                    Err(RecvError::Lagged(_)) => due = EVERY.to_vec(),
                    Err(RecvError::Closed) => return,
                }
            }
        };
        let shown = desk.shown();
        if shelves.is_other(&shown) {
            shelves.follow(&shown, &recent);
            due = EVERY.to_vec();
            // What was known of them is not known from now on.
            done.send_modify(|reading| reading.unknown = shelves.unknown());
        }
        if due.is_empty() {
            continue;
        }
        let known = shelves.known();
        let work = catch_up(&mut shelves, &due, &recent, &done);
        tokio::pin!(work);
        // Drills that end meanwhile are shown at once: a store may take its time.
        missed = false;
        loop {
            tokio::select! {
                () = &mut work => break,
                report = reports.recv(), if !missed => match report {
                    Ok(report) => {
                        let counts = known.get(&report.job).cloned();
                        recent.take(&report.job, counts, News::of(&report));
                    }
                    Err(_) => missed = true,
                }
            }
        }
    }
}

/// Lists stores, says how that went, and then works out what takes longer.
async fn catch_up(
    shelves: &mut Shelves,
    due: &[StoreScheme],
    recent: &Recent,
    done: &watch::Sender<Reading>,
) {
    for scheme in due {
        shelves.list(*scheme, recent).await;
    }
    recent.retain(|name| shelves.knows(name));
    let before = done.borrow().at;
    let now = || shelves.listed_at().unwrap_or_else(Timestamp::now);
    let at = shelves.all_asked().then(now).or(before);
    let (problems, unknown) = (shelves.problems(), shelves.unknown());
    done.send_replace(Reading { at, problems, unknown });
    for scheme in due {
        shelves.forecast(*scheme, recent).await;
    }
}

#[cfg(test)]
mod tests;
