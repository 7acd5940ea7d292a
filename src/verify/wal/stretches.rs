//! Records without a fault between them, as far as backups need them: how far a recovery gets.

use std::{collections::BTreeMap, ops::Range};

use super::super::{feed::Listed, reach};
use crate::{
    archive::BackupInfo,
    drill::{Finding, verify_report::Reach},
    pg::{
        Lsn, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::{checkpoint::Beginning, scan::TransactionEnd, storage::StorageEvent, walk},
    },
};

/// Where a backup begins, and which system it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) struct Start {
    pub system_id: u64,
    pub timeline: TimelineId,
    pub lsn: Lsn,
}

/// What ended a stretch.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::verify) enum Ended {
    /// Nothing is archived behind it.
    Newest,
    /// The next segment is not in the archive, later ones are.
    Gap,
    Damage(Box<Finding>),
    /// What follows could not be read.
    Unread,
}

#[derive(Clone, Debug)]
struct Stretch {
    system_id: u64,
    timeline: TimelineId,
    /// The stretch of another timeline that it goes on from.
    parent: Option<usize>,
    begin: Option<Lsn>,
    end: Lsn,
    last_commit: Option<TransactionEnd>,
    ended: Ended,
    /// A child goes on from it.
    referred: bool,
}

/// What a system's WAL means to backups of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// None of them reads it.
    Own,
    /// This system follows on the other one and has newer backups.
    Successor(u64),
    /// It stands where the newest backup, of the other system, reads on.
    Foreign(u64),
    /// It goes on where another system has written in between.
    CameBack,
}

/// Those stretches that a backup begins in, or that lead on from one. The last one is open.
#[derive(Debug)]
pub(in crate::verify) struct Stretches {
    all: Vec<Stretch>,
    /// Where backups begin, oldest first.
    starts: Vec<Start>,
    /// Systems whose WAL goes on as another one's, and from where on which timeline.
    left: Vec<(u64, TimelineId, Lsn)>,
    /// From where backups begin to where they are said to end.
    windows: Vec<Range<Lsn>>,
    size: SegmentSize,
    ends: Vec<BackupEnd>,
    /// What is done to databases inside the windows: the segment that the record ends in, and where it
    /// begins.
    databases: BTreeMap<(Lsn, TimelineId), (SegmentNumber, StorageEvent)>,
    /// Records with which recoveries begin, in the same way.
    beginnings: BTreeMap<(Lsn, TimelineId), (SegmentNumber, Beginning)>,
}

/// The record that ends a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackupEnd {
    /// Where the backup began.
    pub start: Lsn,
    /// The segment that the record ends in, and where.
    pub timeline: TimelineId,
    pub segment: SegmentNumber,
    pub end: Lsn,
}

impl Stretches {
    pub(super) fn new(infos: &[&BackupInfo], size: SegmentSize) -> Self {
        let windows = infos.iter().filter_map(|info| window(info)).collect();
        let starts = infos.iter().filter_map(|info| reach::start(info)).collect();
        Self {
            all: Vec::new(),
            starts,
            left: Vec::new(),
            windows,
            size,
            ends: Vec::new(),
            databases: BTreeMap::new(),
            beginnings: BTreeMap::new(),
        }
    }

    /// Remembers what a segment says of databases as a whole.
    pub(super) fn changed(&mut self, listed: &Listed, events: Vec<(Lsn, StorageEvent)>) {
        for (at, event) in events {
            if self.windows.iter().any(|window| window.contains(&at)) {
                self.databases.insert((at, listed.timeline), (listed.number, event));
            }
        }
    }

    /// Remembers the records of a segment with which recoveries begin.
    pub(super) fn begun(&mut self, listed: &Listed, records: Vec<(Lsn, Beginning)>) {
        let here = |(at, record)| ((at, listed.timeline), (listed.number, record));
        self.beginnings.extend(records.into_iter().map(here));
    }

