//! Segments that are there in more than one compression. A restore takes the first in key order, which
//! is the one that has been read; what the others hold is of no account unless it is other WAL.

use sha2::{Digest as _, Sha256};

use super::{Listed, Pass, alone::Silent};
use crate::{
    drill::{Error, FailureClass, Finding, outlook::Damage},
    pg::wal::{segment_pages::SegmentPages as _, walk::WalWalk},
    restore::{two_readings, wal::Pieces},
};

/// What a segment's records say by themselves.
#[derive(Debug)]
struct Records {
    /// The first.
    damage: Option<Damage>,
    /// How many bytes of it hold records, and their hash: behind them anything may stand.
    records: Option<(u64, [u8; 32])>,
}

impl Pass<'_> {
    /// Reads the copies that no restore takes, each with the one that it does take.
    pub(super) async fn copies(&mut self) -> Result<(), Error> {
        let (size, catalog) = (self.size(), self.catalog);
        for (timeline, number, object) in catalog.wal.copies(size) {
            let Some(taken) = catalog.wal.segment(timeline, number, size) else { continue };
            let copy = Listed { timeline, number, object };
            let taken = Listed { timeline, number, object: taken };
            let Some(copied) = self.records(&copy).await? else { continue };
            self.tally.volume.objects += 1;
            let other = format!("A restore takes `{}`; remove this one.", taken.object.key);
            if let Some(damage) = &copied.damage {
                let found = damage.finding(None);
                let Finding { class, subject, detail, lsn, .. } = found;
                let mut found = Finding::new(class, subject, detail, other);
                found.lsn = lsn;
                self.tally.attention(found);
                continue;
            }
            let Some(read) = self.records(&taken).await? else { continue };
            // What is wrong with it has been found.
            if read.damage.is_some() || read.records == copied.records {
                continue;
            }
            let (Some(copied_again), Some(read_again)) =
                (self.records(&copy).await?, self.records(&taken).await?)
            else {
                continue;
            };
            if (copied_again.records, read_again.records) != (copied.records, read.records) {
                let seen = format!("it held other records than `{}`", taken.object.key);
                self.tally.error(two_readings(&copy.object.key, &seen));
                continue;
            }
            let detail = format!(
                "it holds other records than `{}`, and both are sound: which of them production wrote \
                 cannot be told from here",
                taken.object.key
            );
            let hint = "Find out what else writes to this archive; take a new base backup.";
            let found = Finding::new(FailureClass::WalCorrupt, copy.object.key, detail, hint);
            self.found(timeline, number, found.at(number.start(size)));
        }
        Ok(())
    }

    /// Reads one segment. `None`: nothing is known of it.
    async fn records(&mut self, listed: &Listed) -> Result<Option<Records>, Error> {
        let (timeline, number) = (listed.timeline, listed.number);
        let (size, key) = (self.size(), listed.object.key.clone());
        let walked = move |mut walk: WalWalk, pages: &mut Pieces| {
            let mut switch = None;
            let walked = walk.pages(timeline, number, pages, |record| {
                if record.switches_segment() {
                    switch = Some(record.start);
                }
            });
            let damage = walked.broken.first().map(|b| Damage::in_object(&b.damage, key, size));
            let written = match (walk.open_end(), switch) {
                (Some(open), _) => open.lsn,
                (None, Some(switch)) => switch,
                (None, None) => number.end(size),
            };
            (damage, written.0.saturating_sub(number.start(size).0).min(size.bytes()))
        };
        let (damage, end) = match self.read_alone(listed, walked).await? {
            Ok(walked) => walked,
            Err(Silent::Left | Silent::Unread) => return Ok(None),
            Err(Silent::Damaged(damage)) => (Some(damage), 0),
        };
        if damage.is_some() {
            return Ok(Some(Records { damage, records: None }));
        }
        // Where they end is known now.
        let hashed = move |_: WalWalk, pages: &mut Pieces| hash(pages, end);
        Ok(match self.read_alone(listed, hashed).await? {
            Ok(hash) => Some(Records { damage: None, records: Some((end, hash)) }),
            Err(Silent::Left | Silent::Unread | Silent::Damaged(_)) => None,
        })
    }
}

/// Of the first `end` bytes.
fn hash(pages: &mut Pieces, end: u64) -> [u8; 32] {
    let (mut hash, mut at) = (Sha256::new(), 0);
    while at < end {
        let page = pages.page(at);
        let part = page.len().min((end - at) as usize);
        if part == 0 {
            break;
        }
        hash.update(&page[..part]);
        at += part as u64;
    }
    hash.finalize().into()
}
