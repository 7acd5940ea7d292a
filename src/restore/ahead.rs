//! Bytes decoded ahead of whoever examines them, on a thread of their own: a stream is then read as fast
//! as the slower of the two goes, not as both together. Whoever writes them down may keep them, so that a
//! third thread does that, and nothing is copied.

use std::{
    io::{self, BufRead, ErrorKind, Read},
    ops::{Deref, Range},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use super::pipe::Taken;

/// Bytes of a buffer: large enough that handing it over costs nothing, small enough for the
/// processor's cache.
const BUFFER: usize = 512 << 10;
/// Buffers of a stream: one is filled, one is read, some wait to be written, and the rest even out what
/// takes longer at times.
const BUFFERS: usize = 8;

/// Reads what `open` gives on another thread, ahead of `consume`. Both have ended when this returns; an
/// input that blocks must thus be ended from outside once `consume` is through, and what was kept must have
/// been dropped by then.
///
/// # Panics
/// As `open`, its reader and `consume` do.
pub fn read_ahead<R: Read, T>(
    open: impl FnOnce() -> R + Send,
    taken: Taken,
    near: Near,
    consume: impl FnOnce(Ahead) -> T,
) -> T {
    let (full, filled) = sync_channel(BUFFERS);
    let (empty, emptied) = channel();
    for _ in 0..BUFFERS {
        let _ = empty.send(Vec::new());
    }
    let piece = Arc::new(Buffer { bytes: Vec::new(), home: None });
    let ahead = Ahead { filled, empty, piece, at: 0, near, end: None };
    thread::scope(|scope| {
        scope.spawn(move || fill(open(), &taken, &full, &emptied));
        consume(ahead)
    })
}

/// How far into its object a reader is, ahead of which others decode: what has been taken of the object
/// when the bytes that are being examined were decoded.
#[derive(Clone, Debug, Default)]
pub struct Near(Arc<AtomicU64>);

impl Near {
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that come in pieces, of which some may be kept.
pub trait Keep: BufRead {
    /// The first `count` of the bytes that are at hand, for as long as they are held: they must be dropped
    /// for the stream to go on. Must be called before they are consumed.
    fn keep(&mut self, count: usize) -> Kept;
}

/// Bytes of a stream, kept.
#[derive(Clone, Debug)]
pub struct Kept {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Kept {
    /// Whether both hold the same buffer back.
    #[must_use]
    pub fn is_of_one_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer.bytes[self.range.clone()]
    }
}

/// Goes back to be filled again when the last one who holds it is through.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    home: Option<Sender<Vec<u8>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // Nobody takes it once the input has ended.
            let _ = home.send(std::mem::take(&mut self.bytes));
        }
    }
}

/// A buffer with what it was filled from, and what came behind its bytes.
struct Filled {
    bytes: Vec<u8>,
    taken: u64,
    end: Option<End>,
}

enum End {
    Whole,
    Error(io::Error),
}

fn fill(
    mut input: impl Read,
    taken: &Taken,
    full: &SyncSender<Filled>,
    emptied: &Receiver<Vec<u8>>,
) {
    while let Ok(mut bytes) = emptied.recv() {
        bytes.resize(BUFFER, 0);
        let (mut count, mut end) = (0, None);
        while count < BUFFER && end.is_none() {
            match input.read(&mut bytes[count..]) {
                Ok(0) => end = Some(End::Whole),
                Ok(more) => count += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => end = Some(End::Error(error)),
            }
        }
        bytes.truncate(count);
        let last = end.is_some();
        let sent = full.send(Filled { bytes, taken: taken.bytes(), end });
        if last || sent.is_err() {
            return;
        }
    }
}

/// The end that is read: gives what the input gave, its error behind the bytes before it.
pub struct Ahead {
    filled: Receiver<Filled>,
    empty: Sender<Vec<u8>>,
    piece: Arc<Buffer>,
    at: usize,
    near: Near,
    end: Option<End>,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("near", &self.near).finish_non_exhaustive()
    }
}

impl BufRead for Ahead {
    /// # Errors
    /// What the input gave; every later call gives an error of the same kind.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.piece.bytes.len() {
            match &self.end {
                None => {}
                Some(End::Whole) => break,
                Some(End::Error(error)) => {
                    return Err(io::Error::new(error.kind(), error.to_string()));
                }
            }
            let Ok(Filled { bytes, taken, end }) = self.filled.recv() else {
                let what = "the thread that decodes ended before its input";
                return Err(io::Error::new(ErrorKind::BrokenPipe, what));
            };
            self.near.0.store(taken, Ordering::Relaxed);
            self.piece = Arc::new(Buffer { bytes, home: Some(self.empty.clone()) });
            (self.at, self.end) = (0, end);
        }
        Ok(&self.piece.bytes[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.piece.bytes.len());
    }
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = {
            let piece = self.fill_buf()?;
            let count = piece.len().min(buf.len());
            buf[..count].copy_from_slice(&piece[..count]);
            count
        };
        self.consume(count);
        Ok(count)
    }
}

