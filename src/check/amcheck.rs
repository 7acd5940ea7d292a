//! The check `amcheck`: every heap, every B-tree index and, from 18 on, every GIN index by PostgreSQL's
//! own extension (`contrib/amcheck`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{
        Connection, Database, connect, databases, end_prepared_transactions, quote_ident,
    },
    failure::{Meaning, SqlFailure, capped, damage_hint},
    workers::{Placed, Work, over_connections},
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding},
    pg::Major,
    telemetry::progress::ProgressEvent,
};

mod catalog;
mod judge;

use catalog::{Kind, Relation};
use judge::judge;

const NAME: &str = "amcheck";
/// Our own schema for the extension, in the sandbox only.
const SCHEMA: &str = "pgassay_amcheck";

/// Relations that are listed before they are looked at: memory must not grow with the databases.
const MOST_LISTED: usize = 100_000;

/// Verifies heaps against themselves, and B-tree indexes against themselves and their heaps.
#[derive(Clone, Copy, Debug)]
pub struct Amcheck;

/// What was looked at, over all databases.
#[derive(Debug, Default)]
struct Tally {
    heaps: u64,
    indexes: u64,
    gin_indexes: u64,
    databases: u64,
    /// Names of indexes that production left invalid: said, not failed.
    invalid: Vec<String>,
    /// Collations whose version here is not the recorded one.
    other_collations: Vec<String>,
    findings: Vec<Finding>,
}

/// How a check ends before all was looked at.
enum Stop {
    /// The extension is not installed on this machine.
    NoExtension,
    Broken(Error),
}

#[async_trait]
impl Check for Amcheck {
    fn name(&self) -> String {
        NAME.into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let mut tally = Tally::default();
        match check_all(context, &mut tally).await {
            Ok(()) => {}
            Err(Stop::NoExtension) if tally.findings.is_empty() => {
                return CheckOutcome::Skipped(format!(
                    "the extension `amcheck` is not installed for PostgreSQL {}: install the \
                     package with PostgreSQL's contrib modules, such as `postgresql-contrib`",
                    context.cluster.major
                ));
            }
            Err(Stop::NoExtension) => tally.findings.push(Finding::new(
                FailureClass::ExtensionMissing,
                "extension `amcheck`",
                "it is not installed on this machine, so no relation was looked at",
                "Install the package with PostgreSQL's contrib modules, such as `postgresql-contrib`.",
            )),
            Err(Stop::Broken(error)) if tally.findings.iter().all(|f| f.class.is_environment()) => {
                return CheckOutcome::Errored(error);
            }
            Err(Stop::Broken(error)) => tally.findings.push(Finding::new(
                FailureClass::InfraError,
                "the rest of the cluster",
                error.message,
                "What was not looked at may be damaged too.",
            )),
        }
        tally.outcome(context.cluster.major)
    }
}

impl Tally {
    fn outcome(self, major: Major) -> CheckOutcome {
        if !self.findings.is_empty() {
            return CheckOutcome::Failed(capped(self.findings));
        }
        let gin = match self.gin_indexes {
            0 => String::new(),
            count => format!(" and {count} GIN"),
        };
        let mut text = vec![format!(
            "{} tables and {} B-tree{gin} indexes in {} databases",
            self.heaps, self.indexes, self.databases
        )];
        if let [first, ..] = self.invalid.as_slice() {
            let count = self.invalid.len();
            text.push(format!("{count} invalid indexes left as they are, such as {first}"));
        }
        if let [first, ..] = self.other_collations.as_slice() {
            let count = self.other_collations.len();
            text.push(format!(
                "{count} collations have another version here, such as {first}; their indexes are in \
                 order"
            ));
        }
        if major < Major::V17 {
            text.push("amcheck compares what should be unique from 17 on only".to_owned());
        }
        CheckOutcome::Passed(text.join("; "))
    }
}

