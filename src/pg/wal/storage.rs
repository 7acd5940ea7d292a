//! What records do to whole files: relations made, cut and dropped (`catalog/storage_xlog.h`,
//! `access/xact.h`), databases copied and dropped (`commands/dbcommands_xlog.h`).

use super::field::{u32_at, u64_at};
use super::record::{RM_XACT, RM_XLOG, Record, RelationFile};
use super::xlog;
use crate::pg::{Lsn, Major};

/// Resource manager of relation files.
pub const RM_SMGR: u8 = 2;
/// Resource manager of databases.
pub const RM_DBASE: u8 = 4;
/// Resource manager of `pg_filenode.map`.
pub const RM_RELMAP: u8 = 7;
/// Resource manager of heaps.
pub const RM_HEAP: u8 = 10;

const SMGR_CREATE: u8 = 0x10;
const SMGR_TRUNCATE: u8 = 0x20;
/// `SMGR_TRUNCATE_HEAP`: the main fork.
const TRUNCATE_MAIN: u32 = 1;

/// A change to files as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageEvent {
    /// A fork's file was made. 0 main, 3 init.
    Created { relation: RelationFile, fork: u32 },
    /// The main fork has this many blocks from here on.
    Truncated { relation: RelationFile, blocks: u32 },
    /// A transaction's end removes these: `committed` what existed, else what it had made itself.
    Dropped { relations: Vec<RelationFile>, committed: bool },
    /// A database's folder was made as a copy of the files of another: `from` is that one's tablespace
    /// and database.
    DatabaseCopied { tablespace: u32, database: u32, from: (u32, u32) },
    /// A database's folder was made, and its pages are logged one by one.
    DatabaseLogged { tablespace: u32, database: u32 },
    /// A database's folders were removed.
    DatabaseDropped { tablespaces: Vec<u32>, database: u32 },
    /// Mapped catalogs have other files from here on; 0 for the shared ones.
    MapChanged { database: u32 },
}

/// A commit or an abort with all that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionParts {
    pub committed: bool,
    pub xid: u32,
    pub subtransactions: Vec<u32>,
    pub relations: Vec<RelationFile>,
}

impl Record<'_> {
    /// What the record does to files as a whole.
    #[must_use]
    pub fn storage_event(&self, major: Major) -> Option<StorageEvent> {
        match self.rmid {
            RM_SMGR => self.smgr(),
            RM_DBASE => self.database(major),
            RM_RELMAP if self.operation() == 0 => {
                Some(StorageEvent::MapChanged { database: u32_at(self.main, 0)? })
            }
            RM_XACT => {
                let parts = self.transaction_parts(major)?;
                let TransactionParts { relations, committed, .. } = parts;
                (!relations.is_empty()).then_some(StorageEvent::Dropped { relations, committed })
            }
            _ => None,
        }
    }

    /// Whether it is `XLOG_FPI`, not `XLOG_FPI_FOR_HINT`.
    #[must_use]
    pub const fn logs_new_pages(&self) -> bool {
        self.rmid == RM_XLOG && self.operation() == xlog::PAGE_IMAGE
    }

    /// Whether the segment ends with it: `XLOG_SWITCH`.
    #[must_use]
    pub const fn switches_segment(&self) -> bool {
        self.rmid == RM_XLOG && self.operation() == xlog::SWITCH
    }

    /// Where the backup started that this record ends, if it is an `XLOG_BACKUP_END`.
    #[must_use]
    pub fn ended_backup(&self) -> Option<Lsn> {
        if self.rmid != RM_XLOG || self.operation() != xlog::BACKUP_END {
            return None;
        }
        u64_at(self.main, 0).map(Lsn)
    }

    fn smgr(&self) -> Option<StorageEvent> {
        let main = self.main;
        match self.operation() {
            SMGR_CREATE => Some(StorageEvent::Created {
                relation: relation_at(main, 0)?,
                fork: u32_at(main, 12)?,
            }),
            SMGR_TRUNCATE if u32_at(main, 16)? & TRUNCATE_MAIN != 0 => {
                Some(StorageEvent::Truncated {
                    relation: relation_at(main, 4)?,
                    blocks: u32_at(main, 0)?,
                })
            }
            _ => None,
        }
    }

    fn database(&self, major: Major) -> Option<StorageEvent> {
        const COPY: u8 = 0x00;
        const LOG: u8 = 0x10;
        let main = self.main;
        let drop = if major == Major::V14 { 0x10 } else { 0x20 };
        let database = u32_at(main, 0)?;
        match self.operation() {
            COPY => Some(StorageEvent::DatabaseCopied {
                database,
                tablespace: u32_at(main, 4)?,
                from: (u32_at(main, 12)?, u32_at(main, 8)?),
            }),
            operation if operation == drop => {
                let count = u32_at(main, 4)? as usize;
                let tablespaces = (0..count).map_while(|i| u32_at(main, 8 + i * 4)).collect();
                Some(StorageEvent::DatabaseDropped { database, tablespaces })
            }
            LOG if major > Major::V14 => {
                Some(StorageEvent::DatabaseLogged { database, tablespace: u32_at(main, 4)? })
            }
            _ => None,
        }
    }

    /// Reads a commit or an abort (`ParseCommitRecord`, `ParseAbortRecord`, `xactdesc.c`); of a
    /// prepared transaction too.
    #[must_use]
    pub fn transaction_parts(&self, major: Major) -> Option<TransactionParts> {
        const HAS_INFO: u8 = 0x80;
        let ending = super::xact::read(self, major).ok()??;
        let mut parts = TransactionParts {
            committed: ending.committed,
            xid: ending.xid,
            ..TransactionParts::default()
        };
        if self.info & HAS_INFO == 0 {
            return Some(parts);
        }
        let main = self.main;
        let flags = u32_at(main, 8)?;
        let mut at = if flags & 1 == 0 { 12 } else { 20 };
        if flags & (1 << 1) != 0 {
            let count = u32_at(main, at)? as usize;
            parts.subtransactions =
                (0..count).map_while(|i| u32_at(main, at + 4 + i * 4)).collect();
            at = at.checked_add(4)?.checked_add(count.checked_mul(4)?)?;
        }
        if flags & (1 << 2) != 0 {
            let count = u32_at(main, at)? as usize;
            let list = (0..count).map_while(|i| relation_at(main, at + 4 + i * 12));
            parts.relations = list.collect();
        }
        Some(parts)
    }
}

/// `RelFileLocator`.
fn relation_at(bytes: &[u8], at: usize) -> Option<RelationFile> {
    Some(RelationFile {
        tablespace: u32_at(bytes, at)?,
        database: u32_at(bytes, at + 4)?,
        number: u32_at(bytes, at + 8)?,
    })
}
