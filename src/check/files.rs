//! The check `files`: the files of the data directory against the catalogs of every database.
//!
//! One listing of the directory is held against one query for each database; no table is opened. What
//! is missed are first files, part files of 1 GiB (`md.c`), the init forks of unlogged relations and
//! the folders of databases. Free space and visibility maps may be missing: they are made anew. Files
//! that no catalog knows are left by crashes and by transactions that never committed: said, no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    checksums::files::{self, ForkFiles},
    connection::{Connection, Database, TextRow},
    databases::{Sessions, number, outcome, text, to_look_into},
    failure::{SqlFailure, damage_hint},
    index_entries::IndexOfHeap,
    index_pages::IndexFile,
};
use crate::{
    drill::{CheckOutcome, Code, Error, FailureClass, Finding, format},
    pg::{
        Major,
        index_page::IndexMethod,
        relation_file::{Fork, Location, RelationFile},
    },
};

/// Oid of `pg_default`.
const DEFAULT_TABLESPACE: u32 = 1663;

/// `relpages` counts pages that a server had added and never logged; a recovered relation may lack
/// these. One that lacks more than this (32 MiB), and ends where a file does, has lost a file.
const NEVER_LOGGED: u32 = 4096;

/// Everything that has files, but temporary relations. Whether a table has the files that the server's
/// own storage manager makes is its access method's business: only those of `heap` are missed.
const RELATIONS: &str = "\
    SELECT n.nspname, c.relname, c.oid, pg_catalog.pg_relation_filepath(c.oid), \
           c.relpersistence, c.relpages, \
           CASE WHEN c.relkind IN ('r', 'm', 't') THEN a.amname = 'heap' \
                WHEN c.relkind = 'i' THEN ta.amname = 'heap' ELSE true END, \
           CASE c.relkind WHEN 'i' THEN coalesce(a.amname, '?') END, \
           i.indisvalid AND i.indisready AND i.indislive, c.relkind, \
           CASE WHEN a.amname = 'btree' AND ta.amname = 'heap' AND i.indisvalid AND i.indisready \
                  AND i.indislive \
                THEN pg_catalog.pg_relation_filepath(i.indrelid) END, \
           i.indpred IS NULL \
    FROM pg_catalog.pg_class c \
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam \
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
    LEFT JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
    LEFT JOIN pg_catalog.pg_am ta ON ta.oid = t.relam \
    WHERE c.relkind IN ('r', 'm', 'S', 't', 'i') AND c.relpersistence <> 't'";

/// Holds files against catalogs.
#[derive(Clone, Copy, Debug)]
pub struct RelationFiles;

/// The permanent indexes of a cluster, for the checks that read them at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexList {
    /// Those whose pages are known to refer to one another, B-trees not among them.
    pub known: Vec<IndexFile>,
    /// Every valid B-tree and its table.
    pub pairs: Vec<IndexOfHeap>,
    /// Tables, whether they have one or not.
    pub heaps: u64,
    /// Indexes other than B-trees that production left invalid.
    pub invalid: Named,
    /// Indexes of an access method of which nothing is known here.
    pub other: Named,
}

impl IndexList {
    /// Tables without a valid B-tree of all their rows.
    #[must_use]
    pub fn heaps_without(&self) -> u64 {
        let whole = self.pairs.iter().filter(|pair| pair.of_all_rows);
        let with: BTreeSet<&RelationFile> = whole.map(|pair| &pair.heap).collect();
        self.heaps.saturating_sub(with.len() as u64)
    }
}

/// So many things, and the name of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub count: u64,
    pub first: String,
}

impl Named {
    fn add(&mut self, name: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = name();
        }
        self.count += 1;
    }
}

/// What lies in the data directory, and what of it the catalogs know.
struct Inventory {
    forks: BTreeMap<RelationFile, ForkFiles>,
    /// First files of main and init forks that belong to a relation.
    owned: BTreeSet<RelationFile>,
    /// Oids of the databases that were looked into.
    databases: Vec<u32>,
    /// Oids of those that were not, though they are there.
    closed: Vec<u32>,
    segment_blocks: u32,
    relations: u64,
    indexes: IndexList,
    /// Tables of an access method of which nothing is known here.
    other_methods: u64,
}

