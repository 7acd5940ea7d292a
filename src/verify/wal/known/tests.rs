use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    archive::{BackupInfo, CatalogBuilder, Codec},
    pg::{
        Lsn, Major,
        wal::testing::{FIRST_SEGMENT, LogWriter, SYSTEM_ID, size},
    },
    restore::codec::encode,
    store::{
        Faulty, GetRange, MemoryStore, ObjectStore as _, SharedStore,
        faulty::{Call, Fault, Rule},
    },
    telemetry::Progress,
    verify::{
        ledger::Round,
        tally::Tally,
        testing::{Ending, block_on, reading},
        wal::{Origin, Stretches, read},
    },
};

const TLI: TimelineId = TimelineId(1);

fn key(index: usize) -> String {
    let name = SegmentNumber(FIRST_SEGMENT.0 + index as u64).file_name(TLI, size());
    format!("a/wals/{}/{name}", &name[..16])
}

/// What one run says, and what it did not read.
struct Said {
    findings: String,
    rest: String,
    not_read: NotRead,
    wal_segments: u64,
}

/// Reads all of the WAL; with a ledger, what it plans on that day and of the parts those that `fits`.
async fn run(
    store: &SharedStore,
    ledger: Option<(&mut Ledger, Day)>,
    fits: impl Fn(u32) -> bool,
) -> Said {
    let token = CancellationToken::new();
    run_until(store, ledger, fits, (&token, &token)).await.unwrap()
}

/// As [`run`], with what ends the run and what calls it off.
async fn run_until(
    store: &SharedStore,
    mut ledger: Option<(&mut Ledger, Day)>,
    fits: impl Fn(u32) -> bool,
    (cancel, caller): (&CancellationToken, &CancellationToken),
) -> Result<Said, Error> {
    let mut builder = CatalogBuilder::new("a/");
    let pages: Vec<_> = store.list("a/").try_collect().await.unwrap();
    for object in pages.concat() {
        builder.add(&object.key, object.size, object.etag.as_deref(), object.modified);
    }
    let mut catalog = builder.finish();
    for (timeline, object) in catalog.wal.histories().to_vec() {
        let body = store.get(GetRange::whole(&object.key)).await.unwrap();
        let text: Vec<_> = body.try_collect().await.unwrap();
        catalog.histories.insert(timeline, String::from_utf8(text.concat()).unwrap());
    }
    let origin = Origin { major: Major::V15, system_id: SYSTEM_ID, segment_size: size() };
    // A backup begins in the third segment.
    let begin = Lsn(SegmentNumber(FIRST_SEGMENT.0 + 2).start(size()).0 + 40);
    let info = format!(
        "begin_xlog=0/{:X}\nend_xlog=0/{:X}\ntimeline=1\nsystemid={SYSTEM_ID}\nversion=150000\n\
         xlog_segment_size=1048576\n",
        begin.0,
        begin.0 + 4096
    );
    let info = BackupInfo::parse(&info).unwrap();
    let known = ledger.as_mut().map(|(ledger, today)| {
        let mut plan = WalPlan::new(ledger, &[origin], &catalog, *today);
        let parts: Vec<u32> =
            plan.candidates(0, Round(0), None).map(|candidate| candidate.index).collect();
        plan.choose(parts.into_iter().filter(|part| fits(*part)));
        KnownWal { ledger, plan: Arc::new(plan) }
    });
    let progress = Progress::silent();
    let reading = reading(store, &progress, cancel, caller);
    let mut tally = Tally::default();
    let done =
        read(&reading, vec![origin], &catalog, &[&info], BTreeSet::new(), known, &mut tally).await;
    // What a run has learned the next one reads from the file.
    if let Some((ledger, _)) = ledger {
        let mut bytes = Vec::new();
        ledger.write(&mut bytes).unwrap();
        *ledger = Ledger::read(bytes.as_slice(), "a").unwrap();
    }
    let (stretches, not_read): (Stretches, _) = done?;
    let volume = std::mem::take(&mut tally.volume);
    let findings = format!("{tally:?}");
    let wal_segments = volume.wal_segments;
    Ok(Said { findings, rest: format!("{stretches:?}"), not_read, wal_segments })
}

