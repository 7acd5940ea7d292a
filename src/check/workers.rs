//! Work spread over several connections, all databases together: nothing idles while one of them is done
//! with its share.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Bytes from which on an item begins before all smaller ones, whichever database it is in.
const LARGE: u64 = 64 << 20;

/// Something to work on in one database.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub database: Arc<str>,
    /// What it takes, in bytes to read.
    pub size: u64,
    pub item: T,
}

/// What is done with every item.
#[async_trait]
pub(super) trait Work: Sync {
    type Item: Send;
    type Output: Send;

    /// An error of the server is for the output to tell; an `Err` ends everything.
    async fn one(
        &self,
        connection: &Connection,
        item: Placed<Self::Item>,
    ) -> Result<Self::Output, Error>;
}

/// What came of the items, and why the work ended early if it did.
pub(super) struct Done<R> {
    pub results: Vec<R>,
    pub broken: Option<Error>,
}

struct Shared<W: Work> {
    queue: Mutex<VecDeque<Placed<W::Item>>>,
    results: Mutex<Vec<W::Output>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on every item over as many connections as are useful. Large ones come first, so that none ends
/// alone; the others in the order given, so that few connections change their database.
pub(super) async fn over_connections<W: Work>(
    context: &CheckContext,
    mut items: Vec<Placed<W::Item>>,
    work: &W,
) -> Done<W::Output> {
    items.sort_by_key(|item| Reverse(if item.size >= LARGE { item.size } else { 0 }));
    let workers = width().min(items.len());
    let shared = Shared::<W> { queue: Mutex::new(items.into()), results: Mutex::new(Vec::new()) };
    let ends = join_all((0..workers).map(|_| worker(context, work, &shared))).await;
    Done {
        results: shared.results.into_inner().unwrap_or_else(PoisonError::into_inner),
        broken: ends.into_iter().find_map(Result::err),
    }
}

async fn worker<W: Work>(
    context: &CheckContext,
    work: &W,
    shared: &Shared<W>,
) -> Result<(), Error> {
    let mut session: Option<(Arc<str>, Connection)> = None;
    loop {
        let Some(item) = lock(&shared.queue).pop_front() else { return Ok(()) };
        // What ended the session is told with its item; the others are still to be looked at.
        let kept = session.take().filter(|(name, open)| *name == item.database && !open.ended());
        let connection = match kept {
            Some((_, connection)) => connection,
            None => open(context, &item.database, shared).await?,
        };
        let database = Arc::clone(&item.database);
        match work.one(&connection, item).await {
            Ok(result) => lock(&shared.results).push(result),
            Err(error) => {
                lock(&shared.queue).clear();
                return Err(error);
            }
        }
        session = Some((database, connection));
    }
}

async fn open<W: Work>(
    context: &CheckContext,
    database: &str,
    shared: &Shared<W>,
) -> Result<Connection, Error> {
    connect(&context.cluster, database, &context.cancel).await.map_err(|failure| {
        lock(&shared.queue).clear();
        failure.into_error(&format!("connecting to `{database}`"))
    })
}
