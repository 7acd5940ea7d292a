//! Torn or damaged: what the WAL says of every suspect.
//!
//! Between the backup's redo point and its end the first record that references a block decides. One
//! that makes the page anew (an image that redo applies, or `BKPBLOCK_WILL_INIT`) means that the page
//! was being written while it was copied. Any other means damage. Relations and databases that are
//! dropped in that range, blocks that are cut off, are of no account. What the range does not touch is
//! damage, unless the relation was still in the making: its pages are logged only when it is done.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    commits::Commits,
    verdict::{Afterwards, BadPage, Judged},
    watch::{PageFault, PagesChecked, Suspects},
};
use crate::pg::{
    Lsn, Major,
    filenode_map::FilenodeMap,
    relation_file::{Fork, Location, RelationFile as File},
    wal::{
        record::{BlockReference, Record, RelationFile},
        storage::{RM_HEAP, StorageEvent},
    },
};

/// `pg_class`, mapped; `pg_database`, mapped and shared; `pg_index`.
pub(super) const PG_CLASS: u32 = 1259;
pub(super) const PG_DATABASE: u32 = 1262;
pub(super) const PG_INDEX: u32 = 2610;

/// The part of the WAL that a backup brings with it.
#[derive(Clone, Copy, Debug)]
pub struct BackupWindow {
    pub major: Major,
    /// `START WAL LOCATION`: the redo point of the backup's checkpoint.
    pub start: Lsn,
    /// The `minRecoveryPoint` of the backup's `pg_control` where it was taken from a standby; such
    /// have no `XLOG_BACKUP_END`.
    pub min_recovery_point: Option<Lsn>,
}

/// Rows' ways from page to page that are remembered; beyond, where they went is not known.
const MAX_MOVES: usize = 100_000;

/// An UPDATE inside the window that put a row's new version on another page of its catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub from: u32,
    pub to: u32,
    /// Start of its record: pages with a later LSN have it.
    pub at: Lsn,
}

/// What the window does to the catalogs that say whether a relation exists.
#[derive(Debug)]
pub(super) struct CatalogChanges {
    pub moves: HashMap<RelationFile, Vec<Move>>,
    /// Pages that the window makes anew: such have no rows before that.
    pub made: HashSet<(RelationFile, u32)>,
    /// Catalogs that the window cuts, to so many blocks. What stood behind was dead by then, and rows
    /// come to such a page again as to one that is made anew.
    cut: HashMap<RelationFile, u32>,
    /// Databases (0 for shared catalogs) of which it is not known where their rows went.
    pub lost: HashSet<u32>,
    count: usize,
    /// [`MAX_MOVES`].
    most: usize,
}

impl Default for CatalogChanges {
    fn default() -> Self {
        Self {
            moves: HashMap::new(),
            made: HashSet::new(),
            cut: HashMap::new(),
            lost: HashSet::new(),
            count: 0,
            most: MAX_MOVES,
        }
    }
}

impl CatalogChanges {
    /// Takes in a record of the window that touches a catalog of `database`.
    fn touch(&mut self, record: &Record<'_>, block: &BlockReference, database: u32) {
        if block.fork != 0 {
            return;
        }
        if block.will_init {
            self.count += usize::from(self.made.insert((block.relation, block.block)));
        }
        // UPDATE and HOT_UPDATE (`access/heapam_xlog.h`), with XLOG_HEAP_INIT_PAGE or not: block 0 has
        // the new version, block 1 the old one where that is another page. On one page a row cannot
        // be missed.
        let update = record.rmid == RM_HEAP && matches!(record.operation() & 0x70, 0x20 | 0x40);
        if update
            && block.id == 0
            && let Some(old) = record.blocks.iter().find(|block| block.id == 1)
        {
            let moved = Move { from: old.block, to: block.block, at: record.start };
            self.moves.entry(block.relation).or_default().push(moved);
            self.count += 1;
        }
        if self.count > self.most {
            // Of every database whose moves are forgotten it is not known any more where rows went. A
            // page that is not known to be made anew only leaves more open.
            self.lost.extend(self.moves.drain().map(|(catalog, _)| catalog.database));
            self.lost.insert(database);
            self.made.clear();
            self.count = 0;
        }
    }

    /// A record of the window cuts a catalog.
    fn cut(&mut self, relation: RelationFile, blocks: u32) {
        let least = self.cut.entry(relation).or_insert(blocks);
        *least = blocks.min(*least);
    }

    /// Whether the window cuts this page off.
    pub(super) fn cuts(&self, relation: RelationFile, block: u32) -> bool {
        self.cut.get(&relation).is_some_and(|blocks| block >= *blocks)
    }
}

/// What became of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No record has touched it.
    Open,
    /// The window makes it anew.
    Torn,
    /// Cut off or dropped in the window, or never in need of WAL.
    Gone,
    /// The window changes it without making it anew.
    Unrepaired(Lsn),
    /// What follows the window.
    Later(Later, Lsn),
}

