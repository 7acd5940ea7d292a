//! Segments that are there in more than one compression. A restore takes the first in key order, which
//! is the one that has been read; what the others hold is of no account unless it is other WAL.

use sha2::{Digest as _, Sha256};

use super::{Listed, Pass, alone::Alone};
use crate::{
    drill::{Code, Error, FailureClass, Finding, outlook::Damage},
    restore::wal::Buffers,
};

/// What a segment's records say by themselves.
#[derive(Debug)]
struct Records {
    /// The first.
    damage: Option<Damage>,
    /// How many bytes of it hold records, and their hash: behind them anything may stand.
    records: Option<(usize, [u8; 32])>,
}

impl Pass<'_> {
    /// Reads the copies that no restore takes, each with the one that it does take.
    pub(super) async fn copies(&mut self, buffers: &Buffers) -> Result<(), Error> {
        let (size, catalog) = (self.size(), self.catalog);
        for (timeline, number, object) in catalog.wal.copies(size) {
            let Some(taken) = catalog.wal.segment(timeline, number, size) else { continue };
            let copy = Listed { timeline, number, object };
            let taken = Listed { timeline, number, object: taken };
            let Some(copied) = self.records(&copy, buffers).await? else { continue };
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
            let Some(read) = self.records(&taken, buffers).await? else { continue };
            // What is wrong with it has been found.
            if read.damage.is_some() || read.records == copied.records {
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
    async fn records(
        &mut self,
        listed: &Listed,
        buffers: &Buffers,
    ) -> Result<Option<Records>, Error> {
        let bytes = match self.fetch_alone(listed, buffers).await? {
            Alone::Left | Alone::Unread => return Ok(None),
            Alone::Damaged(damage) => {
                return Ok(Some(Records { damage: Some(damage), records: None }));
            }
            Alone::Bytes(bytes) => bytes,
        };
        let mut walk = self.walk_alone(listed, &bytes);
        let (size, key, buffers) = (self.size(), listed.object.key.clone(), buffers.clone());
        let (timeline, number) = (listed.timeline, listed.number);
        let work = move || {
            let mut switch = None;
            let broken = walk.segment(timeline, number, &bytes, |record| {
                if record.switches_segment() {
                    switch = Some(record.start);
                }
            });
            let damage = broken.first().map(|b| Damage::in_object(&b.damage, key, size));
            let written = match (walk.open_end(), switch) {
                (Some(open), _) => open.lsn.0,
                (None, Some(switch)) => switch.0,
                (None, None) => number.end(size).0,
            };
            let end = usize::try_from(written.saturating_sub(number.start(size).0)).unwrap_or(0);
            let end = end.min(bytes.len());
            let records = Some((end, Sha256::digest(&bytes[..end]).into()));
            buffers.give(bytes);
            Records { damage, records }
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map(Some).map_err(|error| Error::new(Code::Bug, format!("reading WAL ended: {error}")))
    }
}
