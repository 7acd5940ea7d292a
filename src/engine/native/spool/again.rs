//! A second reading of WAL that seems damaged: stores and networks err once. What PostgreSQL is given
//! is the first reading, so that a drill in which the two differ has nothing to tell.

use tokio_util::sync::CancellationToken;

use super::interrupted;
use crate::{
    drill::{Code, Error, plan::PlannedSegment},
    pg::{
        SegmentSize,
        wal::scan::{DamageKind, WalDamage, WalScan},
    },
    restore::{
        seen_once, two_readings,
        wal::{SegmentFailure, fetch_segment},
    },
    store::SharedStore,
};

/// Where segments are read once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again<'a> {
    pub store: &'a SharedStore,
    pub size: SegmentSize,
    pub cancel: &'a CancellationToken,
}

impl Again<'_> {
    /// A segment that does not decode.
    ///
    /// # Errors
    /// It decodes now, no second reading could be had, or the drill was interrupted.
    pub async fn undecodable(&self, segment: &PlannedSegment, detail: &str) -> Result<(), Error> {
        match self.fetch(segment, detail).await? {
            Some(_) => Err(two_readings(&segment.object.key, detail)),
            None => Ok(()),
        }
    }

    /// Damage in the last of these segments, or in the one before it where that is given, too. Each has
    /// the scan as it was before.
    ///
    /// # Errors
    /// The scan finds nothing now, no second reading could be had, or the drill was interrupted.
    pub async fn damaged(
        &self,
        damage: &WalDamage,
        segments: Vec<(PlannedSegment, WalScan)>,
    ) -> Result<(), Error> {
        self.look(damage, segments, |scan| scan.damage().is_some()).await
    }

    /// A defect that shows only where the log breaks off, which is behind the last of these segments: a
    /// record that cannot be one, or space that was never written. The segments are as above.
    ///
    /// # Errors
    /// It breaks off well now, no second reading could be had, or the drill was interrupted.
    pub async fn broken_off(
        &self,
        defect: &WalDamage,
        segments: Vec<(PlannedSegment, WalScan)>,
    ) -> Result<(), Error> {
        self.look(defect, segments, |scan| scan.finish().defect().is_some()).await
    }

    async fn look(
        &self,
        damage: &WalDamage,
        segments: Vec<(PlannedSegment, WalScan)>,
        stands: impl FnOnce(WalScan) -> bool,
    ) -> Result<(), Error> {
        // By a record whose CRC holds: that cannot be an error.
        if damage.kind == DamageKind::MinimalWal {
            return Ok(());
        }
        let mut state: Option<WalScan> = None;
        let mut key = String::new();
        for (segment, start) in segments {
            let Some(bytes) = self.fetch(&segment, &damage.detail).await? else { return Ok(()) };
            if key.is_empty() || segment.number == damage.segment {
                key.clone_from(&segment.object.key);
            }
            let mut scan = state.unwrap_or(start);
            let work = move || {
                scan.segment(segment.timeline, segment.number, bytes.as_slice());
                scan
            };
            let scanned = tokio::task::spawn_blocking(work).await;
            state =
                Some(scanned.map_err(|error| {
                    Error::new(Code::Bug, format!("reading WAL ended: {error}"))
                })?);
        }
        if state.is_some_and(|scan| !stands(scan)) {
            return Err(two_readings(&key, &damage.detail));
        }
        Ok(())
    }

    /// `None` where it does not decode. `seen` is what the first reading has shown.
    async fn fetch(&self, segment: &PlannedSegment, seen: &str) -> Result<Option<Vec<u8>>, Error> {
        let (object, size) = (&segment.object, self.size.bytes());
        match fetch_segment(self.store, object, size, self.cancel).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(SegmentFailure::Cancelled) => Err(interrupted()),
            Err(SegmentFailure::Damaged { .. }) => Ok(None),
            Err(SegmentFailure::Store(error)) => Err(seen_once(&object.key, seen, Some(&error))),
        }
    }
}