/// A log of some segments from a list of kinds of records.
fn log(kinds: &[u8]) -> Vec<Vec<u8>> {
    let mut log = LogWriter::new(Major::V15);
    let mut xid = 700;
    for kind in kinds.iter().cycle().take(300) {
        xid += 1;
        let noop = |log: &mut LogWriter, length: usize| {
            log.main(0, 0x20, 0, &vec![*kind; length]);
        };
        match kind % 16 {
            0 => noop(&mut log, (2 << 20) + 12_345 * usize::from(*kind)),
            1 => {
                log.switch();
            }
            2 => {
                log.backup_end(Lsn(0x40_0028));
            }
            3..7 => {
                log.commit(xid, i64::from(xid) * 1_000_000);
            }
            _ => noop(&mut log, 4096 * usize::from(*kind) + 99),
        }
        if log.segments().len() > 11 {
            break;
        }
    }
    log.switch();
    log.segments()
}

#[derive(Clone, Debug)]
enum Event {
    /// The segment is as it was written.
    Store(usize),
    Remove(usize),
    Flip(usize, usize),
    Days(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_usize..14).prop_map(Event::Store),
        2 => (0_usize..14).prop_map(Event::Remove),
        2 => (0_usize..14, 0_usize..1 << 20).prop_map(|(at, byte)| Event::Flip(at, byte)),
        2 => (0_u32..9).prop_map(Event::Days),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever happens to an archive between runs: a run that trusts a ledger says what one says that
    /// reads all.
    #[test]
    fn a_run_with_a_ledger_says_what_a_full_one_says(
        kinds in prop::collection::vec(any::<u8>(), 8..40),
        first in 1_usize..13,
        history in prop::collection::vec((prop::collection::vec(event(), 0..3), any::<u8>()), 2..6),
    ) {
        let segments = log(&kinds);
        let store = MemoryStore::default();
        for (at, bytes) in segments.iter().enumerate().take(first) {
            store.put(key(at), bytes.clone());
        }
        let shared: SharedStore = Arc::new(store.clone());
        let mut ledger = Ledger::new("a");
        let mut today = 100;
        for (events, budget) in history {
            for event in events {
                match event {
                    Event::Store(at) if at < segments.len() => {
                        store.put(key(at), segments[at].clone());
                    }
                    Event::Remove(at) => {
                        store.remove(&key(at));
                    }
                    Event::Flip(at, byte) => {
                        if let Some(bytes) = store.bytes(&key(at)) {
                            let mut bytes = bytes.to_vec();
                            bytes[byte] ^= 1;
                            store.put(key(at), bytes);
                        }
                    }
                    Event::Days(days) => today += days,
                    Event::Store(_) => {}
                }
            }
            let full = block_on(run(&shared, None, |_| true));
            // Now and then not everything fits.
            let fits = |part: u32| budget < 200 || !(u32::from(budget) + part).is_multiple_of(2);
            let spared = block_on(run(&shared, Some((&mut ledger, Day(today))), fits));
            if spared.not_read.left == 0 {
                prop_assert_eq!(&spared.findings, &full.findings);
                prop_assert_eq!(&spared.rest, &full.rest);
            }
            let all = spared.wal_segments + spared.not_read.trusted + spared.not_read.left;
            prop_assert_eq!(all, full.wal_segments);
        }
    }
}

fn stored(kinds: &[u8]) -> (MemoryStore, usize) {
    let segments = log(kinds);
    let store = MemoryStore::default();
    for (at, bytes) in segments.iter().enumerate() {
        store.put(key(at), bytes.clone());
    }
    (store, segments.len())
}

/// Small records only, so that one lies whole in every segment.
const SMALL: [u8; 6] = [3, 15, 4, 31, 47, 5];

#[test]
fn of_unchanged_segments_only_the_ends_are_read() {
    let (store, count) = stored(&SMALL);
    assert!(count > 10);
    let shared: SharedStore = Arc::new(store.clone());
    let mut ledger = Ledger::new("a");
    let mut read = || {
        let said = block_on(run(&shared, Some((&mut ledger, Day(100))), |_| true));
        (said.wal_segments, said.findings)
    };
    let (first, findings) = read();
    assert_eq!(first, count as u64);
    // The first, the one that is known to follow it, and the last.
    assert_eq!(read(), (3, findings.clone()));
    // A new one is read with its neighbours: the one before to join, the one behind to be sure.
    let bytes = store.bytes(&key(6)).unwrap();
    store.put_at(key(6), bytes, "2026-11-22T12:00:00Z".parse().unwrap());
    assert_eq!(read(), (6, findings.clone()));
    assert_eq!(read(), (3, findings));
}

