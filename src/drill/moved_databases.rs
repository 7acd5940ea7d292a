//! Databases whose files replay copies from a folder that was removed while it was being copied.
//!
//! `ALTER DATABASE … SET TABLESPACE` and `CREATE DATABASE … STRATEGY FILE_COPY` (14: every one) log no
//! page. Replay forgets what the backup holds of the copy and copies the files again, from what it holds
//! of the folder that they came from; where there is none it makes an empty one and says nothing
//! (`dbase_redo`, `commands/dbcommands.c`). A folder that was removed inside the backup's window may be
//! there, in part or not at all.

use std::collections::BTreeMap;

use super::{FailureClass, Finding};
use crate::pg::{Lsn, wal::storage::StorageEvent};

/// A database's folder in a tablespace: the tablespace's oid and the database's.
pub type Folder = (u32, u32);

/// A database that may not be whole once the backup is consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubtful {
    pub folder: Folder,
    /// What it was copied from, where its record begins.
    pub from: Folder,
    pub at: Lsn,
    /// The backup holds nothing of that folder.
    pub lost: bool,
}

/// Follows what the window's records, in order, do to databases' folders. `in_backup` says whether the
/// backup holds a folder, whole or in part.
pub fn doubtful<'a>(
    events: impl IntoIterator<Item = (Lsn, &'a StorageEvent)>,
    in_backup: impl Fn(Folder) -> bool,
) -> Vec<Doubtful> {
    let events: Vec<(Lsn, &StorageEvent)> = events.into_iter().collect();
    let is_removed = |folder: Folder, after: Lsn| {
        events.iter().any(|(at, event)| match event {
            StorageEvent::DatabaseDropped { tablespaces, database } => {
                *at > after && *database == folder.1 && tablespaces.contains(&folder.0)
            }
            _ => false,
        })
    };
    // Folders that the window makes: `None` for whole ones.
    let mut made: BTreeMap<Folder, Option<Doubtful>> = BTreeMap::new();
    for (at, event) in &events {
        match event {
            StorageEvent::DatabaseCopied { tablespace, database, from } => {
                let folder = (*tablespace, *database);
                let doubt = match made.get(from) {
                    Some(known) => known.map(|known| Doubtful { folder, ..known }),
                    None if is_removed(*from, *at) => {
                        let lost = !in_backup(*from);
                        Some(Doubtful { folder, from: *from, at: *at, lost })
                    }
                    None => None,
                };
                made.insert(folder, doubt);
            }
            StorageEvent::DatabaseLogged { tablespace, database } => {
                made.insert((*tablespace, *database), None);
            }
            StorageEvent::DatabaseDropped { tablespaces, database } => {
                for tablespace in tablespaces {
                    made.remove(&(*tablespace, *database));
                }
            }
            _ => {}
        }
    }
    made.into_values().flatten().collect()
}

impl Doubtful {
    fn story(&self) -> String {
        let Self { folder: (tablespace, database), from: (old, source), at, .. } = self;
        let what = if database == source {
            format!("was moved from tablespace {old} to {tablespace}")
        } else {
            format!("was copied from database {source}, which was dropped at once,")
        };
        format!(
            "database {database} {what} while the backup was taken (its files were copied at {at})"
        )
    }

    /// The finding, where the backup has lost the database.
    #[must_use]
    pub fn finding(&self, backup: &str) -> Option<Finding> {
        let (_, database) = self.folder;
        self.lost.then(|| {
            Finding::new(
                FailureClass::RelationMissing,
                format!("base/{backup}: database {database}"),
                format!(
                    "{}: replay copies them again from the old folder, which the backup does not hold, \
                     and the database comes back empty",
                    self.story()
                ),
                "Take a new base backup, and change a database's tablespace at another time; for this \
                 database recover an older backup.",
            )
            .at(self.at)
        })
    }

    /// For a drill, where the backup holds something of the old folder: only deep checks tell whether
    /// that is all of it.
    #[must_use]
    pub fn unlooked(&self, backup: &str) -> Finding {
        let (_, database) = self.folder;
        Finding::new(
            FailureClass::InfraError,
            format!("base/{backup}: database {database}"),
            format!("{}: whether all of it comes back was not looked at", self.story()),
            "Drill this backup with `depth: deep`, or take a new one.",
        )
        .at(self.at)
    }

    /// Why nothing can be told, where the backup holds something of the old folder.
    #[must_use]
    pub fn question(&self, backup: &str) -> String {
        format!(
            "backup `{backup}`: {}: whether it read the old folder before that was removed only deep checks \
             of a drill tell",
            self.story()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Folder = (1663, 5);
    const NEW: Folder = (16_400, 5);

    fn copied(to: Folder, from: Folder) -> StorageEvent {
        StorageEvent::DatabaseCopied { tablespace: to.0, database: to.1, from }
    }

    fn dropped(folder: Folder) -> StorageEvent {
        StorageEvent::DatabaseDropped { tablespaces: vec![folder.0], database: folder.1 }
    }

    fn ask(events: &[StorageEvent], holds: &[Folder]) -> Vec<Doubtful> {
        let events = events.iter().zip(1..).map(|(event, at)| (Lsn(at), event));
        doubtful(events, |folder| holds.contains(&folder))
    }

    #[test]
    fn a_database_that_is_moved_is_lost_where_the_backup_lacks_its_old_folder() {
        let moved = [copied(NEW, OLD), dropped(OLD)];
        let doubt = |lost| Doubtful { folder: NEW, from: OLD, at: Lsn(1), lost };
        assert_eq!(ask(&moved, &[NEW]), [doubt(true)]);
        assert_eq!(ask(&moved, &[OLD, NEW]), [doubt(false)]);
        let finding = doubt(true).finding("b").unwrap();
        assert_eq!(finding.class, FailureClass::RelationMissing);
        assert!(finding.detail.starts_with("database 5 was moved from tablespace 1663 to 16400 "));
        assert_eq!(doubt(false).finding("b"), None);
        // And back again: from a folder that is lost.
        let back = [&moved[..], &[copied(OLD, NEW), dropped(NEW)]].concat();
        assert_eq!(ask(&back, &[OLD]), [Doubtful { folder: OLD, ..doubt(false) }]);
        // Removed only behind the window; or nobody has it any more.
        assert_eq!(ask(&moved[..1], &[]), []);
        assert_eq!(ask(&[&moved[..], &[dropped(NEW)]].concat(), &[]), []);
    }

    #[test]
    fn a_copy_of_what_the_window_made_is_as_whole_as_that() {
        const COPY: Folder = (1663, 6);
        const LATER: Folder = (1663, 7);
        let logged = StorageEvent::DatabaseLogged { tablespace: COPY.0, database: COPY.1 };
        for first in [logged, copied(COPY, OLD)] {
            assert_eq!(ask(&[first, copied(LATER, COPY), dropped(COPY)], &[OLD]), []);
        }
        let template = [copied(LATER, COPY), dropped(COPY)];
        let found = ask(&template, &[]);
        assert_eq!((found.len(), found[0].folder, found[0].lost), (1, LATER, true));
    }
}