async fn check_all(context: &CheckContext, tally: &mut Tally) -> Result<(), Stop> {
    let broken = |failure: SqlFailure| Stop::Broken(failure.into_error("preparing amcheck"));
    let list: Vec<Database> = databases(&context.cluster, &context.cancel).await.map_err(broken)?;
    let mut shared_done = false;
    let mut listed = Listed::default();
    for database in list.iter().filter(|d| !d.invalid) {
        if !database.connectable() {
            tally.findings.push(not_looked_at(&database.name, "it allows no connections"));
            continue;
        }
        let (relations, mismatches) = match prepare(context, &database.name, shared_done).await {
            Ok(prepared) => prepared,
            Err(Prepare::NoExtension) => return Err(Stop::NoExtension),
            Err(Prepare::Failed(SqlFailure::Server(error))) => {
                tally.findings.push(error.finding(format!("database `{}`", database.name)));
                continue;
            }
            Err(Prepare::Failed(SqlFailure::Broken(error))) => {
                // What is listed was to be looked at all the same.
                let _ = listed.look(context, tally).await;
                return Err(Stop::Broken(error));
            }
        };
        shared_done = true;
        tally.databases += 1;
        let named = mismatches.iter().map(|what| format!("{what} in {}", database.name));
        tally.other_collations.extend(named);
        let (valid, invalid): (Vec<_>, Vec<_>) = relations.into_iter().partition(|r| r.valid);
        tally.invalid.extend(invalid.iter().map(|r| format!("{}.{}", database.name, r.name)));
        listed.add(&database.name, valid, tally);
        if listed.first.len() >= MOST_LISTED {
            listed.look(context, tally).await?;
        }
    }
    listed.look(context, tally).await
}

/// Relations to look at, of some databases.
#[derive(Default)]
struct Listed {
    first: Vec<Placed<Relation>>,
    /// After all others: a server that dies of one has said what it knows of the rest.
    gin: Vec<Placed<Relation>>,
}

impl Listed {
    fn add(&mut self, database: &str, relations: Vec<Relation>, tally: &mut Tally) {
        let database: Arc<str> = database.into();
        for item in relations {
            let (database, size) = (Arc::clone(&database), item.size);
            let (count, list, size) = match item.kind {
                Kind::Heap => (&mut tally.heaps, &mut self.first, size),
                Kind::Btree => (&mut tally.indexes, &mut self.first, size),
                Kind::Gin => (&mut tally.gin_indexes, &mut self.gin, 0),
            };
            *count += 1;
            list.push(Placed { database, size, item });
        }
    }

    async fn look(&mut self, context: &CheckContext, tally: &mut Tally) -> Result<(), Stop> {
        let Self { first: mut relations, gin } = std::mem::take(self);
        relations.extend(gin);
        let total = relations.iter().map(|relation| relation.item.size).sum();
        let verifier = Verifier { context, total, done: AtomicU64::new(0) };
        let done = over_connections(context, relations, &verifier).await;
        tally.findings.extend(done.results.into_iter().flatten());
        done.broken.map_or(Ok(()), |error| Err(Stop::Broken(error)))
    }
}

fn not_looked_at(database: &str, why: &str) -> Finding {
    Finding::new(
        FailureClass::InfraError,
        format!("database `{database}`"),
        format!("{why}, so nothing in it was looked at"),
        "Report this: the sandbox should have allowed connections.",
    )
}

enum Prepare {
    NoExtension,
    Failed(SqlFailure),
}

/// Makes the extension usable in one database and lists what there is to look at.
async fn prepare(
    context: &CheckContext,
    database: &str,
    without_shared: bool,
) -> Result<(Vec<Relation>, Vec<String>), Prepare> {
    let connection =
        connect(&context.cluster, database, &context.cancel).await.map_err(Prepare::Failed)?;
    if !catalog::has_extension(&connection).await.map_err(Prepare::Failed)? {
        return Err(Prepare::NoExtension);
    }
    let setup = async {
        end_prepared_transactions(&connection).await?;
        catalog::silence_event_triggers(&connection, context.cluster.major).await?;
        let schema = catalog::install(&connection, "amcheck", SCHEMA).await?;
        let major = context.cluster.major;
        let mismatches = catalog::collation_mismatches(&connection, major).await?;
        let relations = catalog::relations(&connection, major, &schema, without_shared).await?;
        Ok((relations, mismatches))
    };
    setup.await.map_err(Prepare::Failed)
}

