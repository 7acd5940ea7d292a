//! Work spread over several connections to one database.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{
    CheckContext,
    connection::{Connection, connect},
};
use crate::drill::Error;

/// How many sessions or threads look at once.
pub(super) fn width() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8)
}

/// What is done with every item.
#[async_trait]
pub(super) trait Work: Sync {
    type Item: Send;
    type Output: Send;

    /// An error of the server is for the output to tell; an `Err` ends everything.
    async fn one(&self, connection: &Connection, item: Self::Item) -> Result<Self::Output, Error>;
}

/// What came of the items, and why the work ended early if it did.
pub(super) struct Done<R> {
    pub results: Vec<R>,
    pub broken: Option<Error>,
}

struct Shared<W: Work> {
    queue: Mutex<VecDeque<W::Item>>,
    results: Mutex<Vec<W::Output>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on every item, in the order given, over as many connections as are useful.
pub(super) async fn over_connections<W: Work>(
    context: &CheckContext,
    database: &str,
    items: Vec<W::Item>,
    work: &W,
) -> Done<W::Output> {
    let workers = width().min(items.len());
    let shared = Shared::<W> { queue: Mutex::new(items.into()), results: Mutex::new(Vec::new()) };
    let ends = join_all((0..workers).map(|_| worker(context, database, work, &shared))).await;
    Done {
        results: shared.results.into_inner().unwrap_or_else(PoisonError::into_inner),
        broken: ends.into_iter().find_map(Result::err),
    }
}

async fn worker<W: Work>(
    context: &CheckContext,
    database: &str,
    work: &W,
    shared: &Shared<W>,
) -> Result<(), Error> {
    let open = async || {
        connect(&context.cluster, database, &context.cancel)
            .await
            .map_err(|failure| failure.into_error(&format!("connecting to `{database}`")))
    };
    let mut connection = open().await?;
    loop {
        let Some(item) = lock(&shared.queue).pop_front() else { return Ok(()) };
        // What ended the session is told with its item; the others are still to be looked at.
        if connection.ended() {
            connection = open().await?;
        }
        match work.one(&connection, item).await {
            Ok(result) => lock(&shared.results).push(result),
            Err(error) => {
                lock(&shared.queue).clear();
                return Err(error);
            }
        }
    }
}