    /// The record that begins there on `path`, of those that were asked about.
    pub(in crate::verify) fn beginning(
        &self,
        at: Lsn,
        path: &TimelineHistory,
    ) -> Option<Beginning> {
        let mut there = self.beginnings.range((at, TimelineId(0))..=(at, TimelineId(u32::MAX)));
        there.find_map(|((_, timeline), (segment, record))| {
            (path.timeline_of_segment(*segment, self.size) == *timeline).then_some(*record)
        })
    }

    /// What happened to databases while the backup that `info` describes was taken, on `path`.
    pub(in crate::verify) fn databases<'a>(
        &'a self,
        info: &BackupInfo,
        path: &'a TimelineHistory,
    ) -> impl Iterator<Item = (Lsn, &'a StorageEvent)> {
        let mut window = window(info).unwrap_or(Lsn::INVALID..Lsn::INVALID);
        if let Some(end) = self.backup_end(window.start, path) {
            window.end = window.end.min(end);
        }
        let all = self.databases.iter().filter(move |((at, timeline), (segment, _))| {
            window.contains(at) && path.timeline_of_segment(*segment, self.size) == *timeline
        });
        all.map(|((at, _), (_, event))| (*at, event))
    }

    /// Remembers the ends of the backups that are asked about.
    pub(super) fn backups_ended(&mut self, ends: Vec<BackupEnd>) {
        for end in ends {
            let asked = self.starts.iter().any(|start| start.lsn == end.start);
            if asked && !self.ends.contains(&end) {
                self.ends.push(end);
            }
        }
    }

    /// Where the first record on `path` ends that ends the backup which began at `start`.
    pub(in crate::verify) fn backup_end(&self, start: Lsn, path: &TimelineHistory) -> Option<Lsn> {
        let on_path = |end: &&BackupEnd| {
            end.start == start
                && end.end > start
                && path.timeline_of_segment(end.segment, self.size) == end.timeline
        };
        self.ends.iter().filter(on_path).map(|end| end.end).min()
    }

    pub(super) fn open(&mut self, system_id: u64, timeline: TimelineId, parent: Option<usize>) {
        self.all.push(Stretch {
            system_id,
            timeline,
            parent,
            begin: None,
            end: Lsn::INVALID,
            last_commit: None,
            ended: Ended::Newest,
            referred: false,
        });
    }

    /// Takes in how far the open one has come.
    pub(super) fn update(&mut self, walked: &walk::Stretch) {
        if let Some(open) = self.all.last_mut() {
            let walk::Stretch { begin, end, last_commit } = *walked;
            (open.begin, open.end, open.last_commit) = (begin, end, last_commit);
        }
    }

    pub(super) fn last_commit(&self) -> Option<TransactionEnd> {
        self.all.last()?.last_commit
    }

    /// The open one, which a child will go on from.
    pub(super) fn refer(&mut self) -> usize {
        if let Some(open) = self.all.last_mut() {
            open.referred = true;
        }
        self.all.len().saturating_sub(1)
    }

    /// Ends the open one; what no recovery begins in is forgotten.
    pub(super) fn close(&mut self, ended: Ended) {
        let Some(open) = self.all.last_mut() else { return };
        open.ended = ended;
        let starts = &self.starts;
        let begins = starts.iter().any(|start| open.holds(start));
        if !begins && open.parent.is_none() && !open.referred {
            self.all.pop();
        }
    }

    /// Whether a recovery from any backup may read the segment that ends at `end` on the timeline of
    /// `history`.
    pub(super) fn is_needed(&self, history: &TimelineHistory, end: Lsn) -> bool {
        self.reading(history, end).next().is_some()
    }

    /// Whether a recovery from the newest backup may read what lies before `end` there.
    pub(super) fn is_needed_by_newest(&self, history: &TimelineHistory, end: Lsn) -> bool {
        self.reading(history, end).last() == self.starts.last() && !self.starts.is_empty()
    }

    /// The backups from which a recovery may read the segment that ends at `end` on the timeline of
    /// `history`, oldest first.
    fn reading(&self, history: &TimelineHistory, end: Lsn) -> impl Iterator<Item = &Start> {
        self.starts.iter().filter(move |start| {
            // Nothing is known of the past of a timeline without a history file.
            let related = history.contains(start.timeline) || history.ancestors.is_empty();
            let mut left = self.left.iter();
            let left = left.any(|(system_id, timeline, at)| {
                *system_id == start.system_id && history.contains(*timeline) && *at < end
            });
            related && start.lsn < end && !left
        })
    }

    /// Takes note that the segment from `begin` to `end` on the timeline of `history` is of the
    /// system `system_id`. Says what that means to backups of other systems.
    pub(super) fn enters(
        &mut self,
        system_id: u64,
        history: &TimelineHistory,
        (begin, end): (Lsn, Lsn),
    ) -> Entrance {
        let came_back = self.left.iter().position(|(id, timeline, at)| {
            *id == system_id && history.contains(*timeline) && *at < end
        });
        if let Some(index) = came_back {
            self.left.remove(index);
            return Entrance::CameBack;
        }
        let others = self.reading(history, end).filter(|start| start.system_id != system_id);
        let others: Vec<Start> = others.copied().collect();
        let Some(newest) = others.last() else { return Entrance::Own };
        let behind = self.starts.iter().skip_while(|start| *start != newest);
        if behind.clone().any(|start| start.system_id == system_id) {
            for other in &others {
                let left = (other.system_id, history.timeline, begin);
                if !self.left.contains(&left) {
                    self.left.push(left);
                }
            }
            return Entrance::Successor(newest.system_id);
        }
        Entrance::Foreign(newest.system_id)
    }

    /// How far a recovery that begins at `start` and follows `path` gets, and what ends it. `None`
    /// where nothing can be read there.
    pub(in crate::verify) fn reach(
        &self,
        start: &Start,
        path: &TimelineHistory,
    ) -> Option<(Reach, &Ended)> {
        let mut index = self.all.iter().position(|stretch| stretch.holds(start))?;
        loop {
            let here = &self.all[index];
            let on_path = |s: &Stretch| s.parent == Some(index) && path.contains(s.timeline);
            let mut children = self.all.iter().enumerate().filter(|(_, s)| on_path(s));
            // Where several forked off within one segment, the last holds what the others have.
            if let Some((child, _)) = children.by_ref().max_by_key(|(_, s)| s.timeline) {
                index = child;
                continue;
            }
            // Recovery leaves the timeline at the fork, whether or not the child is there.
            let fork = path.switch_point(here.timeline);
            let lsn = fork.map_or(here.end, |fork| fork.min(here.end));
            let last_commit = here.last_commit.filter(|c| c.lsn >= start.lsn && c.lsn < lsn);
            let last_commit = last_commit.map(Into::into);
            return Some((Reach { timeline: here.timeline, lsn, last_commit }, &here.ended));
        }
    }
}

