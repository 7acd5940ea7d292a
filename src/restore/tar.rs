//! A strict tar reader: ustar with the pax headers of Python's `tarfile`, and GNU long names.
//!
//! Anything that is not an archive to its very end is damage. Other readers, Python's among them,
//! take a bad header in the middle for the end of the archive and lose what follows without a word.
//! Memory is bounded whatever a header claims.
//! Format: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>.

mod header;
mod pax;

use std::io::{self, BufRead, ErrorKind};

use header::{Header, Kind};
use pax::Overrides;

use super::ahead::{Keep, Kept};

/// A header, and the unit to which data is padded.
const BLOCK: usize = 512;
/// The longest name that is read.
const MAX_NAME: u64 = 64 * 1024;
/// The largest pax header that is read.
const MAX_PAX: u64 = 1024 * 1024;

/// What kind of file a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    Hardlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// One member, after its extended headers were applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is in the archive: may be absolute, contain `..`, or not be UTF-8.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Bytes of data; 0 for everything but files.
    pub size: u64,
    /// Where a link points to; empty for everything else.
    pub link: Vec<u8>,
    /// Where its header begins in the (decompressed) archive.
    pub offset: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive is damaged.
    #[error("{what}")]
    Damage {
        /// Where in the (decompressed) archive.
        offset: u64,
        /// The member that was being read, if there was one.
        member: Option<String>,
        what: String,
    },
    /// What is read from failed, in a way that is not damage.
    #[error("{0}")]
    Input(io::Error),
}

type Result<T> = std::result::Result<T, TarError>;

