//! What every answer is made of.

use std::{ops::Deref, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Settings,
    catalogs::Catalogs,
    problem::Problem,
    recent::{self, Recent},
    stores::Stores,
    token::Token,
    view::{BrokenFileView, JobView, JobsView},
};
use crate::{
    drill::Error,
    service::{Desk, Shown, ShownJob},
};

/// Questions to stores of reports at the same time.
const QUESTIONS: usize = 4;

/// A question that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(20);

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
    turns: Semaphore,
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
            turns: Semaphore::new(QUESTIONS),
            token: settings.token,
            stores,
            desk,
        }))
    }

    /// Asks the stores of reports: a few questions at a time, and each for a while only.
    ///
    /// # Errors
    /// What a store gives, and that it does not answer.
    pub async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Problem> {
        let asked = async {
            // It is never closed.
            let _turn = self.turns.acquire().await;
            question.await
        };
        // To ask a bucket is a large future.
        let answer = timeout(PATIENCE, Box::pin(asked)).await;
        answer.map_err(|_| Problem::no_answer())?.map_err(Problem::from)
    }

    /// Every job as it stands now.
    pub fn jobs(&self) -> JobsView {
        let (shown, now) = (self.desk.shown(), Timestamp::now());
        let reading = self.recent.reading();
        let view = |job: &ShownJob| {
            let standing = self.recent.job(&job.job.name);
            JobView::of(job, &shown, standing.as_deref(), &reading, now)
        };
        let mut jobs: Vec<JobView> = shown.jobs.iter().map(view).collect();
        let others = self.recent.all();
        let others = others.iter().filter(|standing| shown.job(&standing.job).is_none());
        jobs.extend(others.map(|standing| JobView::of_reports(standing, &shown, &reading)));
        jobs.sort_by(|a, b| a.job.cmp(&b.job));
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
        let reading = self.recent.reading();
        match shown.job(name) {
            Some(job) => {
                Some(JobView::of(job, &shown, standing.as_deref(), &reading, Timestamp::now()))
            }
            None => {
                standing.as_deref().map(|standing| JobView::of_reports(standing, &shown, &reading))
            }
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
