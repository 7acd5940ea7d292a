//! RTO and RPO: what was measured, which evidence was judged, and why.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailureClass, Finding};

/// Restore time of this drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rto {
    pub seconds: f64,
    pub objective_seconds: Option<f64>,
    /// Which engine and durability it was measured with.
    pub engine: String,
    pub fsync: bool,
    /// Over the objective, and measured in a way that counts.
    pub exceeded: bool,
}

/// What the data loss is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RpoEvidence {
    /// Age of the newest archived WAL.
    ArchivedWal,
    /// Age of the last replayed commit.
    LastCommit,
    /// Age of the heartbeat row.
    Heartbeat,
}

impl RpoEvidence {
    /// Every evidence.
    pub const ALL: [Self; 3] = [Self::ArchivedWal, Self::LastCommit, Self::Heartbeat];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArchivedWal => "archived_wal",
            Self::LastCommit => "last_commit",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// Data loss, had the source been lost when the drill started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rpo {
    pub archived_wal_seconds: Option<f64>,
    pub last_commit_seconds: Option<f64>,
    pub heartbeat_seconds: Option<f64>,
    pub judged: Option<RpoEvidence>,
    /// One sentence: why that evidence.
    pub why: String,
    pub objective_seconds: Option<f64>,
    pub exceeded: bool,
}

impl Rpo {
    /// Age in seconds by that evidence, where it is known.
    #[must_use]
    pub const fn seconds(&self, evidence: RpoEvidence) -> Option<f64> {
        match evidence {
            RpoEvidence::ArchivedWal => self.archived_wal_seconds,
            RpoEvidence::LastCommit => self.last_commit_seconds,
            RpoEvidence::Heartbeat => self.heartbeat_seconds,
        }
    }

    /// The breach as a finding, where the objective is exceeded.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        let (judged, objective) = (self.judged?, self.objective_seconds?);
        let seconds = self.seconds(judged).filter(|_| self.exceeded)?;
        let (class, subject) = match judged {
            RpoEvidence::ArchivedWal => (FailureClass::ArchiveStale, "the newest archived WAL"),
            RpoEvidence::LastCommit | RpoEvidence::Heartbeat => {
                (FailureClass::RpoExceeded, "the newest restored row")
            }
        };
        Some(Finding::new(
            class,
            subject,
            format!("is {seconds:.0} s old, the objective is {objective:.0} s"),
            "Look at `pg_stat_archiver` on the source: is archiving still running?",
        ))
    }
}

/// The times that the evidences rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpoTimes {
    pub newest_wal_archived: Option<Timestamp>,
    pub last_commit: Option<Timestamp>,
    pub heartbeat: Option<Timestamp>,
}

/// Judges the restore time. `None` where the cluster never became usable.
#[must_use]
pub fn rto(
    measured: Option<Duration>,
    objective: Option<Duration>,
    engine: &str,
    fsync: bool,
) -> Option<Rto> {
    let seconds = measured?.as_secs_f64();
    let objective_seconds = objective.map(|o| o.as_secs_f64());
    let exceeded = fsync && objective_seconds.is_some_and(|o| seconds > o);
    Some(Rto { seconds, objective_seconds, engine: engine.to_owned(), fsync, exceeded })
}

/// Judges the data loss at `now`. With a recovery target the age says nothing of the archive, so
/// only the newest archived WAL is judged then.
#[must_use]
pub fn rpo(times: RpoTimes, targeted: bool, objective: Option<Duration>, now: Timestamp) -> Rpo {
    let age = |at: Option<Timestamp>| at.map(|at| now.duration_since(at).as_secs_f64().max(0.0));
    let (wal, commit, heartbeat) =
        (age(times.newest_wal_archived), age(times.last_commit), age(times.heartbeat));
    let (judged, seconds, why) = match (targeted, heartbeat, wal, commit) {
        (false, Some(seconds), ..) => (
            Some(RpoEvidence::Heartbeat),
            Some(seconds),
            "the heartbeat row is written also when nothing else is",
        ),
        (true, _, Some(seconds), _) => (
            Some(RpoEvidence::ArchivedWal),
            Some(seconds),
            "a recovery target leaves newer rows out on purpose, so the newest archived WAL is judged",
        ),
        (false, None, Some(seconds), _) => (
            Some(RpoEvidence::ArchivedWal),
            Some(seconds),
            "without a heartbeat an idle database cannot be told from a lost one by its commits, so the newest archived WAL is judged",
        ),
        (false, None, None, Some(seconds)) => (
            Some(RpoEvidence::LastCommit),
            Some(seconds),
            "nothing but the last replayed commit is known",
        ),
        _ => (None, None, "nothing is known of the archive's newest data"),
    };
    let objective_seconds = objective.map(|o| o.as_secs_f64());
    Rpo {
        archived_wal_seconds: wal,
        last_commit_seconds: commit,
        heartbeat_seconds: heartbeat,
        judged,
        why: why.to_owned(),
        objective_seconds,
        exceeded: matches!((seconds, objective_seconds), (Some(s), Some(o)) if s > o),
    }
}
