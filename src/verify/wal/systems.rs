//! WAL of more than one database system in one archive: a cluster that was upgraded or built anew under
//! the same name, or two that write into the same place.
//!
//! `pg_upgrade` makes a new system whose WAL goes on behind the old one's, on timeline 1. Backups of the
//! old system recover up to there, which is no damage once the new system has a backup.

use super::{Listed, Origin, Pass, stretches::Entrance};
use crate::{
    drill::{FailureClass, Finding},
    verify::feed::Fetched,
};

/// `xlp_sysid` in the long header of a segment's first page (`XLogLongPageHeaderData`,
/// `access/xlog_internal.h`).
const SYSTEM_ID: std::ops::Range<usize> = 24..32;

/// Which of `systems` wrote a segment; `None` where it is none of them.
pub(super) fn of(systems: &[Origin], first_page: &[u8]) -> Option<Origin> {
    let id = first_page.get(SYSTEM_ID)?.try_into().ok().map(u64::from_le_bytes)?;
    systems.iter().find(|system| system.system_id == id).copied()
}

impl Pass<'_> {
    pub(super) async fn origin(&self, fetched: &mut Fetched) -> Option<Origin> {
        of(&self.systems, fetched.as_mut().ok()?.first_page().await)
    }

    /// A run of this system's segments begins. Gives what that is to recoveries from backups of
    /// other systems that read on here.
    pub(super) fn enter(&mut self, origin: Origin, listed: &Listed) -> Option<Finding> {
        let size = self.size();
        let history = &self.lineages[&listed.timeline].history;
        let place = (listed.number.start(size), listed.number.end(size));
        let own = origin.system_id;
        let finding = |detail: String, hint: &str| {
            let key = listed.object.key.clone();
            Finding::new(FailureClass::SystemIdMismatch, key, detail, hint).at(place.0)
        };
        match self.stretches.enters(own, history, place) {
            Entrance::Own => None,
            Entrance::Successor(other) => {
                let found = finding(
                    format!(
                        "from here on the WAL is of database system {own}, which has newer backups: \
                         those of system {other} recover up to here"
                    ),
                    "Nothing is lost if the cluster was upgraded or built anew then; if not, two \
                     clusters write into this archive.",
                );
                self.tally.attention(found.clone());
                Some(found)
            }
            Entrance::Foreign(other) => {
                let found = finding(
                    format!(
                        "the segment is of database system {own}, where recovery of a backup of system \
                         {other} reads on"
                    ),
                    "Two clusters write into this archive: give each its own server name, and take a \
                     new base backup of both.",
                );
                self.tally.wal(found.clone());
                Some(found)
            }
            Entrance::CameBack => {
                let found = finding(
                    format!(
                        "the segment is of database system {own}, and another system has written over \
                         its WAL before it"
                    ),
                    "Two clusters write into this archive: give each its own server name, and take a \
                     new base backup of both.",
                );
                self.tally.wal(found.clone());
                Some(found)
            }
        }
    }
}
