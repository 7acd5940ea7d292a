//! The check `foreignKeys`: rows that refer to rows of other tables, on a sample of pages.
//!
//! A table whose rows were lost agrees with its own indexes once both are gone; those that refer to it
//! still tell. Only keys that the catalog calls validated are looked at. Where production itself may
//! have written rows past its triggers (they are disabled, or the database subscribes to another, whose
//! apply worker fires none: `session_replication_role`), what is found is said and fails nothing. The
//! same goes for keys that the job excepts: rows that production has lost itself cannot be told from
//! those that the backup has lost. And for keys whose rows refer to a child of the table
//! (`INHERITS`), as an extension's may that fires triggers of its own: hypertables have no rows but in
//! their chunks.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{Connection, TextRow},
    databases::{Sessions, answered, number, outcome, text, to_look_into},
    failure::{SqlFailure, damage_hint},
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding, pattern::matches},
    pg::Major,
    telemetry::progress::ProgressEvent,
};

const NAME: &str = "foreignKeys";
/// So many rows are sampled, if the statistics hold; never more than `MOST_ROWS`.
const ROWS: f64 = 10_000.0;
const MOST_ROWS: u64 = 50_000;
/// Most pages of a table that are sampled.
const MOST_PAGES: u64 = 1_000;
/// Rows on a page of a table without statistics.
const ROWS_A_PAGE: f64 = 50.0;

/// Looks up the rows that a sample of rows refers to.
#[derive(Clone, Debug, Default)]
pub struct ForeignKeys {
    /// Patterns of keys whose rows may refer to none.
    except: Vec<String>,
}

/// One key of one table that has rows of its own.
#[derive(Debug)]
struct Key {
    /// Database, schema, table and constraint.
    name: String,
    child: String,
    parent: String,
    /// `ONLY` unless the table is partitioned.
    only: &'static str,
    /// What inherits from the parent.
    children: Children,
    /// The sampled columns, that none of them is NULL, and how they compare.
    columns: String,
    not_null: String,
    matching: String,
    pages: u64,
    /// Of those that have the columns, as the statistics tell.
    rows_a_page: f64,
    /// Production may hold such rows itself.
    unguarded: bool,
}

/// Tables that inherit from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Children {
    None,
    Tables,
    /// Some are foreign, which nobody may read here.
    Foreign,
}

/// What a sample says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sampled {
    rows: u64,
    /// Those that refer to nothing.
    orphans: u64,
    /// Those that refer to no row of the table itself, where it has children that hold the others or
    /// that cannot be read.
    in_children: u64,
}

#[derive(Debug, Default)]
struct Tally {
    keys: u64,
    rows: u64,
    /// Keys without a guard, whose rows refer to nothing.
    said: Vec<String>,
    /// Keys whose rows refer to children of the table.
    to_children: Vec<String>,
    /// Keys that the job excepts, whose rows refer to nothing.
    excepted: Vec<String>,
    /// Patterns of the job that fit a key.
    fitting: BTreeSet<String>,
    /// Keys over ranges of time, which are not looked at.
    of_periods: u64,
}

impl ForeignKeys {
    /// With patterns of keys (`database.schema.table.constraint`) whose rows may refer to none.
    #[must_use]
    pub const fn new(except: Vec<String>) -> Self {
        Self { except }
    }
}

#[async_trait]
impl Check for ForeignKeys {
    fn name(&self) -> String {
        NAME.into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let (mut tally, mut findings) = (Tally::default(), Vec::new());
        let ended = self.look(context, &mut tally, &mut findings).await;
        outcome(ended, findings, || tally.words(&self.except))
    }
}

