//! The check `sequences`: the next value of every sequence against the column that it feeds.
//!
//! A sequence that is behind its column gives out values that are taken: inserts end in an error, or in
//! keys that are there twice. Replay never leaves one behind (it skips values that were logged ahead,
//! `SEQ_LOG_VALS` in `commands/sequence.c`), but production does whenever rows are loaded with values
//! of their own, and every logical subscriber does. So what is found is said, with numbers, and fails
//! nothing. A partitioned table with a foreign partition is passed over: its rows are another server's.

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{Connection, TextRow},
    databases::{Sessions, answered, number, outcome, text, to_look_into},
    failure::SqlFailure,
};
use crate::drill::{CheckOutcome, Error, Finding};

/// A table is read for a column without an index up to this size.
const MOST_SCANNED: u64 = 1 << 30;
/// Most sequences that are named.
const MOST_NAMED: usize = 5;

/// Columns of numbers that a sequence feeds: by identity, or by a default that is nothing but
/// `nextval`. Partitions are looked at through the table at the top. A sequence that cycles is free to
/// be anywhere.
const LIST: &str = "\
    WITH feeds AS ( \
      SELECT d.objid AS seq, d.refobjid AS rel, d.refobjsubid AS att FROM pg_catalog.pg_depend d \
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i' \
        AND d.refobjsubid > 0 \
      UNION \
      SELECT d.refobjid, f.adrelid, f.adnum FROM pg_catalog.pg_attrdef f \
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
        AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      WHERE pg_catalog.pg_get_expr(f.adbin, f.adrelid) ~ '^nextval[(][^)]*::regclass[)]$') \
    SELECT pg_catalog.format('%I.%I', sn.nspname, s.relname), \
           pg_catalog.format('%I.%I', tn.nspname, t.relname), a.attname, \
           pg_catalog.quote_ident(a.attname), q.seqincrement, t.relkind = 'p', \
           EXISTS (SELECT 1 FROM pg_catalog.pg_index i \
                   JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
                   JOIN pg_catalog.pg_am m ON m.oid = ic.relam \
                   WHERE i.indrelid = t.oid AND m.amname = 'btree' AND i.indisvalid \
                     AND i.indpred IS NULL AND i.indkey[0] = a.attnum), \
           CASE t.relkind WHEN 'r' THEN pg_catalog.pg_relation_size(t.oid) ELSE \
             (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(p.relid)) \
              FROM pg_catalog.pg_partition_tree(t.oid) p) END, \
           EXISTS (SELECT 1 FROM pg_catalog.pg_partition_tree(t.oid) p \
                   JOIN pg_catalog.pg_class f ON f.oid = p.relid WHERE f.relkind = 'f') \
    FROM feeds \
    JOIN pg_catalog.pg_class s ON s.oid = feeds.seq AND s.relkind = 'S' \
    JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace \
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND NOT q.seqcycle \
    JOIN pg_catalog.pg_class t ON t.oid = feeds.rel AND t.relkind IN ('r', 'p') \
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = feeds.att \
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid \
    WHERE s.relpersistence = 'p' AND t.relpersistence = 'p' AND NOT t.relispartition \
      AND coalesce(nullif(y.typbasetype, 0), y.oid) IN (20, 21, 23, 1700) \
    ORDER BY s.oid, t.oid, a.attnum";

/// Compares sequences with columns.
#[derive(Clone, Copy, Debug)]
pub struct Sequences;

/// One sequence and one column.
struct Feed {
    sequence: String,
    table: String,
    column: String,
    quoted: String,
    increment: i64,
    partitioned: bool,
}

#[derive(Debug, Default)]
struct Tally {
    compared: u64,
    behind: u64,
    /// The first ones that are behind, with their numbers.
    named: Vec<String>,
    /// Columns of large tables that no index leads to.
    not_compared: u64,
    /// Columns of tables that lie on another server in part.
    foreign: u64,
}

