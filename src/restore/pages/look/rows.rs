//! What the pages of catalogs and of `pg_xact` hold, of all that is asked.

use super::{CatalogLook, Wanted, XACTS_PER_FILE};
use crate::{
    pg::{
        Major,
        heap::{self, Tuple, Xact},
        page::{self, PAGE_SIZE, PageHeader, PageState},
        relation_file::Location,
        wal::record::RelationFile,
    },
    restore::pages::judge::PG_INDEX,
};

/// Rows of one relation that are kept; with more, whether one of them is alive may not be known.
const MAX_ROWS: usize = 64;

/// A row found: who made and ended it, and what it says.
#[derive(Clone, Copy, Debug)]
pub(in crate::restore::pages) struct Row {
    pub made: Xact,
    pub ended: Xact,
    /// `pg_class`: the relation's oid; `pg_index`: the index's, and whether it is ready.
    pub oid: u32,
    pub is_index: bool,
    pub ready: bool,
    /// `pg_class`: `relpersistence` is `u`. Another persistence has another file.
    pub unlogged: bool,
}

impl CatalogLook {
    pub(super) fn page(
        &mut self,
        what: &Wanted,
        of: RelationFile,
        page: &[u8; PAGE_SIZE],
        block: u32,
    ) {
        let home = match what {
            Wanted::Class(home) | Wanted::Index(home) | Wanted::IndexAhead(home) => home.clone(),
            Wanted::Database | Wanted::Xact(_) | Wanted::XactAhead(_) => Location::Global,
        };
        let state =
            if self.checksums { page::verify(page, block) } else { page::verify_header(page) };
        match state {
            PageState::Valid => {
                if self.watched.contains(&(of, block)) {
                    self.copied.insert((of, block), PageHeader::read(page).lsn);
                }
            }
            // Zeros are how catalogs grow, and what damage leaves of rows.
            PageState::New if self.changes.made.contains(&(of, block)) => return,
            _ if self.changes.cuts(of, block) => return,
            PageState::New | PageState::BadChecksum { .. } | PageState::BadHeader => {
                if let Wanted::IndexAhead(home) = what {
                    self.kept.index_unreadable(home);
                } else {
                    self.unreadable.insert(home);
                }
                return;
            }
        }
        for tuple in heap::tuples(page) {
            let _ = match what {
                Wanted::Class(home) => self.class_row(home, tuple),
                Wanted::Index(home) => {
                    self.index_row(tuple).map(|row| self.keep_index_row(home, row))
                }
                Wanted::IndexAhead(home) => {
                    self.index_row(tuple).map(|row| self.kept.index_row(home, row))
                }
                Wanted::Database => self.database_row(tuple),
                Wanted::Xact(_) | Wanted::XactAhead(_) => None,
            };
        }
    }

    /// `pg_class`: `relfilenode` at 88, `reltablespace` at 92; `relkind` after a column that 18 added.
    fn class_row(&mut self, home: &Location, tuple: Tuple<'_>) -> Option<()> {
        let kind_at = if self.major == Major::V18 { 119 } else { 115 };
        let (oid, number, tablespace) = (tuple.u32_at(0)?, tuple.u32_at(88)?, tuple.u32_at(92)?);
        let kind = *tuple.data.get(kind_at)?;
        if oid == PG_INDEX && tuple.made != Xact::None {
            self.index_catalogs.entry(home.clone()).or_default().insert(number);
        }
        let tablespace = if tablespace == 0 { home.tablespace() } else { tablespace };
        let of = RelationFile { tablespace, database: home.database(), number };
        if self.asked.contains_key(&of) {
            let row = Row {
                made: tuple.made,
                ended: tuple.ended,
                oid,
                is_index: kind == b'i',
                ready: true,
                unlogged: tuple.data.get(kind_at - 1) == Some(&b'u'),
            };
            add(self.classes.entry(of).or_default(), row);
        }
        Some(())
    }

    /// `pg_index`: `indexrelid` at 0; `indisready` after a column that 15 added.
    fn index_row(&self, tuple: Tuple<'_>) -> Option<Row> {
        let ready_at = if self.major == Major::V14 { 19 } else { 20 };
        let oid = tuple.u32_at(0)?;
        let ready = *tuple.data.get(ready_at)? != 0;
        let (made, ended) = (tuple.made, tuple.ended);
        Some(Row { made, ended, oid, is_index: true, ready, unlogged: false })
    }

    pub(super) fn keep_index_row(&mut self, home: &Location, row: Row) {
        if self.classes.values().flatten().any(|class| class.is_index && class.oid == row.oid) {
            add(self.indexes.entry((home.clone(), row.oid)).or_default(), row);
        }
    }

    /// `pg_database`: `dattablespace` follows two names in 14.
    fn database_row(&mut self, tuple: Tuple<'_>) -> Option<()> {
        let at = if self.major == Major::V14 { 224 } else { 92 };
        let (oid, tablespace) = (tuple.u32_at(0)?, tuple.u32_at(at)?);
        if self.databases_asked.contains(&oid) {
            let (made, ended) = (tuple.made, tuple.ended);
            let row = Row { made, ended, oid, is_index: false, ready: true, unlogged: false };
            add(self.databases.entry((oid, tablespace)).or_default(), row);
        }
        Some(())
    }

    /// Two bits for each transaction: in progress, committed, aborted, a committed subtransaction.
    pub(super) fn statuses(&mut self, file: u32, offset: u64, bytes: &[u8]) {
        let first = u64::from(file) * u64::from(XACTS_PER_FILE) + offset * 4;
        let found: Vec<(u32, u8)> = self
            .unanswered()
            .filter_map(|xid| {
                let at = u64::from(xid).checked_sub(first)?;
                Some((xid, *bytes.get((at / 4) as usize)? >> (at % 4 * 2) & 3))
            })
            .collect();
        self.statuses.extend(found);
    }
}

fn add(rows: &mut Vec<Row>, row: Row) {
    if rows.len() < MAX_ROWS {
        rows.push(row);
    } else if rows.len() == MAX_ROWS {
        // Stands for all that are not kept: nobody knows what they say.
        rows.push(Row { made: Xact::Multi, ..row });
    }
}
