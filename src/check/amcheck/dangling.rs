//! Index entries that point to no row, by `contrib/pageinspect`. amcheck looks from the heap to the
//! index only: a heap page that was zeroed, or lost with the file's end, takes its rows along, and
//! what is left agrees with itself.

use super::catalog::{Relation, install};
use crate::check::{
    connection::{Connection, TextRow, quote_ident},
    failure::SqlFailure,
};

/// Our own schema for the extension, in the sandbox only.
const SCHEMA: &str = "pgassay_pageinspect";

/// Whether the installation has `pageinspect`: then its schema, once it is usable.
pub(super) async fn prepare(connection: &Connection) -> Result<Option<String>, SqlFailure> {
    let sql = "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'pageinspect'";
    if connection.rows(sql).await?.is_empty() {
        return Ok(None);
    }
    install(connection, "pageinspect", SCHEMA).await.map(Some)
}

/// The first entries of a B-tree's leaves whose line pointer is not there, in words, or nothing. As
/// `index_delete_check_htid` of PostgreSQL has it: an entry is removed before its line pointer is,
/// whatever became of the row, so a block beyond the heap's end or an offset beyond its page's array
/// is damage. One page of the heap and one row per page are held at a time, the rest spills.
pub(super) async fn entries(
    connection: &Connection,
    index: &Relation,
    heap: u32,
    schema: &str,
) -> Result<Option<String>, SqlFailure> {
    let (schema, index) = (quote_ident(schema), index.oid);
    // A page that is not the rightmost has the high key first. 24 bytes of header, 4 per pointer.
    let sql = format!(
        "WITH names AS MATERIALIZED ( \
           SELECT {index}::pg_catalog.oid::pg_catalog.regclass::text AS index, \
                  {heap}::pg_catalog.oid::pg_catalog.regclass::text AS heap, \
                  pg_catalog.pg_relation_size({index}::pg_catalog.oid::pg_catalog.regclass) \
                    / pg_catalog.current_setting('block_size')::bigint AS index_blocks, \
                  pg_catalog.pg_relation_size({heap}::pg_catalog.oid::pg_catalog.regclass) \
                    / pg_catalog.current_setting('block_size')::bigint AS heap_blocks), \
         leaves AS MATERIALIZED ( \
           SELECT b, s.btpo_next = 0 AS rightmost \
           FROM names n, pg_catalog.generate_series(1, n.index_blocks - 1) b, \
                LATERAL {schema}.bt_page_stats(n.index, b) s \
           WHERE s.type = 'l' OR (s.type = 'r' AND s.btpo_level = 0)), \
         tids AS ( \
           SELECT pg_catalog.unnest(coalesce(i.tids, ARRAY[i.htid])) AS tid \
           FROM names n, leaves l, LATERAL {schema}.bt_page_items(n.index, l.b) i \
           WHERE l.rightmost OR i.itemoffset > 1), \
         pages AS ( \
           SELECT (tid::text::point)[0]::bigint AS block, \
                  pg_catalog.max((tid::text::point)[1]::int) AS item \
           FROM tids WHERE tid IS NOT NULL GROUP BY 1), \
         short AS ( \
           SELECT p.block, p.item, ( \
             SELECT (h.lower - 24) / 4 FROM {schema}.page_header( \
               CASE WHEN p.block < n.heap_blocks \
                 THEN {schema}.get_raw_page(n.heap, 'main', p.block) END) h) AS items \
           FROM pages p, names n) \
         SELECT pg_catalog.count(*) OVER (), block, item, items FROM short \
         WHERE items IS NULL OR item > items ORDER BY block LIMIT 3"
    );
    let rows = connection.rows(&sql).await?;
    let text = |row: &TextRow, i: usize| row.get(i).and_then(Option::as_deref).map(str::to_owned);
    let places = rows.iter().map(|row| {
        let (block, item) = (text(row, 1).unwrap_or_default(), text(row, 2).unwrap_or_default());
        match text(row, 3).and_then(|items| items.parse::<i64>().ok()) {
            None => format!("block {block}, which lies beyond the table's end"),
            Some(items) => format!("item {item} of block {block}, which has {}", items.max(0)),
        }
    });
    let places: Vec<String> = places.collect();
    let count = rows.first().and_then(|row| text(row, 0));
    Ok(count.map(|count| {
        format!("it points to rows that are not there, in {count} blocks: {}", places.join("; "))
    }))
}
