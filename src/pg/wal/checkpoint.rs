//! What recovery of a base backup begins with: the checkpoint record that `backup_label` names
//! (`ReadCheckpointRecord`, `InitWalRecovery` and `PerformWalRecovery`, `access/transam/xlogrecovery.c`).

use std::fmt;

use super::field::u64_at;
use super::record::{HEADER, RM_XLOG, Record};
use super::xlog::{CHECKPOINT_ONLINE, CHECKPOINT_REDO, CHECKPOINT_SHUTDOWN};
use crate::pg::Lsn;

/// `sizeof(CheckPoint)` (`catalog/pg_control.h`), the same in 14 to 18: `wal_level`, from 17, lies in what
/// was padding.
const CHECKPOINT: usize = 88;
/// `xl_tot_len` of a checkpoint record: the record's header, the short header of its data, the data.
const LENGTH: usize = HEADER + 2 + CHECKPOINT;

/// A checkpoint record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where replay from it begins.
    pub redo: Lsn,
    pub shutdown: bool,
}

/// Why PostgreSQL does not take a record for a checkpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCheckpoint {
    /// `invalid resource manager ID in checkpoint record`.
    ResourceManager(u8),
    /// `invalid xl_info in checkpoint record`.
    Info(u8),
    /// `invalid length of checkpoint record`.
    Length(usize),
}

impl fmt::Display for NoCheckpoint {
    /// What the record there is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResourceManager(rmid) => {
                write!(f, "the record there is of resource manager {rmid}")
            }
            Self::Info(info) => write!(f, "the record there is of another kind ({info:02X})"),
            Self::Length(length) => {
                write!(f, "the checkpoint record there has {length} bytes instead of {LENGTH}")
            }
        }
    }
}

/// What a record is to a recovery that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub checkpoint: Result<Checkpoint, NoCheckpoint>,
    /// `XLOG_CHECKPOINT_REDO`, which 17 and later write where an online checkpoint begins.
    pub is_redo_point: bool,
}

impl Record<'_> {
    /// What it is to a recovery that begins with it.
    #[must_use]
    pub fn beginning(&self) -> Beginning {
        let is_redo_point = self.rmid == RM_XLOG && self.operation() == CHECKPOINT_REDO;
        Beginning { checkpoint: self.checkpoint(), is_redo_point }
    }

    fn checkpoint(&self) -> Result<Checkpoint, NoCheckpoint> {
        if self.rmid != RM_XLOG {
            return Err(NoCheckpoint::ResourceManager(self.rmid));
        }
        let shutdown = match self.operation() {
            CHECKPOINT_SHUTDOWN => true,
            CHECKPOINT_ONLINE => false,
            info => return Err(NoCheckpoint::Info(info)),
        };
        match u64_at(self.main, 0) {
            Some(redo) if self.length() == LENGTH => Ok(Checkpoint { redo: Lsn(redo), shutdown }),
            _ => Err(NoCheckpoint::Length(self.length())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{
        Major, TimelineHistory, TimelineId,
        wal::{
            testing::{FIRST_SEGMENT, LogWriter, rules},
            walk::WalWalk,
        },
    };

    fn beginnings(log: &LogWriter) -> Vec<Beginning> {
        let rules = rules(Major::V17, TimelineHistory::root(TimelineId(1)));
        let (mut walk, mut seen) = (WalWalk::new(rules, FIRST_SEGMENT), Vec::new());
        let broken = walk.segment(TimelineId(1), FIRST_SEGMENT, &log.segments()[0], |record| {
            seen.push(record.beginning());
        });
        assert_eq!(broken, []);
        seen
    }

    #[test]
    fn only_what_postgresql_takes_for_one_is_a_checkpoint() {
        let mut log = LogWriter::new(Major::V17);
        let redo = log.at();
        log.main(RM_XLOG, CHECKPOINT_REDO, 0, &[1, 0, 0, 0]);
        log.checkpoint(CHECKPOINT_ONLINE, redo, CHECKPOINT);
        log.checkpoint(CHECKPOINT_SHUTDOWN, redo, CHECKPOINT);
        log.checkpoint(CHECKPOINT_ONLINE, redo, CHECKPOINT + 8);
        log.commit(7, 1);
        let seen = beginnings(&log);
        let checkpoints: Vec<_> = seen.iter().map(|one| one.checkpoint).collect();
        assert_eq!(
            checkpoints,
            [
                Err(NoCheckpoint::Info(CHECKPOINT_REDO)),
                Ok(Checkpoint { redo, shutdown: false }),
                Ok(Checkpoint { redo, shutdown: true }),
                Err(NoCheckpoint::Length(LENGTH + 8)),
                Err(NoCheckpoint::ResourceManager(1)),
            ]
        );
        let redo_points: Vec<_> = seen.iter().map(|one| one.is_redo_point).collect();
        assert_eq!(redo_points, [true, false, false, false, false]);
    }
}
