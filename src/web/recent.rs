//! The newest drills of every job, in memory: what the overview and the metrics are made of. No page waits
//! for a store. What drills of the service came to is taken as they end; drills of others (a `CronJob`, a
//! shell) are found by listing the stores again and again.
//!
//! Memory grows with the number of jobs, some kilobytes for each, and not with the number of reports.

use std::{
    collections::BTreeMap,
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

pub use self::standing::{Beat, Pass, Standing};

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
    /// When every store was listed; `None` until it was for the first time.
    pub at: Option<Timestamp>,
    /// What went wrong then, a sentence for each store.
    pub problems: Vec<String>,
}

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
        self.read.borrow().clone()
    }

    /// Waits for the first listing of every store.
    pub async fn loaded(&self) {
        // An error is the end of the service.
        let _ = self.read.clone().wait_for(|reading| reading.at.is_some()).await;
    }

    fn put(&self, standing: Standing) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(standing.job.clone(), Arc::new(standing));
    }

    /// Takes something in; the lock is not held meanwhile, since there is one writer.
    fn take(&self, job: &str, news: News) {
        let before = self.job(job);
        let before = before.map_or_else(|| Standing::new(job), |before| (*before).clone());
        self.put(before.with(news));
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
    loop {
        let due: &[StoreScheme] = tokio::select! {
            _ = folders.tick() => &[StoreScheme::File],
            _ = buckets.tick() => &[StoreScheme::S3],
            changed = desk.changed() => {
                if !changed {
                    return;
                }
                if !shelves.is_other(&desk.shown()) {
                    continue;
                }
                &[StoreScheme::File, StoreScheme::S3]
            }
            report = reports.recv() => {
                match report {
                    Ok(report) => {
                        recent.take(&report.job, News::of(&report));
                        continue;
                    }
                    // The stores have them.
                    Err(RecvError::Lagged(_)) => &[StoreScheme::File, StoreScheme::S3],
                    Err(RecvError::Closed) => return,
                }
            }
        };
        shelves.follow(&desk.shown());
        for scheme in due {
            shelves.list(*scheme, &recent).await;
        }
        recent.retain(|name| shelves.knows(name));
        let at = shelves.all_listed().then(Timestamp::now).or(done.borrow().at);
        done.send_replace(Reading { at, problems: shelves.problems() });
    }
}
