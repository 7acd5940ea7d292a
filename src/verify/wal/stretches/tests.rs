use super::*;
use crate::pg::timeline::Ancestor;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn end(start: u64, timeline: u32, segment: u64, end: u64) -> BackupEnd {
    let (start, end) = (Lsn(start), Lsn(end));
    BackupEnd { start, timeline: TimelineId(timeline), segment: SegmentNumber(segment), end }
}

#[test]
fn a_backup_ends_with_its_own_record_on_the_path() {
    let begin = Lsn(0x0300_0028);
    let mut stretches = Stretches::new(vec![(TimelineId(1), begin)], SIZE);
    let root = TimelineHistory::root(TimelineId(1));
    // Of another backup; of a clone's timeline; the right one, found twice.
    stretches.backups_ended(vec![
        end(0x0300_0068, 1, 4, 0x0400_0100),
        end(begin.0, 2, 4, 0x0400_0200),
        end(begin.0, 1, 5, 0x0500_0300),
        end(begin.0, 1, 5, 0x0500_0300),
    ]);
    assert_eq!(stretches.ends.len(), 2);
    assert_eq!(stretches.backup_end(begin, &root), Some(Lsn(0x0500_0300)));
    assert_eq!(stretches.backup_end(Lsn(0x0300_0068), &root), None);
    let switch = Lsn(0x0400_0080);
    let ancestors = vec![Ancestor { timeline: TimelineId(1), switch }];
    let forked = TimelineHistory { timeline: TimelineId(2), ancestors };
    assert_eq!(stretches.backup_end(begin, &forked), Some(Lsn(0x0400_0200)));
}