impl Tally {
    fn words(&self, patterns: &[String]) -> String {
        let mut text = vec![format!("{} rows of {} foreign keys sampled", self.rows, self.keys)];
        if let [first, ..] = self.said.as_slice() {
            let count = self.said.len();
            text.push(format!(
                "{count} keys that triggers do not guard have rows that refer to none, such as {first}"
            ));
        }
        if let [first, ..] = self.to_children.as_slice() {
            let count = self.to_children.len();
            text.push(format!(
                "{count} keys have rows that refer to none of the table itself, which has children, such \
                 as {first}"
            ));
        }
        if let [first, ..] = self.excepted.as_slice() {
            let count = self.excepted.len();
            text.push(format!(
                "{count} keys that the job excepts have rows that refer to none, such as {first}"
            ));
        }
        let idle: Vec<&str> =
            patterns.iter().filter(|p| !self.fitting.contains(*p)).map(String::as_str).collect();
        if !idle.is_empty() {
            text.push(format!("no key fits the job's `except`: {}", idle.join(", ")));
        }
        if self.of_periods > 0 {
            text.push(format!("{} keys over periods of time were not looked at", self.of_periods));
        }
        text.join("; ")
    }
}

impl ForeignKeys {
    async fn look(
        &self,
        context: &CheckContext,
        tally: &mut Tally,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let mut sessions = Sessions::of(context, to_look_into(context, findings).await?);
        while let Some(mut session) = sessions.next(findings).await? {
            let (connection, name) = (session.connection(), &session.database.name);
            let listed = keys(connection, name, context.cluster.major, tally).await;
            let listed = session.answered(listed, findings)?;
            let total = listed.as_ref().map_or(0, |keys| keys.len() as u64);
            for (done, key) in listed.into_iter().flatten().enumerate() {
                let Some(connection) = session.still(findings).await? else { break };
                let sampled = key.sample(connection, context.seed).await;
                context.progress.emit(ProgressEvent::CheckProgress {
                    name: NAME.into(),
                    done: done as u64 + 1,
                    total,
                    unit: "keys",
                });
                if let Some(sampled) = answered(sampled, || key.name.clone(), findings)? {
                    findings.extend(self.judge(key, sampled, tally));
                }
            }
        }
        Ok(())
    }

    /// What becomes of a key with so many sampled rows and so many of them that refer to none.
    fn judge(&self, key: Key, sampled: Sampled, tally: &mut Tally) -> Option<Finding> {
        let Sampled { rows, orphans, in_children } = sampled;
        tally.keys += 1;
        tally.rows += rows;
        let fitting: Vec<_> =
            self.except.iter().filter(|p| matches(p, &key.name)).cloned().collect();
        let excepted = !fitting.is_empty();
        tally.fitting.extend(fitting);
        if orphans == 0 {
            if in_children > 0 {
                tally.to_children.push(key.name);
            }
            return None;
        }
        if excepted {
            tally.excepted.push(key.name);
            return None;
        }
        if key.unguarded {
            tally.said.push(key.name);
            return None;
        }
        let class = FailureClass::ForeignKeyBroken;
        let detail = format!(
            "{orphans} of {rows} sampled rows refer to rows of {} that are not there",
            key.parent
        );
        let hint = format!(
            "{} Until then, `- foreignKeys: {{except: [{:?}]}}` under `checks` of the job keeps this key \
             from failing drills.",
            damage_hint(class),
            key.name
        );
        Some(Finding::new(class, key.name, detail, hint))
    }
}