impl Keep for Ahead {
    fn keep(&mut self, count: usize) -> Kept {
        let end = (self.at + count).min(self.piece.bytes.len());
        Kept { buffer: Arc::clone(&self.piece), range: self.at..end }
    }
}

/// Keeps a copy.
impl Keep for &[u8] {
    fn keep(&mut self, count: usize) -> Kept {
        let bytes = self[..count.min(self.len())].to_vec();
        let range = 0..bytes.len();
        Kept { buffer: Arc::new(Buffer { bytes, home: None }), range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `bytes` in pieces of any length, then `end`.
    struct Input {
        bytes: Vec<u8>,
        at: usize,
        piece: usize,
        end: Option<ErrorKind>,
    }

    impl Read for Input {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let count = buf.len().min(self.piece).min(self.bytes.len() - self.at);
            if count == 0
                && let Some(kind) = self.end
            {
                return Err(io::Error::new(kind, "what happened"));
            }
            buf[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    fn input(length: usize, piece: usize, end: Option<ErrorKind>) -> Input {
        let bytes = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
        Input { bytes, at: 0, piece, end }
    }

    fn through<T>(input: Input, consume: impl FnOnce(Ahead) -> T) -> T {
        read_ahead(|| input, Taken::default(), Near::default(), consume)
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_pieces() {
        for (length, piece) in
            [(0, 1), (1, 1), (BUFFER, 7000), (BUFFER * 9 + 5, 100_000), (BUFFER * 3, BUFFER * 2)]
        {
            let expected = input(length, piece, None).bytes;
            let got = through(input(length, piece, None), |mut ahead| {
                let mut got = Vec::new();
                ahead.read_to_end(&mut got).unwrap();
                assert_eq!(ahead.read(&mut [0; 9]).unwrap(), 0);
                got
            });
            assert!(got == expected, "{length} bytes in pieces of {piece}");
        }
    }

    #[test]
    fn an_error_keeps_its_kind_comes_behind_its_bytes_and_stays() {
        for kind in [ErrorKind::InvalidData, ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe] {
            let length = BUFFER * 2 + 1000;
            through(input(length, 30_000, Some(kind)), |mut ahead| {
                let mut got = vec![0; length];
                ahead.read_exact(&mut got).unwrap();
                assert!(got == input(length, 1, None).bytes);
                for _ in 0..2 {
                    assert_eq!(ahead.read(&mut [0; 9]).unwrap_err().kind(), kind);
                }
            });
        }
    }

    #[test]
    fn one_who_leaves_early_ends_the_other_thread() {
        // Without an end: only the reader's going stops it.
        struct Forever;
        impl Read for Forever {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                buf.fill(1);
                Ok(buf.len())
            }
        }
        let first = read_ahead(
            || Forever,
            Taken::default(),
            Near::default(),
            |mut ahead| {
                let mut first = [0; 10];
                ahead.read_exact(&mut first).unwrap();
                first
            },
        );
        assert_eq!(first, [1; 10]);
    }

    #[test]
    fn what_is_kept_stays_and_its_buffer_comes_back() {
        let length = BUFFER * BUFFERS * 3;
        let expected = input(length, 1, None).bytes;
        through(input(length, 70_000, None), |mut ahead| {
            let mut kept = std::collections::VecDeque::new();
            let mut at = 0;
            loop {
                let count = ahead.fill_buf().unwrap().len().min(100_000);
                if count == 0 {
                    break;
                }
                kept.push_back((at, ahead.keep(count)));
                ahead.consume(count);
                at += count;
                // As many as there are buffers, less the one that is read and the one that is filled.
                while kept.front().is_some_and(|(from, _)| at - from > BUFFER * (BUFFERS - 3)) {
                    let (from, bytes) = kept.pop_front().unwrap();
                    assert!(*bytes == expected[from..from + bytes.len()], "at {from}");
                }
            }
            assert_eq!(at, length);
            for (from, bytes) in kept {
                assert!(*bytes == expected[from..from + bytes.len()], "at {from}");
            }
        });
    }

    #[test]
    fn near_is_where_the_examined_bytes_came_from() {
        /// Counts what it gives, as the reader of a body does.
        struct Counted(Input, Taken);
        impl Read for Counted {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let count = self.0.read(buf)?;
                self.1.add(count as u64);
                Ok(count)
            }
        }
        let (taken, near) = (Taken::default(), Near::default());
        let counted = Counted(input(BUFFER * 20, 10_000, None), taken.clone());
        read_ahead(
            || counted,
            taken.clone(),
            near.clone(),
            |mut ahead| {
                for buffer in 1..=20 {
                    ahead.read_exact(&mut vec![0; BUFFER]).unwrap();
                    assert_eq!(near.bytes(), buffer * BUFFER as u64);
                }
                assert!(taken.bytes() >= near.bytes());
            },
        );
    }
}
