//! The stores of kept reports, each opened once.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    drill::{Error, job::StoreLocation},
    report::{
        kept::{self, KeptId},
        past::PastReader,
    },
    service::Shown,
};

/// All that have been asked for. Clones are the same.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Folder for summaries of reports.
    cache: Option<PathBuf>,
    open: Arc<Mutex<Vec<(StoreLocation, PastReader)>>>,
}

impl Stores {
    /// None is open yet. `cache` is a folder for summaries of reports.
    #[must_use]
    pub fn new(cache: Option<PathBuf>) -> Self {
        Self { cache, open: Arc::default() }
    }

    /// The reports of a store.
    ///
    /// # Errors
    /// Those of [`kept::open`].
    pub async fn reader(&self, location: &StoreLocation) -> Result<PastReader, Error> {
        let mut open = self.open.lock().await;
        if let Some((_, reader)) = open.iter().find(|(at, _)| at == location) {
            return Ok(reader.clone());
        }
        let store: Arc<dyn kept::ReportStore> = kept::open(location).await?.into();
        let reader = PastReader::new(store, location, self.cache.as_deref());
        open.push((location.clone(), reader.clone()));
        Ok(reader)
    }

    /// Opens a store anew the next time: its credentials may be others by then.
    pub async fn close(&self, location: &StoreLocation) {
        self.open.lock().await.retain(|(at, _)| at != location);
    }

    /// The report of a drill as it is kept, wherever that is.
    ///
    /// # Errors
    /// Where it is not found: what the stores give.
    pub async fn report(
        &self,
        shown: &Shown,
        drill_id: &str,
    ) -> Result<Option<(KeptId, Bytes)>, Error> {
        let Some((reader, id)) = self.find(shown, drill_id).await? else { return Ok(None) };
        Ok(reader.store().find(&id).await?.map(|bytes| (id, bytes)))
    }

    async fn find(
        &self,
        shown: &Shown,
        drill_id: &str,
    ) -> Result<Option<(PastReader, KeptId)>, Error> {
        // Without the time that is in an id of ours, every name of every store would have to be listed.
        if Uuid::parse_str(drill_id).ok().and_then(|id| id.get_timestamp()).is_none() {
            return Ok(None);
        }
        let mut failed = None;
        for location in locations(shown) {
            let found = async {
                let reader = self.reader(location).await?;
                Ok(reader.find(&[], drill_id).await?.map(|id| (reader, id)))
            };
            match found.await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

/// The stores that the jobs of a service name, each once.
#[must_use]
pub fn locations(shown: &Shown) -> Vec<&StoreLocation> {
    each_once(shown.jobs.iter().filter_map(|job| job.job.report_store.as_ref()))
}

/// Each of some stores once, in their order.
#[must_use]
pub fn each_once<'a>(named: impl Iterator<Item = &'a StoreLocation>) -> Vec<&'a StoreLocation> {
    let mut locations: Vec<&StoreLocation> = Vec::new();
    for location in named {
        if !locations.contains(&location) {
            locations.push(location);
        }
    }
    locations
}