#[async_trait]
impl Check for Sequences {
    fn name(&self) -> String {
        "sequences".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let (mut tally, mut findings) = (Tally::default(), Vec::new());
        let ended = look(context, &mut tally, &mut findings).await;
        outcome(ended, findings, || tally.words())
    }
}

impl Tally {
    fn words(&self) -> String {
        let mut text = vec![format!("{} columns compared with their sequences", self.compared)];
        if self.behind > 0 {
            let list = self.named.join(", ");
            let more = if self.behind > self.named.len() as u64 { ", …" } else { "" };
            text.push(format!(
                "{} sequences are behind, as they may be on production: {list}{more}",
                self.behind
            ));
        }
        if self.not_compared > 0 {
            let count = self.not_compared;
            text.push(format!(
                "{count} columns of large tables have no index and were not compared"
            ));
        }
        if self.foreign > 0 {
            let count = self.foreign;
            text.push(format!(
                "{count} columns of tables with foreign partitions were not compared"
            ));
        }
        text.join("; ")
    }
}

async fn look(
    context: &CheckContext,
    tally: &mut Tally,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut sessions = Sessions::of(context, to_look_into(context, findings).await?);
    while let Some(mut session) = sessions.next(findings).await? {
        let database = session.database.name.clone();
        let listed = list(session.connection(), tally).await;
        for feed in session.answered(listed, findings)?.into_iter().flatten() {
            let Some(connection) = session.still(findings).await? else { break };
            let subject = || format!("{database}.{}.{}", feed.table, feed.column);
            let compared = feed.compare(connection).await;
            // A sequence without its row is the check `readAll`'s to say.
            let Some(Some(behind)) = answered(compared, subject, findings)? else { continue };
            tally.compared += 1;
            if let Some((next, extreme)) = behind {
                tally.behind += 1;
                if tally.named.len() < MOST_NAMED {
                    tally.named.push(format!(
                        "{database}.{} (next {next}, {} has {extreme})",
                        feed.sequence,
                        subject()
                    ));
                }
            }
        }
    }
    Ok(())
}

async fn list(connection: &Connection, tally: &mut Tally) -> Result<Vec<Feed>, SqlFailure> {
    let rows = connection.rows(LIST).await?;
    let small = |row: &&TextRow| text(row, 6) == "t" || number::<u64>(row, 7) <= MOST_SCANNED;
    let (foreign, here): (Vec<_>, Vec<_>) = rows.iter().partition(|row| text(row, 8) == "t");
    tally.foreign += foreign.len() as u64;
    let (feeds, large): (Vec<_>, Vec<_>) = here.into_iter().partition(small);
    tally.not_compared += large.len() as u64;
    let feed = |row: &TextRow| Feed {
        sequence: text(row, 0).to_owned(),
        table: text(row, 1).to_owned(),
        column: text(row, 2).to_owned(),
        quoted: text(row, 3).to_owned(),
        increment: number(row, 4),
        partitioned: text(row, 5) == "t",
    };
    Ok(feeds.into_iter().map(feed).collect())
}

impl Feed {
    /// The next value and the column's furthest where the first is not beyond the second; `None` where
    /// the sequence has no row.
    async fn compare(
        &self,
        connection: &Connection,
    ) -> Result<Option<Option<(String, String)>>, SqlFailure> {
        let Self { sequence, table, quoted, increment, partitioned, .. } = self;
        let only = if *partitioned { "" } else { "ONLY" };
        let (furthest, behind) = if *increment < 0 { ("min", ">=") } else { ("max", "<=") };
        let sql = format!(
            "SELECT next, furthest, next {behind} furthest FROM ( \
               SELECT last_value::pg_catalog.numeric \
                        + CASE WHEN is_called THEN {increment} ELSE 0 END AS next, \
                      (SELECT pg_catalog.{furthest}({quoted}) FROM {only} {table}) AS furthest \
               FROM {sequence}) f"
        );
        let rows = connection.rows(&sql).await?;
        Ok(rows.first().map(|row| {
            (text(row, 2) == "t").then(|| (text(row, 0).to_owned(), text(row, 1).to_owned()))
        }))
    }
}
