//! How much data, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a run works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Raise it when the making of the data changes: kept data of another version are made anew.
    pub version: u32,
    /// `pgbench --scale`: about 15 MB each.
    pub pgbench: u32,
    /// Rows of text and jsonb under three indexes.
    pub events: u32,
    /// Rows in a tablespace.
    pub spaced: u32,
    /// Tables of the cluster of small relations; each has four: heap, key, TOAST table and its index.
    pub tables: u32,
    /// WAL segments behind the backups, at least.
    pub segments: usize,
    /// Segments that are read without a recovery.
    pub walked: usize,
    /// Runs of each.
    pub runs: usize,
    /// Seconds after which nobody gets another run.
    pub budget: u64,
    /// Whether it is the two-minute version.
    pub quick: bool,
}

/// Of `make bench`: 1.5 GB, 200,000 relations, 400 segments.
pub const FULL: Scale = Scale {
    version: 2,
    pgbench: 70,
    events: 300_000,
    spaced: 100_000,
    tables: 50_000,
    segments: 400,
    walked: 64,
    runs: 5,
    budget: 80 * 60,
    quick: false,
};

/// Of `make bench-quick`: enough to see that everything runs.
pub const QUICK: Scale = Scale {
    version: 2,
    pgbench: 5,
    events: 20_000,
    spaced: 10_000,
    tables: 500,
    segments: 12,
    walked: 8,
    runs: 1,
    budget: 100,
    quick: true,
};

impl Scale {
    /// Runs of something that takes so long.
    pub fn runs_of(&self, one: f64) -> usize {
        if one > 120.0 { self.runs.min(3) } else { self.runs }
    }

    /// How long runs are repeated.
    pub fn budget(&self) -> Duration {
        Duration::from_secs(self.budget)
    }
}
