//! What archives hold, read when somebody asks. A listing of a large archive is many requests, so that one
//! is read at a time, and what was read is good for a while.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    drill::{CatalogReport, Code, Error, Job, format::duration},
    runner::catalog,
    store,
    telemetry::Progress,
};

/// What was read is shown that long without another look.
const GOOD_FOR: Duration = Duration::from_mins(1);

/// Whoever asks waits that long for a reading.
const PATIENCE: Duration = Duration::from_secs(5);

/// A reading that takes longer is given up: others wait for it.
const DEADLINE: Duration = Duration::from_mins(10);

/// All that have been asked for.
#[derive(Debug)]
pub struct Catalogs {
    known: Mutex<BTreeMap<String, Entry>>,
    one_at_a_time: Arc<Semaphore>,
}

/// One archive, by what came of reading it.
#[derive(Debug)]
struct Entry {
    outcome: watch::Receiver<Option<Outcome>>,
    /// `None` while it is being read.
    read_at: Arc<Mutex<Option<Instant>>>,
    /// The one before, to be shown meanwhile.
    before: Option<Outcome>,
}

/// What an archive holds, or why that is not known.
pub type Outcome = Arc<Result<CatalogReport, Error>>;

/// What there is to be shown.
#[derive(Clone, Debug)]
pub struct Looked {
    /// `None`: it is being read for the first time.
    pub outcome: Option<Outcome>,
    /// It is being read just now.
    pub reading: bool,
}

impl Default for Catalogs {
    fn default() -> Self {
        Self { known: Mutex::default(), one_at_a_time: Arc::new(Semaphore::new(1)) }
    }
}

impl Catalogs {
    /// What is known of an archive, without looking at it.
    pub fn known(&self, archive: &str) -> Option<Outcome> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(archive)?;
        entry.outcome.borrow().clone().or_else(|| entry.before.clone())
    }

    /// Looks at the archive of a job, and waits a moment for what it holds.
    pub async fn look(&self, archive: &str, job: &Arc<Job>) -> Looked {
        let mut outcome = self.ask(archive, job);
        // Out of time is no error: it goes on being read.
        let read = timeout(PATIENCE, outcome.wait_for(Option::is_some)).await.is_ok();
        Looked { outcome: self.known(archive), reading: !read }
    }

    /// Begins a reading where none is good any more.
    fn ask(&self, archive: &str, job: &Arc<Job>) -> watch::Receiver<Option<Outcome>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(archive) {
            let read_at = *entry.read_at.lock().unwrap_or_else(PoisonError::into_inner);
            if read_at.is_none_or(|at| at.elapsed() < GOOD_FOR) {
                return entry.outcome.clone();
            }
        }
        let before = known.get(archive).and_then(|entry| entry.outcome.borrow().clone());
        let (done, outcome) = watch::channel(None);
        let read_at = Arc::new(Mutex::new(None));
        let entry = Entry { outcome: outcome.clone(), read_at: Arc::clone(&read_at), before };
        known.insert(archive.to_owned(), entry);
        let (job, turn) = (Arc::clone(job), Arc::clone(&self.one_at_a_time));
        tokio::spawn(async move {
            // It is never closed.
            let _turn = turn.acquire().await;
            let read = bounded(DEADLINE, examine(job)).await;
            *read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            done.send_replace(Some(Arc::new(read)));
        });
        outcome
    }
}

async fn examine(job: Arc<Job>) -> Result<CatalogReport, Error> {
    // Given up on: what it has begun on other threads ends, too.
    let cancel = CancellationToken::new();
    let _ends = cancel.clone().drop_guard();
    let store = store::open(&job).await?;
    catalog::examine(&store, &job, &Progress::silent(), &cancel).await
}

/// What comes of a reading, whatever becomes of it: an end within `deadline`, or an error.
async fn bounded<T: Send + 'static>(
    deadline: Duration,
    reading: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    // Ends with its handle.
    match timeout(deadline, AbortOnDropHandle::new(tokio::spawn(reading))).await {
        Ok(Ok(read)) => read,
        Ok(Err(broken)) => {
            Err(Error::new(Code::Bug, format!("reading an archive ended: {broken}")))
        }
        Err(_) => {
            let message = format!(
                "the archive could not be listed within {}",
                duration(deadline.as_secs_f64())
            );
            let hint = "See how long `pgassay catalog` takes with the job's file, and whether the store answers.";
            Err(Error::new(Code::DeadlineExceeded, message).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    #[tokio::test]
    async fn a_reading_ends_whatever_becomes_of_it() {
        assert_eq!(bounded(DEADLINE, async { Ok(7) }).await.unwrap(), 7);
        let failed = async { Err::<(), _>(Error::new(Code::AccessDenied, "no")) };
        assert_eq!(bounded(DEADLINE, failed).await.unwrap_err().code, Code::AccessDenied);
        let stuck = std::future::pending::<Result<(), Error>>();
        let late = bounded(Duration::ZERO, stuck).await.unwrap_err();
        assert_eq!(late.code, Code::DeadlineExceeded);
        let broken = poll_fn(|_| -> Poll<Result<(), Error>> { panic!("as if it were wrong") });
        assert_eq!(bounded(DEADLINE, broken).await.unwrap_err().code, Code::Bug);
    }
}
