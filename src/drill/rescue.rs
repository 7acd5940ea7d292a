//! A rescue: a backup restored for good, into a folder that its operator starts a server from. What it
//! came to, and what is to be done next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    FailureClass, Finding,
    expectation::Promise,
    measure::Rto,
    plan::Window,
    reached::Reached,
    report::{BackupSummary, ErrorReport},
    stage::StageLog,
};
use crate::pg::{Lsn, TimelineId};

mod next;

pub use next::{Step, first_overrides, next_steps, start_command};

/// Version of the report's JSON. Adding a field does not raise it; changing or removing one does.
pub const SCHEMA_VERSION: u32 = 1;

/// What a rescue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RescueOutcome {
    /// The cluster is there, with all that the archive holds up to the target.
    Complete,
    /// The cluster is there; the findings say what is missing or damaged.
    Incomplete,
    /// The cluster is there; whether something is missing or damaged could not be told.
    Unproven,
    /// The archive cannot give the cluster, or only a damaged one that nobody has consented to.
    Impossible,
    /// The machine, the store or a tool failed, or somebody stopped it: the next run can go on.
    BrokenOff,
}

impl RescueOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::Incomplete, Self::Unproven, Self::Impossible, Self::BrokenOff];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Unproven => "unproven",
            Self::Impossible => "impossible",
            Self::BrokenOff => "broken_off",
        }
    }

    /// Whether there is a cluster that can be started.
    #[must_use]
    pub const fn has_cluster(self) -> bool {
        matches!(self, Self::Complete | Self::Incomplete | Self::Unproven)
    }

    /// Of a recovered cluster, by what was found on the way. A finding of the environment could not tell.
    #[must_use]
    pub fn of_cluster(findings: &[Finding]) -> Self {
        if findings.is_empty() {
            Self::Complete
        } else if findings.iter().all(|finding| finding.class.is_environment()) {
            Self::Unproven
        } else {
            Self::Incomplete
        }
    }

    /// The exit status, as verdicts have it: 1 for damage, 4 where nothing could be told.
    #[must_use]
    pub fn exit_code(self, findings: &[Finding]) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Incomplete => 1,
            Self::Unproven | Self::BrokenOff => 4,
            Self::Impossible => {
                let unknown = findings.iter().all(|finding| finding.class.is_environment());
                if unknown && !findings.is_empty() { 4 } else { 1 }
            }
        }
    }
}

/// A rescue, finished or broken off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RescueReport {
    pub schema_version: u32,
    pub pgassay_version: String,
    /// UUIDv7.
    pub rescue_id: String,
    pub job: String,
    pub archive_url: String,
    pub server: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub outcome: RescueOutcome,
    /// One sentence: why that outcome.
    pub reason: String,
    /// Whether an earlier run had done part of it. Times are of this run alone.
    pub resumed: bool,
    /// The folder that the cluster is in, or was to be.
    pub directory: String,
    /// What the next run goes on from; `None` where nothing is left but the cluster.
    pub state: Option<String>,
    pub backup: Option<BackupSummary>,
    /// The target in words.
    pub target: String,
    pub window: Option<Window>,
    pub promise: Option<Promise>,
    pub reached: Option<Reached>,
    /// What the archive has behind the end that was reached, where it is known to have more.
    pub left_behind: Option<LeftBehind>,
    pub rto: Option<Rto>,
    pub stages: StageLog,
    pub findings: Vec<Finding>,
    pub errors: Vec<ErrorReport>,
    /// Other backups that the listing shows to be whole and to reach the target, the best one first.
    pub other_backups: Vec<String>,
    pub cluster: Option<RescuedCluster>,
    /// What to do next, in this order.
    pub next: Vec<Step>,
    pub notes: Vec<String>,
}

impl RescueReport {
    /// The exit status.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.outcome.exit_code(&self.findings)
    }
}

/// The end of the archive, beyond the end of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// Where the archive's newest segment ends, or its name where it cannot be followed to there.
    pub up_to: String,
    /// When that was stored.
    pub stored_at: Option<Timestamp>,
    /// Because the target says so; else it could not be had.
    pub wanted: bool,
}

