//! What all drills may take together, and what is left of it.

use std::num::NonZeroU32;

use crate::drill::Job;

/// Limits over all drills; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Drills at the same time.
    pub drills: NonZeroU32,
    /// Bytes of disk that sandboxes take.
    pub disk: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes a second from stores.
    pub bandwidth: Option<u64>,
}

/// What one drill takes, in the units of [`Budgets`]. Zero is nothing that could be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub disk: u64,
    pub memory: u64,
    pub bandwidth: u64,
}

impl Need {
    /// What a job says of itself: one without a disk budget or a bandwidth counts for none.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            disk: job.sandbox.disk_budget.unwrap_or(0),
            memory: job.sandbox.memory,
            bandwidth: job.limits.bandwidth.unwrap_or(0),
        }
    }

    const fn amounts(&self) -> [u64; 3] {
        [self.disk, self.memory, self.bandwidth]
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// For nobody.
    Full,
    /// For this one; for a smaller one perhaps.
    TooSmall,
}

#[derive(Debug)]
pub(super) struct Room {
    budgets: Budgets,
    drills: u32,
    /// In the order of [`Need::amounts`]; sums of many drills.
    taken: [u128; 3],
}

impl Room {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self { budgets, drills: 0, taken: [0; 3] }
    }

    pub(super) fn set(&mut self, budgets: Budgets) {
        self.budgets = budgets;
    }

    /// Whether it fits when nothing else runs.
    pub(super) fn ever_fits(&self, need: &Need) -> bool {
        self.fits_beside([0; 3], need)
    }

    fn fits_beside(&self, taken: [u128; 3], need: &Need) -> bool {
        let budgets = [self.budgets.disk, self.budgets.memory, self.budgets.bandwidth];
        budgets.into_iter().zip(taken).zip(need.amounts()).all(|((budget, taken), more)| {
            budget.is_none_or(|budget| taken + u128::from(more) <= u128::from(budget))
        })
    }

    /// Takes the room for a drill.
    pub(super) fn enter(&mut self, need: &Need) -> Result<(), NoRoom> {
        if self.drills >= self.budgets.drills.get() {
            return Err(NoRoom::Full);
        }
        if !self.fits_beside(self.taken, need) {
            return Err(NoRoom::TooSmall);
        }
        self.drills += 1;
        for (taken, more) in self.taken.iter_mut().zip(need.amounts()) {
            *taken += u128::from(more);
        }
        Ok(())
    }

    /// Gives back what the same need took.
    pub(super) fn leave(&mut self, need: &Need) {
        self.drills -= 1;
        for (taken, less) in self.taken.iter_mut().zip(need.amounts()) {
            *taken -= u128::from(less);
        }
    }
}
