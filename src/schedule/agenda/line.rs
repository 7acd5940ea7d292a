//! Who begins next where room is short.
//!
//! Runs stand in the order of the time they are due; a point of priority counts as an hour of waiting.
//! Since time goes on for newcomers only, everybody comes to the front. A run that does not fit is
//! passed by smaller ones behind it for an hour; from then on nobody behind it begins before it does, so
//! that the room which it needs becomes free.

use std::collections::BTreeSet;

use super::room::NoRoom;

/// What a point of priority is worth, in seconds.
pub(super) const POINT: i64 = 3600;

/// How long smaller runs may pass a larger one, in seconds.
const PATIENCE: i64 = 3600;

/// Most runs that do not fit and are passed at a time, so that a long line costs no more than a short
/// one.
const PASSED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Line {
    order: BTreeSet<(i64, u32)>,
    /// By seat: the key that it stands there with.
    keys: Vec<Option<i64>>,
}

impl Line {
    /// `key` is the time that the run is due, less what its priority is worth.
    pub(super) fn insert(&mut self, key: i64, seat: u32) {
        self.remove(seat);
        if self.keys.len() <= seat as usize {
            self.keys.resize(seat as usize + 1, None);
        }
        self.keys[seat as usize] = Some(key);
        self.order.insert((key, seat));
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, seat: u32) -> bool {
        let key = self.keys.get_mut(seat as usize).and_then(Option::take);
        key.is_some_and(|key| self.order.remove(&(key, seat)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn all(&self) -> Vec<u32> {
        self.order.iter().map(|(_, seat)| *seat).collect()
    }

    /// Takes those out that begin. `enter` takes the room of one, or says that there is none and since
    /// when it waits.
    pub(super) fn next(
        &mut self,
        now: i64,
        mut enter: impl FnMut(u32) -> Result<(), (NoRoom, i64)>,
    ) -> Vec<u32> {
        let mut begin = Vec::new();
        let mut passed = 0;
        for (_, seat) in &self.order {
            match enter(*seat) {
                Ok(()) => begin.push(*seat),
                Err((NoRoom::Full, _)) => break,
                Err((NoRoom::TooSmall, since)) => {
                    passed += 1;
                    if now - since > PATIENCE || passed == PASSED {
                        break;
                    }
                }
            }
        }
        for seat in &begin {
            self.remove(*seat);
        }
        begin
    }
}
