use super::*;
use crate::pg::timeline::Ancestor;

const SIZE: SegmentSize = SegmentSize::DEFAULT;
const BEGIN: Lsn = Lsn(0x0300_0028);

fn info() -> BackupInfo {
    BackupInfo::parse("begin_xlog=0/3000028\nend_xlog=0/6000000\ntimeline=1\nsystemid=1\n").unwrap()
}

fn root() -> TimelineHistory {
    TimelineHistory::root(TimelineId(1))
}

/// Timeline 2, which forked off in segment 4.
fn forked() -> TimelineHistory {
    let ancestors = vec![Ancestor { timeline: TimelineId(1), switch: Lsn(0x0400_0080) }];
    TimelineHistory { timeline: TimelineId(2), ancestors }
}

fn end(start: u64, timeline: u32, segment: u64, end: u64) -> BackupEnd {
    let (start, end) = (Lsn(start), Lsn(end));
    BackupEnd { start, timeline: TimelineId(timeline), segment: SegmentNumber(segment), end }
}

#[test]
fn a_backup_ends_with_its_own_record_on_the_path() {
    let mut stretches = Stretches::new(&[&info()], SIZE);
    // Of another backup; of a clone's timeline; the right one, found twice.
    stretches.backups_ended(vec![
        end(0x0300_0068, 1, 4, 0x0400_0100),
        end(BEGIN.0, 2, 4, 0x0400_0200),
        end(BEGIN.0, 1, 5, 0x0500_0300),
        end(BEGIN.0, 1, 5, 0x0500_0300),
    ]);
    assert_eq!(stretches.ends.len(), 2);
    assert_eq!(stretches.backup_end(BEGIN, &root()), Some(Lsn(0x0500_0300)));
    assert_eq!(stretches.backup_end(Lsn(0x0300_0068), &root()), None);
    assert_eq!(stretches.backup_end(BEGIN, &forked()), Some(Lsn(0x0400_0200)));
}

#[test]
fn what_happens_to_databases_counts_inside_a_window_and_on_its_path() {
    let mut stretches = Stretches::new(&[&info()], SIZE);
    for (timeline, at) in
        [(1, 0x0300_0000), (1, 0x0300_0100), (1, 0x0500_0100), (2, 0x0500_0200), (1, 0x0600_0000)]
    {
        let dropped = StorageEvent::DatabaseDropped { tablespaces: vec![1663], database: 5 };
        let (timeline, number) = (TimelineId(timeline), SegmentNumber(at >> 24));
        let object = crate::archive::ObjectRef {
            key: String::new(),
            size: 0,
            etag: None,
            modified: None,
            codec: crate::archive::Codec::Plain,
        };
        stretches.changed(&Listed { timeline, number, object }, vec![(Lsn(at), dropped)]);
    }
    let on = |path: TimelineHistory| {
        stretches.databases(&info(), &path).map(|(at, _)| at.0).collect::<Vec<_>>()
    };
    assert_eq!(on(root()), [0x0300_0100, 0x0500_0100]);
    assert_eq!(on(forked()), [0x0300_0100, 0x0500_0200]);
    // Where it really ended is known: what `backup.info` says lies behind.
    stretches.backups_ended(vec![end(BEGIN.0, 1, 5, 0x0500_0100)]);
    let on = |path: TimelineHistory| {
        stretches.databases(&info(), &path).map(|(at, _)| at.0).collect::<Vec<_>>()
    };
    assert_eq!(on(root()), [0x0300_0100]);
    assert_eq!(on(forked()), [0x0300_0100, 0x0500_0200]);
}
