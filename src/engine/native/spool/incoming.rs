//! Segments on their way into the spool: fetched, decoded, skimmed and written on many threads, and read
//! in order behind that.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    num::NonZero,
    os::unix::fs::{OpenOptionsExt, fchown},
    path::PathBuf,
    thread,
};

use tokio_util::sync::CancellationToken;

use super::{Spool, held};
use crate::{
    drill::{
        Error,
        plan::{PlannedSegment, PlannedWal},
    },
    pg::wal::scan::WalScan,
    restore::wal::{Flight, Keep, Spares, in_pieces},
    store::SharedStore,
};

/// Segments on their way at a time, at most.
const AT_A_TIME: u64 = 6;
/// Bytes of memory that one on its way takes at least: its body, a part being decoded, pages that wait to
/// be read.
const LEAST: u64 = 4 << 20;
/// Decoded bytes that wait to be read, at most, whatever memory there is.
const HELD: u64 = 48 << 20;

/// Where a segment comes from.
#[derive(Debug)]
pub(super) enum Coming {
    Flying(Box<Flight>),
    /// It lies in the spool.
    Held,
}

/// The planned segments in order.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    spool: &'a Spool,
    store: &'a SharedStore,
    wal: &'a PlannedWal,
    /// How many of them were launched.
    launched: usize,
    flying: VecDeque<(PlannedSegment, Coming)>,
    at_a_time: usize,
    /// Bytes of one segment that may wait to be read.
    ahead: u64,
    spares: Spares,
    /// The scan as it begins: says what it need not see.
    scan: WalScan,
    stop: CancellationToken,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        spool: &'a Spool,
        store: &'a SharedStore,
        wal: &'a PlannedWal,
        scan: WalScan,
        cancel: &CancellationToken,
    ) -> Self {
        let share = spool.memory / 8;
        // One more is being read, and one stands ready for the processor that comes free.
        let processors = thread::available_parallelism().map_or(2, NonZero::get) as u64;
        let at_a_time = (processors + 2).min(AT_A_TIME).min(share / LEAST).max(1);
        Self {
            spool,
            store,
            wal,
            launched: 0,
            flying: VecDeque::new(),
            at_a_time: at_a_time as usize,
            ahead: share.min(HELD) / at_a_time,
            spares: Spares::default(),
            scan,
            stop: cancel.child_token(),
        }
    }

    /// The next segment; meanwhile those behind it are on their way.
    pub(super) fn next(&mut self) -> Option<(PlannedSegment, Coming)> {
        self.launch(1);
        let next = self.flying.pop_front()?;
        self.launch(self.at_a_time - 1);
        Some(next)
    }

    /// Ends those that nobody wants any more, and leaves nothing of them.
    pub(super) async fn end(self) {
        self.stop.cancel();
        for (segment, coming) in self.flying {
            let Coming::Flying(flight) = coming else { continue };
            let _ = flight.landed().await;
            if !self.spool.resumes {
                let _ = fs::remove_file(self.spool.path(&segment));
            }
        }
    }

    fn launch(&mut self, flying: usize) {
        while self.flying.len() < flying {
            let Some(segment) = self.wal.get(self.launched) else { return };
            self.launched += 1;
            if self.spool.holds(&segment) {
                self.flying.push_back((segment, Coming::Held));
                continue;
            }
            let length = self.spool.size.bytes();
            let skim = self.scan.skim(segment.number);
            let (sink, pieces) = in_pieces(length, self.ahead, &self.spares, skim);
            let ends = (sink.kept(Box::new(SpoolFile::of(self.spool, &segment))), pieces);
            let flight = Flight::launch(self.store, &segment.object, length, ends, &self.stop);
            self.flying.push_back((segment, Coming::Flying(Box::new(flight))));
        }
    }
}

/// A segment's file, made when its first bytes come.
#[derive(Debug)]
struct SpoolFile {
    path: PathBuf,
    owner: Option<(u32, u32)>,
    fsync: bool,
    /// It has its name only once it is whole and durable.
    resumes: bool,
    file: Option<File>,
}

impl SpoolFile {
    fn of(spool: &Spool, segment: &PlannedSegment) -> Self {
        let Spool { owner, fsync, resumes, .. } = *spool;
        Self { path: spool.path(segment), owner, fsync, resumes, file: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let path = if self.resumes { held::unfinished(&self.path)? } else { self.path.clone() };
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            if let Some((uid, gid)) = self.owner {
                fchown(&file, Some(uid), Some(gid))?;
            }
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::io(format!("write `{}`", self.path.display()), error)
    }
}

impl Keep for SpoolFile {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file().and_then(|file| file.write_all(bytes));
        written.map_err(|error| self.failed(&error))
    }

    fn end(&mut self) -> Result<(), Error> {
        // PostgreSQL makes every segment that it is given durable and waits for it (`durable_rename` in
        // `KeepFileRestoredFromArchive`, `xlogarchive.c`): it shall find nothing left to write.
        let synced = match &self.file {
            Some(file) if self.resumes => held::finish(file, &self.path),
            Some(file) if self.fsync => file.sync_data(),
            _ => Ok(()),
        };
        synced.map_err(|error| self.failed(&error))
    }
}
