//! Fetches the planned WAL once, reads every record on the way, and leaves decoded segments for the
//! replay: what PostgreSQL will be given is what was verified.

mod again;
mod held;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use again::Again;

use crate::{
    archive::ObjectRef,
    drill::{Code, Error, FailureClass, outlook::Damage, plan::PlannedSegment, stage::Volume},
    pg::{
        SegmentNumber, SegmentSize,
        wal::{
            scan::{ScanStart, ScanStep, WalDamage, WalScan, WalSummary},
            tablespace::WalPatch,
        },
    },
    restore::wal::{SegmentDamage, SegmentFailure, fetch_segment},
    store::SharedStore,
};

/// Segments that are fetched at the same time, at most.
const CONCURRENCY: u64 = 4;

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
    pub volume: Volume,
}

impl Spool {
    /// Fetches `wal` in order, four at a time, until the scan has seen enough. What seems damaged is read
    /// once more.
    ///
    /// # Errors
    /// What the store or the disk did. Damage is not an error, unless a second reading does not show it.
    pub async fn fill(
        &self,
        store: &SharedStore,
        wal: &[PlannedSegment],
        start: ScanStart,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Spooled, Error> {
        if self.resumes {
            self.begin_again()?;
        }
        let expected = self.size.bytes();
        let at_once = (self.memory / 8 / expected).clamp(1, CONCURRENCY) as usize;
        let mut fetches = stream::iter(wal.iter().cloned().map(|segment| {
            let (store, cancel) = (Arc::clone(store), cancel.clone());
            async move {
                if let Some(bytes) = self.held(&segment).await {
                    return (segment, Ok((bytes, false)));
                }
                let fetched = fetch_segment(&store, &segment.object, expected, &cancel).await;
                (segment, fetched.map(|bytes| (bytes, true)))
            }
        }))
        .buffered(at_once);
        let mut scan = WalScan::new(start);
        let again = Again { store, size: self.size, cancel };
        // The last segment, and the one before it, each with the scan as it was before.
        let (mut before, mut earlier) = (None::<(PlannedSegment, WalScan)>, None);
        let mut volume = Volume::default();
        let mut last = None;
        let mut unreadable = None;
        while let Some((segment, fetched)) = fetches.next().await {
            let (bytes, is_new) = match fetched {
                Ok(fetched) => fetched,
                Err(SegmentFailure::Damaged { detail, kind }) => {
                    on_bytes(segment.object.size);
                    again.undecodable(&segment, &detail).await?;
                    unreadable = Some(self.unreadable(&segment, &detail, kind));
                    break;
                }
                Err(SegmentFailure::Store(error)) => return Err(gone(error, &segment.object)),
                Err(SegmentFailure::Cancelled) => return Err(interrupted()),
            };
            // Of those that were there only that they move is told.
            on_bytes(if is_new { segment.object.size } else { 0 });
            if is_new {
                volume.fetched_bytes += segment.object.size;
                volume.restored_bytes += bytes.len() as u64;
            }
            volume.wal_segments += 1;
            last = Some(segment.number);
            let here = (segment.clone(), scan.clone());
            let step;
            (scan, step) = self.keep(scan, segment, bytes, is_new).await?;
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
        }
        drop(fetches);
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
        self.give_up(damage.as_ref(), wal, &summary.patches)?;
        if let Some(damage) = &damage {
            last = self.cut(damage, wal)?;
        }
        self.patch(wal, &summary.patches)?;
        Ok(Spooled { summary, damage, last, volume })
    }

    /// Path of a segment in the spool.
    #[must_use]
    pub fn path(&self, segment: &PlannedSegment) -> PathBuf {
        self.dir.join(segment.number.file_name(segment.timeline, self.size))
    }

    async fn keep(
        &self,
        mut scan: WalScan,
        segment: PlannedSegment,
        bytes: Vec<u8>,
        is_new: bool,
    ) -> Result<(WalScan, ScanStep), Error> {
        let (path, owner, fsync) = (self.path(&segment), self.owner, self.fsync);
        let resumes = self.resumes;
        let work = move || {
            let step = scan.segment(segment.timeline, segment.number, bytes.as_slice());
            let written = match (is_new, resumes) {
                (false, _) => Ok(()),
                (true, false) => write(&path, owner, fsync, &bytes),
                (true, true) => held::write(&path, owner, &bytes),
            };
            written.map_err(|error| Error::io(format!("write `{}`", path.display()), &error))?;
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

    fn locate(&self, damage: &WalDamage, wal: &[PlannedSegment]) -> Damage {
        let planned = wal.iter().find(|planned| planned.number == damage.segment);
        let name = || damage.segment.file_name(damage.timeline, self.size);
        let key = planned.map_or_else(name, |planned| planned.object.key.clone());
        Damage::in_object(damage, key, self.size)
    }

    /// Makes sure that replay cannot read beyond the damage: zeros from there on are how the end of
    /// the log looks. Gives the last segment that may be served.
    fn cut(&self, damage: &Damage, wal: &[PlannedSegment]) -> Result<Option<SegmentNumber>, Error> {
        let mut last = None;
        for segment in wal {
            let path = self.path(segment);
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

    fn patch(&self, wal: &[PlannedSegment], patches: &[WalPatch]) -> Result<(), Error> {
        for patch in patches {
            let number = self.size.segment_of(patch.lsn);
            let Some(segment) = wal.iter().find(|segment| segment.number == number) else {
                continue;
            };
            let path = self.path(segment);
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

fn write(path: &Path, owner: Option<(u32, u32)>, fsync: bool, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(bytes)?;
    if fsync { file.sync_data() } else { Ok(()) }
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
