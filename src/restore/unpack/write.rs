//! Writes files on a thread of its own, so that to make, read and examine what comes next need not wait
//! for the disk, and nothing is copied on the way.

use std::{
    fs::File,
    io, mem,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use super::{ground::Disk, open::Open};
use crate::{drill::Error, restore::ahead::Kept};

/// Steps that go over together: to wake a thread costs more than to write a small file.
const BATCH: usize = 32;
/// Bytes after which they go over however few they are.
const ENOUGH: usize = 256 << 10;
/// Batches that wait. With the one that is written, and the one that is being made, they hold back no more
/// buffers of a stream than it can do without, and no more open files than any process may have.
const WAITING: usize = 2;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    /// The file that was begun is whole; begins this one, of so many bytes.
    File(File, u64),
    /// Goes behind what was written of the file.
    Data(Kept),
}

/// The thread that writes has ended, and knows why.
#[derive(Debug)]
pub(super) struct Gone;

/// The end that steps are put in.
#[derive(Debug)]
pub(super) struct Steps {
    sender: SyncSender<Vec<Step>>,
    batch: Vec<Step>,
    /// The data in `batch`.
    bytes: usize,
    last: Option<Kept>,
}

/// The two ends of a tar's way to the disk.
pub(super) fn steps() -> (Steps, Receiver<Vec<Step>>) {
    let (sender, receiver) = sync_channel(WAITING);
    (Steps { sender, batch: Vec::new(), bytes: 0, last: None }, receiver)
}

impl Steps {
    pub(super) fn file(&mut self, file: File, size: u64) -> Result<(), Gone> {
        self.put(Step::File(file, size))
    }

    /// Data of the file that was begun last.
    pub(super) fn data(&mut self, data: Kept) -> Result<(), Gone> {
        // A batch holds back one buffer of the stream: it may have to wait for what comes behind it.
        if self.last.as_ref().is_some_and(|last| !last.is_of_one_buffer(&data)) {
            self.send()?;
        }
        self.bytes += data.len();
        self.last = Some(data.clone());
        self.put(Step::Data(data))
    }

    fn put(&mut self, step: Step) -> Result<(), Gone> {
        self.batch.push(step);
        if self.batch.len() < BATCH && self.bytes < ENOUGH { Ok(()) } else { self.send() }
    }

    /// Hands over what there is.
    pub(super) fn send(&mut self) -> Result<(), Gone> {
        (self.bytes, self.last) = (0, None);
        if self.batch.is_empty() {
            return Ok(());
        }
        self.sender.send(mem::take(&mut self.batch)).map_err(|_| Gone)
    }
}

/// Takes the steps until there are no more. Blocks.
///
/// # Errors
/// What the system said; nothing is written from then on.
pub(super) fn write(steps: &Receiver<Vec<Step>>, disk: &Disk) -> Result<(), Error> {
    let mut open: Option<Open> = None;
    let flusher = disk.flusher.as_ref();
    let failed = |error: io::Error| disk.root.failed("write", &error);
    for step in steps.iter().flatten() {
        match step {
            Step::File(file, size) => {
                open.take().map_or(Ok(()), |whole| whole.end(flusher)).map_err(failed)?;
                disk.root.give(&file)?;
                open = Some(Open::new(file, size));
            }
            Step::Data(data) => {
                let Some(open) = &mut open else { continue };
                open.write(&data, flusher).map_err(failed)?;
            }
        }
    }
    open.map_or(Ok(()), |whole| whole.end(flusher)).map_err(failed)
}
