//! Segments that are there in more than one compression. A restore takes the first in key order, which
//! is the one that has been read; what the others hold is of no account unless it is other WAL.

use sha2::{Digest as _, Sha256};

use super::{Listed, Pass};
use crate::{
    drill::{Code, Error, FailureClass, Finding, outlook::Damage},
    pg::{
        TimelineHistory,
        wal::walk::{WalWalk, WalkRules},
    },
    restore::wal::Buffers,
    verify::{
        feed::{Fetched, fetch},
        interrupted,
    },
};

/// What a segment's records say by themselves.
#[derive(Debug)]
struct Alone {
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
            let Some(copied) = self.alone(&copy, buffers).await? else { continue };
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
            let Some(read) = self.alone(&taken, buffers).await? else { continue };
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

    /// Reads one segment without its neighbours. `None`: nothing is known of it, which is an error or
    /// counted as not read.
    async fn alone(&mut self, listed: &Listed, buffers: &Buffers) -> Result<Option<Alone>, Error> {
        let (size, key) = (self.size(), listed.object.key.clone());
        let reading = self.reading;
        let fetched = fetch(reading.store, &listed.object, size, buffers, reading.cancel).await;
        if !matches!(fetched, Fetched::Cancelled) {
            reading.fetched(listed.object.size);
        }
        let bytes = match fetched {
            Fetched::Cancelled if reading.is_late() => {
                self.not_read.leave(&listed.object);
                return Ok(None);
            }
            Fetched::Cancelled => return Err(interrupted()),
            Fetched::Unread(error) => {
                self.tally.error(error);
                return Ok(None);
            }
            Fetched::Damaged(why) => {
                let damage = Some(Damage::undecodable(&key, listed.number, size, &why));
                return Ok(Some(Alone { damage, records: None }));
            }
            Fetched::Bytes(bytes) => bytes,
        };
        let whose = super::systems::of(&self.systems, &bytes).unwrap_or_else(|| self.systems[0]);
        let history = TimelineHistory::root(listed.timeline);
        let super::Origin { major, system_id, segment_size } = whose;
        let rules = WalkRules { major, system_id, segment_size, history, ancestors_known: false };
        let (timeline, number) = (listed.timeline, listed.number);
        let buffers = buffers.clone();
        let work = move || {
            let mut walk = WalWalk::new(rules, number);
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
            Alone { damage, records }
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map(Some).map_err(|error| Error::new(Code::Bug, format!("reading WAL ended: {error}")))
    }
}
