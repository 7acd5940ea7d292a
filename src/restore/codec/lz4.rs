//! LZ4 frames to their end marks.
//!
//! `lz4_flex` takes the end of the input for the end of a frame wherever a block may begin, and
//! after a frame's magic number. A small state machine below it follows the structure of the frame
//! and knows whether the end mark was seen.
//! Format: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.

use std::io::{self, BufRead, ErrorKind, Read};

use lz4_flex::frame::FrameDecoder;

const MAGIC: u32 = 0x184D_2204;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;

/// Decodes concatenated frames; every one must reach its end mark.
pub(super) struct Lz4Reader<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    Between(R),
    Inside(Box<FrameDecoder<Follow<R>>>),
    /// Only while a frame changes hands, or after an error.
    Gone,
}

impl<R: BufRead> Lz4Reader<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { state: State::Between(input) }
    }
}

impl<R: BufRead> Read for Lz4Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Gone) {
                State::Between(mut input) => match next_frame(&mut input)? {
                    None => {
                        self.state = State::Between(input);
                        return Ok(0);
                    }
                    // A decoder for each frame: block sizes may differ.
                    Some(magic) => {
                        let frame = FrameDecoder::new(Follow::new(input, magic));
                        State::Inside(Box::new(frame))
                    }
                },
                State::Inside(mut frame) => match frame.read(buf)? {
                    0 if frame.get_ref().ended() => State::Between(frame.into_inner().inner),
                    0 => return Err(cut()),
                    count => {
                        self.state = State::Inside(frame);
                        return Ok(count);
                    }
                },
                State::Gone => return Err(invalid("read after an error")),
            };
        }
    }
}

/// Reads up to the magic number of the next frame, over skippable ones; `None` at the end.
fn next_frame<R: BufRead>(input: &mut R) -> io::Result<Option<[u8; 4]>> {
    loop {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        let number = u32::from_le_bytes(magic);
        if SKIPPABLE.contains(&number) {
            let mut length = [0; 4];
            input.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut input.take(length), &mut io::sink())? < length {
                return Err(cut());
            }
        } else if number == MAGIC {
            return Ok(Some(magic));
        } else {
            return Err(invalid("what should be an LZ4 frame does not begin like one"));
        }
    }
}

/// Hands bytes on and follows the frame's structure.
struct Follow<R> {
    inner: R,
    /// The magic number, which was read before.
    magic: [u8; 4],
    magic_given: usize,
    /// Bytes of the part that `at` names.
    seen: [u8; 4],
    seen_count: usize,
    flags: u8,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Flags,
    /// The rest of the header.
    Header {
        left: u32,
    },
    BlockSize,
    Block {
        left: u64,
    },
    ContentChecksum {
        left: u32,
    },
    End,
}

impl<R: Read> Follow<R> {
    const fn new(inner: R, magic: [u8; 4]) -> Self {
        Self { inner, magic, magic_given: 0, seen: [0; 4], seen_count: 0, flags: 0, at: At::Flags }
    }

    const fn ended(&self) -> bool {
        matches!(self.at, At::End)
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.at {
                At::Flags => {
                    self.flags = first;
                    let optional = u32::from(first & CONTENT_SIZE != 0) * 8
                        + u32::from(first & DICTIONARY != 0) * 4;
                    // The block descriptor, what is optional, and the header's checksum.
                    self.at = At::Header { left: 2 + optional };
                    bytes = rest;
                }
                At::Header { left } => {
                    self.at = if left > 1 { At::Header { left: left - 1 } } else { At::BlockSize };
                    bytes = rest;
                }
                At::BlockSize => {
                    self.seen[self.seen_count] = first;
                    self.seen_count += 1;
                    bytes = rest;
                    if self.seen_count == 4 {
                        self.seen_count = 0;
                        self.at = self.after_block_size(u32::from_le_bytes(self.seen))?;
                    }
                }
                At::Block { left } => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.at =
                        if left > taken { At::Block { left: left - taken } } else { At::BlockSize };
                }
                At::ContentChecksum { left } => {
                    self.at =
                        if left > 1 { At::ContentChecksum { left: left - 1 } } else { At::End };
                    bytes = rest;
                }
                At::End => return Err(invalid("the decoder read beyond the frame")),
            }
        }
        Ok(())
    }

    fn after_block_size(&self, size: u32) -> io::Result<At> {
        if size == 0 {
            let checksum = self.flags & CONTENT_CHECKSUM != 0;
            return Ok(if checksum { At::ContentChecksum { left: 4 } } else { At::End });
        }
        let length = u64::from(size & 0x7FFF_FFFF);
        if length == 0 {
            // The decoder would take it for the end; no writer makes it, a flipped end mark does.
            return Err(invalid("an LZ4 block is empty"));
        }
        let checksum = if self.flags & BLOCK_CHECKSUM == 0 { 0 } else { 4 };
        Ok(At::Block { left: length + checksum })
    }
}

impl<R: Read> Read for Follow<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let magic = &self.magic[self.magic_given..];
        if !magic.is_empty() {
            let count = magic.len().min(buf.len());
            buf[..count].copy_from_slice(&magic[..count]);
            self.magic_given += count;
            return Ok(count);
        }
        let count = self.inner.read(buf)?;
        self.follow(&buf[..count])?;
        Ok(count)
    }
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the stream ends before the LZ4 frame's end mark")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