/// The first thing that happens to a suspect after the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// It is logged whole, as a relation's pages are when it is made.
    Logged,
    /// An ordinary record makes it anew.
    Healed,
    /// A record changes it without making it anew.
    Changed,
    Truncated,
    /// The transaction that had made the relation was rolled back.
    RolledBack,
    Dropped,
    /// Its database is made as a copy of another one.
    DatabaseCopied,
    DatabaseDropped,
}

#[derive(Debug)]
struct Page {
    block: u32,
    fault: PageFault,
    fate: Fate,
}

#[derive(Debug)]
struct Relation {
    location: Location,
    /// Suspects of the main and of the init fork, by rising block.
    main: Vec<Page>,
    init: Vec<Page>,
}

/// Judges the suspects of one base backup by the records of its WAL, from the redo point on and as far
/// as the archive goes. Memory: about 32 bytes for each suspect, and [`Commits`].
#[derive(Debug)]
pub struct PageJudge {
    window: BackupWindow,
    in_window: bool,
    relations: HashMap<RelationFile, Relation>,
    /// Suspects without a fate.
    open: usize,
    checked: PagesChecked,
    checksums: bool,
    not_kept: u64,
    incomplete_names: bool,
    maps: BTreeMap<Location, FilenodeMap>,
    /// Catalogs that say whether a relation exists, with their database.
    catalogs: HashMap<RelationFile, u32>,
    changes: CatalogChanges,
    commits: Commits,
}

impl PageJudge {
    /// Before the first record.
    #[must_use]
    pub fn new(suspects: Suspects, window: BackupWindow) -> Self {
        let mut relations: HashMap<RelationFile, Relation> = HashMap::new();
        let mut open = 0;
        for (file, pages) in suspects.forks {
            open += pages.len();
            let pages = pages.into_iter();
            let pages: Vec<Page> = pages
                .map(|page| Page { block: page.block, fault: page.fault, fate: Fate::Open })
                .collect();
            let relation =
                relations.entry(key(&file.location, file.filenode)).or_insert_with(|| {
                    let location = file.location.clone();
                    Relation { location, main: Vec::new(), init: Vec::new() }
                });
            match file.fork {
                Fork::Init => relation.init = pages,
                _ => relation.main = pages,
            }
        }
        let mut catalogs = HashMap::new();
        for (location, map) in &suspects.maps {
            let which = if *location == Location::Global { PG_DATABASE } else { PG_CLASS };
            for number in map.filenode(which).into_iter().chain([PG_INDEX]) {
                catalogs.insert(key(location, number), location.database());
            }
        }
        Self {
            window: BackupWindow {
                // Zero is `InvalidXLogRecPtr`: none.
                min_recovery_point: window.min_recovery_point.filter(|at| *at != Lsn::INVALID),
                ..window
            },
            in_window: true,
            relations,
            open,
            checked: suspects.checked,
            checksums: suspects.checksums,
            not_kept: suspects.not_kept,
            incomplete_names: suspects.incomplete_names,
            maps: suspects.maps,
            catalogs,
            changes: CatalogChanges::default(),
            commits: Commits::default(),
        }
    }