/// Reads an archive member by member.
pub struct TarReader<R> {
    input: R,
    /// Bytes read from `input`.
    offset: u64,
    /// Bytes of the current member's data still to come.
    left: u64,
    /// Bytes of padding behind them.
    padding: usize,
    /// The name of the current member, for messages.
    member: Option<String>,
    globals: Overrides,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl<R> std::fmt::Debug for TarReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarReader").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<R: BufRead> TarReader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            left: 0,
            padding: 0,
            member: None,
            globals: Overrides::default(),
            state: State::Reading,
        }
    }

    /// The next member, after what is left of the current one; `None` once the two end blocks were
    /// seen and nothing but zeros follows to the end of the input.
    ///
    /// # Errors
    /// Damage and errors of the input are final: every later call fails too.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.checked(Self::advance)
    }

    /// The next bytes of the current member, as many as are at hand; none at its end. They count as
    /// read once [`Self::consume`] is told so.
    ///
    /// # Errors
    /// As [`Self::next_entry`].
    pub fn data(&mut self) -> Result<&[u8]> {
        match self.checked(Self::at_hand)? {
            0 => Ok(&[]),
            // Filled just now.
            count => self.input.fill_buf().map(|bytes| &bytes[..count]).map_err(TarError::Input),
        }
    }

    /// Keeps the first `count` bytes of what [`Self::data`] gave.
    pub fn keep(&mut self, count: usize) -> Kept
    where
        R: Keep,
    {
        self.input.keep(count.min(usize::try_from(self.left).unwrap_or(usize::MAX)))
    }

    /// Goes on behind `count` bytes of what [`Self::data`] gave.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.input.consume(count);
        self.offset += count as u64;
        self.left -= count as u64;
    }

    fn at_hand(&mut self) -> Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.input.fill_buf() {
                Ok(bytes) => break bytes.len(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        };
        if count == 0 {
            return Err(self.early());
        }
        Ok(count.min(usize::try_from(self.left).unwrap_or(usize::MAX)))
    }

    /// Reads data of the current member; 0 at its end.
    ///
    /// # Errors
    /// As [`Self::next_entry`].
    pub fn read_data(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.checked(|reader| {
            let wanted = buf.len().min(usize::try_from(reader.left).unwrap_or(usize::MAX));
            if wanted == 0 {
                return Ok(0);
            }
            let count = reader.read_some(&mut buf[..wanted])?;
            if count == 0 {
                return Err(reader.early());
            }
            reader.left -= count as u64;
            Ok(count)
        })
    }

    /// Bytes of the (decompressed) archive that were read.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn checked<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.state == State::Failed {
            return Err(TarError::Input(io::Error::other("read on after an error")));
        }
        act(self).inspect_err(|_| self.state = State::Failed)
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        if self.state == State::Ended {
            return Ok(None);
        }
        self.finish_member()?;
        let mut local = Overrides::default();
        let mut extended = false;
        loop {
            let offset = self.offset;
            let Some(block) = self.header_block()? else {
                if extended {
                    return Err(self.damage("an extended header has no member behind it"));
                }
                self.state = State::Ended;
                return Ok(None);
            };
            let header = Header::parse(&block).map_err(|what| self.damage_at(offset, what))?;
            match header.kind {
                Kind::PaxLocal | Kind::PaxGlobal => {
                    let global = header.kind == Kind::PaxGlobal;
                    let body = self.body(header.size, MAX_PAX, "pax header")?;
                    let target = if global { &mut self.globals } else { &mut local };
                    let parsed = target.apply_pax(&body);
                    parsed.map_err(|what| self.damage_at(offset, what))?;
                    extended |= !global;
                }
                Kind::GnuLongName => {
                    local.path = Some(self.long_name(header.size)?);
                    extended = true;
                }
                Kind::GnuLongLink => {
                    local.link = Some(self.long_name(header.size)?);
                    extended = true;
                }
                Kind::Member(kind) => {
                    let entry = self.entry(header, kind, &local, offset)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: Header,
        mut kind: EntryKind,
        local: &Overrides,
        offset: u64,
    ) -> Result<Entry> {
        let pick = |own: &Option<Vec<u8>>, global: &Option<Vec<u8>>, plain: Vec<u8>| {
            own.as_ref().or(global.as_ref()).cloned().unwrap_or(plain)
        };
        let path = pick(&local.path, &self.globals.path, header.path);
        let link = pick(&local.link, &self.globals.link, header.link);
        let size = local.size.or(self.globals.size).unwrap_or(header.size);
        if header.old_file && path.last() == Some(&b'/') {
            kind = EntryKind::Directory;
        }
        let name = String::from_utf8_lossy(&path[..path.len().min(1024)]).into_owned();
        self.member = Some(name);
        if kind != EntryKind::File && size != 0 {
            return Err(self.damage_at(offset, format!("{kind:?} with {size} bytes of data")));
        }
        if size > i64::MAX as u64 {
            return Err(self.damage_at(offset, format!("a size of {size} bytes")));
        }
        self.expect_data(size);
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::Hardlink);
        let link = if is_link { link } else { Vec::new() };
        Ok(Entry { path, kind, size, link, offset })
    }

    const fn expect_data(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    /// The body of an extended header.
    fn body(&mut self, size: u64, max: u64, what: &str) -> Result<Vec<u8>> {
        if size > max {
            return Err(self.damage(format!("a {what} of {size} bytes")));
        }
        self.expect_data(size);
        let mut body = vec![0; size as usize];
        self.fill(&mut body, what)?;
        self.left = 0;
        self.finish_member()?;
        Ok(body)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.body(size, MAX_NAME, "long name")?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Reads over what is left of the current member.
    fn finish_member(&mut self) -> Result<()> {
        while self.left > 0 {
            let count = self.at_hand()?;
            self.consume(count);
        }
        if self.padding > 0 {
            let mut block = [0; BLOCK];
            let padding = &mut block[..std::mem::take(&mut self.padding)];
            self.fill(padding, "member's padding")?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(self.damage("the padding behind a member is not zero"));
            }
        }
        self.member = None;
        Ok(())
    }

    /// A header that is not all zeros, or `None` for a proper end.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let got = self.read_up_to(&mut block)?;
        if got < BLOCK {
            let what = if got == 0 {
                "the archive ends without its end blocks"
            } else {
                "the archive ends inside a header"
            };
            return Err(self.damage(what));
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        // The first end block. From here on there is nothing but zeros, one block at least.
        let mut zeros = 0;
        loop {
            let got = self.read_up_to(&mut block)?;
            if block[..got].iter().any(|byte| *byte != 0) {
                let at = self.offset - got as u64;
                return Err(self.damage_at(at, "something follows the end of the archive"));
            }
            zeros += got;
            if got < BLOCK {
                break;
            }
            // Only the first block counts; the rest may be long.
            zeros = BLOCK;
        }
        match zeros {
            BLOCK => Ok(None),
            0 => Err(self.damage("the archive ends with one end block instead of two")),
            _ => Err(self.damage("the archive ends inside a block")),
        }
    }

    fn fill(&mut self, buf: &mut [u8], what: &str) -> Result<()> {
        if self.read_up_to(buf)? < buf.len() {
            return Err(self.damage(format!("the archive ends inside a {what}")));
        }
        Ok(())
    }

    fn read_up_to(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buf.len() {
            match self.read_some(&mut buf[got..])? {
                0 => break,
                count => got += count,
            }
        }
        Ok(got)
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buf) {
                Ok(count) => {
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn early(&self) -> TarError {
        self.damage(format!("the archive ends {} bytes early", self.left))
    }

    /// What the input said: damage of a compressed stream, or nothing that the archive did.
    fn failed(&self, error: io::Error) -> TarError {
        match error.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                self.damage(format!("the compressed stream is damaged: {error}"))
            }
            _ => TarError::Input(error),
        }
    }

    fn damage(&self, what: impl Into<String>) -> TarError {
        self.damage_at(self.offset, what)
    }

    fn damage_at(&self, offset: u64, what: impl Into<String>) -> TarError {
        TarError::Damage { offset, member: self.member.clone(), what: what.into() }
    }
}

#[cfg(test)]
#[path = "tar/tests.rs"]
pub(in crate::restore) mod tests;
