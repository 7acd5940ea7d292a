//! The second look: whether the backup's own catalogs know a relation whose pages no WAL of the
//! backup touches.
//!
//! Indexes of some kinds, databases copied file by file and relations that move to another tablespace
//! are written without WAL and logged only at their end. Until then their pages may be torn, and
//! nothing refers to them: the row in `pg_class` or `pg_database` is of a transaction that has not
//! committed, or the index is not ready (`CREATE INDEX CONCURRENTLY`).
//!
//! The catalogs are read as they lie in the backup, without replay. The checkpoint at its start wrote
//! every older row. A row that the window moved from page to page is missed where the one page was
//! copied after that, and the other before: the window's WAL says which rows moved, and the LSNs of the
//! copied pages which of the two they show.

mod existence;
mod file;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    commits::Commits,
    judge::{CatalogChanges, PG_CLASS, PG_DATABASE, PG_INDEX, key},
    kept::Kept,
};
use crate::pg::{
    Lsn, Major,
    filenode_map::FilenodeMap,
    heap::Xact,
    relation_file::{Fork, Location, RelationFile as File},
    wal::record::RelationFile,
};

pub(super) use existence::Existence;
pub use file::LookFile;
pub(super) use rows::Row;

/// Transactions of one file of `pg_xact` (`SLRU_PAGES_PER_SEGMENT` pages, two bits each).
const XACTS_PER_FILE: u32 = 32 * 8192 * 4;

/// What is asked of the backup's files, in up to three passes over them. Most often one is enough, if
/// every file of the backup is offered to it.
#[derive(Debug)]
pub struct CatalogLook {
    major: Major,
    checksums: bool,
    /// Relations in question.
    asked: BTreeMap<RelationFile, Location>,
    databases_asked: HashSet<u32>,
    maps: BTreeMap<Location, FilenodeMap>,
    changes: CatalogChanges,
    /// LSNs of the copied pages that rows moved from or to.
    copied: HashMap<(RelationFile, u32), Lsn>,
    commits: Commits,
    /// Files of this pass, by the path of their first segment, and what they are.
    wanted: BTreeMap<String, Wanted>,
    kept: Kept,
    /// Files that came, of all passes.
    seen: HashSet<String>,
    pass: u8,
    classes: HashMap<RelationFile, Vec<Row>>,
    databases: HashMap<(u32, u32), Vec<Row>>,
    /// By the location of the database and the index's oid.
    indexes: HashMap<(Location, u32), Vec<Row>>,
    /// Rows of `pg_class` that describe `pg_index`, by its file.
    index_catalogs: HashMap<Location, BTreeSet<u32>>,
    /// Catalogs of which a page could not be read, or that never came.
    unreadable: HashSet<Location>,
    /// Pages that rows moved from or to.
    watched: HashSet<(RelationFile, u32)>,
    statuses: HashMap<u32, u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Class(Location),
    Database,
    Index(Location),
    Xact(u32),
    /// A later pass may want these.
    IndexAhead(Location),
    XactAhead(u32),
}

impl CatalogLook {
    pub(super) fn new(
        major: Major,
        checksums: bool,
        asked: BTreeMap<RelationFile, Location>,
        maps: BTreeMap<Location, FilenodeMap>,
        changes: CatalogChanges,
        commits: Commits,
    ) -> Self {
        let moves = changes.moves.iter();
        let places =
            moves.flat_map(|(of, all)| all.iter().flat_map(|m| [(*of, m.from), (*of, m.to)]));
        let watched = places.collect();
        let mut look = Self {
            major,
            checksums,
            databases_asked: asked.keys().map(|of| of.database).filter(|oid| *oid != 0).collect(),
            asked,
            maps,
            changes,
            watched,
            copied: HashMap::new(),
            commits,
            wanted: BTreeMap::new(),
            kept: Kept::default(),
            seen: HashSet::new(),
            pass: 0,
            classes: HashMap::new(),
            databases: HashMap::new(),
            indexes: HashMap::new(),
            index_catalogs: HashMap::new(),
            unreadable: HashSet::new(),
            statuses: HashMap::new(),
        };
        look.want_catalogs();
        look
    }

    fn want_catalogs(&mut self) {
        let databases = &self.databases_asked;
        if !self.maps.contains_key(&Location::Global) {
            self.unreadable.insert(Location::Global);
        }
        for (location, map) in &self.maps {
            let (which, wanted) = match location {
                Location::Global if databases.is_empty() => continue,
                Location::Global => (PG_DATABASE, Wanted::Database),
                _ if !databases.contains(&location.database()) => continue,
                _ => (PG_CLASS, Wanted::Class(location.clone())),
            };
            match map.filenode(which) {
                Some(number) => {
                    self.wanted.insert(path(location, number), wanted);
                }
                None => {
                    self.unreadable.insert(location.clone());
                }
            }
        }
    }

    /// Files to read next, each with its later segments (`….1` and so on) where it has some: paths
    /// below the data directory. None: there is nothing more to read.
    #[must_use]
    pub fn wanted(&self) -> Vec<&str> {
        self.wanted.keys().map(String::as_str).collect()
    }

