//! WAL records: header, block references and main data (`access/xlogrecord.h`), decoded as
//! `DecodeXLogRecord` does.

use std::ops::Range;

pub use super::crc::crc;
use super::field::{u16_at, u32_at, u64_at};
use crate::pg::{Lsn, Major, TimelineId};

/// `SizeOfXLogRecord`.
pub(super) const HEADER: usize = 24;
/// `MaxAllocSize`: PostgreSQL cannot read a longer record.
pub(super) const MAX_LENGTH: u32 = 0x3FFF_FFFF;
/// Offset of `xl_crc`.
pub(super) const CRC_OFFSET: usize = 20;

/// Resource manager ids (`access/rmgrlist.h`) that this module reads.
pub const RM_XLOG: u8 = 0;
/// Transaction manager.
pub const RM_XACT: u8 = 1;
/// Tablespaces.
pub const RM_TBLSPC: u8 = 5;
/// The last built-in one in 14 to 18 (`RM_LOGICALMSG_ID`).
const LAST_BUILT_IN: u8 = 21;
/// `RM_MIN_CUSTOM_ID`, from 15.
pub const FIRST_CUSTOM: u8 = 128;

const BLOCK_SIZE: u16 = 8192;
const MAX_BLOCK_ID: u8 = 32;

/// The fixed part of a record (`XLogRecord`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header {
    pub total_length: u32,
    pub xid: u32,
    pub prev: Lsn,
    pub info: u8,
    pub rmid: u8,
    pub crc: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            total_length: u32_at(bytes, 0)?,
            xid: u32_at(bytes, 4)?,
            prev: Lsn(u64_at(bytes, 8)?),
            info: *bytes.get(16)?,
            rmid: *bytes.get(17)?,
            crc: u32_at(bytes, CRC_OFFSET)?,
        })
    }
}

/// `RmgrIdIsValid`.
pub(super) const fn resource_manager_is_valid(rmid: u8, major: Major) -> bool {
    rmid <= LAST_BUILT_IN || (rmid >= FIRST_CUSTOM && !matches!(major, Major::V14))
}

/// A relation's files (`RelFileLocator`, before 16 `RelFileNode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    pub tablespace: u32,
    pub database: u32,
    pub number: u32,
}

/// A full-page image in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Bytes of the (perhaps compressed) image in the record.
    pub length: u16,
    pub hole_offset: u16,
    pub hole_length: u16,
    pub compressed: bool,
    /// Redo restores it (`BKPIMAGE_APPLY`); others serve `wal_consistency_checking` alone.
    pub apply: bool,
}

/// A block that a record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockReference {
    pub id: u8,
    pub relation: RelationFile,
    /// 0 main, 1 free space map, 2 visibility map, 3 init.
    pub fork: u8,
    pub block: u32,
    /// Redo makes the page anew without reading it (`BKPBLOCK_WILL_INIT`).
    pub will_init: bool,
    pub image: Option<Image>,
    data: (u32, u16),
}

/// One complete record whose CRC holds, with its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it begins (`ReadRecPtr`).
    pub start: Lsn,
    /// Where the next one may begin (`EndRecPtr`): `MAXALIGN`ed, after `XLOG_SWITCH` the next
    /// segment's start.
    pub end: Lsn,
    /// Start of the record before it.
    pub prev: Lsn,
    /// The timeline that it was written on.
    pub timeline: TimelineId,
    /// Resource manager.
    pub rmid: u8,
    /// `xl_info`: the upper four bits belong to the resource manager.
    pub info: u8,
    /// Transaction, 0 for none.
    pub xid: u32,
    /// Replication origin, 0 for none.
    pub origin: u16,
    /// Top-level transaction where `xid` is a subtransaction's first change, else 0.
    pub toplevel_xid: u32,
    /// The blocks that it changes, by rising id.
    pub blocks: &'a [BlockReference],
    /// Data that belong to no block.
    pub main: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// `xl_info` without the bits of the WAL machinery.
    #[must_use]
    pub const fn operation(&self) -> u8 {
        self.info & 0xF0
    }

    /// `xl_tot_len`: bytes of the record without page headers and padding.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The resource manager's data for a block of this record.
    #[must_use]
    pub fn block_data(&self, block: &BlockReference) -> &'a [u8] {
        let start = block.data.0 as usize;
        self.bytes.get(start..start + usize::from(block.data.1)).unwrap_or_default()
    }

    /// The whole record, `xl_tot_len` bytes.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Where a record was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub start: Lsn,
    pub end: Lsn,
    pub timeline: TimelineId,
}

