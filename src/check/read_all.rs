//! The check `readAll`: every row of every table, with everything that is stored out of line.
//!
//! Each table is read by `COPY (SELECT …) TO STDOUT`, which scans the heap, detoasts every value and
//! calls every type's output function, as `pg_dump` does; what comes is counted and dropped. Columns
//! of type `bytea` are read by `bit_count`: their text form has twice their length, more than a
//! server can allocate from 512 MiB on. No encoding is converted, so bytes that only production's
//! clients can name are no error.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase, TableRead,
    connection::{Connection, TextRow, connect, databases, end_prepared_transactions, quote_ident},
    failure::{SqlFailure, capped},
    workers::{Work, over_connections},
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding},
    telemetry::progress::ProgressEvent,
};

const NAME: &str = "readAll";

/// What holds rows: tables, partitions that are leaves, materialized views that were filled,
/// sequences, catalogs. Not
/// toast (read with its table), foreign tables, or temporary tables of sessions that are gone.
const LIST: &str = "\
    SELECT n.nspname, c.relname, c.oid, c.relkind, \
           pg_catalog.pg_relation_size(c.oid), \
           (SELECT pg_catalog.string_agg(CASE \
                WHEN 17 IN (a.atttypid, t.typbasetype) \
                THEN pg_catalog.format('pg_catalog.bit_count(%I)', a.attname) \
                ELSE pg_catalog.quote_ident(a.attname) END, ', ' ORDER BY a.attnum) \
            FROM pg_catalog.pg_attribute a \
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
              AND a.attgenerated <> 'v') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't' AND c.relispopulated \
      AND (NOT c.relisshared OR pg_catalog.current_database() = ";

/// Every relation that must have a file, and its path below the data directory.
const FILES: &str = "\
    SELECT n.nspname, c.relname, c.oid, pg_catalog.pg_relation_filepath(c.oid) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm', 'S', 't', 'i') AND c.relpersistence <> 't'";

/// Reads every row of every database.
#[derive(Clone, Copy, Debug)]
pub struct ReadAll;

/// One table to read.
struct Table {
    schema: String,
    name: String,
    columns: String,
    size: u64,
    /// A sequence, which always has one row.
    sequence: bool,
}

/// Findings and what was read.
enum Read {
    Rows(TableRead),
    Bad(Finding),
}

#[async_trait]
impl Check for ReadAll {
    fn name(&self) -> String {
        NAME.into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let mut tables = Vec::new();
        let mut findings = Vec::new();
        match read_all(context, &mut tables, &mut findings).await {
            Ok(()) => {}
            // Damage that was seen stays seen, whatever broke afterwards.
            Err(error) if findings.iter().all(|f| f.class.is_environment()) => {
                return CheckOutcome::Errored(error);
            }
            Err(error) => findings.push(Finding::new(
                FailureClass::InfraError,
                "the rest of the cluster",
                error.message,
                "What was not read may be damaged too.",
            )),
        }
        tables.sort();
        let (count, rows) = (tables.len(), tables.iter().map(|t| t.rows).sum::<u64>());
        context.observations.lock().tables = tables;
        if findings.is_empty() {
            CheckOutcome::Passed(format!("{rows} rows in {count} tables"))
        } else {
            CheckOutcome::Failed(capped(findings))
        }
    }
}

async fn read_all(
    context: &CheckContext,
    tables: &mut Vec<TableRead>,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let list = databases(&context.cluster, &context.cancel)
        .await
        .map_err(|failure| failure.into_error("listing the databases"))?;
    let shared_in = list.iter().find(|d| d.connectable()).map(|d| d.name.clone());
    for database in list {
        if database.invalid {
            continue;
        }
        if !database.allows_connections {
            findings.push(Finding::new(
                FailureClass::InfraError,
                format!("database `{}`", database.name),
                "it allows no connections, so nothing in it was read",
                "Report this: the sandbox should have allowed them.",
            ));
            continue;
        }
        let shared_in = shared_in.as_deref().unwrap_or(&database.name);
        match list_tables(context, &database.name, shared_in, findings).await {
            Ok(list) => read_database(context, &database.name, list, tables, findings).await?,
            Err(SqlFailure::Server(error)) => {
                findings.push(error.finding(format!("database `{}`", database.name)));
            }
            Err(SqlFailure::Broken(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The tables of a database, largest first. Files that the catalog names and that do not exist are
/// found here, those of indexes and of empty tables too.
async fn list_tables(
    context: &CheckContext,
    database: &str,
    shared_in: &str,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Table>, SqlFailure> {
    let text = |row: &TextRow, i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let connection = connect(&context.cluster, database, &context.cancel).await?;
    end_prepared_transactions(&connection).await?;
    for row in connection.rows(FILES).await? {
        let path = text(&row, 3);
        if !path.is_empty() && !context.cluster.data_dir.join(&path).exists() {
            findings.push(Finding::new(
                FailureClass::RelationMissing,
                format!("{database}.{}.{} (oid {})", text(&row, 0), text(&row, 1), text(&row, 2)),
                format!("its file `{path}` does not exist"),
                super::failure::damage_hint(FailureClass::RelationMissing),
            ));
        }
    }
    let sql =
        format!("{LIST}{}) ORDER BY 5 DESC, c.oid", super::connection::quote_literal(shared_in));
    let rows = connection.rows(&sql).await?;
    Ok(rows
        .iter()
        .map(|row| Table {
            schema: text(row, 0),
            name: text(row, 1),
            size: text(row, 4).parse().unwrap_or_default(),
            columns: text(row, 5),
            sequence: text(row, 3) == "S",
        })
        .collect())
}

async fn read_database(
    context: &CheckContext,
    database: &str,
    list: Vec<Table>,
    tables: &mut Vec<TableRead>,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let total = list.iter().map(|t| t.size).sum();
    let reader = Reader { context, database, total, read: AtomicU64::new(0) };
    let done = over_connections(context, database, list, &reader).await;
    for result in done.results {
        match result {
            Read::Rows(rows) => tables.push(rows),
            Read::Bad(finding) => findings.push(finding),
        }
    }
    done.broken.map_or(Ok(()), Err)
}

/// Reads tables of one database.
struct Reader<'a> {
    context: &'a CheckContext,
    database: &'a str,
    /// Bytes on disk, all and so far.
    total: u64,
    read: AtomicU64,
}

#[async_trait]
impl Work for Reader<'_> {
    type Item = Table;
    type Output = Read;

    async fn one(&self, connection: &Connection, table: Table) -> Result<Read, Error> {
        let sql = format!(
            "COPY (SELECT {} FROM ONLY {}.{}) TO STDOUT WITH (FORMAT text, ENCODING 'SQL_ASCII')",
            table.columns,
            quote_ident(&table.schema),
            quote_ident(&table.name)
        );
        let outcome = connection.copy_out(&sql).await;
        self.context.progress.emit(ProgressEvent::CheckProgress {
            name: NAME.into(),
            done: self.read.fetch_add(table.size, Ordering::Relaxed) + table.size,
            total: self.total,
            unit: "bytes",
        });
        let subject = format!("{}.{}.{}", self.database, table.schema, table.name);
        match outcome {
            // A scan of a zeroed or empty file finds nothing and does not complain; `nextval` would.
            Ok((0, _)) if table.sequence => Ok(Read::Bad(Finding::new(
                FailureClass::PageZeroed,
                subject,
                "the sequence has lost its only row",
                super::failure::damage_hint(FailureClass::PageZeroed),
            ))),
            Ok((rows, bytes)) => Ok(Read::Rows(TableRead {
                database: self.database.to_owned(),
                schema: table.schema,
                table: table.name,
                rows,
                bytes,
            })),
            Err(SqlFailure::Server(error)) => Ok(Read::Bad(error.finding(subject))),
            Err(SqlFailure::Broken(error)) => Err(error.context(format!("reading {subject}"))),
        }
    }
}