/// The cluster that the operator takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RescuedCluster {
    pub directory: String,
    /// Version text of the server that recovered, such as `15.18`.
    pub postgres: String,
    /// Folder of that server's programs.
    pub bin_dir: String,
    /// Who owns the files and must run the server.
    pub user: String,
    /// Whether the caller is somebody else, who must become that user first.
    #[serde(skip)]
    pub switch: bool,
    /// Whether recovery ran without a network.
    pub network_isolated: bool,
    /// The timeline that the cluster writes.
    pub timeline: Option<TimelineId>,
    pub tablespaces: Vec<RescuedTablespace>,
    pub archiving: Option<Archiving>,
    /// Production's own `postgresql.conf` where the backup has none.
    pub config_elsewhere: Option<String>,
    /// There is no `pg_hba.conf` among the files.
    pub no_access_rules: bool,
    pub absent_paths: Vec<AbsentPath>,
    pub absent_libraries: Vec<AbsentLibrary>,
    /// Libraries of `shared_preload_libraries` that are installed here, where others are not.
    #[serde(skip)]
    pub shared_libraries: Vec<String>,
    /// Commits wait for standbys.
    pub synchronous: bool,
    /// What PostgreSQL says of the restored configuration where it refuses it here.
    pub refused_configuration: Option<String>,
    /// Settings that were chosen for recovery, as `name=value`. None of them is left in the folder.
    pub recovery_settings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RescuedTablespace {
    pub oid: u32,
    pub name: Option<String>,
    pub path: String,
    /// Where it lay in production.
    pub was: Option<String>,
    /// Whether it lies inside the data directory and is no link.
    pub in_place: bool,
}

/// What still sends WAL to the archive that the cluster came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Archiving {
    /// `archive_command` or `archive_library`. Its value may hold secrets.
    pub setting: String,
    /// The file that has the last word.
    pub file: String,
}

/// A path in the configuration that this machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbsentPath {
    pub setting: String,
    pub file: String,
    pub path: String,
    /// What to start the server with instead; none where nothing on its command line helps.
    pub instead: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbsentLibrary {
    pub setting: String,
    pub file: String,
    pub library: String,
}

/// Which findings of a base backup stop a rescue that has no consent to damage.
#[must_use]
pub fn needs_consent(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| !finding.class.is_environment())
}

/// Why the cluster that is there is not complete, in a sentence.
#[must_use]
pub fn reason(reached: &Reached, findings: &[Finding]) -> String {
    let place = format!("recovered to {} on timeline {}", reached.end, reached.timeline);
    match findings {
        [] => format!("{place}, as the archive promises"),
        [only] => format!("{place}, but {}", only.summary()),
        [first, more @ ..] => {
            let noun = if more.len() == 1 { "finding" } else { "findings" };
            format!("{place}, but {}; and {} more {noun}", first.summary(), more.len())
        }
    }
}

/// What is behind the end that was reached. `newest` is the archive's newest segment, with its end where
/// the plan leads there.
#[must_use]
pub fn left_behind(
    end: Lsn,
    is_targeted: bool,
    findings: &[Finding],
    window: &Window,
    newest: Option<&(String, Timestamp)>,
) -> Option<LeftBehind> {
    let beyond = window.to_lsn.filter(|to| *to > end);
    if is_targeted && findings.is_empty() {
        let up_to = beyond?.to_string();
        return Some(LeftBehind { up_to, stored_at: window.to_time, wanted: true });
    }
    // The last segment is rarely full: to end in it is to have all of it.
    let wal = |finding: &Finding| {
        use FailureClass as C;
        matches!(
            finding.class,
            C::WalGap
                | C::WalCorrupt
                | C::WalMissingForConsistency
                | C::SystemIdMismatch
                | C::TimelineHistoryMissing
                | C::TimelineDivergence
                | C::RecoveredShort
                | C::WalLevelMinimal
        )
    };
    if !findings.iter().any(wal) {
        return None;
    }
    let (name, at) = newest?;
    Some(LeftBehind { up_to: name.clone(), stored_at: Some(*at), wanted: false })
}

/// Settings by name that differ when the server is started for the first time.
pub type Overrides = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
