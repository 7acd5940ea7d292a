use std::{collections::BTreeSet, ops::Range};

use proptest::prelude::*;

use super::super::record::Record;
use super::super::scan::{ScanStart, ScanStep, ScanTarget, WalScan};
use super::super::storage::RM_HEAP as HEAP;
use super::super::testing::{self, LogWriter, number, size};
use super::super::walk::WalWalk;
use super::*;
use crate::pg::{Major, TimelineHistory, TimelineId};

const ONE: TimelineId = TimelineId(1);

fn rules() -> WalRules {
    testing::rules(Major::V15, TimelineHistory::root(ONE))
}

/// A log of all kinds of records, of pages and of segments.
fn log() -> LogWriter {
    let mut log = LogWriter::new(Major::V15);
    let begin = log.scan_start().start;
    for xid in 1..=700_u32 {
        let length = (xid as usize * 131) % 9_000;
        match xid % 50 {
            3 => _ = log.main(HEAP, 0, xid, &vec![1; 4 * length]),
            7 => _ = log.main(RM_XLOG, 0xA0, 0, &vec![2; length]),
            13 => _ = log.checkpoint(0x10, Lsn(0x1000), 88),
            17 => _ = log.abort(xid, i64::from(xid)),
            // A prepared transaction, which ends none.
            19 => _ = log.main(RM_XACT, 0x10, xid, &vec![3; length]),
            23 => _ = log.backup_end(begin),
            29 => _ = log.main(200, 0, xid, b"of an extension"),
            31 => _ = log.main(RM_DBASE, 0x20, xid, &[0; 16]),
            37 => _ = log.crash_inside_record(9000),
            43 => _ = log.restore_point(&format!("point {xid}")),
            41 if xid > 300 && xid < 400 => _ = log.switch(),
            _ => _ = log.main(HEAP, 0, xid, &vec![1; length % 300]),
        }
        if xid % 5 == 0 {
            log.commit(xid, i64::from(xid));
        }
    }
    log
}

/// A segment of which pieces of so many bytes were skimmed; pages that quiet records fill are gone.
struct Skimmed<'a> {
    bytes: &'a [u8],
    rules: WalRules,
    start: Lsn,
    quiet: Vec<Quiet>,
    /// Pages were asked for that are gone.
    missed: bool,
}

fn skimmed<'a>(
    bytes: &'a [u8],
    number: SegmentNumber,
    asked: &BTreeSet<Lsn>,
    piece: usize,
) -> Skimmed<'a> {
    skimmed_by(Skim::new(rules(), number, asked), bytes, number, piece)
}

fn skimmed_by(mut skim: Skim, bytes: &[u8], number: SegmentNumber, piece: usize) -> Skimmed<'_> {
    let mut quiet = Vec::new();
    for from in (0..bytes.len()).step_by(piece) {
        let to = bytes.len().min(from + piece);
        let found = skim.read(from as u64, &bytes[from..to]);
        let start = number.start(size()).0;
        let here = Lsn(start + from as u64)..Lsn(start + to as u64);
        assert!(found.iter().all(|quiet| here.contains(&quiet.first) && quiet.end <= here.end));
        quiet.extend(found);
    }
    let start = number.start(size());
    Skimmed { bytes, rules: skim.rules().clone(), start, quiet, missed: false }
}

impl SegmentPages for Skimmed<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn page(&mut self, offset: u64) -> &[u8] {
        let here = Lsn(self.start.0 + offset);
        if self.quiet.iter().any(|quiet| quiet.fills(here)) {
            self.missed = true;
            return &[];
        }
        &self.bytes[offset as usize..][..PAGE_SIZE as usize]
    }

    fn rewind(&mut self) -> bool {
        true
    }

    fn skimmed_by(&self) -> Option<&WalRules> {
        Some(&self.rules)
    }

    fn quiet(&mut self, from: Lsn) -> Option<Quiet> {
        self.quiet.iter().find(|quiet| quiet.from == from).copied()
    }
}

/// A record as a walk shows it.
type Seen = (Lsn, u8, u8);

/// What two walks were shown.
struct Compared {
    /// Records of the one that reads skimmed segments.
    shown: usize,
    /// Records of the one that reads whole segments.
    all: usize,
    /// Segments that the first had to read whole after all.
    missed: usize,
}

