//! Who is told of a drill, and what the one before came to.

use super::warn;
use crate::{
    drill::{
        DrillReport, Error, Job, Verdict,
        history::Past,
        job::{Notify, SecretSource},
    },
    report::{kept, past::PastReader},
    store::secret::{self, Secret},
    telemetry::{
        http::Patience,
        notify::{self, Destination},
    },
};

/// Those whom a job names.
#[derive(Debug)]
pub struct Notifier<'a> {
    job: &'a Job,
    destinations: Vec<Destination>,
}

impl<'a> Notifier<'a> {
    /// Reads the URLs.
    ///
    /// # Errors
    /// `CredentialsMissing` and `NotifyUrl`.
    pub async fn of(job: &'a Job) -> Result<Self, Error> {
        let mut destinations = Vec::with_capacity(job.notify.len());
        for notify in &job.notify {
            destinations.push(match notify {
                Notify::Webhook { url, format, when } => {
                    Destination::webhook(read(url).await?.expose(), *format, *when)?
                }
                Notify::Ping(url) => Destination::ping(read(url).await?.expose())?,
            });
        }
        Ok(Self { job, destinations })
    }

    /// Nobody.
    pub fn none(job: &'a Job) -> Self {
        Self { job, destinations: Vec::new() }
    }

    /// A drill begins.
    pub async fn started(&self) {
        tell(&notify::started(&self.destinations, Patience::default()).await);
    }

    /// A drill has ended.
    pub async fn ended(&self, report: &DrillReport) {
        if self.destinations.is_empty() {
            return;
        }
        let previous = self.previous(report).await.unwrap_or_else(|error| {
            warn(&error, &format!("what the drill before came to is not known: {error}"));
            None
        });
        let patience = Patience::default();
        tell(&notify::ended(&self.destinations, report, previous, patience).await);
    }

    /// The verdict of the newest kept drill of this job before this one.
    async fn previous(&self, report: &DrillReport) -> Result<Option<Verdict>, Error> {
        let Some(location) = &self.job.report_store else { return Ok(None) };
        let store = kept::open(location).await?;
        let reader = PastReader::new(store.into(), location, None);
        // A report's own name is cut to the millisecond: it may look older than its drill.
        let another = |past: &Past| past.drill_id != report.drill_id;
        let newest = reader.newest(&report.job, report.started_at, another).await?;
        Ok(newest.map(|past| past.verdict))
    }
}

async fn read(source: &SecretSource) -> Result<Secret, Error> {
    let hint = "Set the variable or file that `notify` names in the job.";
    secret::read(source).await.map_err(|error| error.hint(hint))
}

fn tell(errors: &[Error]) {
    for error in errors {
        warn(error, &error.message);
    }
}