/// Every validated key of a permanent table. For a partitioned table the catalog has a row for each
/// partition on either side; those that name a part of the referenced table stand for the whole one.
async fn keys(
    connection: &Connection,
    database: &str,
    major: Major,
    tally: &mut Tally,
) -> Result<Vec<Key>, SqlFailure> {
    if major >= Major::V18 {
        let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint c \
                   WHERE c.contype = 'f' AND c.conperiod AND c.convalidated AND c.conparentid = 0";
        tally.of_periods +=
            connection.rows(sql).await?.first().map_or(0, |row| number::<u64>(row, 0));
    }
    // Keys over ranges of time (18) compare otherwise; what is not enforced promises nothing.
    let newer = if major >= Major::V18 { "AND c.conenforced AND NOT c.conperiod" } else { "" };
    let sql = format!(
        "WITH RECURSIVE up (leaf, self, parent, refers) AS ( \
           SELECT oid, oid, conparentid, confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' \
           UNION ALL \
           SELECT u.leaf, p.oid, p.conparentid, p.confrelid FROM up u \
           JOIN pg_catalog.pg_constraint p ON p.oid = u.parent) \
         SELECT c.conname, cn.nspname, cr.relname, pn.nspname, pr.relname, pr.relkind = 'p', \
                pg_catalog.pg_relation_size(cr.oid) \
                  / pg_catalog.current_setting('block_size')::pg_catalog.int8, \
                EXISTS (SELECT 1 FROM pg_catalog.pg_subscription s \
                        JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
                        WHERE d.datname = pg_catalog.current_database()) \
                OR EXISTS (SELECT 1 FROM up u JOIN pg_catalog.pg_trigger t ON t.tgconstraint = u.self \
                           WHERE u.leaf = c.oid AND t.tgenabled IN ('D', 'R')), \
                k.columns, k.not_null, k.matching, \
                pg_catalog.format('%I.%I', cn.nspname, cr.relname), \
                pg_catalog.format('%I.%I', pn.nspname, pr.relname), \
                CASE WHEN cr.reltuples > 0 AND cr.relpages > 0 THEN \
                  cr.reltuples / cr.relpages * (1 - coalesce( \
                    (SELECT pg_catalog.max(t.stanullfrac) FROM pg_catalog.pg_statistic t \
                     WHERE t.starelid = cr.oid AND t.staattnum = ANY (c.conkey)), 0)) END, \
                CASE WHEN pr.relkind <> 'p' AND pr.relhassubclass THEN \
                  (WITH RECURSIVE down (oid) AS ( \
                     SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = pr.oid \
                     UNION \
                     SELECT i.inhrelid FROM down JOIN pg_catalog.pg_inherits i ON i.inhparent = down.oid) \
                   SELECT pg_catalog.bool_or(h.relkind = 'f') \
                   FROM down JOIN pg_catalog.pg_class h ON h.oid = down.oid) END \
         FROM pg_catalog.pg_constraint c \
         JOIN up top ON top.leaf = c.oid AND top.parent = 0 AND top.refers = c.confrelid \
         JOIN pg_catalog.pg_class cr ON cr.oid = c.conrelid \
         JOIN pg_catalog.pg_namespace cn ON cn.oid = cr.relnamespace \
         JOIN pg_catalog.pg_class pr ON pr.oid = c.confrelid \
         JOIN pg_catalog.pg_namespace pn ON pn.oid = pr.relnamespace, \
         LATERAL (SELECT \
           pg_catalog.string_agg(pg_catalog.format('c.%I AS k%s', f.attname, n), ', ' ORDER BY n), \
           pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', f.attname), ' AND '), \
           pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) s.k%s%s', p.attname, \
             o_n.nspname, o.oprname, n, CASE WHEN p.attcollation <> 0 THEN \
               pg_catalog.format(' COLLATE %I.%I', l_n.nspname, l.collname) END), ' AND ') \
           FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), \
                           pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY u (fk, pk, op, n) \
           JOIN pg_catalog.pg_attribute f ON f.attrelid = c.conrelid AND f.attnum = fk \
           JOIN pg_catalog.pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = pk \
           JOIN pg_catalog.pg_operator o ON o.oid = op \
           JOIN pg_catalog.pg_namespace o_n ON o_n.oid = o.oprnamespace \
           LEFT JOIN pg_catalog.pg_collation l ON l.oid = p.attcollation \
           LEFT JOIN pg_catalog.pg_namespace l_n ON l_n.oid = l.collnamespace \
         ) k (columns, not_null, matching) \
         WHERE c.contype = 'f' AND c.convalidated {newer} \
           AND cr.relkind = 'r' AND cr.relpersistence = 'p' AND pr.relpersistence = 'p' \
         ORDER BY cr.oid, c.oid"
    );
    let rows = connection.rows(&sql).await?;
    let key = |row: &TextRow| Key {
        name: format!("{database}.{}.{}.{}", text(row, 1), text(row, 2), text(row, 0)),
        only: if text(row, 5) == "t" { "" } else { "ONLY" },
        children: match text(row, 14) {
            "t" => Children::Foreign,
            "f" => Children::Tables,
            _ => Children::None,
        },
        pages: number(row, 6),
        rows_a_page: text(row, 13).parse().unwrap_or(ROWS_A_PAGE),
        unguarded: text(row, 7) == "t",
        columns: text(row, 8).to_owned(),
        not_null: text(row, 9).to_owned(),
        matching: text(row, 10).to_owned(),
        child: text(row, 11).to_owned(),
        parent: text(row, 12).to_owned(),
    };
    Ok(rows.iter().map(key).collect())
}