#[test]
fn damage_under_an_unchanged_entity_tag_is_found_within_a_week() {
    let (store, count) = stored(&SMALL);
    let sound: SharedStore = Arc::new(store.clone());
    let rule = Rule::every(Call::Get, key(6), Fault::FlipByte(700_000));
    let rotten: SharedStore = Arc::new(Faulty::new(store, [rule]));
    let mut ledger = Ledger::new("a");
    let first = block_on(run(&sound, Some((&mut ledger, Day(100))), |_| true));
    let mut found = Vec::new();
    for day in 100..=107 {
        let said = block_on(run(&rotten, Some((&mut ledger, Day(day))), |_| true));
        found.push(said.findings != first.findings);
        assert!(said.wal_segments < count as u64 || found.contains(&true));
    }
    // Not on the day itself, then on its turn, and from then on each time.
    assert!(!found[0] && found[7], "{found:?}");
    assert!(found.is_sorted(), "{found:?}");
}

#[test]
fn a_budget_is_caught_up_with() {
    let (store, count) = stored(&SMALL);
    let shared: SharedStore = Arc::new(store);
    let full = block_on(run(&shared, None, |_| true));
    assert!(full.rest.contains("Newest"), "a stretch from the backup on: {}", full.rest);
    let mut ledger = Ledger::new("a");
    let none = block_on(run(&shared, Some((&mut ledger, Day(100))), |_| false));
    assert_eq!(none.not_read.left, count as u64 - 2);
    assert_ne!(none.rest, full.rest);
    let all = block_on(run(&shared, Some((&mut ledger, Day(100))), |_| true));
    assert_eq!((all.not_read.left, &all.rest), (0, &full.rest));
}

fn put_all(store: &MemoryStore, segments: &[Vec<u8>]) {
    for (at, bytes) in segments.iter().enumerate() {
        store.put(key(at), bytes.clone());
    }
}

/// A segment is replaced, sound in itself and behind the one before it, and the run that sees it ends
/// before it has asked what joins it to the one behind it.
#[test]
fn what_a_run_did_not_come_to_join_the_next_one_does() {
    // The last record of the segment is another one.
    let mut log = LogWriter::new(Major::V15);
    let mut other = None;
    for xid in 700.. {
        if log.segments().len() == 7 && other.is_none() && log.at().0 % (1 << 20) > 900_000 {
            let mut fork = log.clone();
            fork.commit(xid, 5_000_000);
            fork.main(0, 0x20, 0, &vec![8; 400_000]);
            other = Some(fork.segments()[6].clone());
        }
        log.main(0, 0x20, 0, &vec![7; 9_000]);
        log.commit(xid, 1_000_000);
        if log.segments().len() > 11 {
            break;
        }
    }
    log.switch();
    let store = MemoryStore::default();
    put_all(&store, &log.segments());
    let shared: SharedStore = Arc::new(store.clone());
    for called_off in [false, true] {
        store.put(key(6), log.segments()[6].clone());
        let mut ledger = Ledger::new("a");
        block_on(run(&shared, Some((&mut ledger, Day(100))), |_| true));
        store.put(key(6), other.clone().unwrap());
        let full = block_on(run(&shared, None, |_| true));
        assert!(full.findings.contains("wal_corrupt") || full.findings.contains("WalCorrupt"));
        let caller = CancellationToken::new();
        let cancel = if called_off { caller.clone() } else { caller.child_token() };
        let ending: SharedStore = Ending::new(store.clone(), &key(7), 1, &cancel);
        let until = (&cancel, &caller);
        let cut = block_on(run_until(&ending, Some((&mut ledger, Day(100))), |_| true, until));
        assert_eq!(cut.is_err(), called_off);
        let after = block_on(run(&shared, Some((&mut ledger, Day(100))), |_| true));
        assert_eq!(after.findings, full.findings);
    }
}

