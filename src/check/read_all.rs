//! The check `readAll`: every row of every table, with everything that is stored out of line.
//!
//! Each table is read by `COPY (SELECT …) TO STDOUT`, which scans the heap, detoasts every value and
//! calls every type's output function, as `pg_dump` does; what comes is counted and dropped. Columns
//! of type `bytea` are read by `bit_count`: their text form has twice their length, more than a
//! server can allocate from 512 MiB on. No encoding is converted, so bytes that only production's
//! clients can name are no error. Large heaps are read by ranges of their blocks, over several sessions
//! (`heap_set_tidrange`, `access/heap/heapam.c`): other access methods may not know them.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase, TableRead,
    connection::{Connection, quote_ident, quote_literal},
    databases::{Sessions, number, outcome, text, to_look_into},
    failure::SqlFailure,
    workers::{Placed, Work, over_connections},
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding},
    telemetry::progress::ProgressEvent,
};

const NAME: &str = "readAll";

/// What holds rows: tables, partitions that are leaves, materialized views that were filled,
/// sequences, catalogs. Not toast (read with its table), foreign tables, temporary tables of
/// sessions that are gone, or unlogged sequences: replay of `XLOG_SEQ_LOG` leaves their init fork in
/// the buffers, so that after any promotion they are empty (`seq_redo`, `commands/sequence.c`).
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
              AND a.attgenerated <> 'v'), \
           c.relpersistence = 'p' AND c.relkind <> 'S' AND c.oid >= 16384 \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast'), \
           (SELECT pg_catalog.concat(rn.nspname, '.', r.relname) FROM pg_catalog.pg_class r \
            JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
            WHERE c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)), \
           CASE WHEN NOT c.relispartition THEN \
             (WITH RECURSIVE up (oid) AS ( \
                SELECT i.inhparent FROM pg_catalog.pg_inherits i \
                WHERE i.inhrelid = c.oid AND i.inhseqno = 1 \
                UNION \
                SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i \
                ON i.inhrelid = up.oid AND i.inhseqno = 1) \
              SELECT pg_catalog.concat(rn.nspname, '.', r.relname) \
              FROM up JOIN pg_catalog.pg_class r ON r.oid = up.oid \
              JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
              WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = up.oid)) END, \
           CASE WHEN c.relam = 2 THEN pg_catalog.current_setting('block_size') END \
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't' AND c.relispopulated \
      AND NOT (c.relkind = 'S' AND c.relpersistence = 'u') \
      AND (NOT c.relisshared OR pg_catalog.current_database() = ";

/// Blocks of a table that one session reads at a time, 128 MiB: the largest must not end alone.
const RANGE: u32 = 16 << 10;

/// Reads every row of every database; of tables so many blocks at a time.
#[derive(Clone, Copy, Debug)]
pub struct ReadAll {
    pub range: NonZeroU32,
}

impl Default for ReadAll {
    fn default() -> Self {
        Self { range: const { NonZeroU32::new(RANGE).unwrap() } }
    }
}

/// One table to read.
#[derive(Clone)]
struct Table {
    schema: String,
    name: String,
    columns: String,
    size: u64,
    /// Bytes of a block, where the table can be read in parts (`ctid`).
    block: Option<u64>,
    /// A sequence, which always has one row.
    sequence: bool,
    lasting: bool,
    part_of: Option<String>,
    child_of: Option<String>,
}

/// A table, or its rows in some of its blocks.
struct Portion {
    table: Arc<Table>,
    /// As `WHERE` has it.
    blocks: String,
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
        let ended = read_all(context, self.range, &mut tables, &mut findings).await;
        tables.sort();
        let (count, rows) = (tables.len(), tables.iter().map(|t| t.rows).sum::<u64>());
        let mut observed = context.observations.lock();
        observed.tables = tables;
        observed.all_read = ended.is_ok() && findings.is_empty();
        drop(observed);
        outcome(ended, findings, || format!("{rows} rows in {count} tables"))
    }
}

async fn read_all(
    context: &CheckContext,
    range: NonZeroU32,
    tables: &mut Vec<TableRead>,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let list = to_look_into(context, findings).await?;
    // Shared catalogs are read in the first database only.
    let shared_in = list.first().map(|d| d.name.clone()).unwrap_or_default();
    let mut sessions = Sessions::of(context, list);
    let mut portions = Vec::new();
    let listed = async {
        while let Some(session) = sessions.next(findings).await? {
            let listed = list_tables(session.connection(), &shared_in).await;
            let Some(list) = session.answered(listed, findings)? else { continue };
            let database: Arc<str> = session.database.name.as_str().into();
            portions.extend(list.into_iter().flat_map(|table| table.portions(&database, range)));
        }
        Ok(())
    };
    let listed = listed.await;
    let total = portions.iter().map(|portion| portion.size).sum();
    let reader = Reader { context, total, read: AtomicU64::new(0) };
    let done = over_connections(context, portions, &reader).await;
    let mut read = BTreeMap::<_, TableRead>::new();
    let mut bad = BTreeSet::new();
    for (name, result) in done.results {
        match result {
            Read::Rows(rows) => match read.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(rows);
                }
                Entry::Occupied(mut before) => {
                    before.get_mut().rows += rows.rows;
                    before.get_mut().bytes += rows.bytes;
                }
            },
            // One finding for each table says it; which of its parts came first is chance.
            Read::Bad(finding) => {
                if bad.insert(name) {
                    findings.push(finding);
                }
            }
        }
    }
    tables.extend(read.into_iter().filter(|(name, _)| !bad.contains(name)).map(|(_, read)| read));
    listed.and(done.broken.map_or(Ok(()), Err))
}

