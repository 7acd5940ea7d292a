//! What every answer is made of.

use std::{ops::Deref, sync::Arc};

use jiff::Timestamp;

use super::{
    Settings,
    catalogs::Catalogs,
    recent::{self, Recent},
    stores::Stores,
    token::Token,
    view::{BrokenFileView, JobView, JobsView},
};
use crate::service::{Desk, Shown};

/// Clones are the same.
#[derive(Clone, Debug)]
pub struct Site(Arc<Parts>);

/// The parts of it.
#[derive(Debug)]
pub struct Parts {
    pub desk: Desk,
    pub recent: Recent,
    pub stores: Stores,
    pub catalogs: Catalogs,
    pub token: Option<Token>,
}

impl Deref for Site {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Site {
    /// Begins to follow the service.
    pub fn new(desk: Desk, settings: Settings) -> Self {
        let stores = Stores::new(settings.cache);
        Self(Arc::new(Parts {
            recent: recent::follow(desk.clone(), stores.clone()),
            catalogs: Catalogs::default(),
            token: settings.token,
            stores,
            desk,
        }))
    }

    /// Every job as it stands now.
    pub fn jobs(&self) -> JobsView {
        let (shown, now) = (self.desk.shown(), Timestamp::now());
        let mut jobs: Vec<JobView> = shown
            .jobs
            .iter()
            .map(|job| JobView::of(job, &shown, self.recent.job(&job.job.name).as_deref(), now))
            .collect();
        let others = self.recent.all();
        let others = others.iter().filter(|standing| shown.job(&standing.job).is_none());
        jobs.extend(others.map(|standing| JobView::of_reports(standing)));
        jobs.sort_by(|a, b| a.job.cmp(&b.job));
        let reading = self.recent.reading();
        JobsView {
            at: now,
            stopping: shown.stopping,
            jobs,
            broken_files: broken(&shown),
            history_read_at: reading.at,
            history_problems: reading.problems,
        }
    }

    /// One job as it stands now; `None`: neither a file nor a report names it.
    pub fn job(&self, name: &str) -> Option<JobView> {
        let (shown, standing) = (self.desk.shown(), self.recent.job(name));
        match shown.job(name) {
            Some(job) => Some(JobView::of(job, &shown, standing.as_deref(), Timestamp::now())),
            None => standing.as_deref().map(JobView::of_reports),
        }
    }
}

fn broken(shown: &Shown) -> Vec<BrokenFileView> {
    let broken = shown.broken.iter().map(|broken| BrokenFileView {
        file: broken.file.display().to_string(),
        problem: broken.problem.clone(),
        goes_on: broken.goes_on,
    });
    broken.collect()
}
