//! Snappy streams in framing format.
//!
//! Below the decoder of `snap` a small state machine follows the chunks: chunks of the reserved
//! kinds that a decoder may skip are refused, because no writer makes them and one flipped bit turns
//! a chunk of data into one. The format has no end mark: a stream cut between chunks is seen by what
//! reads the decoded bytes.
//! Format: <https://github.com/google/snappy/blob/main/framing_format.txt>.

use std::io::{self, BufRead, ErrorKind, Read};

use snap::read::FrameDecoder;

/// Decodes a stream, also concatenated ones.
pub(super) struct SnappyReader<R: BufRead> {
    inner: FrameDecoder<Follow<R>>,
}

impl<R: BufRead> SnappyReader<R> {
    pub(super) fn new(input: R) -> Self {
        let follow = Follow { inner: input, header: [0; 4], header_count: 0, left: 0 };
        Self { inner: FrameDecoder::new(follow) }
    }
}

impl<R: BufRead> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        if count == 0 && !buf.is_empty() && !self.inner.get_ref().between_chunks() {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the stream ends inside a snappy chunk",
            ));
        }
        Ok(count)
    }
}

/// Hands bytes on and follows the chunks.
struct Follow<R> {
    inner: R,
    /// Kind and length (24 bits, little endian) of the chunk that begins.
    header: [u8; 4],
    header_count: usize,
    /// Bytes of the chunk's body to come.
    left: u64,
}

impl<R> Follow<R> {
    const fn between_chunks(&self) -> bool {
        self.header_count == 0 && self.left == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() as u64);
                self.left -= taken;
                bytes = &bytes[taken as usize..];
                continue;
            }
            self.header[self.header_count] = first;
            self.header_count += 1;
            bytes = rest;
            if self.header_count == 4 {
                let [kind, a, b, c] = self.header;
                if (0x80..=0xFD).contains(&kind) {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        format!("a snappy chunk is of the reserved kind {kind:#04x}"),
                    ));
                }
                self.header_count = 0;
                self.left = u64::from(u32::from_le_bytes([a, b, c, 0]));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Follow<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.follow(&buf[..count])?;
        Ok(count)
    }
}
