//! Pages of relations, judged while a base backup streams by: what is wrong with which, and whether
//! the backup's own WAL repairs it.
//!
//! A base backup is copied while PostgreSQL writes, so that a page may be torn: half old, half new.
//! Full-page images in the backup's own WAL repair those. A page that nothing in that WAL repairs is
//! damage, also where later WAL happens to heal it: every target before has lost it.
//!
//! [`PageWatch`] looks at pages on the threads that unpack and yields [`WatchedPages`]; `pg_control`,
//! which comes last, makes [`Suspects`] of them. [`PageJudge`] takes the records of the WAL from the
//! backup's redo point on. What it leaves open ([`Judged::questions`]) is read from the backup's own
//! catalogs by whoever has them, in passes over the files that [`CatalogLook::wanted`] names.

mod commits;
mod judge;
mod kept;
mod look;
#[cfg(test)]
mod testing;
mod verdict;
mod watch;

pub use commits::Commits;
pub use judge::{BackupWindow, PageJudge};
pub use look::{CatalogLook, LookFile};
pub use verdict::{Judged, PageVerdict};
pub use watch::{
    FileWatch, PageFault, PageWatch, PagesChecked, Prints, SuspectPage, Suspects, WatchRules,
    WatchedPages,
};