/// Walks segments read whole and skimmed, and compares all that they say.
fn compare(
    segments: &[Vec<u8>],
    which: Range<usize>,
    asked: &BTreeSet<Lsn>,
    piece: usize,
) -> Compared {
    let mut whole = WalWalk::new(rules(), number(which.start));
    let mut quick = whole.clone();
    let (mut shown, mut all, mut missed) = (0, 0, 0);
    for index in which {
        let (bytes, number) = (&segments[index], number(index));
        let (mut records, mut loud): (Vec<Seen>, Vec<Seen>) = (Vec::new(), Vec::new());
        let (before, quick_before) = (whole.clone(), quick.clone());
        let seen = |record: &Record<'_>| (record.start, record.rmid, record.info);
        let broken = whole.segment(ONE, number, bytes, |record| records.push(seen(record)));
        let mut pages = skimmed(bytes, number, asked, piece);
        let mut walked = quick.pages(ONE, number, &mut pages, |record| loud.push(seen(record)));
        if pages.missed {
            (missed, quick) = (missed + 1, quick_before.clone());
            loud.clear();
            walked = quick.pages(ONE, number, &bytes[..], |record| loud.push(seen(record)));
        }
        assert_eq!(walked.broken, broken);
        assert_eq!(quick.summary(), whole.summary());
        assert_eq!(quick.stretch(), whole.stretch());
        assert_eq!(quick.open_end(), whole.open_end());
        assert_eq!(quick.follows(number.next()), whole.follows(number.next()));
        assert_eq!(quick.facts_since(&quick_before, number), whole.facts_since(&before, number));
        (shown, all) = (shown + loud.len(), all + records.len());
        // Those that are shown are in order, and no other than quiet ones are missing.
        records.retain(|record| {
            let (start, rmid, info) = *record;
            let may_miss = match rmid {
                RM_XLOG => matches!(info, 0xA0 | 0xB0),
                rmid => matches!(rmid, RM_XACT | HEAP),
            };
            !may_miss || asked.contains(&start) || loud.contains(record)
        });
        assert_eq!(loud, records);
    }
    assert_eq!(quick.end_run(), whole.end_run());
    Compared { shown, all, missed }
}

#[test]
fn most_records_are_passed_over_and_nothing_else_changes() {
    let segments = log().segments();
    assert!(segments.len() >= 3, "{}", segments.len());
    for piece in [2 * PAGE_SIZE as usize, 1 << 17, 1 << 20] {
        let none = BTreeSet::new();
        let Compared { shown, all, missed } = compare(&segments, 0..segments.len(), &none, piece);
        assert!(all > 800 && shown * 2 < all, "{shown} of {all} in pieces of {piece} bytes");
        assert_eq!(missed, 0);
    }
}

#[test]
fn what_was_asked_for_is_shown() {
    let segments = log().segments();
    let mut starts = Vec::new();
    let mut walk = WalWalk::new(rules(), number(0));
    for (index, bytes) in segments.iter().enumerate() {
        walk.segment(ONE, number(index), bytes, |record| starts.push(record.start));
    }
    let asked: BTreeSet<Lsn> = starts.into_iter().step_by(7).collect();
    let compared = compare(&segments, 0..segments.len(), &asked, 1 << 17);
    assert_eq!(compared.missed, 0);
}

#[test]
fn what_was_found_by_other_rules_does_not_count() {
    let bytes = log().segments().remove(0);
    let mut pages = skimmed(&bytes, number(0), &BTreeSet::new(), 1 << 20);
    assert!(!pages.quiet.is_empty());
    let other = WalRules { ancestors_known: false, ..rules() };
    WalWalk::new(other, number(0)).pages(ONE, number(0), &mut pages, |_| ());
    assert!(pages.missed, "what was found by other rules is not passed over");
}

#[test]
fn a_long_record_is_not_put_together() {
    let mut log = LogWriter::new(Major::V15);
    for xid in 1..=3 {
        log.main(HEAP, 0, xid, &[1; 100]);
    }
    log.main(HEAP, 0, 4, &vec![2; 700_000]);
    log.main(HEAP, 0, 5, &[1; 100]);
    let segments = log.segments();
    let mut skim = Skim::new(rules(), number(0), &BTreeSet::new());
    let (piece, mut most) = (1 << 16, 0);
    for (index, bytes) in segments[0].chunks(piece).enumerate() {
        skim.read((index * piece) as u64, bytes);
        most = most.max(skim.reader.held());
    }
    assert!(skim.over && most <= LONGEST, "{most}");
    compare(&segments, 0..1, &BTreeSet::new(), piece);
}

