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

/// Decodes bytes that must yield exactly `expected` bytes; never makes more than one byte beyond, so
/// that a bomb costs no memory.
pub fn decode_exact(codec: Codec, bytes: &[u8], expected: u64) -> Result<Vec<u8>, ExactError> {
    decode_exact_into(codec, bytes, expected, Vec::new())
}

/// As [`decode_exact`], from a reader into a buffer that may have been used before. What the reader
/// itself says is an [`ExactError::Stream`] of its kind.
pub fn decode_exact_into<R: Read + Send>(
    codec: Codec,
    input: R,
    expected: u64,
    mut out: Vec<u8>,
) -> Result<Vec<u8>, ExactError> {
    let room = usize::try_from(expected.saturating_add(1)).unwrap_or(usize::MAX);
    if out.capacity() < room {
        // The system's zeros cost nothing until they are used.
        out = vec![0; room];
    }
    out.resize(room, 0);
    let mut input = strict(codec, input);
    let mut got = 0;
    while got < room {
        match input.read(&mut out[got..]).map_err(ExactError::Stream)? {
            0 => break,
            count => got += count,
        }
    }
    out.truncate(got);
    let got = got as u64;
    if got == expected { Ok(out) } else { Err(ExactError::WrongSize { expected, got }) }
}

fn strict<'a, R: Read + Send + 'a>(codec: Codec, input: R) -> Strict<'a> {
    let failed = Arc::new(AtomicBool::new(false));
    let input = Input { inner: input, failed: Arc::clone(&failed) };
    let mut input = BufReader::with_capacity(INPUT_BUFFER, input);
    if codec == Codec::Plain {
        return Strict { inner: Box::new(input), input_failed: failed, error: None };
    }
    let inner: io::Result<Box<dyn Read + Send + 'a>> = match input.fill_buf() {
        Err(error) => Err(error),
        Ok([]) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the object is empty")),
        Ok(_) => open(codec, input),
    };
    match inner {
        Ok(inner) => Strict { inner, input_failed: failed, error: None },
        Err(error) => Strict {
            inner: Box::new(io::empty()),
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

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buf) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                done => return done,
            }
        }
    }
}

/// Gives errors one of two kinds and repeats them: some decoders report the end after an error.
struct Strict<'a> {
    inner: Box<dyn Read + Send + 'a>,
    input_failed: Arc<AtomicBool>,
    error: Option<io::Error>,
}

impl Read for Strict<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        if buf.is_empty() {
            return Ok(0);
        }
        self.inner.read(buf).map_err(|error| {
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
