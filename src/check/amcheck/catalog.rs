//! What the catalogs say about relations, the extension and collations.

use crate::{
    check::{
        connection::{Connection, TextRow, quote_ident, quote_literal},
        failure::SqlFailure,
    },
    pg::Major,
};

/// How a relation is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Heap,
    Btree,
    /// From amcheck 1.5 on, which comes with PostgreSQL 18.
    Gin,
}

/// A relation to look at.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub oid: u32,
    /// Schema and name.
    pub name: String,
    pub kind: Kind,
    pub size: u64,
    /// False for an index that a failed `CREATE INDEX CONCURRENTLY` left.
    pub valid: bool,
    /// The index has expressions or a predicate, which call functions.
    pub expressions: bool,
    /// A unique index whose uniqueness holds at every moment.
    pub check_unique: bool,
    /// The schema that holds the extension's functions.
    pub schema: String,
}

fn text(row: &TextRow, i: usize) -> &str {
    row.get(i).and_then(Option::as_deref).unwrap_or_default()
}

fn first(rows: &[TextRow]) -> Option<&str> {
    rows.first().and_then(|row| row.first()).and_then(Option::as_deref)
}

/// Whether the server's installation has the extension.
pub(super) async fn has_extension(connection: &Connection) -> Result<bool, SqlFailure> {
    let sql = "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'";
    Ok(!connection.rows(sql).await?.is_empty())
}

/// Production's event triggers would see our DDL. From 17 on a setting silences them.
pub(super) async fn silence_event_triggers(
    connection: &Connection,
    major: Major,
) -> Result<(), SqlFailure> {
    if major >= Major::V17 {
        return Ok(());
    }
    let sql = "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D'";
    for row in connection.rows(sql).await? {
        let name = quote_ident(text(&row, 0));
        connection.execute(&format!("ALTER EVENT TRIGGER {name} DISABLE")).await?;
    }
    Ok(())
}

/// Makes an extension usable and returns its schema: production's own, brought up to the installed
/// version, or ours.
pub(super) async fn install(
    connection: &Connection,
    extension: &str,
    own_schema: &str,
) -> Result<String, SqlFailure> {
    let sql = format!(
        "SELECT n.nspname FROM pg_catalog.pg_extension e \
         JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = {}",
        quote_literal(extension)
    );
    let extension = quote_ident(extension);
    if let Some(schema) = first(&connection.rows(&sql).await?) {
        connection.execute(&format!("ALTER EXTENSION {extension} UPDATE")).await?;
        return Ok(schema.to_owned());
    }
    let schema = quote_ident(own_schema);
    connection
        .execute(&format!(
            "BEGIN; CREATE SCHEMA {schema}; CREATE EXTENSION {extension} SCHEMA {schema}; COMMIT"
        ))
        .await?;
    Ok(own_schema.to_owned())
}

/// Whether the installed version of the extension has `gin_index_check`.
async fn checks_gin(connection: &Connection, schema: &str) -> Result<bool, SqlFailure> {
    let sql = format!(
        "SELECT 1 FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.proname = 'gin_index_check' AND n.nspname = {}",
        quote_literal(schema)
    );
    Ok(!connection.rows(&sql).await?.is_empty())
}

/// Everything to look at, largest first: permanent heaps of tables, materialized views and toast
/// (from 17 on sequences too), B-tree indexes, and GIN indexes at the end where the extension knows
/// them. Unlogged relations are empty after a recovery.
pub(super) async fn relations(
    connection: &Connection,
    major: Major,
    schema: &str,
    without_shared: bool,
) -> Result<Vec<Relation>, SqlFailure> {
    let sequences = if major >= Major::V17 { " OR c.relkind = 'S'" } else { "" };
    let shared = if without_shared { "AND NOT c.relisshared" } else { "" };
    let gin = if checks_gin(connection, schema).await? { ", 'gin'" } else { "" };
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname, CASE c.relkind WHEN 'i' THEN a.amname END, pg_catalog.pg_relation_size(c.oid), \
                i.indexrelid IS NULL OR (i.indisvalid AND i.indisready AND i.indislive), \
                i.indexprs IS NOT NULL OR i.indpred IS NOT NULL, \
                i.indisunique AND i.indimmediate \
         FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
         LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam \
         WHERE c.relpersistence = 'p' {shared} AND n.nspname IS DISTINCT FROM {} \
           AND ((c.relkind IN ('r', 'm', 't') AND a.amname = 'heap') \
                OR (c.relkind = 'i' AND a.amname IN ('btree'{gin})){sequences}) \
         ORDER BY c.relkind = 'i' AND a.amname = 'gin', 5 DESC, c.oid",
        quote_literal(schema)
    );
    let rows = connection.rows(&sql).await?;
    Ok(rows
        .iter()
        .map(|row| Relation {
            oid: text(row, 0).parse().unwrap_or_default(),
            name: format!("{}.{}", text(row, 1), text(row, 2)),
            kind: match text(row, 3) {
                "" => Kind::Heap,
                "gin" => Kind::Gin,
                _ => Kind::Btree,
            },
            size: text(row, 4).parse().unwrap_or_default(),
            valid: text(row, 5) == "t",
            expressions: text(row, 6) == "t",
            check_unique: text(row, 7) == "t",
            schema: schema.to_owned(),
        })
        .collect())
}

