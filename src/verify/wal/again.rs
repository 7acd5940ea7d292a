//! Second readings of segments that seem damaged: stores and networks err once. Damage is what two
//! readings show; what one has shown and no other could confirm or refute is not known.

use super::{Current, Ended, Pass, SegmentRead};
use crate::{
    drill::{
        Error,
        outlook::{self, Damage},
    },
    pg::{
        Lsn,
        wal::{
            scan::{DamageKind, WalDamage},
            walk::{Broken, WalWalk},
        },
    },
    restore::{seen_once, two_readings},
    verify::{
        feed::{Listed, Lost, fetch},
        interrupted,
    },
};

/// What a second reading comes to.
pub(super) enum Again<T> {
    /// What counts is this.
    Read(T),
    /// There was none, which has been said.
    Missed(T),
}

/// Segments read once more.
enum Bytes {
    Walked(Box<WalWalk>, SegmentRead),
    /// One does not decode, at two readings.
    Damaged,
    Missed,
}

impl Pass<'_> {
    /// Reads what seems damaged once more: what the second reading does not show was not the
    /// archive's doing.
    pub(super) async fn look_again(
        &mut self,
        run: &mut Current,
        start: &WalWalk,
        listed: &Listed,
        first: SegmentRead,
    ) -> Result<Again<SegmentRead>, Error> {
        let began_before = first.broken.iter().any(|broken| broken.damage.segment < listed.number);
        let from = first.broken.iter().map(|broken| broken.damage.lsn).min();
        let from = from.unwrap_or(Lsn::INVALID);
        let mut walk = start.clone();
        let mut again = vec![listed.clone()];
        let before = run.before.as_ref().or(run.parent.as_ref());
        if let (true, Some((previous, earlier))) = (began_before, before) {
            walk = earlier.clone();
            again.insert(0, previous.clone());
        }
        // A turn to `wal_level=minimal` is told by a record whose CRC holds: that cannot be an error.
        let damage = |broken: &&Broken| broken.damage.kind != DamageKind::MinimalWal;
        let seen = first.broken.iter().find(damage).map(|broken| broken.damage.detail.clone());
        match self.walk_again(&again, walk, seen.as_deref()).await? {
            Bytes::Damaged => Ok(Again::Read(first)),
            Bytes::Missed => Ok(Again::Missed(first)),
            Bytes::Walked(walk, mut second) => {
                // What lies before has been found at the segment before.
                second.broken.retain(|broken| broken.damage.lsn >= from);
                if second.broken.is_empty() {
                    let seen = seen.unwrap_or_default();
                    self.tally.error(two_readings(&listed.object.key, &seen));
                }
                run.walk = *walk;
                Ok(Again::Read(second))
            }
        }
    }

    /// Reads these segments from `walk` on. `seen` is what the last of them was read for, if that may
    /// have been an error.
    async fn walk_again(
        &mut self,
        again: &[Listed],
        mut walk: WalWalk,
        seen: Option<&str>,
    ) -> Result<Bytes, Error> {
        let mut read = SegmentRead::default();
        let mut before: Option<&Listed> = None;
        for listed in again {
            if before.is_some_and(|before| before.timeline != listed.timeline) {
                walk = walk.fork(&self.lineages[&listed.timeline].history);
            }
            before = Some(listed);
            // What complete records of the segment before say has been taken already.
            (read.ends, read.databases, read.beginnings) = Default::default();
            let missed = match self.walk_through(&mut walk, listed, &mut read).await? {
                Ok(()) => continue,
                Err(Lost::Damaged(_)) => return Ok(Bytes::Damaged),
                Err(Lost::Cancelled | Lost::Once(_)) if !self.reading.is_late() => {
                    return Err(interrupted());
                }
                Err(Lost::Cancelled | Lost::Once(_)) => None,
                Err(Lost::Unread(error)) => Some(error),
            };
            if let (Some(seen), Some(last)) = (seen, again.last()) {
                self.tally.error(seen_once(&last.object.key, seen, missed.as_ref()));
            }
            return Ok(Bytes::Missed);
        }
        Ok(Bytes::Walked(Box::new(walk), read))
    }

    /// Reads one segment to its end, as often as that takes.
    async fn walk_through(
        &self,
        walk: &mut WalWalk,
        listed: &Listed,
        into: &mut SegmentRead,
    ) -> Result<Result<(), Lost>, Error> {
        loop {
            let fetched = fetch(self.reading, &listed.object, self.size()).await;
            let one = match self.read(walk, listed, fetched).await? {
                Ok(one) => one,
                Err(lost) => return Ok(Err(lost)),
            };
            into.broken.extend(one.broken);
            into.ends.extend(one.ends);
            into.databases.extend(one.databases);
            into.beginnings.extend(one.beginnings);
            if !one.again {
                return Ok(Ok(()));
            }
        }
    }

    /// Judges what the walk breaks off in, where the next segment is not read: a record that cannot be
    /// one, or space that was never written. Both are read once more.
    pub(super) async fn tail(&mut self, run: &mut Current) -> Result<(), Error> {
        // Without it the tail has been judged already.
        let Some((listed, start)) = run.before.take() else { return Ok(()) };
        let tail = |walk: &mut WalWalk| (walk.end_run(), walk.open_end().cloned());
        let first = tail(&mut run.walk);
        let seen = match &first {
            (Some(broken), _) => &broken.damage,
            (None, Some(open)) => open,
            (None, None) => return Ok(()),
        };
        let (from, key) = (seen.segment, listed.object.key.clone());
        let (last, detail) = (run.last, seen.detail.clone());
        self.forget(run, from, last);
        match self.walk_again(&[listed], start, Some(&detail)).await? {
            Bytes::Damaged => {}
            Bytes::Missed => {
                self.close(run, Ended::Unread);
                return Ok(());
            }
            Bytes::Walked(mut walk, read) => {
                if read.broken.is_empty() && tail(&mut walk) == (None, None) {
                    self.tally.error(two_readings(&key, &detail));
                    run.walk = *walk;
                    return Ok(());
                }
            }
        }
        self.broken_off(run, first);
        Ok(())
    }

    fn broken_off(&mut self, run: &Current, (broken, open): (Option<Broken>, Option<WalDamage>)) {
        let size = self.size();
        if let Some(Broken { damage, before }) = broken {
            self.stretches.update(&before);
            let object = self.catalog.wal.segment(damage.timeline, damage.segment, size);
            let key = object.map_or_else(String::new, |object| object.key);
            let damage = Damage::in_object(&damage, key, size);
            self.damaged(run, &damage);
        }
        if let Some(open) = open {
            let finding = outlook::never_closed(&open, size);
            self.found(run.timeline, open.segment, finding.clone());
            self.close(run, Ended::Damage(Box::new(finding)));
        }
    }
}