    /// Whether later records change nothing: every suspect has its fate and the window is over.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.open == 0 && !self.in_window
    }

    /// Whether the backup's own WAL has ended. What follows tells more of relations that were in the
    /// making, which the backup's catalogs mostly tell, too.
    #[must_use]
    pub const fn is_window_over(&self) -> bool {
        !self.in_window
    }

    /// Takes the next record. Those before the redo point are passed over.
    pub fn record(&mut self, record: &Record<'_>) {
        if record.start < self.window.start || self.is_done() {
            return;
        }
        if let Some(event) = record.storage_event(self.window.major) {
            self.event(event, record.start);
        }
        for block in record.blocks {
            self.touch(record, block);
        }
        if self.in_window {
            if let Some(parts) = record.transaction_parts(self.window.major)
                && parts.committed
            {
                self.commits.add(parts.xid);
                parts.subtransactions.into_iter().for_each(|xid| self.commits.add(xid));
            }
            let ended = match self.window.min_recovery_point {
                Some(point) => record.end >= point,
                None => record.ended_backup() == Some(self.window.start),
            };
            self.in_window = !ended;
        }
    }

    fn touch(&mut self, record: &Record<'_>, block: &BlockReference) {
        if self.in_window
            && let Some(database) = self.catalogs.get(&block.relation)
        {
            self.changes.touch(record, block, *database);
        }
        let Some(relation) = self.relations.get_mut(&block.relation) else { return };
        let pages = match block.fork {
            0 => &mut relation.main,
            3 => &mut relation.init,
            _ => return,
        };
        let Ok(at) = pages.binary_search_by_key(&block.block, |page| page.block) else { return };
        let page = &mut pages[at];
        if page.fate != Fate::Open {
            return;
        }
        // Images that redo does not apply serve `wal_consistency_checking` alone.
        let image = block.image.is_some_and(|image| image.apply);
        let anew = image || block.will_init;
        page.fate = match (self.in_window, anew) {
            (true, true) => Fate::Torn,
            (true, false) => Fate::Unrepaired(record.start),
            (false, true) if image && record.logs_new_pages() => {
                Fate::Later(Later::Logged, record.start)
            }
            (false, true) => Fate::Later(Later::Healed, record.start),
            (false, false) => Fate::Later(Later::Changed, record.start),
        };
        self.open -= 1;
    }

    fn event(&mut self, event: StorageEvent, at: Lsn) {
        let fate = |window: bool, later| if window { Fate::Gone } else { Fate::Later(later, at) };
        let window = self.in_window;
        let open = &mut self.open;
        let mut end = |pages: &mut Vec<Page>, from: u32, fate: Fate| {
            for page in pages.iter_mut().filter(|p| p.block >= from && p.fate == Fate::Open) {
                page.fate = fate;
                *open -= 1;
            }
        };
        match event {
            // An init fork means that the relation is unlogged: it comes back empty.
            StorageEvent::Created { relation, fork: 3 } if window => {
                if let Some(relation) = self.relations.get_mut(&relation) {
                    end(&mut relation.main, 0, Fate::Gone);
                }
            }
            StorageEvent::Truncated { relation, blocks } => {
                if window && self.catalogs.contains_key(&relation) {
                    self.changes.cut(relation, blocks);
                }
                if let Some(relation) = self.relations.get_mut(&relation) {
                    end(&mut relation.main, blocks, fate(window, Later::Truncated));
                }
            }
            StorageEvent::Dropped { relations, committed } => {
                let later = if committed { Later::Dropped } else { Later::RolledBack };
                for relation in relations {
                    if let Some(relation) = self.relations.get_mut(&relation) {
                        end(&mut relation.main, 0, fate(window, later));
                        end(&mut relation.init, 0, fate(window, later));
                    }
                }
            }
            StorageEvent::DatabaseCopied { tablespace, database, .. } => {
                for (of, relation) in &mut self.relations {
                    if (of.tablespace, of.database) == (tablespace, database) {
                        end(&mut relation.main, 0, fate(window, Later::DatabaseCopied));
                        end(&mut relation.init, 0, fate(window, Later::DatabaseCopied));
                    }
                }
            }
            StorageEvent::DatabaseDropped { tablespaces, database } => {
                for (of, relation) in &mut self.relations {
                    if of.database == database && tablespaces.contains(&of.tablespace) {
                        end(&mut relation.main, 0, fate(window, Later::DatabaseDropped));
                        end(&mut relation.init, 0, fate(window, Later::DatabaseDropped));
                    }
                }
            }
            StorageEvent::MapChanged { database } if window => {
                self.changes.lost.insert(database);
            }
            StorageEvent::Created { .. }
            | StorageEvent::DatabaseLogged { .. }
            | StorageEvent::MapChanged { .. } => {}
        }
    }

    /// What the WAL said. What it leaves open the backup's catalogs answer
    /// ([`Judged::questions`]).
    #[must_use]
    pub fn finish(self) -> Judged {
        let mut judged = Judged {
            major: self.window.major,
            checked: self.checked,
            checksums: self.checksums,
            not_kept: self.not_kept,
            window_complete: !self.in_window,
            torn: 0,
            unneeded: 0,
            damage: BTreeMap::new(),
            open: BTreeMap::new(),
            maps: self.maps,
            changes: self.changes,
            commits: self.commits,
            incomplete_names: self.incomplete_names,
        };
        for (of, relation) in self.relations {
            let Relation { location, main, init } = relation;
            for (fork, pages) in [(Fork::Main, main), (Fork::Init, init)] {
                let file =
                    File { location: location.clone(), filenode: of.number, fork, segment: 0 };
                for page in &pages {
                    judged.add(&file, page);
                }
            }
        }
        judged
    }
}

impl Judged {
    fn add(&mut self, file: &File, page: &Page) {
        let &Page { block, fault, fate } = page;
        let (open, after) = match fate {
            Fate::Torn => {
                self.torn += 1;
                return;
            }
            Fate::Gone | Fate::Later(Later::RolledBack | Later::DatabaseCopied, _) => {
                self.unneeded += 1;
                return;
            }
            Fate::Unrepaired(at) => (false, Afterwards::Needed(at)),
            Fate::Later(Later::Healed, at) => (false, Afterwards::Healed(at)),
            Fate::Later(Later::Changed, at) => (false, Afterwards::Changed(at)),
            Fate::Later(Later::Logged, at) => (true, Afterwards::Logged(at)),
            Fate::Later(Later::Truncated | Later::Dropped | Later::DatabaseDropped, at) => {
                (true, Afterwards::Removed(at))
            }
            Fate::Open => (true, Afterwards::Nothing),
        };
        let page = BadPage { block, fault, after };
        if open {
            self.open.entry(file.clone()).or_default().push(page);
        } else {
            self.damage.entry(file.clone()).or_default().push(page);
        }
    }
}

/// As the WAL names a relation's files.
pub(super) fn key(location: &Location, number: u32) -> RelationFile {
    RelationFile { tablespace: location.tablespace(), database: location.database(), number }
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