#[async_trait]
impl Check for RelationFiles {
    fn name(&self) -> String {
        "files".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let mut findings = Vec::new();
        let data_dir = context.cluster.data_dir.clone();
        let listing = tokio::task::spawn_blocking(move || files::list(&data_dir)).await;
        let forks = match listing {
            Ok(Ok(forks)) => forks,
            Ok(Err(error)) => return CheckOutcome::Errored(error),
            Err(_) => return CheckOutcome::Errored(Error::new(Code::Bug, "the listing panicked")),
        };
        let mut inventory = Inventory {
            forks: forks.into_iter().map(|fork| (fork.first.clone(), fork)).collect(),
            owned: BTreeSet::new(),
            databases: Vec::new(),
            closed: Vec::new(),
            segment_blocks: 0,
            relations: 0,
            indexes: IndexList::default(),
            other_methods: 0,
        };
        let ended = look(context, &mut inventory, &mut findings).await;
        if ended.is_ok() {
            let indexes = std::mem::take(&mut inventory.indexes);
            context.observations.lock().indexes = Some(Arc::new(indexes));
        }
        outcome(ended, findings, || inventory.words())
    }
}

async fn look(
    context: &CheckContext,
    inventory: &mut Inventory,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut databases = to_look_into(context, findings).await?;
    inventory.closed = databases.iter().map(|database| database.oid).collect();
    databases.retain(|database| {
        let cluster = &context.cluster;
        let missing = missing_folder(&cluster.data_dir, cluster.major, database);
        let lost = missing.map(|what| missed(format!("database `{}`", database.name), what));
        let there = lost.is_none();
        findings.extend(lost);
        there
    });
    let mut sessions = Sessions::of(context, databases);
    while let Some(session) = sessions.next(findings).await? {
        let oid = session.database.oid;
        let looked = inventory.compare(session.connection(), &session.database, findings).await;
        if session.answered(looked, findings)?.is_some() {
            inventory.closed.retain(|closed| *closed != oid);
            inventory.databases.push(oid);
        }
    }
    Ok(())
}

fn missed(subject: String, detail: String) -> Finding {
    let class = FailureClass::RelationMissing;
    Finding::new(class, subject, detail, damage_hint(class))
}

/// What keeps a database from being connected to at all (`ValidatePgVersion`, `relmapper.c`).
fn missing_folder(data_dir: &Path, major: Major, database: &Database) -> Option<String> {
    let folder = if database.tablespace == DEFAULT_TABLESPACE {
        format!("base/{}", database.oid)
    } else {
        let space = format!("pg_tblspc/{}", database.tablespace);
        let prefix = format!("PG_{major}_");
        let entries = fs::read_dir(data_dir.join(&space)).into_iter().flatten().flatten();
        let version = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| name.starts_with(&prefix));
        let Some(version) = version else {
            return Some(format!("its tablespace's folder `{space}/{prefix}…` does not exist"));
        };
        format!("{space}/{version}/{}", database.oid)
    };
    let there = |name: &str| data_dir.join(&folder).join(name).exists();
    if !there("") {
        return Some(format!("its folder `{folder}` does not exist"));
    }
    let files = ["PG_VERSION", "pg_filenode.map"];
    let lost = files.into_iter().find(|name| !there(name))?;
    Some(format!("the file `{folder}/{lost}` does not exist, so nobody can connect to it"))
}

impl Inventory {
    /// Every relation of one database; shared ones only in the first.
    async fn compare(
        &mut self,
        connection: &Connection,
        database: &Database,
        findings: &mut Vec<Finding>,
    ) -> Result<(), SqlFailure> {
        let sql = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'segment_size'";
        let rows = connection.rows(sql).await?;
        self.segment_blocks = rows.first().map_or(0, |row| number(row, 0));
        let shared = if self.databases.is_empty() { "" } else { " AND NOT c.relisshared" };
        let mut rows = Vec::new();
        let each = |row: TextRow| {
            if let Some(finding) = self.relation(&database.name, &row) {
                rows.push(finding);
            }
        };
        // What was found before the server gave up is not lost.
        let looked = connection.for_each(&format!("{RELATIONS}{shared}"), each).await;
        findings.append(&mut rows);
        looked
    }

