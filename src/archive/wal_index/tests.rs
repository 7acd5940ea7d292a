use super::*;
use crate::archive::CatalogBuilder;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn index(keys: &[&str]) -> WalIndex {
    let mut builder = CatalogBuilder::new("p/s/");
    for key in keys {
        builder.add(&format!("p/s/{key}"), 7, Some("\"x-1\""), None);
    }
    builder.finish().wal
}

#[test]
fn keys_are_rebuilt() {
    let keys = [
        "wals/0000000100000000/000000010000000000000001.gz",
        "wals/0000000100000000/000000010000000000000002",
        "wals/0000000100000000/000000010000000000000002.00000028.backup",
        "wals/0000000100000000/000000010000000000000003.partial.lz4",
        "wals/00000002.history.gz",
    ];
    let index = index(&keys);
    let tli = TimelineId(1);
    let key = |object: Option<ObjectRef>| object.unwrap().key;
    assert_eq!(key(index.segment(tli, SegmentNumber(1), SIZE)), format!("p/s/{}", keys[0]));
    assert_eq!(key(index.segment(tli, SegmentNumber(2), SIZE)), format!("p/s/{}", keys[1]));
    assert_eq!(key(index.partial(tli, SegmentNumber(3), SIZE)), format!("p/s/{}", keys[3]));
    assert_eq!(index.segment(tli, SegmentNumber(3), SIZE), None);
    assert_eq!(index.histories()[0].1.key, format!("p/s/{}", keys[4]));
    assert_eq!(index.labels().len(), 1);
    let object = index.segment(tli, SegmentNumber(1), SIZE).unwrap();
    assert_eq!((object.size, object.etag.as_deref()), (7, Some("\"x-1\"")));
    assert_eq!(object.codec, Codec::Gzip);
}

#[test]
fn of_two_forms_the_first_in_key_order_counts() {
    let index = index(&[
        "wals/0000000100000000/000000010000000000000001.zst",
        "wals/0000000100000000/000000010000000000000001.bz2",
        "wals/0000000100000000/000000010000000000000002.gz",
        "wals/0000000100000000/000000010000000000000002",
    ]);
    let codec = |n| index.segment(TimelineId(1), SegmentNumber(n), SIZE).unwrap().codec;
    assert_eq!((codec(1), codec(2)), (Codec::Bzip2, Codec::Plain));
    assert_eq!(index.segment_count(), 2);
    assert_eq!(index.duplicates().count(), 2);
}

#[test]
fn many_segments_are_those_that_are_asked_for_one_by_one() {
    let index = index(&[
        "wals/0000000100000000/0000000100000000000000FE.zst",
        "wals/0000000100000000/0000000100000000000000FF.gz",
        "wals/0000000100000000/0000000100000000000000FF.bz2",
        "wals/0000000100000000/0000000100000000000000FF.lz4",
        "wals/0000000100000001/000000010000000100000000",
        // No segment of this size has that name.
        "wals/0000000100000001/000000010000000100000100",
        "wals/0000000100000002/000000010000000200000003.xz",
        "wals/0000000300000001/000000030000000100000002",
    ]);
    for timeline in [1, 2, 3].map(TimelineId) {
        for (first, last) in [(0, 0x300), (0xFF, 0x100), (0x100, 0xFF), (0x101, 0x203), (0, 0xFE)] {
            let numbers = (first..=last).map(SegmentNumber);
            let each = |number| Some((number, index.segment(timeline, number, SIZE)?));
            let one_by_one: Vec<_> = numbers.filter_map(each).collect();
            let (first, last) = (SegmentNumber(first), SegmentNumber(last));
            let chosen = index.select(SIZE, [(timeline, first, last)]);
            let named = |at| Some((chosen.stored(at)?.number, chosen.object(at)?));
            let at_once: Vec<_> = (0..chosen.len()).map_while(named).collect();
            assert_eq!(at_once, one_by_one, "{timeline} {first:?} {last:?}");
        }
    }
}

#[test]
fn runs_cross_log_files_and_stop_at_holes() {
    let index = index(&[
        "wals/0000000100000000/0000000100000000000000FE",
        "wals/0000000100000000/0000000100000000000000FF",
        "wals/0000000100000001/000000010000000100000000",
        "wals/0000000100000001/000000010000000100000002",
        "wals/0000000300000001/000000030000000100000002",
    ]);
    let runs = index.runs(SIZE);
    assert_eq!(runs.len(), 3);
    let run = runs.holding(TimelineId(1), SegmentNumber(0xFF)).unwrap();
    assert_eq!((run.first.0, run.last.0), (0xFE, 0x100));
    assert_eq!(runs.holding(TimelineId(1), SegmentNumber(0x101)), None);
    assert_eq!(runs.holding(TimelineId(2), SegmentNumber(0x102)), None);
    let next = runs.first_from(TimelineId(1), SegmentNumber(0x101));
    assert_eq!(next, Some(SegmentNumber(0x102)));
    assert_eq!(runs.newest(TimelineId(3)), Some(SegmentNumber(0x102)));
    assert_eq!(index.timelines(), [TimelineId(1), TimelineId(3)]);
    // With segments of 64 MiB a log file has 64 of them, so these names do not exist.
    assert!(index.runs(SegmentSize::new(64 << 20).unwrap()).of(TimelineId(1)).len() == 2);
}

#[test]
fn a_million_segments_stay_small() {
    let mut builder = CatalogBuilder::new("");
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    for number in 0..1_000_000 {
        let name = SegmentNumber(number).file_name(TimelineId(1), SIZE);
        let key = format!("wals/{}/{name}.gz", &name[..16]);
        builder.add(&key, 4_000_000, Some("\"d41d8cd98f00b204e9800998ecf8427e\""), Some(at));
    }
    let index = builder.finish().wal;
    assert_eq!(index.segment_count(), 1_000_000);
    assert!(index.heap_bytes() <= 64 << 20, "{}", index.heap_bytes());
    assert_eq!(index.runs(SIZE).len(), 1);
    let last = index.segment(TimelineId(1), SegmentNumber(999_999), SIZE).unwrap();
    assert_eq!(last.etag.as_deref(), Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
    assert_eq!(last.modified, Some(at));
}