    /// Begins a file of this pass, by its path; `None` for files that are of no use. In the first pass
    /// that is also what a later one may want.
    pub fn file(&mut self, path: &str) -> Option<LookFile<'_>> {
        let parsed = File::parse(path);
        let first =
            parsed.as_ref().map_or_else(|| path.to_owned(), |f| f.with_segment(0).to_string());
        let what = match self.wanted.get(&first) {
            Some(what) => {
                self.seen.insert(first);
                what.clone()
            }
            None if self.pass == 0 => self.of_use_later(path, parsed.as_ref())?,
            None => return None,
        };
        let of = parsed.as_ref().map(|file| key(&file.location, file.filenode));
        let block = parsed.map_or(0, |file| file.first_block(131_072).unwrap_or(0));
        Some(LookFile::new(self, what, of, block))
    }

    fn of_use_later(&mut self, path: &str, parsed: Option<&File>) -> Option<Wanted> {
        if let Some(name) = path.strip_prefix("pg_xact/") {
            let file = u32::from_str_radix(name, 16).ok().filter(|_| name.len() == 4)?;
            return Some(Wanted::XactAhead(file));
        }
        let File { location, filenode: PG_INDEX, fork: Fork::Main, .. } = parsed? else {
            return None;
        };
        let home = location.clone();
        if !self.databases_asked.contains(&home.database()) || home == Location::Global {
            return None;
        }
        self.kept.index(&home);
        Some(Wanted::IndexAhead(home))
    }

    /// Every wanted file that the backup has was read: says what is wanted next.
    pub fn next_pass(&mut self) {
        for (path, wanted) in std::mem::take(&mut self.wanted) {
            if !self.seen.contains(&path) {
                match wanted {
                    Wanted::Class(location) | Wanted::Index(location) => {
                        self.unreadable.insert(location);
                    }
                    Wanted::Database => {
                        self.unreadable.insert(Location::Global);
                    }
                    Wanted::Xact(_) | Wanted::XactAhead(_) | Wanted::IndexAhead(_) => {}
                }
            } else if let Wanted::Xact(file) = wanted {
                self.end_of_xact(file);
            }
        }
        self.pass += 1;
        if self.pass == 1 {
            let found: Vec<(RelationFile, bool)> = self
                .classes
                .iter()
                .map(|(of, rows)| (*of, rows.iter().any(|row| row.is_index)))
                .collect();
            for (of, _) in found.iter().filter(|(_, index)| *index) {
                for home in self.homes(of.database) {
                    let files = self.index_catalogs.get(&home).cloned().unwrap_or_default();
                    if files.is_empty() {
                        self.unreadable.insert(home.clone());
                    }
                    if files.iter().all(|number| *number == PG_INDEX)
                        && let Some(kept) = self.kept.take_index(&home)
                    {
                        if kept.unreadable {
                            self.unreadable.insert(home.clone());
                        }
                        for row in kept.rows {
                            self.keep_index_row(&home, row);
                        }
                        continue;
                    }
                    for number in files {
                        self.wanted.insert(path(&home, number), Wanted::Index(home.clone()));
                    }
                }
            }
        }
        if self.pass <= 2 {
            self.want_transactions();
        }
    }

    fn want_transactions(&mut self) {
        let files: BTreeSet<u32> = self.unanswered().map(|xid| xid / XACTS_PER_FILE).collect();
        for file in files {
            if let Some(bytes) = self.kept.take_xact(file) {
                self.statuses(file, 0, &bytes);
                self.end_of_xact(file);
                continue;
            }
            self.wanted.insert(format!("pg_xact/{file:04X}"), Wanted::Xact(file));
        }
    }

    /// What lies behind the end of the file had not been written yet.
    fn end_of_xact(&mut self, file: u32) {
        let here = self.unanswered().filter(|xid| xid / XACTS_PER_FILE == file);
        for xid in here.collect::<Vec<_>>() {
            self.statuses.insert(xid, 0);
        }
    }

    /// Transactions of which only `pg_xact` knows the end.
    fn unanswered(&self) -> impl Iterator<Item = u32> {
        let rows =
            self.classes.values().chain(self.databases.values()).chain(self.indexes.values());
        let asked = rows.flatten().flat_map(|row| [row.made, row.ended]);
        let asked =
            asked.filter_map(|xact| if let Xact::Ask(xid) = xact { Some(xid) } else { None });
        asked.filter(|xid| !self.statuses.contains_key(xid))
    }

    /// Folders of a database that hold its `pg_class`.
    fn homes(&self, database: u32) -> Vec<Location> {
        let homes = self.maps.keys().filter(|location| location.database() == database);
        homes.filter(|location| **location != Location::Global).cloned().collect()
    }
}

fn path(location: &Location, filenode: u32) -> String {
    File { location: location.clone(), filenode, fork: Fork::Main, segment: 0 }.to_string()
}
