use super::super::record::RM_XLOG;
use super::super::testing::{self, LogWriter, number, size};
use super::*;
use crate::pg::wal::scan::DamageKind;

const ONE: TimelineId = TimelineId(1);
const TWO: TimelineId = TimelineId(2);

fn rules(history: TimelineHistory) -> WalRules {
    testing::rules(Major::V15, history)
}

/// Six segments or so, with records across pages and segments.
fn long_log() -> LogWriter {
    let mut log = LogWriter::new(Major::V15);
    for xid in 1..=400_u32 {
        log.main(RM_XLOG, 0x20, 0, &vec![1; (xid as usize * 131) % 30_000]);
        log.commit(xid, i64::from(xid));
    }
    log
}

struct Walked {
    broken: Vec<Broken>,
    xids: Vec<u32>,
    walk: WalWalk,
}

/// Walks the segments of these indexes on timeline 1.
fn walk(segments: &[Vec<u8>], which: impl IntoIterator<Item = usize>) -> Walked {
    let mut which = which.into_iter().peekable();
    let first = number(*which.peek().unwrap());
    let mut walk = WalWalk::new(rules(TimelineHistory::root(ONE)), first);
    let (mut broken, mut xids) = (Vec::new(), Vec::new());
    for index in which {
        let found = walk.segment(ONE, number(index), &segments[index], |record| {
            xids.extend(record.transaction_end(Major::V15).map(|end| end.xid));
        });
        broken.extend(found);
    }
    broken.extend(walk.end_run());
    Walked { broken, xids, walk }
}

#[test]
fn begins_at_any_segment_behind_the_record_that_crosses_into_it() {
    let log = long_log();
    let segments = log.segments();
    for first in 0..segments.len() {
        let walked = walk(&segments, first..segments.len());
        assert_eq!(walked.broken, [], "from segment {first}");
        let next: Vec<u32> = (walked.xids[0]..=400).collect();
        assert_eq!(walked.xids, next);
        assert_eq!(walked.walk.stretch().end, log.at());
    }
}

#[test]
fn what_lies_behind_minimal_wal_is_another_stretch() {
    let change = |log: &mut LogWriter, level: u32| {
        let values = [100_u32, 8, 10, 0, 64, level];
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        log.main(RM_XLOG, 0x60, 0, &[&data[..], &[0, 0]].concat())
    };
    let mut log = LogWriter::new(Major::V15);
    log.commit(1, 1);
    let end = log.at();
    let first = change(&mut log, 0);
    log.commit(2, 2);
    let second = change(&mut log, 0);
    let behind = change(&mut log, 1);
    log.commit(3, 3);
    let walked = walk(&log.segments(), 0..1);
    let places: Vec<_> = walked.broken.iter().map(|b| (b.damage.kind, b.damage.lsn)).collect();
    assert_eq!(places, [(DamageKind::MinimalWal, first), (DamageKind::MinimalWal, second)]);
    let before = walked.broken[0].before;
    assert_eq!((before.end, before.last_commit.map(|commit| commit.xid)), (end, Some(1)));
    let stretch = walked.walk.stretch();
    assert_eq!((stretch.begin, stretch.end), (Some(behind), log.at()));
    assert_eq!(walked.xids, [1, 2, 3]);
}

#[test]
fn a_record_of_several_segments_is_passed_over() {
    let mut log = LogWriter::new(Major::V15);
    log.commit(1, 1);
    log.main(RM_XLOG, 0x20, 0, &vec![9; 3 << 20]);
    log.commit(2, 2);
    let segments = log.segments();
    let walked = walk(&segments, 1..segments.len());
    assert_eq!((walked.broken, walked.xids), (vec![], vec![2]));
    let mut damaged = segments.clone();
    // `xlp_rem_len` of the third segment's first page.
    damaged[2][16] ^= 1;
    let walked = walk(&damaged, 1..segments.len());
    assert_eq!(walked.broken.len(), 1);
    assert_eq!(walked.broken[0].damage.segment, number(2));
}

#[test]
fn every_damage_is_found_and_what_follows_is_read() {
    let mut segments = long_log().segments();
    assert!(segments.len() > 5);
    let sound = walk(&segments, 0..segments.len()).xids;
    for index in [1, 2, 4] {
        segments[index][500_000] ^= 0x10;
    }
    let walked = walk(&segments, 0..segments.len());
    let places: Vec<_> = walked.broken.iter().map(|b| b.damage.segment).collect();
    assert_eq!(places, [number(1), number(2), number(4)]);
    for broken in &walked.broken {
        assert_eq!(broken.damage.kind, DamageKind::Corrupt);
        assert!(broken.before.end <= broken.damage.lsn);
        let last = broken.before.last_commit.unwrap();
        assert!(last.lsn < broken.damage.lsn);
    }
    assert!(walked.xids.len() < sound.len());
    assert_eq!(walked.xids.last(), sound.last());
}

#[test]
fn damage_that_began_in_the_segment_before_hides_nothing_of_this_one() {
    let mut log = LogWriter::new(Major::V15);
    log.commit(1, 1);
    log.main(RM_XLOG, 0x20, 0, &vec![9; 3 << 19]);
    log.commit(2, 2);
    let mut segments = log.segments();
    // Inside the crossing record, in the second segment.
    segments[1][1000] ^= 1;
    let walked = walk(&segments, 0..segments.len());
    assert_eq!(walked.broken.len(), 1);
    assert_eq!(walked.broken[0].damage.segment, number(0));
    assert_eq!(walked.xids, [1, 2]);
}

#[test]
fn a_hole_begins_a_new_stretch() {
    let segments = long_log().segments();
    let walked = walk(&segments, [0, 1, 3, 4]);
    assert_eq!(walked.broken, []);
    let begin = walked.walk.stretch().begin.unwrap();
    assert!(begin >= number(3).start(size()), "{begin}");
}

