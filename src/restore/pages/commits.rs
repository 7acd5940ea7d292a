//! Which transactions committed inside a backup's window.

use std::collections::HashMap;

/// Transactions of a chunk, one bit each.
const CHUNK: u32 = 8192;
/// Chunks that are kept, 1 KiB each.
const MAX_CHUNKS: usize = 16_384;

/// A set of transaction ids, compact where they lie close. At most 16 MiB.
#[derive(Debug, Default)]
pub struct Commits {
    chunks: HashMap<u32, Box<[u8; CHUNK as usize / 8]>>,
    /// There were more than fit.
    incomplete: bool,
}

impl Commits {
    pub(super) fn add(&mut self, xid: u32) {
        if self.chunks.len() >= MAX_CHUNKS && !self.chunks.contains_key(&(xid / CHUNK)) {
            self.incomplete = true;
            return;
        }
        let chunk = self.chunks.entry(xid / CHUNK).or_insert_with(|| Box::new([0; _]));
        let bit = xid % CHUNK;
        chunk[(bit / 8) as usize] |= 1 << (bit % 8);
    }

    /// `None` where it cannot be told.
    pub(super) fn has(&self, xid: u32) -> Option<bool> {
        let bit = xid % CHUNK;
        let chunk = self.chunks.get(&(xid / CHUNK));
        let found = chunk.is_some_and(|chunk| chunk[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
        if !found && self.incomplete { None } else { Some(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there() {
        let mut commits = Commits::default();
        let all = [3, 4, 8191, 8192, u32::MAX];
        for xid in all {
            commits.add(xid);
        }
        assert!(all.into_iter().all(|xid| commits.has(xid) == Some(true)));
        assert_eq!(commits.has(5), Some(false));
        (0..MAX_CHUNKS as u32).for_each(|chunk| commits.add(chunk * CHUNK + 1));
        assert_eq!((commits.has(3), commits.has(5)), (Some(true), None));
    }
}