/// Looks at relations.
struct Verifier<'a> {
    context: &'a CheckContext,
    /// Bytes on disk, all and so far.
    total: u64,
    done: AtomicU64,
}

#[async_trait]
impl Work for Verifier<'_> {
    type Item = Relation;
    type Output = Option<Finding>;

    async fn one(
        &self,
        connection: &Connection,
        Placed { database, item: relation, .. }: Placed<Relation>,
    ) -> Result<Option<Finding>, Error> {
        let class = FailureClass::AmcheckIndex;
        let outcome = match relation.kind {
            Kind::Heap => heap(connection, &relation).await,
            Kind::Btree => btree(connection, &relation, self.context.cluster.major).await,
            Kind::Gin => gin(connection, &relation).await,
        };
        self.context.progress.emit(ProgressEvent::CheckProgress {
            name: NAME.into(),
            done: self.done.fetch_add(relation.size, Ordering::Relaxed) + relation.size,
            total: self.total,
            unit: "bytes",
        });
        let subject = format!("{database}.{}", relation.name);
        match outcome {
            Ok(None) => Ok(None),
            Ok(Some(detail)) => Ok(Some(Finding::new(class, subject, detail, damage_hint(class)))),
            Err(SqlFailure::Server(error)) => {
                Ok(Some(judge(self.context, connection, &relation, subject, &error).await?))
            }
            Err(SqlFailure::Broken(error)) => Err(error.context(format!("looking at {subject}"))),
        }
    }
}

/// The first complaints of `verify_heapam` in words, or nothing.
async fn heap(connection: &Connection, relation: &Relation) -> Result<Option<String>, SqlFailure> {
    let sql = format!(
        "SELECT pg_catalog.count(*) OVER (), blkno, offnum, msg \
         FROM {}.verify_heapam({}::pg_catalog.oid::pg_catalog.regclass, false, true, 'none') \
         LIMIT 5",
        quote_ident(&relation.schema),
        relation.oid
    );
    let rows = connection.rows(&sql).await?;
    let places = rows.iter().map(|row| {
        let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or("?");
        format!("block {}, row {}: {}", text(1), text(2), text(3))
    });
    let places: Vec<String> = places.collect();
    let count = rows.first().and_then(|row| row.first().cloned().flatten());
    Ok(count.map(|count| format!("{count} complaints: {}", places.join("; "))))
}

/// Every level of the tree against the others, every row of the heap against the index, and from 17
/// on that what should be unique is.
async fn btree(
    connection: &Connection,
    relation: &Relation,
    major: Major,
) -> Result<Option<String>, SqlFailure> {
    let unique = if major >= Major::V17 && relation.check_unique { ", true" } else { "" };
    let sql = format!(
        "SELECT {}.bt_index_parent_check({}::pg_catalog.oid::pg_catalog.regclass, true, false{unique})",
        quote_ident(&relation.schema),
        relation.oid
    );
    let first = connection.execute(&sql).await;
    match first {
        // An expression of the index may need production's own search path.
        Err(SqlFailure::Server(error))
            if relation.expressions
                && error.meaning() == Meaning::Unknown
                && !connection.ended() =>
        {
            connection.execute("SET search_path = pg_catalog, public").await?;
            let second = connection.execute(&sql).await;
            if !connection.ended() {
                connection.execute("SET search_path = pg_catalog").await?;
            }
            second.map(|()| None)
        }
        other => other.map(|()| None),
    }
}

/// Every level of the entry tree and of its posting trees against the others. Which rows should be in
/// the index is not looked at.
async fn gin(connection: &Connection, relation: &Relation) -> Result<Option<String>, SqlFailure> {
    let sql = format!(
        "SELECT {}.gin_index_check({}::pg_catalog.oid::pg_catalog.regclass)",
        quote_ident(&relation.schema),
        relation.oid
    );
    connection.execute(&sql).await.map(|()| None)
}
