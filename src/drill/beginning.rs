//! Whether recovery of a backup finds in the WAL what its `backup_label` begins it with. PostgreSQL
//! refuses to start where it does not.

use super::{FailureClass, Finding};
use crate::pg::{Lsn, Major, wal::checkpoint::Beginning};

/// Where the label says that recovery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begins {
    /// `START WAL LOCATION`: the redo point.
    pub start: Lsn,
    /// `CHECKPOINT LOCATION`: the record of the checkpoint that began there, in the WAL that the backup
    /// needs to become consistent.
    pub checkpoint: Lsn,
}

impl Begins {
    /// The places at which recovery must find a record.
    #[must_use]
    pub const fn places(self) -> [Lsn; 2] {
        [self.start, self.checkpoint]
    }
}

/// What is wrong with where the label of `backup` begins. `end` is where the backup is consistent; to
/// there the WAL is sound, and `at` tells which record begins where.
#[must_use]
pub fn judge(
    backup: &str,
    begins: Begins,
    major: Major,
    end: Lsn,
    at: impl Fn(Lsn) -> Option<Beginning>,
) -> Option<Finding> {
    let Begins { start, checkpoint } = begins;
    let why = if checkpoint < start {
        format!("which lies before its START WAL LOCATION {start}")
    } else if checkpoint >= end {
        format!("which lies behind the backup's end at {end}")
    } else {
        match at(checkpoint).map(|record| record.checkpoint) {
            None => "but no record begins there".to_owned(),
            Some(Err(other)) => format!("but {other}"),
            Some(Ok(found)) if found.redo != start => format!(
                "but the checkpoint there began at {}, and the label says {start}",
                found.redo
            ),
            // `invalid redo record in shutdown checkpoint`.
            Some(Ok(found)) if found.shutdown && start < checkpoint => {
                format!("but the checkpoint there is of a shutdown and did not begin at {start}")
            }
            // `unexpected record type found at redo point`.
            Some(Ok(_)) if start < checkpoint && major >= Major::V17 => {
                if at(start).is_some_and(|record| record.is_redo_point) {
                    return None;
                }
                format!("but no record at {start} says that the checkpoint there began so")
            }
            Some(Ok(_)) => return None,
        }
    };
    let finding = Finding::new(
        FailureClass::ArchiveCorrupt,
        format!("{backup}: backup_label"),
        format!(
            "it names the checkpoint record at {checkpoint}, {why}: PostgreSQL does not start from it"
        ),
        "This backup cannot be recovered as it is: take a new one, and find out what changed the file.",
    );
    Some(finding.at(checkpoint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::wal::checkpoint::{Checkpoint, NoCheckpoint};

    const START: Lsn = Lsn(0x300_0028);
    const CHECKPOINT: Lsn = Lsn(0x300_0060);
    const END: Lsn = Lsn(0x300_0138);

    fn online(redo: Lsn) -> Beginning {
        Beginning { checkpoint: Ok(Checkpoint { redo, shutdown: false }), is_redo_point: false }
    }

    fn found(
        major: Major,
        begins: (Lsn, Lsn),
        at: impl Fn(Lsn) -> Option<Beginning>,
    ) -> Option<String> {
        let (start, checkpoint) = begins;
        let found = judge("b", Begins { start, checkpoint }, major, END, at)?;
        assert_eq!((found.class, found.lsn), (FailureClass::ArchiveCorrupt, Some(checkpoint)));
        assert_eq!(found.subject, "b: backup_label");
        Some(found.detail)
    }

    #[test]
    fn what_postgresql_begins_with_is_sound() {
        let other = Err(NoCheckpoint::Info(0x20));
        let redo = Beginning { checkpoint: other, is_redo_point: true };
        for major in Major::ALL {
            // From 17 a record of its own tells where the checkpoint began.
            let begun = if major < Major::V17 { None } else { Some(redo) };
            let at = |lsn| if lsn == START { begun } else { Some(online(START)) };
            assert_eq!(found(major, (START, CHECKPOINT), at), None, "{major}");
            // A standby's backup may begin with a restartpoint at a checkpoint of a shutdown.
            let shutdown = Checkpoint { redo: START, shutdown: true };
            let shutdown = Beginning { checkpoint: Ok(shutdown), is_redo_point: false };
            assert_eq!(found(major, (START, START), |_| Some(shutdown)), None, "{major}");
        }
    }

    #[test]
    fn what_postgresql_refuses_is_damage() {
        let says = |begins, at: &dyn Fn(Lsn) -> Option<Beginning>, what: &str| {
            let detail = found(Major::V15, begins, at).unwrap();
            assert!(detail.contains(what), "{detail}");
        };
        let other = |why| Beginning { checkpoint: Err(why), is_redo_point: false };
        let at = (START, CHECKPOINT);
        says(at, &|_| None, "no record begins there");
        says(at, &|_| Some(other(NoCheckpoint::ResourceManager(10))), "resource manager 10");
        says(at, &|_| Some(other(NoCheckpoint::Info(0x70))), "another kind (70)");
        says(at, &|_| Some(other(NoCheckpoint::Length(90))), "has 90 bytes instead of 114");
        says(at, &|_| Some(online(Lsn(0x200_0028))), "began at 0/2000028");
        says((CHECKPOINT, START), &|_| Some(online(CHECKPOINT)), "lies before its START");
        says((START, END), &|_| Some(online(START)), "behind the backup's end");
        let shutdown = Checkpoint { redo: START, shutdown: true };
        let shutdown = Beginning { checkpoint: Ok(shutdown), is_redo_point: false };
        says(at, &|_| Some(shutdown), "of a shutdown");
        let unsaid = |_| Some(online(START));
        assert!(found(Major::V17, at, unsaid).unwrap().contains("says that the checkpoint there"));
        assert_eq!(found(Major::V16, at, unsaid), None);
    }
}
