//! Drills under way: each a task of its own, so that one that panics takes nobody with it.

use std::{collections::HashMap, sync::Arc};

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{board::ShownDrill, state::RunningDrill};
use crate::{
    drill::DrillReport,
    runner::{self, DrillRequest},
    schedule::agenda::Ticket,
    telemetry::live::Live,
};

/// All of them.
#[derive(Debug, Default)]
pub struct Running {
    tasks: JoinSet<DrillReport>,
    drills: HashMap<Id, Begun>,
}

/// A drill that has begun.
#[derive(Debug)]
pub struct Begun {
    pub ticket: Ticket,
    pub drill: RunningDrill,
    live: Arc<Live>,
    cancel: CancellationToken,
}

/// A drill that is over. `None` where it panicked: there is no report.
#[derive(Debug)]
pub struct Over {
    pub begun: Begun,
    pub report: Option<DrillReport>,
}

impl Running {
    /// Begins one.
    pub fn begin(
        &mut self,
        ticket: Ticket,
        drill: RunningDrill,
        live: Arc<Live>,
        request: DrillRequest,
    ) {
        let cancel = request.cancel.clone();
        let task = self.tasks.spawn(async move { Box::pin(runner::unattended(request)).await });
        self.drills.insert(task.id(), Begun { ticket, drill, live, cancel });
    }

    /// Ends one: it is torn down, and over later.
    pub fn cancel(&self, ticket: Ticket) {
        for begun in self.drills.values().filter(|begun| begun.ticket == ticket) {
            begun.cancel.cancel();
        }
    }

    /// Ends all.
    pub fn cancel_all(&self) {
        for begun in self.drills.values() {
            begun.cancel.cancel();
        }
    }

    /// The id of the drill of a job.
    #[must_use]
    pub fn of(&self, job: &str) -> Option<&str> {
        let found = self.drills.values().find(|begun| begun.drill.job == job);
        found.map(|begun| begun.drill.drill_id.as_str())
    }

    /// All, for whoever looks, the oldest first.
    #[must_use]
    pub fn shown(&self) -> Vec<ShownDrill> {
        let shown = self.drills.values();
        let shown = shown
            .map(|begun| ShownDrill { drill: begun.drill.clone(), live: Arc::clone(&begun.live) });
        let mut shown: Vec<ShownDrill> = shown.collect();
        shown.sort_by(|a, b| {
            let key = |shown: &ShownDrill| (shown.drill.started_at, shown.drill.drill_id.clone());
            key(a).cmp(&key(b))
        });
        shown
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.drills.len()
    }

    /// The next one that is over; waits for ever where none runs.
    pub async fn over(&mut self) -> Over {
        loop {
            let (id, report) = match self.tasks.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok((id, report))) => (id, Some(report)),
                Some(Err(error)) => (error.id(), None),
            };
            if let Some(begun) = self.drills.remove(&id) {
                return Over { begun, report };
            }
        }
    }
}