impl Key {
    /// Samples rows and looks up what they refer to. Those that refer to nothing are looked up a second
    /// time without any index: one that has lost an entry is amcheck's to tell.
    async fn sample(&self, connection: &Connection, seed: u64) -> Result<Sampled, SqlFailure> {
        const SCANS: [&str; 4] =
            ["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "enable_nestloop"];
        // By the visibility map it would find rows whose page is lost.
        connection.execute("SET enable_indexonlyscan = off").await?;
        let (rows, orphans) = self.count(connection, seed, self.only).await?;
        if orphans == 0 {
            return Ok(Sampled { rows, ..Sampled::default() });
        }
        for setting in SCANS {
            connection.execute(&format!("SET {setting} = off")).await?;
        }
        let second = self.without_indexes(connection, seed).await;
        for setting in SCANS {
            connection.execute(&format!("RESET {setting}")).await?;
        }
        second
    }

    async fn without_indexes(
        &self,
        connection: &Connection,
        seed: u64,
    ) -> Result<Sampled, SqlFailure> {
        let (rows, orphans) = self.count(connection, seed, self.only).await?;
        let in_children = orphans;
        Ok(match self.children {
            Children::None => Sampled { rows, orphans, in_children: 0 },
            Children::Foreign => Sampled { rows, orphans: 0, in_children },
            Children::Tables if orphans > 0 => {
                let (rows, orphans) = self.count(connection, seed, "").await?;
                Sampled { rows, orphans, in_children: in_children.saturating_sub(orphans) }
            }
            Children::Tables => Sampled { rows, ..Sampled::default() },
        })
    }

    /// How much of the table is sampled, so that the rows come from all of it.
    fn percent(&self) -> f64 {
        let pages = self.pages as f64;
        let rows = pages * self.rows_a_page;
        let least = |all: f64, most: f64| if all <= most { 100.0 } else { 100.0 * most / all };
        least(rows, ROWS).min(least(pages, MOST_PAGES as f64))
    }

    /// Rows of the sample, and those that refer to nothing. A row with a NULL in it refers to nothing,
    /// whatever the kind of match, and is none of either.
    async fn count(
        &self,
        connection: &Connection,
        seed: u64,
        only: &str,
    ) -> Result<(u64, u64), SqlFailure> {
        let Self { child, parent, columns, not_null, matching, .. } = self;
        // Whole numbers up to there are exact.
        let (percent, seed) = (self.percent(), seed % (1 << 32));
        let sql = format!(
            "WITH s AS MATERIALIZED ( \
               SELECT {columns} FROM ONLY {child} c \
               TABLESAMPLE pg_catalog.system ({percent}) REPEATABLE ({seed}) \
               WHERE {not_null} LIMIT {MOST_ROWS}) \
             SELECT (SELECT pg_catalog.count(*) FROM s), \
                    (SELECT pg_catalog.count(*) FROM s \
                     WHERE NOT EXISTS (SELECT 1 FROM {only} {parent} p WHERE {matching}))"
        );
        let rows = connection.rows(&sql).await?;
        Ok(rows.first().map_or((0, 0), |row| (number(row, 0), number(row, 1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_the_whole_table() {
        let percent = |pages: u64, rows_a_page: f64| {
            let key = Key {
                name: String::new(),
                child: String::new(),
                parent: String::new(),
                only: "ONLY",
                children: Children::None,
                columns: String::new(),
                not_null: String::new(),
                matching: String::new(),
                pages,
                rows_a_page,
                unguarded: false,
            };
            key.percent()
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        near(percent(0, 0.0), 100.0);
        near(percent(100, 100.0), 100.0);
        near(percent(1_000, 100.0), 10.0);
        near(percent(1_000_000, 200.0), 0.005);
        // Wide rows, and columns that are NULL nearly everywhere.
        near(percent(10_000, 1.0), 10.0);
        near(percent(10_000, 0.0), 10.0);
    }
}