/// From where a backup begins to where it is said to end.
fn window(info: &BackupInfo) -> Option<Range<Lsn>> {
    Some(info.replay_start()?..info.end_xlog?)
}

impl Stretch {
    fn holds(&self, start: &Start) -> bool {
        let begins = self.begin.is_some_and(|begin| begin <= start.lsn);
        let same = (self.system_id, self.timeline) == (start.system_id, start.timeline);
        same && begins && start.lsn < self.end
    }
}

#[cfg(test)]
impl Stretches {
    /// One on timeline 1, from the beginning of the backup that `info` describes to `end`; the record
    /// that ends the backup ends at `backup_end`.
    pub(in crate::verify) fn one(
        info: &BackupInfo,
        end: Lsn,
        ended: Ended,
        backup_end: Option<Lsn>,
    ) -> Self {
        let mut stretches = Self::new(&[info], SegmentSize::DEFAULT);
        let (timeline, begin) = (TimelineId(1), info.replay_start());
        stretches.open(info.system_id.unwrap_or_default(), timeline, None);
        stretches.update(&walk::Stretch { begin, end, last_commit: None });
        stretches.close(ended);
        let start = begin.unwrap_or_default();
        let ends = backup_end.map(|end| {
            let segment = SegmentSize::DEFAULT.segment_before(end);
            BackupEnd { start, timeline, segment, end }
        });
        stretches.backups_ended(ends.into_iter().collect());
        stretches
    }
}

#[cfg(test)]
mod tests;
