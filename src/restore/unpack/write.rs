//! Writes files on a thread of its own, so that to make, read and examine what comes next need not wait
//! for the disk, and nothing is copied on the way.

use std::{
    fs::File,
    io::Write as _,
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{
    flush::{Flusher, STRETCH},
    ground::Disk,
};
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

/// Bytes of one write. ext4 keeps what is written at once in one piece of the page cache, as large as that,
/// and whoever writes a single page to it later goes through all of its blocks: replay on files that were
/// written a megabyte at a time took two times longer than on these.
const AT_ONCE: usize = 64 << 10;

/// Bytes of a file that room is reserved for.
const LARGE: u64 = 1 << 20;

/// Takes the steps until there are no more. Blocks.
///
/// # Errors
/// What the system said; nothing is written from then on.
pub(super) fn write(steps: &Receiver<Vec<Step>>, disk: &Disk) -> Result<(), Error> {
    let mut open: Option<Open> = None;
    let flusher = disk.flusher.as_ref();
    for step in steps.iter().flatten() {
        match step {
            Step::File(file, size) => {
                if let Some(whole) = open.take() {
                    whole.end(flusher);
                }
                disk.root.give(&file)?;
                reserve(&file, size);
                open = Some(Open { file: Arc::new(file), length: 0, flushed: 0 });
            }
            Step::Data(data) => {
                let Some(open) = &mut open else { continue };
                let written =
                    data.chunks(AT_ONCE).try_for_each(|part| (&*open.file).write_all(part));
                written.map_err(|error| disk.root.failed("write", &error))?;
                open.length += data.len() as u64;
                open.flush(flusher, STRETCH);
            }
        }
    }
    if let Some(whole) = open {
        whole.end(flusher);
    }
    Ok(())
}

/// Has the file system find room for a file at once: writing it and bringing it to the disk took 0.81 s in
/// place of 0.96 (ext4, 66 files of 20 MiB, medians of 13 runs in turn). Its length stays what is written.
fn reserve(file: &File, size: u64) {
    // A tar may say anything; a relation's file is no longer than that.
    let size = size.min(1 << 30);
    if size >= LARGE {
        // Only a help: what cannot be written, the write says.
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, 0, size);
    }
}

/// A file that is being written.
struct Open {
    file: Arc<File>,
    length: u64,
    /// Where the part begins that nobody was asked to bring to the disk.
    flushed: u64,
}

impl Open {
    /// Has the rest brought to the disk if it is so long.
    fn flush(&mut self, flusher: Option<&Flusher>, most: u64) {
        let rest = self.length - self.flushed;
        if let Some(flusher) = flusher
            && rest >= most
            && flusher.stretch(&self.file, self.flushed, rest)
        {
            self.flushed = self.length;
        }
    }

    fn end(mut self, flusher: Option<&Flusher>) {
        if self.flushed > 0 {
            self.flush(flusher, 1);
        } else if let Some(flusher) = flusher {
            flusher.small_file(self.length);
        }
    }
}
