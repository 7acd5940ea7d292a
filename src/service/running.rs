//! Drills under way: each a task of its own, so that one that panics takes nobody with it.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::state::RunningDrill;
use crate::{
    drill::DrillReport,
    runner::{self, DrillRequest},
    schedule::agenda::Ticket,
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
    pub fn begin(&mut self, ticket: Ticket, drill: RunningDrill, request: DrillRequest) {
        let cancel = request.cancel.clone();
        let task = self.tasks.spawn(async move { Box::pin(runner::unattended(request)).await });
        self.drills.insert(task.id(), Begun { ticket, drill, cancel });
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