/// A run that ends when `name` is asked for the `nth` time, on a day when all is to be read anew of which
/// an earlier run has said that it is good; the bytes are others since, under the same entity tags. Gives
/// what it says, and what a run says afterwards that reads only what is not known.
fn cut(store: &MemoryStore, rotten: &Faulty<MemoryStore>, end: (&str, u64)) -> (Said, Said) {
    let sound: SharedStore = Arc::new(store.clone());
    let mut ledger = Ledger::new("a");
    block_on(run(&sound, Some((&mut ledger, Day(100))), |_| true));
    let caller = CancellationToken::new();
    let cancel = caller.child_token();
    let ending: SharedStore = Ending::new(rotten.clone(), end.0, end.1, &cancel);
    let until = (&cancel, &caller);
    let cut = block_on(run_until(&ending, Some((&mut ledger, Day(107))), |_| true, until)).unwrap();
    let shared: SharedStore = Arc::new(rotten.clone());
    let next = block_on(run(&shared, Some((&mut ledger, Day(107))), |part| part == 0));
    (cut, next)
}

fn has_finding(said: &Said) -> bool {
    !said.findings.contains("wal: []")
}

/// What was seen of `key` when the time was over is said and not found; the next run finds it.
#[track_caller]
fn is_open_until_the_next_run(key: &str, cut: &Said, next: &Said) {
    assert!(!has_finding(cut), "{}", cut.findings);
    let said = format!("`{key}` seemed damaged");
    assert!(
        cut.findings.contains(&said) && cut.findings.contains("time was over"),
        "{}",
        cut.findings
    );
    assert!(has_finding(next), "{}", next.findings);
}

/// Damage that was seen once when the time was over is not known, and looked for again.
#[test]
fn a_run_whose_time_is_over_while_it_looks_again_says_what_it_saw() {
    let (store, _) = stored(&SMALL);
    let rule = Rule::every(Call::Get, key(5), Fault::FlipByte(700_000));
    let (cut, next) = cut(&store, &Faulty::new(store.clone(), [rule]), (&key(5), 2));
    assert!(cut.not_read.left > 0);
    is_open_until_the_next_run(&key(5), &cut, &next);
}

#[test]
fn a_segment_that_did_not_decode_when_the_time_was_over_is_not_known() {
    let (store, _) = stored(&SMALL);
    let bytes = store.bytes(&key(5)).unwrap();
    store.remove(&key(5));
    let zipped = format!("{}.gz", key(5));
    store.put(zipped.clone(), encode(Codec::Gzip, &bytes).unwrap());
    let rule = Rule::every(Call::Get, zipped.clone(), Fault::FlipByte(3000));
    let (cut, next) = cut(&store, &Faulty::new(store.clone(), [rule]), (&zipped, 2));
    is_open_until_the_next_run(&zipped, &cut, &next);
}

/// What a segment ends with is looked at again as all else is, where no segment follows that would show it.
#[test]
fn a_last_segment_that_seems_open_is_read_twice() {
    let (store, count) = stored(&SMALL);
    let last = key(count - 1);
    // The first record behind the last one that the segment holds.
    let mut cut_short = store.bytes(&last).unwrap().to_vec();
    let switch = cut_short.iter().rposition(|byte| *byte != 0).unwrap() / 8192 * 8192;
    cut_short[switch..].fill(0);
    let open = MemoryStore::default();
    for at in 0..count {
        open.put(key(at), store.bytes(&key(at)).unwrap());
    }
    open.put(last.clone(), cut_short);
    let shared: SharedStore = Arc::new(open.clone());
    let full = block_on(run(&shared, None, |_| true));
    assert!(has_finding(&full), "{}", full.findings);

    let caller = CancellationToken::new();
    let cancel = caller.child_token();
    let ending: SharedStore = Ending::new(open, &last, 2, &cancel);
    let mut ledger = Ledger::new("a");
    let until = (&cancel, &caller);
    let said =
        block_on(run_until(&ending, Some((&mut ledger, Day(100))), |_| true, until)).unwrap();
    assert!(!has_finding(&said), "{}", said.findings);
    assert!(said.findings.contains("time was over"), "{}", said.findings);
}

