//! How much of what is to be read fits into a run.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Standing;

/// What a run reads at least whose speed says something.
const ENOUGH_SECONDS: f64 = 60.0;
const ENOUGH_BYTES: u64 = 1 << 30;
const ENOUGH_REQUESTS: u64 = 100;

/// How fast objects were read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub bytes_per_second: f64,
    pub requests_per_second: f64,
}

impl Rate {
    /// `None` where too little was read to say.
    #[must_use]
    pub fn of(bytes: u64, requests: u64, seconds: f64) -> Option<Self> {
        let enough =
            seconds >= ENOUGH_SECONDS || bytes >= ENOUGH_BYTES || requests >= ENOUGH_REQUESTS;
        (enough && seconds > 0.1 && bytes > 0 && requests > 0).then(|| Self {
            bytes_per_second: bytes as f64 / seconds,
            requests_per_second: requests as f64 / seconds,
        })
    }

    /// What is known of the speed after a run that was this fast. Whether bytes or requests have kept a
    /// run from being faster it does not tell: both are at least what it shows, and what an earlier run
    /// has shown counts until too many have not.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self {
            bytes_per_second: self.bytes_per_second.max(earlier.bytes_per_second / 2.0),
            requests_per_second: self.requests_per_second.max(earlier.requests_per_second / 2.0),
        }
    }

    /// What so much takes, in seconds: bytes and requests each have their limit.
    #[must_use]
    pub fn seconds(&self, bytes: u64, requests: u64) -> f64 {
        (bytes as f64 / self.bytes_per_second).max(requests as f64 / self.requests_per_second)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.bytes_per_second > 0.0 && self.requests_per_second > 0.0
    }
}

/// The most that a run may take; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// As stored.
    pub bytes: Option<u64>,
    /// One for each object that is read.
    pub requests: Option<u64>,
    /// From the run's start. By an earlier run's rate it is known before what fits; whatever was
    /// estimated, reading ends when it is over.
    pub time: Option<Duration>,
}

impl Budget {
    /// Whether so much fits.
    #[must_use]
    pub fn holds(&self, bytes: u64, requests: u64, rate: Option<Rate>) -> bool {
        self.bytes.is_none_or(|most| bytes <= most)
            && self.requests.is_none_or(|most| requests <= most)
            && match (self.time, rate) {
                (Some(most), Some(rate)) => rate.seconds(bytes, requests) <= most.as_secs_f64(),
                _ => true,
            }
    }
}

/// Something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// For the caller to know it by.
    pub index: u32,
    /// Of what stands alike the lowest comes first.
    pub order: u32,
    pub standing: Standing,
    pub bytes: u64,
    pub requests: u64,
}

/// What is read in this run, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Indexes in rising order.
    pub chosen: Vec<u32>,
    pub bytes: u64,
    pub requests: u64,
    /// What does not fit.
    pub left: Vec<Candidate>,
    /// Of these, what would not fit if nothing else were read: no run with this budget ever does.
    pub too_large: Vec<u32>,
}

/// Takes what was never read first, then what was read longest ago, so that what is left over is what
/// the next run begins with; what goes round by its turn. What does not fit is passed over: one backup that is larger than the budget
/// must not keep all others from being read. `fixed` (bytes and requests) is read in any case.
#[must_use]
pub fn choose(
    candidates: impl IntoIterator<Item = Candidate>,
    fixed: (u64, u64),
    budget: Budget,
    rate: Option<Rate>,
) -> Choice {
    let queue = candidates.into_iter().filter_map(|candidate| {
        let first = match candidate.standing {
            Standing::Unread => (0, None),
            Standing::Round { behind: false } => (1, None),
            Standing::Due(day) => (2, Some(day)),
            Standing::Round { behind: true } => (3, None),
            Standing::Good(_) => return None,
        };
        Some(Reverse((first, candidate.order, candidate)))
    });
    let mut queue: BinaryHeap<_> = queue.collect();
    let mut choice = Choice { bytes: fixed.0, requests: fixed.1, ..Choice::default() };
    while let Some(Reverse((.., candidate))) = queue.pop() {
        let Candidate { index, bytes, requests, .. } = candidate;
        let (all, asked) = (choice.bytes + bytes, choice.requests + requests);
        if budget.holds(all, asked, rate) {
            (choice.bytes, choice.requests) = (all, asked);
            choice.chosen.push(index);
            continue;
        }
        choice.left.push(candidate);
        if !budget.holds(fixed.0 + bytes, fixed.1 + requests, rate) {
            choice.too_large.push(index);
        }
    }
    choice.chosen.sort_unstable();
    choice
}