/// The tables of a database, largest first.
async fn list_tables(connection: &Connection, shared_in: &str) -> Result<Vec<Table>, SqlFailure> {
    let sql = format!("{LIST}{}) ORDER BY 5 DESC, c.oid", quote_literal(shared_in));
    let rows = connection.rows(&sql).await?;
    Ok(rows
        .iter()
        .map(|row| Table {
            schema: text(row, 0).to_owned(),
            name: text(row, 1).to_owned(),
            size: number(row, 4),
            columns: text(row, 5).to_owned(),
            sequence: text(row, 3) == "S",
            lasting: text(row, 6) == "t",
            part_of: row.get(7).cloned().flatten(),
            child_of: row.get(8).cloned().flatten(),
            block: row.get(9).cloned().flatten().and_then(|size| size.parse().ok()),
        })
        .collect())
}

impl Table {
    /// The table in ranges of so many blocks. The last one has no end: whatever there is was read.
    fn portions(
        self,
        database: &Arc<str>,
        range: NonZeroU32,
    ) -> impl Iterator<Item = Placed<Portion>> + use<> {
        let range = u64::from(range.get());
        let blocks = self.block.map_or(0, |block| self.size / block.max(1));
        let count = (blocks / range).max(1);
        let (table, database) = (Arc::new(self), Arc::clone(database));
        (0..count).map(move |at| {
            let mut blocks = Vec::new();
            if at > 0 {
                blocks.push(format!("ctid >= '({},0)'", at * range));
            }
            if at + 1 < count {
                blocks.push(format!("ctid < '({},0)'", (at + 1) * range));
            }
            let blocks = blocks.join(" AND ");
            let portion = Portion { table: Arc::clone(&table), blocks };
            Placed { database: Arc::clone(&database), size: table.size / count, item: portion }
        })
    }
}

/// Reads tables.
struct Reader<'a> {
    context: &'a CheckContext,
    /// Bytes on disk, all and so far.
    total: u64,
    read: AtomicU64,
}

/// Database, schema and name.
type Name = (Arc<str>, String, String);

#[async_trait]
impl Work for Reader<'_> {
    type Item = Portion;
    type Output = (Name, Read);

    async fn one(
        &self,
        connection: &Connection,
        Placed { database, size, item }: Placed<Portion>,
    ) -> Result<(Name, Read), Error> {
        let Portion { table, blocks } = item;
        let filter = if blocks.is_empty() { "" } else { " WHERE " };
        let sql = format!(
            "COPY (SELECT {} FROM ONLY {}.{}{filter}{blocks}) TO STDOUT WITH (FORMAT text, ENCODING 'SQL_ASCII')",
            table.columns,
            quote_ident(&table.schema),
            quote_ident(&table.name)
        );
        let outcome = connection.copy_out(&sql).await;
        self.context.progress.emit(ProgressEvent::CheckProgress {
            name: NAME.into(),
            done: self.read.fetch_add(size, Ordering::Relaxed) + size,
            total: self.total,
            unit: "bytes",
        });
        let subject = format!("{database}.{}.{}", table.schema, table.name);
        let read = match outcome {
            // A scan of a zeroed or empty file finds nothing and does not complain; `nextval` would.
            Ok((0, _)) if table.sequence => Read::Bad(Finding::new(
                FailureClass::PageZeroed,
                subject,
                "the sequence has lost its only row",
                super::failure::damage_hint(FailureClass::PageZeroed),
            )),
            Ok((rows, bytes)) => Read::Rows(TableRead {
                database: database.to_string(),
                schema: table.schema.clone(),
                table: table.name.clone(),
                rows,
                bytes,
                lasting: table.lasting,
                part_of: table.part_of.clone(),
                child_of: table.child_of.clone(),
            }),
            Err(SqlFailure::Server(error)) => Read::Bad(error.finding(subject)),
            Err(SqlFailure::Broken(error)) => {
                return Err(error.context(format!("reading {subject}")));
            }
        };
        Ok(((database, table.schema.clone(), table.name.clone()), read))
    }
}
