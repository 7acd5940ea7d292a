//! Segments that are read without their neighbours: unfinished ones, and second copies of others.

use super::{Listed, Pass, scan, systems};
use crate::{
    drill::{Error, outlook::Damage},
    pg::{TimelineHistory, wal::walk::WalWalk},
    restore::wal::Buffers,
    verify::{
        feed::{Fetched, fetch},
        interrupted,
    },
};

/// What became of an object.
#[derive(Debug)]
pub(super) enum Alone {
    Bytes(Vec<u8>),
    /// It does not decode to a segment.
    Damaged(Damage),
    /// Nothing is known of it, which has been said.
    Unread,
    /// The time was over, which has been counted.
    Left,
}

impl Pass<'_> {
    /// Unfinished last segments of timelines that were left: no recovery asks for them, and their
    /// open end is their nature.
    pub(super) async fn partials(&mut self, buffers: &Buffers) -> Result<(), Error> {
        let size = self.size();
        for (timeline, number, object) in self.catalog.wal.partials(size) {
            let listed = Listed { timeline, number, object };
            if self.reading.is_late() {
                self.not_read.leave(&listed.object);
                continue;
            }
            let fetched = self.fetch_alone(&listed, buffers).await?;
            if !matches!(fetched, Alone::Left) {
                self.tally.volume.objects += 1;
            }
            let damage = match fetched {
                Alone::Left | Alone::Unread => None,
                Alone::Damaged(damage) => Some(damage),
                Alone::Bytes(bytes) => {
                    let mut walk = self.walk_alone(&listed, &bytes);
                    let read = scan(&mut walk, &listed, bytes, buffers).await?;
                    let key = listed.object.key.clone();
                    read.broken.first().map(|b| Damage::in_object(&b.damage, key, size))
                }
            };
            if let Some(damage) = damage {
                self.tally.attention(damage.finding(None));
            }
        }
        Ok(())
    }

    pub(super) async fn fetch_alone(
        &mut self,
        listed: &Listed,
        buffers: &Buffers,
    ) -> Result<Alone, Error> {
        let (reading, size) = (self.reading, self.size());
        let fetched = fetch(reading.store, &listed.object, size, buffers, reading.cancel).await;
        if !matches!(fetched, Fetched::Cancelled) {
            reading.fetched(listed.object.size);
        }
        Ok(match fetched {
            Fetched::Cancelled if reading.is_late() => {
                self.not_read.leave(&listed.object);
                Alone::Left
            }
            Fetched::Cancelled => return Err(interrupted()),
            Fetched::Once(_) if !reading.is_late() => return Err(interrupted()),
            Fetched::Unread(error) | Fetched::Once(error) => {
                self.tally.error(error);
                Alone::Unread
            }
            Fetched::Damaged(why) => {
                let key = &listed.object.key;
                Alone::Damaged(Damage::undecodable(key, listed.number, size, &why))
            }
            Fetched::Bytes(bytes) => Alone::Bytes(bytes),
        })
    }

    /// By the rules of the system that the segment names, on a timeline of unknown past.
    pub(super) fn walk_alone(&self, listed: &Listed, bytes: &[u8]) -> WalWalk {
        let origin = systems::of(&self.systems, bytes).unwrap_or_else(|| self.systems[0]);
        WalWalk::new(origin.rules(TimelineHistory::root(listed.timeline), false), listed.number)
    }
}
