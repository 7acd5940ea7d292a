//! How far the spool has got: what replay may be given while the rest is still on its way, and what a
//! server must have for it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    drill::stage::Volume,
    pg::{
        SegmentNumber,
        wal::scan::{ParameterFloor, WalSummary},
    },
};

/// What a server must have for the WAL that has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub parameters: ParameterFloor,
    /// Ids of resource managers that are not built in.
    pub custom_resource_managers: Vec<u8>,
    /// Tablespaces are made.
    pub tablespaces: bool,
}

impl Needs {
    /// Those of all that a scan has read.
    #[must_use]
    pub fn of(summary: &WalSummary) -> Self {
        Self {
            parameters: summary.parameters,
            custom_resource_managers: summary.custom_resource_managers.clone(),
            tablespaces: !summary.tablespaces.is_empty(),
        }
    }

    /// Whether a server that was made for `given` has what it takes.
    #[must_use]
    pub fn are_met_by(&self, given: &Self) -> bool {
        let (own, has) = (self.parameters, given.parameters);
        // All libraries of production are loaded as soon as one is needed.
        let custom = !given.custom_resource_managers.is_empty();
        // The others are for a standby that answers queries (`CheckRequiredParameterValues`, `xlogrecovery.c`).
        own.max_prepared_transactions <= has.max_prepared_transactions
            && own.max_locks_per_transaction <= has.max_locks_per_transaction
            && (custom || self.custom_resource_managers.is_empty())
            && (given.tablespaces || !self.tablespaces)
    }
}

/// Where the log ends, as far as it can be used.
#[derive(Clone, Copy, Debug)]
pub struct LogEnd {
    /// The last segment that replay may be given, if any.
    pub last: Option<SegmentNumber>,
}

/// How far the spool has got.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Segments before this one are as replay may read them, whatever comes behind them.
    pub settled: SegmentNumber,
    /// What had been read when the end of the backup had come.
    pub consistent: Option<Arc<WalSummary>>,
    pub needs: Arc<Needs>,
    pub volume: Volume,
    /// Once all is read.
    pub end: Option<LogEnd>,
}

impl Reach {
    /// Nothing has been read.
    #[must_use]
    pub fn nothing() -> Self {
        let (settled, volume) = (SegmentNumber(0), Volume::default());
        Self { settled, consistent: None, needs: Arc::default(), volume, end: None }
    }
}

/// The spool's end of what goes on between it and those that it is filled for.
#[derive(Debug)]
pub struct Course {
    pub reach: watch::Sender<Reach>,
    /// Where the spool waits once the backup's end has come: it does not settle this segment's number and
    /// those behind it until the limit is moved.
    pub limit: watch::Receiver<u64>,
}

impl Course {
    /// Tells how far it is.
    pub fn tell(&self, change: impl FnOnce(&mut Reach)) {
        self.reach.send_modify(change);
    }

    /// Waits until it may go on.
    pub async fn wait(&mut self) {
        let reach = self.reach.borrow().clone();
        if reach.consistent.is_some() {
            // Whoever is gone sets no limit.
            let _ = self.limit.wait_for(|limit| reach.settled.0 < *limit).await;
        }
    }
}
