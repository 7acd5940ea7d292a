//! What is kept of a segment, in few bytes.

use jiff::Timestamp;

use super::{Day, SegmentId};
use crate::pg::{
    Lsn,
    wal::{scan::TransactionEnd, walk::SegmentFacts},
};

/// A record begins and ends in it.
const WHOLE: u8 = 1;
/// A record ends in it.
const END: u8 = 2;
/// A commit ends in it.
const COMMIT: u8 = 4;
/// In memory only: the archive lists it.
const LISTED: u8 = 64;
/// In memory only: nothing is known of it any more.
const GONE: u8 = 128;

/// Bytes in a file.
pub(super) const LENGTH: usize = 45;

/// One segment that was good. Positions count from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: u64,
    content: u64,
    /// Microseconds since 1970.
    commit_at: i64,
    /// Where the commit's record begins, which may be in a segment before.
    commit: i32,
    commit_xid: u32,
    records: u32,
    end: u32,
    pub(super) read: Day,
    flags: u8,
}

impl Entry {
    /// `None` where the facts are not such as a segment's can be.
    pub(super) fn of(id: SegmentId, start: Lsn, facts: &SegmentFacts, read: Day) -> Option<Self> {
        let SegmentFacts { records, end, last_commit, whole } = *facts;
        let mut entry = Self { key: id.key, content: id.content, read, ..Self::default() };
        entry.records = u32::try_from(records).ok()?;
        entry.flags = if whole { WHOLE } else { 0 };
        if let Some(end) = end {
            entry.end = u32::try_from(end.0.checked_sub(start.0)?).ok()?;
            entry.flags |= END;
        }
        if let Some(commit) = last_commit {
            let place = i128::from(commit.lsn.0) - i128::from(start.0);
            entry.commit = i32::try_from(place).ok()?;
            entry.commit_at = commit.at.as_microsecond();
            entry.commit_xid = commit.xid;
            entry.flags |= COMMIT;
        }
        (entry.facts(start)? == *facts).then_some(entry)
    }

    pub(super) fn gone(id: SegmentId) -> Self {
        Self { key: id.key, content: id.content, flags: GONE, ..Self::default() }
    }

    pub(super) fn facts(&self, start: Lsn) -> Option<SegmentFacts> {
        let last_commit = if self.flags & COMMIT == 0 {
            None
        } else {
            let lsn = Lsn(start.0.checked_add_signed(i64::from(self.commit))?);
            let at = Timestamp::from_microsecond(self.commit_at).ok()?;
            Some(TransactionEnd { lsn, at, xid: self.commit_xid, committed: true })
        };
        Some(SegmentFacts {
            records: u64::from(self.records),
            end: (self.flags & END != 0).then(|| Lsn(start.0 + u64::from(self.end))),
            last_commit,
            whole: self.flags & WHOLE != 0,
        })
    }

    pub(super) const fn is_of(&self, id: SegmentId) -> bool {
        self.content == id.content && !self.is_gone()
    }

    pub(super) const fn list(&mut self) {
        self.flags |= LISTED;
    }

    pub(super) const fn is_listed(&self) -> bool {
        self.flags & LISTED != 0
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.flags & GONE != 0
    }

    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.key.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.content.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.commit_at.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.commit.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.commit_xid.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.records.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.end.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.read.0.to_be_bytes());
        bytes[44] = self.flags & (WHOLE | END | COMMIT);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        let word = |at: usize| bytes[at..at + 4].iter().fold(0, |sum, b| sum << 8 | u32::from(*b));
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Self {
            key: long(0),
            content: long(8),
            commit_at: long(16).cast_signed(),
            commit: word(24).cast_signed(),
            commit_xid: word(28),
            records: word(32),
            end: word(36),
            read: Day(word(40)),
            flags: bytes[44] & (WHOLE | END | COMMIT),
        }
    }
}