    fn relation(&mut self, database: &str, row: &TextRow) -> Option<Finding> {
        let name = format!("{database}.{}.{}", text(row, 0), text(row, 1));
        let subject = format!("{name} (oid {})", text(row, 2));
        self.relations += 1;
        let Some(main) = RelationFile::parse(text(row, 3)) else {
            let detail = "the catalog knows no file for it".to_owned();
            return (text(row, 6) == "t").then(|| missed(subject, detail));
        };
        let init = RelationFile { fork: Fork::Init, ..main.clone() };
        let what = self.judge(row, &main, &init);
        if text(row, 4) == "p" {
            self.list(row, name, &main);
        }
        self.owned.insert(main);
        self.owned.insert(init);
        if text(row, 0).is_empty() {
            let detail = "its schema is not in the catalog".to_owned();
            return Some(missed(subject, detail));
        }
        what.map(|detail| missed(subject, detail))
    }

    /// Notes a permanent relation for the checks that read at rest.
    fn list(&mut self, row: &TextRow, name: String, main: &RelationFile) {
        let (method, valid) = (text(row, 7), text(row, 8) == "t");
        let segment_blocks = self.segment_blocks;
        let indexes = &mut self.indexes;
        match (method, IndexMethod::from_name(method)) {
            ("", _) => {
                let heap = text(row, 9) != "S" && text(row, 6) == "t";
                indexes.heaps += u64::from(heap);
            }
            ("btree", _) => {
                let Some(heap) = RelationFile::parse(text(row, 10)) else { return };
                let (index, of_all_rows) = (main.clone(), text(row, 11) == "t");
                indexes.pairs.push(IndexOfHeap { name, index, heap, of_all_rows, segment_blocks });
            }
            (_, Some(method)) if valid => {
                let file = main.clone();
                indexes.known.push(IndexFile { name, method, file, segment_blocks });
            }
            (_, Some(_)) => indexes.invalid.add(|| name),
            (method, None) => indexes.other.add(|| format!("{name} ({method})")),
        }
    }

    /// What is missing of one relation, in words.
    fn judge(&mut self, row: &TextRow, main: &RelationFile, init: &RelationFile) -> Option<String> {
        if text(row, 6) != "t" {
            self.other_methods += 1;
            return None;
        }
        let unlogged = text(row, 4) == "u";
        if unlogged && !self.forks.contains_key(init) {
            return Some(format!("its file `{init}` does not exist"));
        }
        let Some(files) = self.forks.get(main).filter(|f| !f.segments.is_empty()) else {
            return Some(format!("its file `{main}` does not exist"));
        };
        if unlogged {
            // Emptied by every recovery.
            return None;
        }
        if let Some((file, detail)) = files.broken(self.segment_blocks).into_iter().next() {
            return Some(format!("`{file}`: {detail}"));
        }
        let blocks = files.full_to_the_end(self.segment_blocks)?;
        let counted: u32 = number(row, 5);
        (counted > blocks.saturating_add(NEVER_LOGGED)).then(|| {
            let next = main.with_segment(blocks / self.segment_blocks);
            format!(
                "its file `{next}` does not exist: the relation ends after {blocks} pages, the \
                 catalog counts {counted}"
            )
        })
    }

    fn words(&self) -> String {
        let mut text = vec![format!(
            "{} relations in {} databases have their files",
            self.relations,
            self.databases.len()
        )];
        if self.other_methods > 0 {
            let count = self.other_methods;
            text.push(format!("{count} of other table access methods were not judged"));
        }
        let (count, bytes) = self.leftovers();
        if count > 0 {
            let size = format::bytes(bytes);
            text.push(format!("{count} files ({size}) belong to no relation"));
        }
        text.join("; ")
    }

    /// Files that no catalog knows, and their bytes: left by crashes, interrupted commands and
    /// transactions that were open at the end. Empty ones wait for the next checkpoint.
    fn leftovers(&self) -> (u64, u64) {
        let known = |file: &RelationFile| {
            let database = match &file.location {
                Location::Global => return self.owned.contains(file),
                Location::Base { database } | Location::Tablespace { database, .. } => database,
            };
            self.closed.contains(database) || self.owned.contains(file)
        };
        let left = self.forks.values().filter(|fork| {
            let main = RelationFile { fork: Fork::Main, ..fork.first.clone() };
            fork.bytes() > 0 && !known(&main)
        });
        left.fold((0, 0), |(count, bytes), fork| {
            (count + fork.segments.len() as u64, bytes + fork.bytes())
        })
    }
}
