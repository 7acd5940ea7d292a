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

mod file;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    commits::Commits,
    judge::{CatalogChanges, Move, PG_CLASS, PG_DATABASE, PG_INDEX, key},
    kept::Kept,
};
use crate::pg::{
    Lsn, Major,
    filenode_map::FilenodeMap,
    heap::{self, Tuple, Xact},
    page::{self, PAGE_SIZE, PageHeader, PageState},
    relation_file::{Fork, Location, RelationFile as File},
    wal::record::RelationFile,
};

pub use file::LookFile;

/// Transactions of one file of `pg_xact` (`SLRU_PAGES_PER_SEGMENT` pages, two bits each).
const XACTS_PER_FILE: u32 = 32 * 8192 * 4;
/// Rows of one relation that are kept; with more, whether one of them is alive may not be known.
const MAX_ROWS: usize = 64;

/// Whether a relation exists at the point where the backup becomes consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    Exists,
    /// It exists and its pages are not in the WAL.
    Unlogged,
    /// Nothing refers to it, or nothing yet.
    Absent,
    Unknown,
}

/// A row found: who made and ended it, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub made: Xact,
    pub ended: Xact,
    /// `pg_class`: the relation's oid; `pg_index`: the index's, and whether it is ready.
    pub oid: u32,
    pub is_index: bool,
    pub ready: bool,
    /// `pg_class`: `relpersistence` is `u`. Another persistence has another file.
    pub unlogged: bool,
}

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

    fn page(&mut self, what: &Wanted, of: RelationFile, page: &[u8; PAGE_SIZE], block: u32) {
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

    fn keep_index_row(&mut self, home: &Location, row: Row) {
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
    fn statuses(&mut self, file: u32, offset: u64, bytes: &[u8]) {
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
    pub(super) fn answers(self) -> Answers {
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

fn add(rows: &mut Vec<Row>, row: Row) {
    if rows.len() < MAX_ROWS {
        rows.push(row);
    } else if rows.len() == MAX_ROWS {
        // Stands for all that are not kept: nobody knows what they say.
        rows.push(Row { made: Xact::Multi, ..row });
    }
}

fn path(location: &Location, filenode: u32) -> String {
    File { location: location.clone(), filenode, fork: Fork::Main, segment: 0 }.to_string()
}

/// What the second look found.
#[derive(Debug, Default)]
pub struct Answers(HashMap<RelationFile, Existence>);

impl Answers {
    pub(super) fn of(&self, file: &File) -> Existence {
        let of = key(&file.location, file.filenode);
        self.0.get(&of).copied().unwrap_or(Existence::Unknown)
    }
}
