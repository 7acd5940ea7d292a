//! Fetches the planned WAL once, reads every record on the way, and leaves decoded segments for the
//! replay: what PostgreSQL will be given is what was verified.

mod again;
pub mod coming;
mod held;
mod incoming;
pub mod reach;

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use again::Again;
use incoming::{Coming, Incoming};
use reach::{Course, LogEnd, Needs};

use crate::{
    archive::ObjectRef,
    drill::{
        Code, Error, FailureClass,
        outlook::Damage,
        plan::{PlannedSegment, PlannedWal},
        stage::Volume,
    },
    pg::{
        SegmentNumber, SegmentSize,
        wal::{
            scan::{ScanStart, ScanStep, WalDamage, WalScan, WalSummary},
            tablespace::WalPatch,
        },
    },
    restore::wal::{Flight, Pieces, SegmentDamage, SegmentFailure},
    store::SharedStore,
};

/// How segments are fetched and kept.
#[derive(Clone, Debug)]
pub struct Spool {
    pub dir: PathBuf,
    pub size: SegmentSize,
    pub owner: Option<(u32, u32)>,
    pub fsync: bool,
    /// Bytes that the job allows.
    pub memory: u64,
    /// Whether segments that are there already are of an earlier run that was broken off: they are read as
    /// if they were fetched. The run after this one can go on in the same way.
    pub resumes: bool,
}

/// What was fetched.
#[derive(Debug)]
pub struct Spooled {
    pub summary: WalSummary,
    /// Where the WAL cannot be trusted any more.
    pub damage: Option<Damage>,
    /// The last segment that replay may be given; `None`: not one.
    pub last: Option<SegmentNumber>,
}

impl Spool {
    /// Fetches `wal`, several segments at a time, until the scan has seen enough, and tells on the way how
    /// far it is. What seems damaged is read once more.
    ///
    /// # Errors
    /// What the store or the disk did. Damage is not an error, unless a second reading does not show it.
    pub async fn fill(
        &self,
        store: &SharedStore,
        wal: &PlannedWal,
        start: ScanStart,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
        mut course: Course,
        cancel: &CancellationToken,
    ) -> Result<Spooled, Error> {
        if self.resumes {
            self.begin_again()?;
        }
        let mut scan = WalScan::new(start);
        let again = Again { store, size: self.size, cancel };
        let mut incoming = Incoming::new(self, store, wal, scan.clone(), cancel);
        // The last segment, and the one before it, each with the scan as it was before.
        let (mut before, mut earlier) = (None::<(PlannedSegment, WalScan)>, None);
        let mut volume = Volume::default();
        let mut last = None;
        let mut unreadable = None;
        let mut patched = 0;
        while let Some((segment, coming)) = incoming.next() {
            let here = (segment.clone(), scan.clone());
            let (read, is_new) = match coming {
                Coming::Held => (None, false),
                Coming::Flying(flight) => {
                    let (read, end) = self.read(scan, &segment, *flight).await?;
                    match end {
                        Ok(()) => (read, true),
                        Err(SegmentFailure::Damaged { detail, kind }) => {
                            on_bytes(segment.object.size);
                            again.undecodable(&segment, &detail).await?;
                            unreadable = Some(self.unreadable(&segment, &detail, kind));
                            scan = here.1;
                            break;
                        }
                        Err(SegmentFailure::Store(error)) => {
                            return Err(gone(error, &segment.object));
                        }
                        Err(SegmentFailure::Cancelled) => return Err(interrupted()),
                    }
                }
            };
            // Of those that were there only that they move is told.
            on_bytes(if is_new { segment.object.size } else { 0 });
            if is_new {
                volume.fetched_bytes += segment.object.size;
                volume.restored_bytes += self.size.bytes();
            }
            volume.wal_segments += 1;
            last = Some(segment.number);
            let step;
            (scan, step) = match read {
                Some(read) => read,
                None => self.read_whole(here.1.clone(), &segment).await?,
            };
            if let Some(damage) = scan.damage() {
                let earlier = before.take().filter(|_| damage.segment < here.0.number);
                let segments: Vec<_> = earlier.into_iter().chain([here]).collect();
                let doubtful = self.paths(&segments);
                let stands = Box::pin(again.damaged(damage, segments)).await;
                stands.inspect_err(|_| self.forget(&doubtful))?;
                break;
            }
            earlier = before.replace(here);
            if step == ScanStep::Stop {
                break;
            }
            let patches = &scan.so_far().patches;
            self.give_up(None, wal, &patches[patched..])?;
            self.patch(wal, &patches[patched..])?;
            patched = patches.len();
            self.tell(&course, &scan, volume);
            course.wait().await;
        }
        incoming.end().await;
        let is_confirmed = scan.damage().is_some();
        let summary = scan.finish();
        if let (false, Some(seen), Some(last)) = (is_confirmed, summary.defect(), before) {
            let earlier = earlier.filter(|_| seen.segment < last.0.number);
            let segments: Vec<_> = earlier.into_iter().chain([last]).collect();
            let doubtful = self.paths(&segments);
            let stands = Box::pin(again.broken_off(seen, segments)).await;
            stands.inspect_err(|_| self.forget(&doubtful))?;
        }
        let found = summary.damage.as_ref().map(|damage| self.locate(damage, wal));
        let damage = found.or(unreadable);
        self.give_up(damage.as_ref(), wal, &summary.patches[patched..])?;
        if let Some(damage) = &damage {
            let settled = course.reach.borrow().settled;
            if damage.segment < settled {
                let what = format!("damage was found at {} behind what is settled", damage.lsn);
                return Err(Error::new(Code::Bug, what));
            }
            last = self.cut(damage, wal)?;
        }
        self.patch(wal, &summary.patches[patched..])?;
        course.tell(|reach| {
            reach.needs = Arc::new(Needs::of(&summary));
            reach.volume = volume;
            reach.end = Some(LogEnd { last });
        });
        Ok(Spooled { summary, damage, last })
    }

