//! Whether a relation exists, by the rows that were found and the transactions that made and ended
//! them.

use std::collections::HashMap;

use super::{CatalogLook, Row};
use crate::{
    pg::{
        heap::Xact,
        relation_file::{Location, RelationFile as File},
        wal::record::RelationFile,
    },
    restore::pages::judge::{Move, PG_CLASS, PG_DATABASE, PG_INDEX, key},
};

/// Whether a relation exists at the point where the backup becomes consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::restore::pages) enum Existence {
    Exists,
    /// It exists and its pages are not in the WAL.
    Unlogged,
    /// Nothing refers to it, or nothing yet.
    Absent,
    Unknown,
}

/// What the second look found.
#[derive(Debug, Default)]
pub struct Answers(HashMap<RelationFile, Existence>);

impl Answers {
    pub(in crate::restore::pages) fn of(&self, file: &File) -> Existence {
        let of = key(&file.location, file.filenode);
        self.0.get(&of).copied().unwrap_or(Existence::Unknown)
    }
}

impl CatalogLook {
    /// Whether a transaction was committed where the backup becomes consistent; `None`: unknown.
    fn committed(&self, xact: Xact) -> Option<bool> {
        let xid = match xact {
            Xact::Committed => return Some(true),
            Xact::None => return Some(false),
            Xact::Multi => return None,
            Xact::Ask(xid) => xid,
        };
        match (self.commits.has(xid), self.statuses.get(&xid)) {
            (Some(true), _) | (_, Some(1)) => Some(true),
            // Rolled back; or running until after the window, or lost in a crash long ago.
            (_, Some(2)) | (Some(false), Some(0)) => Some(false),
            _ => None,
        }
    }

    /// Whether one of the rows is alive there.
    fn alive<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> Option<bool> {
        let mut unknown = false;
        for row in rows {
            match (self.committed(row.made), self.committed(row.ended)) {
                (Some(true), Some(false)) => return Some(true),
                (Some(false), _) | (_, Some(true)) => {}
                _ => unknown = true,
            }
        }
        if unknown { None } else { Some(false) }
    }

    /// Whether rows of a catalog may have been missed. None is where each was still on the page that it
    /// left, or already on the one that it came to.
    fn missed(&self, home: &Location, catalog: Option<u32>) -> bool {
        let Some(number) = catalog else { return true };
        if self.unreadable.contains(home) || self.changes.lost.contains(&home.database()) {
            return true;
        }
        let of = key(home, number);
        let seen = |m: &Move| {
            let copied = |block| self.copied.get(&(of, block));
            copied(m.from).is_some_and(|lsn| *lsn <= m.at)
                || copied(m.to).is_some_and(|lsn| *lsn > m.at)
        };
        self.changes.moves.get(&of).is_some_and(|moves| !moves.iter().all(seen))
    }

    /// What `rows` of a catalog say where none at all says nothing once some may have been missed.
    fn judge(&self, rows: &[Row], home: &Location, catalog: u32) -> Existence {
        let missed = self.missed(home, self.maps.get(home).and_then(|map| map.filenode(catalog)));
        match self.alive(rows) {
            Some(true) => Existence::Exists,
            None => Existence::Unknown,
            // A row that is not committed is the proof that the relation is in the making.
            Some(false)
                if !rows.is_empty()
                    && rows.iter().all(|row| self.committed(row.made) == Some(false)) =>
            {
                Existence::Absent
            }
            Some(false) if missed => Existence::Unknown,
            Some(false) => Existence::Absent,
        }
    }

    /// Whether each relation in question exists.
    pub(in crate::restore::pages) fn answers(self) -> Answers {
        let all = self.asked.iter();
        Answers(all.map(|(of, location)| (*of, self.existence(*of, location))).collect())
    }

    fn existence(&self, of: RelationFile, location: &Location) -> Existence {
        if *location == Location::Global {
            return match self.maps.get(location) {
                Some(map) if map.has_file(of.number) => Existence::Exists,
                Some(_) if !self.changes.lost.contains(&0) => Existence::Absent,
                _ => Existence::Unknown,
            };
        }
        // The folder of the database that holds its `pg_class`.
        let homes = self.homes(of.database);
        let own = homes.iter().find(|home| home.tablespace() == of.tablespace);
        let none = Vec::new();
        let database = |home: &Location| {
            let rows = self.databases.get(&(of.database, home.tablespace())).unwrap_or(&none);
            self.judge(rows, &Location::Global, PG_DATABASE)
        };
        let homes: Vec<&Location> = own.map_or_else(|| homes.iter().collect(), |own| vec![own]);
        let mut unknown = false;
        for home in &homes {
            match database(home) {
                Existence::Absent => continue,
                Existence::Unknown => {
                    unknown = true;
                    continue;
                }
                Existence::Exists | Existence::Unlogged => {}
            }
            let mapped =
                own.is_some() && self.maps.get(*home).is_some_and(|m| m.has_file(of.number));
            let rows = self.classes.get(&of).unwrap_or(&none);
            match if mapped { Existence::Exists } else { self.judge(rows, home, PG_CLASS) } {
                Existence::Exists | Existence::Unlogged if mapped => return Existence::Exists,
                Existence::Exists | Existence::Unlogged => match self.is_ready(home, rows) {
                    Some(true) if rows.iter().all(|row| row.unlogged) => {
                        return Existence::Unlogged;
                    }
                    Some(true) => return Existence::Exists,
                    Some(false) => {}
                    None => unknown = true,
                },
                Existence::Unknown => unknown = true,
                Existence::Absent => {}
            }
        }
        if homes.is_empty() {
            // A folder without `pg_filenode.map`: a database in the making, or a lost file.
            let mut rows = self.databases.iter().filter(|((oid, _), _)| *oid == of.database);
            let gone = rows.all(|(_, rows)| self.alive(rows) == Some(false))
                && self.databases.keys().any(|(oid, _)| *oid == of.database);
            return if gone { Existence::Absent } else { Existence::Unknown };
        }
        if unknown { Existence::Unknown } else { Existence::Absent }
    }

    /// An index that is not ready is not read by anyone: one that is being built concurrently, or was
    /// left behind by that.
    fn is_ready(&self, home: &Location, rows: &[Row]) -> Option<bool> {
        let Some(index) = rows.iter().find(|row| row.is_index) else { return Some(true) };
        let rows = self.indexes.get(&(home.clone(), index.oid));
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        let ready = self.alive(rows.iter().filter(|row| row.ready));
        let not_ready = self.alive(rows.iter().filter(|row| !row.ready));
        // The window was watched for changes of the file that `pg_index` has when it was never
        // rewritten.
        let catalogs = self.index_catalogs.get(home);
        let watched = catalogs.is_some_and(|files| files.iter().all(|file| *file == PG_INDEX));
        let missed = self.missed(home, watched.then_some(PG_INDEX));
        match (ready, not_ready) {
            (Some(true), _) => Some(true),
            // A new version may have been missed.
            (Some(false), Some(true)) if !missed => Some(false),
            _ => None,
        }
    }
}