/// Scans segments read whole and skimmed, and compares all that they say; gives how many had to be read
/// whole after all.
fn compare_scans(start: &ScanStart, segments: &[Vec<u8>], piece: usize) -> usize {
    let mut whole = WalScan::new(start.clone());
    let mut quick = whole.clone();
    let begin = quick.clone();
    let mut missed = 0;
    for (index, bytes) in segments.iter().enumerate() {
        let number = number(index);
        let step = whole.segment(ONE, number, bytes.as_slice());
        let before = quick.clone();
        let mut quick_step = match begin.skim(number) {
            Some(skim) => {
                let mut pages = skimmed_by(skim, bytes, number, piece);
                let step = quick.segment(ONE, number, &mut pages);
                (!pages.missed).then_some(step)
            }
            None => None,
        };
        if quick_step.is_none() {
            (missed, quick) = (missed + 1, before);
            quick_step = Some(quick.segment(ONE, number, bytes.as_slice()));
        }
        assert_eq!((quick_step, quick.damage()), (Some(step), whole.damage()), "{start:?}");
        assert_eq!(quick.clone().finish(), whole.clone().finish(), "{start:?}");
        if step == ScanStep::Stop {
            break;
        }
    }
    missed
}

/// Scans to anywhere in the log, of a backup from a primary and of one from a standby.
fn scans(log: &LogWriter) -> Vec<ScanStart> {
    let start = log.scan_start();
    let somewhere = |part: u64| Lsn(start.start.0 + (log.at().0 - start.start.0) * part / 5 + 3);
    let mut targets = vec![ScanTarget::Latest, ScanTarget::Immediate];
    for part in 0..=5 {
        targets.push(ScanTarget::Lsn(somewhere(part)));
        targets.push(ScanTarget::Xid(part as u32 * 140 + 5));
        targets.push(ScanTarget::Time(xact::timestamp(part.cast_signed() * 140 + 6)));
        targets.push(ScanTarget::Name(format!("point {}", part * 150 + 43)));
    }
    let mut all = Vec::new();
    for target in targets {
        for min_recovery_point in [None, Some(somewhere(2))] {
            for exclusive in [false, true] {
                let target = target.clone();
                all.push(ScanStart { target, exclusive, min_recovery_point, ..start.clone() });
            }
        }
    }
    all
}

#[test]
fn a_scan_passes_over_what_is_not_its_target() {
    let log = log();
    let segments = log.segments();
    for start in scans(&log) {
        for piece in [2 * PAGE_SIZE as usize, 1 << 20] {
            let missed = compare_scans(&start, &segments, piece);
            if start.target == ScanTarget::Latest && start.min_recovery_point.is_none() {
                assert_eq!(missed, 1, "only where it begins");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_tells_damage_as_without(damage in damage(), piece in 1..20_usize, which in 0..96_usize) {
        let log = log();
        let mut segments = log.segments();
        damage.apply(&mut segments);
        let scans = scans(&log);
        compare_scans(&scans[which % scans.len()], &segments, piece * PAGE_SIZE as usize);
    }
}

/// Something done to the bytes of a log.
#[derive(Clone, Debug)]
struct Damage {
    at: proptest::sample::Index,
    kind: u8,
}

fn damage() -> impl Strategy<Value = Damage> {
    (any::<proptest::sample::Index>(), 0..4_u8).prop_map(|(at, kind)| Damage { at, kind })
}

impl Damage {
    fn apply(&self, segments: &mut [Vec<u8>]) {
        let at = self.at.index(segments.len() * segments[0].len());
        let (which, offset) = (at / segments[0].len(), at % segments[0].len());
        let segment = &mut segments[which];
        let end = (offset + 20_000).min(segment.len());
        match self.kind {
            0 => segment[offset] ^= 0x10,
            1 => segment[offset..end].fill(0),
            // Bytes of another place.
            2 => segment.copy_within(offset..end, (offset + 8192) % (1 << 19)),
            _ => segment[offset..].fill(0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_told_as_without(damage in damage(), first in 0..3_usize, piece in 1..20_usize) {
        let mut segments = log().segments();
        damage.apply(&mut segments);
        let page = PAGE_SIZE as usize;
        let asked = BTreeSet::new();
        compare(&segments, first..segments.len(), &asked, piece * page);
    }
}