/// What the headers of a record say of its data.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    origin: u16,
    toplevel_xid: u32,
    main: Range<usize>,
}

impl Parts {
    /// Reads the headers of a record whose CRC holds. `blocks` is scratch space, so that nothing is
    /// allocated for a record. The error is a sentence.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        major: Major,
        blocks: &mut Vec<BlockReference>,
    ) -> Result<(), &'static str> {
        blocks.clear();
        read_headers(bytes, bytes.len(), major, blocks, self).map_err(|error| match error {
            Cut => MISFIT,
            Wrong(detail) => detail,
        })
    }

    /// Data that belong to no block.
    pub(super) fn main<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.main.clone()).unwrap_or_default()
    }

    /// The record of which [`Self::read`] has read the headers.
    pub(super) fn record<'a>(
        &self,
        bytes: &'a [u8],
        place: Place,
        blocks: &'a [BlockReference],
    ) -> Record<'a> {
        let header = Header::read(bytes).unwrap_or_default();
        Record {
            start: place.start,
            end: place.end,
            prev: header.prev,
            timeline: place.timeline,
            rmid: header.rmid,
            info: header.info,
            xid: header.xid,
            origin: self.origin,
            toplevel_xid: self.toplevel_xid,
            blocks,
            main: self.main(bytes),
            bytes,
        }
    }
}

/// Why the headers of a record cannot be read.
enum Unreadable {
    /// The bytes at hand end inside of them.
    Cut,
    /// They contradict each other; a sentence.
    Wrong(&'static str),
}

use Unreadable::{Cut, Wrong};

const MISFIT: &str = "The record's parts do not fill it exactly.";

/// Checks the headers of a record of which only the first bytes are at hand: a damaged length would
/// pass for a record that the end of the log cut off. The error is a sentence.
pub(super) fn check_beginning(
    bytes: &[u8],
    total_length: u32,
    major: Major,
    blocks: &mut Vec<BlockReference>,
) -> Result<(), &'static str> {
    blocks.clear();
    match read_headers(bytes, total_length as usize, major, blocks, &mut Parts::default()) {
        Err(Wrong(detail)) => Err(detail),
        Ok(()) | Err(Cut) => Ok(()),
    }
}

/// Reads the headers after the first one of a record of `total` bytes that begins with `bytes`.
fn read_headers(
    bytes: &[u8],
    total: usize,
    major: Major,
    blocks: &mut Vec<BlockReference>,
    parts: &mut Parts,
) -> Result<(), Unreadable> {
    (parts.origin, parts.toplevel_xid) = (0, 0);
    let mut at = HEADER;
    // Bytes after the headers that the headers have promised so far.
    let mut promised = 0_usize;
    let mut main_length = 0_usize;
    while total.checked_sub(at).ok_or(Wrong(MISFIT))? > promised {
        let id = *bytes.get(at).ok_or(Cut)?;
        match id {
            // XLR_BLOCK_ID_DATA_SHORT and _LONG: by convention the last header.
            255 => {
                main_length = usize::from(*bytes.get(at + 1).ok_or(Cut)?);
                at += 2;
                break;
            }
            254 => {
                main_length = u32_at(bytes, at + 1).ok_or(Cut)? as usize;
                at += 5;
                break;
            }
            // XLR_BLOCK_ID_ORIGIN and XLR_BLOCK_ID_TOPLEVEL_XID.
            253 => {
                parts.origin = u16_at(bytes, at + 1).ok_or(Cut)?;
                at += 3;
            }
            252 => {
                parts.toplevel_xid = u32_at(bytes, at + 1).ok_or(Cut)?;
                at += 5;
            }
            0..=MAX_BLOCK_ID => {
                let last = blocks.last();
                if last.is_some_and(|block| id <= block.id) {
                    return Err(Wrong("The record's block references are out of order."));
                }
                let relation = last.map(|block| block.relation);
                let (block, next) = read_block(bytes, at, major, relation)?;
                promised += usize::from(block.data.1);
                promised += block.image.map_or(0, |image| usize::from(image.length));
                blocks.push(block);
                at = next;
            }
            _ => return Err(Wrong("The record has a block reference with an invalid id.")),
        }
    }
    promised += main_length;
    if total.checked_sub(at) != Some(promised) {
        return Err(Wrong(MISFIT));
    }
    for block in blocks {
        at += block.image.map_or(0, |image| usize::from(image.length));
        block.data.0 = u32::try_from(at).map_err(|_| Wrong(MISFIT))?;
        at += usize::from(block.data.1);
    }
    parts.main = at..at + main_length;
    Ok(())
}