#[test]
fn a_tail_that_was_never_written_is_damage_only_before_others() {
    let mut log = LogWriter::new(Major::V15);
    log.commit(1, 1);
    let short = log.segments().remove(0);
    let mut segments = long_log().segments();
    let alone = walk(std::slice::from_ref(&short), [0]);
    assert_eq!(alone.broken, []);
    assert_eq!(alone.walk.open_end().unwrap().lsn, log.at());
    segments[0] = short;
    let walked = walk(&segments, 0..segments.len());
    assert_eq!(walked.broken.len(), 1);
    assert_eq!(walked.broken[0].damage.segment, number(0));
    assert_eq!(walked.xids.last(), Some(&400));
}

#[test]
fn a_child_goes_on_with_the_record_that_its_parent_began() {
    let mut log = LogWriter::new(Major::V15);
    log.commit(1, 1);
    // Reaches from the first segment into the second, where the fork is.
    log.main(RM_XLOG, 0x20, 0, &vec![9; (1 << 20) + 5000]);
    log.commit(2, 2);
    let fork = log.at();
    let mut child = log.clone();
    log.commit(3, 3);
    log.main(RM_XLOG, 0x20, 0, &vec![9; 1 << 20]);
    child.timeline = 2;
    let mut data = vec![0; 8];
    data.extend(2_u32.to_le_bytes());
    data.extend(1_u32.to_le_bytes());
    child.main(RM_XLOG, 0x90, 0, &data);
    child.commit(9, 9);

    let (parent, child) = (log.segments(), child.segments());
    let text = format!("1\t{fork}\tno reason\n");
    let history = TimelineHistory::parse(TWO, &text).unwrap();
    let mut walk = WalWalk::new(rules(TimelineHistory::root(ONE)), number(0));
    assert_eq!(walk.segment(ONE, number(0), &parent[0], |_| ()), []);
    let fork_walk = walk.fork(&history);
    let run = |mut walk: WalWalk, timeline, bytes: &[u8]| {
        let mut xids = Vec::new();
        let broken = walk.segment(timeline, number(1), bytes, |record| {
            xids.extend(record.transaction_end(Major::V15).map(|end| end.xid));
        });
        (broken.len(), xids)
    };
    assert_eq!(run(walk.clone(), ONE, &parent[1]), (0, vec![2, 3]));
    assert_eq!(run(fork_walk.clone(), TWO, &child[1]), (0, vec![2, 9]));
    let mut damaged = child[1].clone();
    damaged[1000] ^= 1;
    assert_eq!(run(fork_walk, TWO, &damaged).0, 1, "the crossing record is verified for the child");

    // Without its history file, the child's first pages may be of its parent.
    let root = WalRules { ancestors_known: false, ..rules(TimelineHistory::root(TWO)) };
    assert_eq!(run(WalWalk::new(root, number(1)), TWO, &child[1]), (0, vec![2, 9]));
}

/// Gives each page once, as pages on their way come.
struct Once<'a> {
    bytes: &'a [u8],
    given: u64,
}

impl SegmentPages for Once<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        assert!(offset >= self.given, "{offset} is behind {}", self.given);
        self.given = offset;
        &self.bytes[offset as usize..][..8192]
    }

    fn rewind(&mut self) -> bool {
        false
    }
}

#[test]
fn pages_that_come_once_say_what_whole_segments_say() {
    let log = long_log();
    let sound = log.segments();
    let mut restarts = 0;
    for at in (0..sound.len() * sound[0].len()).step_by(4999) {
        let mut segments = sound.clone();
        let (which, offset) = (at / sound[0].len(), at % sound[0].len());
        // Some bytes flipped, some lost.
        if at % 3 == 0 {
            let end = (offset + 20_000).min(sound[0].len());
            segments[which][offset..end].fill(0);
        } else {
            segments[which][offset] ^= 0x10;
        }
        let rules = rules(TimelineHistory::root(ONE));
        let mut whole = WalWalk::new(rules.clone(), number(0));
        let mut once = WalWalk::new(rules, number(0));
        for (index, bytes) in segments.iter().enumerate() {
            let (mut seen, mut seen_once) = (Vec::new(), Vec::new());
            let broken = whole.segment(ONE, number(index), bytes, |record| seen.push(record.end));
            let mut broken_once = Vec::new();
            loop {
                let pages = Once { bytes, given: 0 };
                let see = |record: &Record<'_>| seen_once.push(record.end);
                let walked = once.pages(ONE, number(index), pages, see);
                broken_once.extend(walked.broken);
                if !walked.again {
                    break;
                }
                restarts += 1;
            }
            assert_eq!(broken_once, broken, "byte {at}, segment {index}");
            assert_eq!(seen_once, seen, "byte {at}, segment {index}");
            assert_eq!(once.stretch(), whole.stretch(), "byte {at}, segment {index}");
        }
    }
    assert!(restarts > 10, "{restarts}");
}

#[test]
fn what_lies_behind_a_skipped_segment_says_nothing_of_the_one_before() {
    let mut segments = long_log().segments();
    let end = segments[1].len();
    segments[1][end - 300_000..].fill(0);
    let mut walk = WalWalk::new(rules(TimelineHistory::root(ONE)), number(0));
    for index in [0, 1] {
        assert_eq!(walk.segment(ONE, number(index), &segments[index], |_| ()), []);
    }
    assert!(walk.open_end().is_some());
    let mut skipped = walk.clone();
    skipped.skip(number(2));
    assert_eq!(skipped.segment(ONE, number(3), &segments[3], |_| ()), []);
    assert_eq!(walk.segment(ONE, number(3), &segments[3], |_| ()).len(), 1);
}
