//! The stores of kept reports, each opened once.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Mutex;

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

    /// The stores that the jobs of a service name, each once.
    ///
    /// # Errors
    /// Those of [`Self::reader`].
    pub async fn of_all(&self, shown: &Shown) -> Result<Vec<PastReader>, Error> {
        let mut locations: Vec<&StoreLocation> = Vec::new();
        for location in shown.jobs.iter().filter_map(|job| job.job.report_store.as_ref()) {
            if !locations.contains(&location) {
                locations.push(location);
            }
        }
        let mut readers = Vec::with_capacity(locations.len());
        for location in locations {
            readers.push(self.reader(location).await?);
        }
        Ok(readers)
    }

    /// The report of a drill, wherever it is kept.
    ///
    /// # Errors
    /// Those of [`Self::of_all`], and of the stores.
    pub async fn find(
        &self,
        shown: &Shown,
        drill_id: &str,
    ) -> Result<Option<(PastReader, KeptId)>, Error> {
        for reader in self.of_all(shown).await? {
            if let Some(id) = reader.find(&[], drill_id).await? {
                return Ok(Some((reader, id)));
            }
        }
        Ok(None)
    }
}
