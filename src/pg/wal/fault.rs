//! Why reading stopped.

use super::scan::DamageKind;
use crate::pg::Lsn;

/// What is wrong with a page or a record, before it is known where the log ends.
#[derive(Debug)]
pub(super) struct Defect {
    pub kind: DamageKind,
    /// It looks like space that was never written: the end of the log if nothing follows.
    pub unwritten: bool,
    /// One sentence for a person.
    pub detail: String,
}

impl Defect {
    /// Bytes that were written and are wrong.
    pub(super) const fn corrupt(detail: String) -> Self {
        Self { kind: DamageKind::Corrupt, unwritten: false, detail }
    }

    /// Bytes that were never written.
    pub(super) const fn unwritten(detail: String) -> Self {
        Self { kind: DamageKind::Corrupt, unwritten: true, detail }
    }

    /// Good bytes that recovery refuses.
    pub(super) fn minimal_wal() -> Self {
        let detail = "The source ran with wal_level=minimal.".to_owned();
        Self { kind: DamageKind::MinimalWal, unwritten: false, detail }
    }

    pub(super) const fn at(self, lsn: Lsn) -> Fault {
        Fault { lsn, defect: self }
    }
}

/// A defect and the first record or page that it makes unreadable.
#[derive(Debug)]
pub(super) struct Fault {
    pub lsn: Lsn,
    pub defect: Defect,
}