/// One `XLogRecordBlockHeader` at `at`, and the offset after it.
fn read_block(
    bytes: &[u8],
    mut at: usize,
    major: Major,
    relation: Option<RelationFile>,
) -> Result<(BlockReference, usize), Unreadable> {
    let short = u16_at(bytes, at).zip(u16_at(bytes, at + 2));
    let (id_and_flags, data_length) = short.ok_or(Cut)?;
    let [id, flags] = id_and_flags.to_le_bytes();
    at += 4;
    let (has_image, has_data) = (flags & 0x10 != 0, flags & 0x20 != 0);
    let (will_init, same_relation) = (flags & 0x40 != 0, flags & 0x80 != 0);
    if has_data != (data_length != 0) {
        return Err(Wrong("A block reference has data without length or length without data."));
    }
    let mut image = None;
    if has_image {
        let (found, length) = read_image(bytes, at, major)?;
        image = Some(found);
        at += length;
    }
    let relation = if same_relation {
        relation.ok_or(Wrong("A block reference repeats a relation that was not named."))?
    } else {
        at += 12;
        RelationFile {
            tablespace: u32_at(bytes, at - 12).ok_or(Cut)?,
            database: u32_at(bytes, at - 8).ok_or(Cut)?,
            number: u32_at(bytes, at - 4).ok_or(Cut)?,
        }
    };
    let block = u32_at(bytes, at).ok_or(Cut)?;
    let fork = flags & 0x0F;
    let data = (0, data_length);
    Ok((BlockReference { id, relation, fork, block, will_init, image, data }, at + 4))
}

/// `XLogRecordBlockImageHeader` and `XLogRecordBlockCompressHeader` at `at`, and their length.
fn read_image(bytes: &[u8], at: usize, major: Major) -> Result<(Image, usize), Unreadable> {
    let length = u16_at(bytes, at).ok_or(Cut)?;
    let hole_offset = u16_at(bytes, at + 2).ok_or(Cut)?;
    let info = *bytes.get(at + 4).ok_or(Cut)?;
    // BKPIMAGE_HAS_HOLE is 0x01; 15 moved BKPIMAGE_APPLY to make room for compression methods.
    let has_hole = info & 0x01 != 0;
    let (apply, compressed) = match major {
        Major::V14 => (info & 0x04 != 0, info & 0x02 != 0),
        _ => (info & 0x02 != 0, info & 0x1C != 0),
    };
    let explicit_hole = compressed && has_hole;
    let hole_length = if explicit_hole {
        u16_at(bytes, at + 5).ok_or(Cut)?
    } else if compressed {
        0
    } else {
        BLOCK_SIZE.checked_sub(length).ok_or(Wrong("A page image is longer than a page."))?
    };
    let full = length >= BLOCK_SIZE;
    let sound = if has_hole {
        hole_offset != 0 && hole_length != 0 && !full
    } else {
        hole_offset == 0 && hole_length == 0 && compressed != full
    };
    if !sound {
        return Err(Wrong("A page image's lengths contradict each other."));
    }
    let image = Image { length, hole_offset, hole_length, compressed, apply };
    Ok((image, if explicit_hole { 7 } else { 5 }))
}