    /// Path of a segment in the spool.
    #[must_use]
    pub fn path(&self, segment: &PlannedSegment) -> PathBuf {
        self.dir.join(segment.number.file_name(segment.timeline, self.size))
    }

    /// Says what may be replayed once a scan has gone on without damage.
    fn tell(&self, course: &Course, scan: &WalScan, volume: Volume) {
        let found = scan.so_far();
        // Nothing from there on is replayed.
        if found.minimal_wal_at.is_some() {
            return;
        }
        course.tell(|reach| {
            reach.settled = self.size.segment_of(scan.settled());
            if reach.consistent.is_none() && found.consistent_at.is_some() {
                reach.consistent = Some(Arc::new(found.clone()));
            }
            let needs = Needs::of(found);
            if *reach.needs != needs {
                reach.needs = Arc::new(needs);
            }
            reach.volume = volume;
        });
    }

    /// Reads a segment while it comes; `None` in place of what was read where it must be read whole.
    async fn read(
        &self,
        mut scan: WalScan,
        segment: &PlannedSegment,
        flight: Flight,
    ) -> Result<(Option<(WalScan, ScanStep)>, Result<(), SegmentFailure>), Error> {
        let (timeline, number) = (segment.timeline, segment.number);
        let work = move |pieces: &mut Pieces| {
            let step = scan.segment(timeline, number, &mut *pieces);
            (!pieces.missed()).then_some((scan, step))
        };
        flight.read(work).await
    }

    /// Reads a segment that lies in the spool: one of which pages are wanted that were left out for their
    /// quiet records, or one of an earlier run.
    async fn read_whole(
        &self,
        mut scan: WalScan,
        segment: &PlannedSegment,
    ) -> Result<(WalScan, ScanStep), Error> {
        let (path, timeline, number) = (self.path(segment), segment.timeline, segment.number);
        let work = move || {
            let bytes = fs::read(&path)
                .map_err(|error| Error::io(format!("read `{}`", path.display()), &error))?;
            let step = scan.segment(timeline, number, bytes.as_slice());
            Ok((scan, step))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Error::new(Code::Bug, format!("reading WAL ended: {error}")))?
    }

    fn unreadable(&self, segment: &PlannedSegment, detail: &str, kind: SegmentDamage) -> Damage {
        let what = match kind {
            SegmentDamage::WrongSize => "is not as long as a segment",
            SegmentDamage::Stream => "cannot be decoded to its end",
        };
        let why = format!("the segment {what}: {detail}");
        Damage::undecodable(&segment.object.key, segment.number, self.size, &why)
    }

    fn locate(&self, damage: &WalDamage, wal: &PlannedWal) -> Damage {
        let name = || damage.segment.file_name(damage.timeline, self.size);
        let key = wal.segment(damage.segment).map_or_else(name, |planned| planned.object.key);
        Damage::in_object(damage, key, self.size)
    }

    /// Makes sure that replay cannot read beyond the damage: zeros from there on are how the end of
    /// the log looks. Gives the last segment that may be served.
    fn cut(&self, damage: &Damage, wal: &PlannedWal) -> Result<Option<SegmentNumber>, Error> {
        let mut last = None;
        for segment in wal.iter() {
            let path = self.path(&segment);
            if segment.number < damage.segment {
                last = Some(segment.number);
            } else if segment.number == damage.segment && damage.usable > 0 {
                let zeroed = || -> io::Result<()> {
                    let file = OpenOptions::new().write(true).open(&path)?;
                    file.set_len(damage.usable)?;
                    file.set_len(self.size.bytes())
                };
                zeroed().map_err(|error| Error::io(format!("cut `{}`", path.display()), &error))?;
                last = Some(segment.number);
            } else {
                let _ = fs::remove_file(path);
            }
        }
        Ok(last)
    }

    fn patch(&self, wal: &PlannedWal, patches: &[WalPatch]) -> Result<(), Error> {
        for patch in patches {
            let number = self.size.segment_of(patch.lsn);
            let Some(segment) = wal.segment(number) else { continue };
            let path = self.path(&segment);
            let offset = patch.lsn.0 - number.start(self.size).0;
            let patched = OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.write_all_at(&[patch.byte], offset));
            match patched {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("patch `{}`", path.display()), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// An object that is not there any more, or is another one, was there when the plan was made.
pub fn gone(error: Error, object: &ObjectRef) -> Error {
    match error.code {
        Code::ObjectMissing | Code::ObjectChanged => error
            .context(format!("`{}` was there when the drill began", object.key))
            .class(FailureClass::DeletedDuringDrill)
            .hint("Retention or another writer works on this archive: run the drill again."),
        _ => error,
    }
}

/// The drill was told to stop.
pub fn interrupted() -> Error {
    Error::new(Code::Interrupted, "the drill was interrupted")
}
