//! Files that a later pass of the second look may want, kept while the first one goes by: another
//! pass over a base backup is another reading of all its tars.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::look::Row;
use crate::pg::relation_file::Location;

/// Files of `pg_xact` that are kept, the newest ones: 4 MiB, 16 million transactions.
const MAX_XACTS: usize = 16;
/// Bytes of a file of `pg_xact`.
const XACT_BYTES: usize = 32 * 8192;
/// Rows of `pg_index` that are kept, about 40 bytes each.
const MAX_ROWS: usize = 200_000;

/// What the first pass kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    xacts: BTreeMap<u32, Vec<u8>>,
    indexes: HashMap<Location, IndexRows>,
    rows: usize,
    given_up: HashSet<Location>,
}

/// The rows of one `pg_index`.
#[derive(Debug, Default)]
pub(super) struct IndexRows {
    pub rows: Vec<Row>,
    /// A page of it could not be read.
    pub unreadable: bool,
}

impl Kept {
    /// The next bytes of a file of `pg_xact`, which come in order.
    pub(super) fn xact(&mut self, file: u32, offset: u64, bytes: &[u8]) {
        if offset == 0 {
            self.xacts.insert(file, Vec::new());
            if self.xacts.len() > MAX_XACTS {
                self.xacts.pop_first();
            }
        }
        if let Some(kept) = self.xacts.get_mut(&file) {
            if kept.len() as u64 == offset && kept.len() + bytes.len() <= XACT_BYTES {
                kept.extend_from_slice(bytes);
            } else {
                self.xacts.remove(&file);
            }
        }
    }

    /// A whole file of `pg_xact`, if it was kept.
    pub(super) fn take_xact(&mut self, file: u32) -> Option<Vec<u8>> {
        self.xacts.remove(&file)
    }

    /// Begins the `pg_index` of a database.
    pub(super) fn index(&mut self, home: &Location) {
        if !self.given_up.contains(home) {
            self.indexes.entry(home.clone()).or_default();
        }
    }

    pub(super) fn index_row(&mut self, home: &Location, row: Row) {
        let Some(kept) = self.indexes.get_mut(home) else { return };
        kept.rows.push(row);
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.rows -= kept.rows.len();
            self.indexes.remove(home);
            self.given_up.insert(home.clone());
        }
    }

    pub(super) fn index_unreadable(&mut self, home: &Location) {
        if let Some(kept) = self.indexes.get_mut(home) {
            kept.unreadable = true;
        }
    }

    /// All of a `pg_index`, if it was kept.
    pub(super) fn take_index(&mut self, home: &Location) -> Option<IndexRows> {
        self.indexes.remove(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::heap::Xact;

    #[test]
    fn the_newest_transactions_are_kept_and_only_whole_files() {
        let mut kept = Kept::default();
        for file in 0..20 {
            kept.xact(file, 0, &[file as u8; 8192]);
            kept.xact(file, 8192, &[file as u8; 8192]);
        }
        assert_eq!(kept.take_xact(3), None);
        assert_eq!(kept.take_xact(4), Some(vec![4; 16_384]));
        kept.xact(19, 8192, &[0; 8192]);
        assert_eq!(kept.take_xact(19), None, "a piece twice");
    }

    #[test]
    fn too_many_rows_are_left_to_another_pass() {
        let mut kept = Kept::default();
        let row = Row {
            made: Xact::Committed,
            ended: Xact::None,
            oid: 1,
            is_index: true,
            ready: true,
            unlogged: false,
        };
        let home = |name: &str| Location::parse(name).unwrap();
        for name in ["base/5", "base/6"] {
            kept.index(&home(name));
            (0..=MAX_ROWS / 2).for_each(|_| kept.index_row(&home(name), row));
        }
        assert_eq!(kept.take_index(&home("base/5")).unwrap().rows.len(), MAX_ROWS / 2 + 1);
        assert!(kept.take_index(&home("base/6")).is_none());
    }
}
