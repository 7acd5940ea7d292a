//! Strict streaming decoders: a stream that is cut, padded with garbage or fails a checksum is an
//! error, never a short success.
//!
//! What a format cannot tell, this room cannot either: snappy streams and concatenated members may
//! end at any member's border, and LZ4 frames carry a checksum of their content only where the
//! writer asked for one (`barman-cloud` does not). The tar reader and the length of a segment see
//! what is then missing.

mod encode;
mod lz4;
mod snappy;

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use self::encode::encode;
use crate::archive::Codec;

/// Bytes of compressed input that a decoder holds.
const INPUT_BUFFER: usize = 128 * 1024;
/// What an xz decoder may allocate: preset 9 needs 65 MiB.
const XZ_MEMORY: u64 = 96 * 1024 * 1024;

/// Why bytes did not decode to exactly the expected size.
#[derive(Debug, thiserror::Error)]
pub enum ExactError {
    /// The stream is sound but holds fewer bytes, or at least one byte more.
    #[error("{}", wrong_size(*.expected, *.got))]
    WrongSize {
        expected: u64,
        /// Decoded bytes; `expected + 1` stands for any larger number.
        got: u64,
    },
    /// The stream itself is damaged.
    #[error("{0}")]
    Stream(io::Error),
}

fn wrong_size(expected: u64, got: u64) -> String {
    if got > expected {
        format!("holds more than the expected {expected} bytes")
    } else {
        format!("holds {got} bytes instead of {expected}")
    }
}

/// Decodes `input` to its last byte. Concatenated members decode to one stream.
///
/// Damage is an [`io::Error`] of kind `InvalidData` or `UnexpectedEof`; an error of `input` itself
/// passes unchanged. After an error every further read fails. An empty input is damage for every
/// codec but plain.
pub fn decoder<R: Read + Send + 'static>(codec: Codec, input: R) -> Box<dyn Read + Send> {
    buffered_decoder(codec, BufReader::with_capacity(INPUT_BUFFER, input))
}

/// As [`decoder`], of bytes that need not be copied to be read.
pub(super) fn buffered_decoder<R: BufRead + Send + 'static>(
    codec: Codec,
    input: R,
) -> Box<dyn Read + Send> {
    Box::new(strict(codec, input))
}

/// Decodes a small file of at most `max` bytes; a longer one is `InvalidData`.
pub fn decode_small(codec: Codec, bytes: &[u8], max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let got = strict(codec, bytes).take(max.saturating_add(1)).read_to_end(&mut out)?;
    if got as u64 > max {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("holds more than {max} bytes")));
    }
    Ok(out)
}

/// Decodes what must yield exactly `expected` bytes; never makes more than one byte beyond, so that a
/// bomb costs no memory. What the reader itself says is an [`ExactError::Stream`] of its kind.
pub fn decode_exact<R: BufRead + Send>(
    codec: Codec,
    input: R,
    expected: u64,
) -> Result<Vec<u8>, ExactError> {
    let room = usize::try_from(expected).unwrap_or(usize::MAX);
    // The system's zeros cost nothing until they are used.
    let mut out = vec![0; room];
    let mut exact = Exact::new(codec, input, expected);
    let count = exact.fill(&mut out)?;
    out.truncate(count);
    exact.end().map(|()| out)
}

/// Bytes being decoded of which the number is known.
pub(super) struct Exact<'a> {
    input: Strict<'a>,
    expected: u64,
    got: u64,
    /// Bytes of the input that were lent.
    lent: usize,
}