/// A query that yields the oids of collations whose recorded version is not this machine's. The
/// database's default collation (oid 100) has its version in `pg_database` from 15 on; before, the
/// collation of the same locale tells.
fn mismatched(major: Major) -> String {
    let default = if major >= Major::V15 {
        "SELECT 100::pg_catalog.oid FROM pg_catalog.pg_database d \
         WHERE d.datname = pg_catalog.current_database() AND d.datcollversion IS DISTINCT FROM \
               pg_catalog.pg_database_collation_actual_version(d.oid)"
    } else {
        "SELECT 100::pg_catalog.oid FROM pg_catalog.pg_database d \
         JOIN pg_catalog.pg_collation c ON c.collcollate = d.datcollate AND c.collprovider = 'c' \
         WHERE d.datname = pg_catalog.current_database() AND c.collversion IS DISTINCT FROM \
               pg_catalog.pg_collation_actual_version(c.oid)"
    };
    format!(
        "SELECT c.oid FROM pg_catalog.pg_collation c WHERE c.collversion IS NOT NULL \
         AND c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid) \
         UNION {default}"
    )
}

/// Collations that have another version on this machine, in words, such as `en-x-icu` 153.14 (here
/// 153.120).
pub(super) async fn collation_mismatches(
    connection: &Connection,
    major: Major,
) -> Result<Vec<String>, SqlFailure> {
    let (recorded, here) = if major >= Major::V15 {
        ("d.datcollversion", "pg_catalog.pg_database_collation_actual_version(d.oid)")
    } else {
        ("c.collversion", "pg_catalog.pg_collation_actual_version(c.oid)")
    };
    let sql = format!(
        "SELECT c.collname, \
                CASE WHEN c.oid = 100 THEN {recorded} ELSE c.collversion END, \
                CASE WHEN c.oid = 100 THEN {here} \
                     ELSE pg_catalog.pg_collation_actual_version(c.oid) END \
         FROM ({}) m (oid) JOIN pg_catalog.pg_collation c ON c.oid = m.oid \
         JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
         ORDER BY c.oid",
        mismatched(major)
    );
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let words = |row: &TextRow| {
        format!("`{}` {} (here {})", text(row, 0), or_none(text(row, 1)), or_none(text(row, 2)))
    };
    Ok(connection.rows(&sql).await?.iter().map(words).collect())
}

/// Whether the order or the content of this index depends on such a collation: by a column's own, by
/// a range type's, by one that an expression or predicate names, or by the database's for types that
/// compare texts inside (`jsonb`, and records, of which any may).
pub(super) async fn index_collation_mismatch(
    connection: &Connection,
    index: u32,
    major: Major,
) -> Result<bool, SqlFailure> {
    let sql = format!(
        "SELECT 1 FROM pg_catalog.pg_index i, ({}) m (oid) WHERE i.indexrelid = {index} AND ( \
           m.oid = ANY (i.indcollation::pg_catalog.oid[]) \
           OR pg_catalog.strpos(pg_catalog.concat(i.indexprs::text, i.indpred::text), \
                pg_catalog.concat('collid ', m.oid, ' ')) > 0 \
           OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a \
                JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype \
                LEFT JOIN pg_catalog.pg_range r \
                  ON coalesce(b.oid, t.oid) IN (r.rngtypid, r.rngmultitypid) \
                WHERE a.attrelid = i.indexrelid \
                  AND (coalesce(b.typtype, t.typtype) = 'c' OR r.rngcollation = m.oid \
                       OR (coalesce(b.oid, t.oid) IN (3802, 2249) AND m.oid = 100)))) \
         LIMIT 1",
        mismatched(major)
    );
    Ok(!connection.rows(&sql).await?.is_empty())
}
