use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    pg::{
        Major, TimelineHistory, TimelineId,
        wal::{
            quiet::Skim,
            testing::{self, FIRST_SEGMENT, LogWriter},
            walk::WalRules,
        },
    },
    restore::testing::listed,
    store::{Faulty, MemoryStore, SharedStore, faulty::Call},
    telemetry::Progress,
    verify::{
        feed::Feed,
        testing::{block_on, reading},
    },
};

const KEY: &str = "a/wals/0000000100000000/000000010000000000000003";
const TLI: TimelineId = TimelineId(1);

fn rules() -> WalRules {
    testing::rules(Major::V15, TimelineHistory::root(TLI))
}

/// A segment of which most has nothing to say, and something in its second half that has.
fn segment() -> Vec<u8> {
    let mut log = LogWriter::new(Major::V15);
    for xid in 1.. {
        log.main(10, 0, xid, &[7; 300]);
        log.commit(xid, i64::from(xid));
        if log.segments().len() > 1 {
            break;
        }
        if xid == 2000 {
            log.backup_end(Lsn(0x30_0028));
        }
    }
    log.segments().remove(0)
}

/// What a segment says that is skimmed by `skim`, and how often it was asked for.
fn skimmed(bytes: &[u8], skim: &WalRules) -> (WalWalk, SegmentRead, usize) {
    let inner = MemoryStore::new([(KEY, bytes.to_vec())]);
    let store = Faulty::new(inner.clone(), []);
    let shared: SharedStore = Arc::new(store.clone());
    let (progress, token) = (Progress::silent(), CancellationToken::new());
    let reading = reading(&shared, &progress, &token, &token);
    let (walk, read) = block_on(async {
        let object = listed(&inner, KEY).await;
        let listed = Listed { timeline: TLI, number: FIRST_SEGMENT, object };
        let asked = Arc::new(BTreeSet::new());
        let feed = Feed::new(&reading, testing::size(), std::iter::once(listed));
        let mut feed = feed.skimmed(|listed| Some(Skim::new(skim.clone(), listed.number, &asked)));
        let (listed, fetched) = feed.next().await.unwrap();
        let mut walk = WalWalk::new(rules(), FIRST_SEGMENT);
        let read = read(&reading, &mut walk, &listed, fetched, &asked).await;
        (walk, read.unwrap().unwrap())
    });
    (walk, read, store.count(Call::Get, KEY))
}

#[test]
fn pages_that_were_left_out_and_are_asked_for_are_read_after_all() {
    let bytes = segment();
    let mut whole = WalWalk::new(rules(), FIRST_SEGMENT);
    assert_eq!(whole.segment(TLI, FIRST_SEGMENT, &bytes, |_| ()), []);
    // A walk believes no skim that goes by other rules than its own, and asks for every page.
    let other = WalRules { ancestors_known: false, ..rules() };
    for (skim, readings) in [(rules(), 1), (other, 2)] {
        let (walk, read, asked) = skimmed(&bytes, &skim);
        assert_eq!(walk.summary(), whole.summary());
        assert_eq!(walk.stretch(), whole.stretch());
        assert_eq!((read.broken.len(), read.ends.len(), asked), (0, 1, readings));
    }
}