impl<'a> Exact<'a> {
    pub(super) fn new<R: BufRead + Send + 'a>(codec: Codec, input: R, expected: u64) -> Self {
        Self { input: strict(codec, input), expected, got: 0, lent: 0 }
    }

    /// The next bytes, as many as `buffer` holds; fewer where the stream or the expected number ends.
    /// What is stored as it is and lies there in one piece is not copied.
    pub(super) fn part<'b>(&'b mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], ExactError> {
        self.give_back();
        let left = usize::try_from(self.expected - self.got).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 || self.input.plain(wanted).is_none() {
            let count = self.fill(buffer)?;
            return Ok(&buffer[..count]);
        }
        self.lent = wanted;
        self.got += wanted as u64;
        Ok(self.input.plain(wanted).unwrap_or_default())
    }

    fn give_back(&mut self) {
        if let Inner::Plain(input) = &mut self.input.inner {
            input.consume(std::mem::take(&mut self.lent));
        }
    }

    /// Decodes the next bytes; fewer than there is room for where the stream or the expected number
    /// ends.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, ExactError> {
        self.give_back();
        let left = usize::try_from(self.expected - self.got).unwrap_or(usize::MAX);
        let room = out.len().min(left);
        let mut count = 0;
        while count < room {
            match self.input.read(&mut out[count..room]).map_err(ExactError::Stream)? {
                0 => break,
                more => count += more,
            }
        }
        self.got += count as u64;
        Ok(count)
    }

    /// Reads on to the stream's end, which must come at once.
    pub(super) fn end(mut self) -> Result<(), ExactError> {
        self.give_back();
        let beyond = self.input.read(&mut [0]).map_err(ExactError::Stream)?;
        let (expected, got) = (self.expected, self.got + beyond as u64);
        if got == expected { Ok(()) } else { Err(ExactError::WrongSize { expected, got }) }
    }
}

fn strict<'a, R: BufRead + Send + 'a>(codec: Codec, input: R) -> Strict<'a> {
    let failed = Arc::new(AtomicBool::new(false));
    let mut input = Input { inner: input, failed: Arc::clone(&failed) };
    if codec == Codec::Plain {
        return Strict { inner: Inner::Plain(Box::new(input)), input_failed: failed, error: None };
    }
    let inner: io::Result<Box<dyn Read + Send + 'a>> = match input.fill_buf() {
        Err(error) => Err(error),
        Ok([]) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the object is empty")),
        Ok(_) => open(codec, input),
    };
    match inner {
        Ok(inner) => Strict { inner: Inner::Decoder(inner), input_failed: failed, error: None },
        Err(error) => Strict {
            inner: Inner::Decoder(Box::new(io::empty())),
            error: Some(classify(error, failed.load(Ordering::Relaxed))),
            input_failed: failed,
        },
    }
}

fn open<'a, R: BufRead + Send + 'a>(
    codec: Codec,
    input: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match codec {
        Codec::Plain => Box::new(input),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Codec::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Codec::Xz => {
            let flags = liblzma::stream::CONCATENATED | liblzma::stream::TELL_UNSUPPORTED_CHECK;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Codec::Snappy => Box::new(snappy::SnappyReader::new(input)),
        Codec::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Codec::Lz4 => Box::new(lz4::Lz4Reader::new(input)),
    })
}

/// Remembers whether an error came from the input rather than from the decoder on top.
struct Input<R> {
    inner: R,
    failed: Arc<AtomicBool>,
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buf)?;
        self.inner.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        // What is there is given again.
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}

/// Where decoded bytes come from.
enum Inner<'a> {
    /// They are stored as they are.
    Plain(Box<dyn BufRead + Send + 'a>),
    Decoder(Box<dyn Read + Send + 'a>),
}

/// Gives errors one of two kinds and repeats them: some decoders report the end after an error.
struct Strict<'a> {
    inner: Inner<'a>,
    input_failed: Arc<AtomicBool>,
    error: Option<io::Error>,
}

impl Strict<'_> {
    /// The next bytes without a copy, where they are stored as they are and so many lie in one piece.
    fn plain(&mut self, wanted: usize) -> Option<&[u8]> {
        let Inner::Plain(input) = &mut self.inner else { return None };
        // An error is told to who reads.
        input.fill_buf().ok()?.get(..wanted)
    }
}

impl Read for Strict<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.inner {
            Inner::Plain(input) => input.read(buf),
            Inner::Decoder(decoder) => decoder.read(buf),
        };
        read.map_err(|error| {
            let error = classify(error, self.input_failed.load(Ordering::Relaxed));
            self.error = Some(io::Error::new(error.kind(), error.to_string()));
            error
        })
    }
}

fn classify(error: io::Error, input_failed: bool) -> io::Error {
    match error.kind() {
        _ if input_failed => error,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => error,
        _ => io::Error::new(ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
#[path = "codec/tests.rs"]
pub(in crate::restore) mod tests;
