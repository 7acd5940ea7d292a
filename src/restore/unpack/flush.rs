//! Brings to the disk early what has been written, on a thread of its own: left alone, Linux waits for 30
//! seconds or for a tenth of the memory, and then all of it waits for the end.
//!
//! What the disk says is kept: an error is told once for each open file system (`syncfs(2)`, since Linux
//! 5.8), and must not be lost because nobody but this thread heard it. A range that is only begun to be
//! written loses nothing: its error comes with the next `syncfs`.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::syncfs;

/// Bytes of a file that are brought to the disk at a time: large enough for one place on it.
pub(super) const STRETCH: u64 = 8 << 20;
/// Bytes of files shorter than a stretch after which all of them are brought there.
const SMALL: u64 = 128 << 20;
/// Stretches that wait; those beyond are left to be longer.
const WAITING: usize = 16;

#[derive(Debug)]
pub(super) struct Flusher {
    sender: SyncSender<Job>,
    thread: JoinHandle<io::Result<()>>,
    /// Bytes of small files since the last time that all were brought to the disk.
    small: AtomicU64,
}

#[derive(Debug)]
enum Job {
    Stretch { file: Arc<File>, from: u64, length: u64 },
    All,
}

impl Flusher {
    /// Works on the file system of `root` until it is [ended](Self::end) or dropped.
    pub(super) fn start(root: OwnedFd) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let thread =
            thread::Builder::new().name("flush".into()).spawn(move || work(&root, &receiver))?;
        Ok(Self { sender, thread, small: AtomicU64::new(0) })
    }

    /// Asks for a stretch of a file; `false` where enough of them wait.
    pub(super) fn stretch(&self, file: &Arc<File>, from: u64, length: u64) -> bool {
        self.sender.try_send(Job::Stretch { file: Arc::clone(file), from, length }).is_ok()
    }

    /// A small file of so many bytes was written.
    pub(super) fn small_file(&self, bytes: u64) {
        // A file takes a block and an inode at least.
        let bytes = bytes.max(4096) + 512;
        let sum = self.small.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if sum >= SMALL && self.sender.try_send(Job::All).is_ok() {
            self.small.fetch_sub(sum.min(SMALL), Ordering::Relaxed);
        }
    }

    /// Waits for what was asked for.
    ///
    /// # Errors
    /// What the disk said.
    pub(super) fn end(self) -> io::Result<()> {
        drop(self.sender);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn work(root: &OwnedFd, jobs: &Receiver<Job>) -> io::Result<()> {
    let mut first = Ok(());
    for job in jobs {
        let done = match job {
            Job::Stretch { file, from, length } => begin(&file, from, length),
            Job::All => syncfs(root).map_err(io::Error::from),
        };
        first = first.and(done);
    }
    first
}

/// Begins to write a range of a file to the disk, and does not wait for it.
#[expect(unsafe_code, reason = "no safe wrapper has this call")]
fn begin(file: &File, from: u64, length: u64) -> io::Result<()> {
    let (from, length) = (from.cast_signed(), length.cast_signed());
    // SAFETY: the call takes numbers alone, and the descriptor is open as long as `file` is.
    let done = unsafe {
        libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE)
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Not every file system has it; all of it is left to the end there.
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}
