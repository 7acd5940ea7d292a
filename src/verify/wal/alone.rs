//! Segments that are read without their neighbours: unfinished ones, and second copies of others.

use super::{Listed, Pass, systems};
use crate::{
    drill::{Error, outlook::Damage},
    pg::{TimelineHistory, wal::walk::WalWalk},
    restore::wal::Pieces,
    verify::{
        feed::{Lost, fetch},
        interrupted,
    },
};

/// Why a segment has nothing to say.
#[derive(Debug)]
pub(super) enum Silent {
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
    pub(super) async fn partials(&mut self) -> Result<(), Error> {
        let size = self.size();
        for (timeline, number, object) in self.catalog.wal.partials(size) {
            let listed = Listed { timeline, number, object };
            if self.reading.is_late() {
                self.not_read.leave(&listed.object);
                continue;
            }
            let walked = move |mut walk: WalWalk, pages: &mut Pieces| {
                walk.pages(timeline, number, pages, |_| ()).broken
            };
            let read = self.read_alone(&listed, walked).await?;
            if !matches!(read, Err(Silent::Left)) {
                self.tally.volume.objects += 1;
            }
            let damage = match read {
                Err(Silent::Left | Silent::Unread) => None,
                Err(Silent::Damaged(damage)) => Some(damage),
                Ok(broken) => {
                    let key = listed.object.key.clone();
                    broken.first().map(|b| Damage::in_object(&b.damage, key, size))
                }
            };
            if let Some(damage) = damage {
                self.tally.attention(damage.finding(None));
            }
        }
        Ok(())
    }

    /// Gives a segment's pages to `work`, with a walk by the rules of the system that it names, on a
    /// timeline of unknown past.
    pub(super) async fn read_alone<T: Send + 'static>(
        &mut self,
        listed: &Listed,
        work: impl FnOnce(WalWalk, &mut Pieces) -> T + Send + 'static,
    ) -> Result<Result<T, Silent>, Error> {
        let (reading, size) = (self.reading, self.size());
        let read = match fetch(reading, &listed.object, size).await {
            Ok(mut coming) => {
                let named = systems::of(&self.systems, coming.first_page().await);
                let rules = named.unwrap_or_else(|| self.systems[0]);
                let rules = rules.rules(TimelineHistory::root(listed.timeline), false);
                let walk = WalWalk::new(rules, listed.number);
                coming.read(move |pages| work(walk, pages)).await?
            }
            Err(lost) => Err(lost),
        };
        if !matches!(read, Err(Lost::Cancelled)) {
            reading.fetched(listed.object.size);
        }
        Ok(Err(match read {
            Ok(made) => return Ok(Ok(made)),
            Err(Lost::Cancelled) if reading.is_late() => {
                self.not_read.leave(&listed.object);
                Silent::Left
            }
            Err(Lost::Cancelled) => return Err(interrupted()),
            Err(Lost::Once(_)) if !reading.is_late() => return Err(interrupted()),
            Err(Lost::Unread(error) | Lost::Once(error)) => {
                self.tally.error(error);
                Silent::Unread
            }
            Err(Lost::Damaged(why)) => {
                let key = &listed.object.key;
                Silent::Damaged(Damage::undecodable(key, listed.number, size, &why))
            }
        }))
    }
}