/// Without a limit of time: the store fails when what seemed damaged is asked for again.
#[test]
fn what_no_second_reading_can_confirm_is_not_known() {
    let (store, count) = stored(&SMALL);
    for (at, byte) in [(5, 700_000), (count - 1, 2000)] {
        let flip = Rule::nth(Call::Get, key(at), 1, Fault::FlipByte(byte));
        let fail = Rule::nth(Call::Get, key(at), 2, Fault::Error(Code::StoreUnavailable));
        let shared: SharedStore = Arc::new(Faulty::new(store.clone(), [flip, fail]));
        let said = block_on(run(&shared, None, |_| true));
        assert!(!has_finding(&said), "{at}: {}", said.findings);
        assert!(said.findings.contains("could not be read once more"), "{at}: {}", said.findings);
        assert!(said.rest.contains("Unread"), "{at}: {}", said.rest);
    }
}

#[test]
fn a_run_whose_time_is_over_in_a_partial_says_what_it_saw() {
    let (store, count) = stored(&SMALL);
    let last = store.bytes(&key(count - 1)).unwrap();
    let partial = format!("{}.partial", key(count));
    store.put(partial.clone(), last);
    let caller = CancellationToken::new();
    let cancel = caller.child_token();
    let ending: SharedStore = Ending::new(store, &partial, 1, &cancel);
    let mut ledger = Ledger::new("a");
    let said = run_until(&ending, Some((&mut ledger, Day(100))), |_| true, (&cancel, &caller));
    let said = block_on(said).unwrap();
    assert_eq!((said.wal_segments, said.not_read.left), (count as u64, 1));
}

/// Two timelines that share a record, whose beginning is read wrongly once: the parent's next segment
/// shows that, and so does the child's.
#[test]
fn a_child_does_not_keep_what_its_parent_misread() {
    let mut log = LogWriter::new(Major::V15);
    let noise = |log: &mut LogWriter, length: usize| {
        log.main(0, 0x20, 0, &vec![9; length]);
    };
    noise(&mut log, 3 << 20);
    log.commit(1, 1);
    // Reaches from the fourth segment into the fifth, where the fork is.
    noise(&mut log, 1 << 20);
    log.commit(2, 2);
    let fork = log.at();
    let mut child = log.clone();
    log.commit(3, 3);
    log.switch();
    child.timeline = 2;
    let ends = [0_u64.to_le_bytes(), [2, 0, 0, 0, 1, 0, 0, 0]].concat();
    child.main(0, 0x90, 0, &ends);
    child.commit(9, 9);
    child.switch();
    let store = MemoryStore::default();
    for (at, bytes) in log.segments().into_iter().enumerate() {
        store.put(key(at), bytes);
    }
    let own = key(4).replace("/00000001", "/00000002");
    store.put(own.clone(), child.segments().swap_remove(4));
    store.put("a/wals/00000002.history", format!("1\t{fork}\tno reason\n"));

    let shared: SharedStore = Arc::new(store.clone());
    let sound = block_on(run(&shared, None, |_| true));
    assert!(!has_finding(&sound) && sound.findings.contains("errors: []"), "{}", sound.findings);
    let rule = Rule::nth(Call::Get, key(3), 1, Fault::FlipByte(900_000));
    let faulty = Faulty::new(store, [rule]);
    let shared: SharedStore = Arc::new(faulty.clone());
    let said = block_on(run(&shared, None, |_| true));
    assert!(!has_finding(&said), "{}", said.findings);
    assert!(said.findings.contains("read twice"), "{}", said.findings);
    assert_eq!(faulty.count(Call::Get, &own), 2);
}

#[test]
fn second_copies_that_seem_others_are_read_once_more() {
    let (store, _) = stored(&SMALL);
    let zipped = encode(Codec::Gzip, &store.bytes(&key(5)).unwrap()).unwrap();
    store.put(format!("{}.gz", key(5)), zipped);
    // Asked for by the pass over all segments, then the copy and this twice each: for the records, and
    // for what they are.
    for nth in [1, 4, 5] {
        let rule = Rule::nth(Call::Get, key(5), nth, Fault::FlipByte(700_000));
        let shared: SharedStore = Arc::new(Faulty::new(store.clone(), [rule]));
        let said = block_on(run(&shared, None, |_| true));
        assert!(!has_finding(&said), "{nth}: {}", said.findings);
    }
}
