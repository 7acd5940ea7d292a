//! `CREATE TABLESPACE` in the log, `RM_TBLSPC` (`commands/tablespace.h`), and how to keep replay from
//! following it out of the sandbox.

use super::field::u32_at;
use super::page::{PAGE_SIZE, header_length, page_start};
use super::record::{CRC_OFFSET, Record, crc};
use crate::pg::{Lsn, SegmentNumber, SegmentSize};

const CREATE: u8 = 0x00;
/// Offset of `ts_path` in `xl_tblspc_create_rec`.
const PATH_OFFSET: usize = 4;

/// One byte of the log to replace before PostgreSQL replays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPatch {
    /// Where it stands in the log, page headers counted.
    pub lsn: Lsn,
    pub byte: u8,
}

/// A `CREATE TABLESPACE` as the record tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Creation<'a> {
    pub oid: u32,
    pub location: &'a [u8],
}

/// Reads a record of the tablespace manager; `None` for a drop. The error is a sentence.
pub(super) fn read<'a>(record: &Record<'a>) -> Result<Option<Creation<'a>>, &'static str> {
    if record.operation() != CREATE {
        return Ok(None);
    }
    let creation = || {
        let oid = u32_at(record.main, 0)?;
        let location = record.main.get(PATH_OFFSET..)?.split(|byte| *byte == 0).next()?;
        Some(Creation { oid, location })
    };
    creation().map(Some).ok_or("The tablespace's record is too short.")
}

/// The bytes that make replay of this record create the tablespace in place, under `pg_tblspc`: an
/// emptied location of the same length, and the CRC to match. PostgreSQL takes it from 14.5 on, with
/// `allow_in_place_tablespaces`.
pub(super) fn neutralise(record: &Record<'_>, size: SegmentSize, patches: &mut Vec<WalPatch>) {
    let mut bytes = record.bytes().to_vec();
    // The main data are the record's last part.
    let Some(path) = (bytes.len() + PATH_OFFSET).checked_sub(record.main.len()) else { return };
    match bytes.get_mut(path) {
        Some(first) if *first != 0 => *first = 0,
        _ => return,
    }
    let crc = crc(&bytes).to_le_bytes();
    let mut patch = |offset: usize, byte: u8| {
        patches.push(WalPatch { lsn: position(record.start, offset, size), byte });
    };
    crc.into_iter().enumerate().for_each(|(index, byte)| patch(CRC_OFFSET + index, byte));
    patch(path, 0);
}

/// Where the byte at `offset` of a record that begins at `start` stands in the log.
fn position(start: Lsn, offset: usize, size: SegmentSize) -> Lsn {
    let mut at = start;
    let mut left = offset as u64;
    loop {
        let page_end = Lsn(page_start(at).0 + PAGE_SIZE);
        let here = page_end.0 - at.0;
        if left < here {
            return Lsn(at.0 + left);
        }
        left -= here;
        at = Lsn(page_end.0 + header_length(page_end, size));
    }
}

/// Applies the patches that fall into a decoded segment. `patches` are in the order of the log, as
/// `WalSummary::patches` gives them.
pub fn neutralise_tablespaces(
    bytes: &mut [u8],
    number: SegmentNumber,
    size: SegmentSize,
    patches: &[WalPatch],
) {
    let (start, end) = (number.start(size), number.end(size));
    let first = patches.partition_point(|patch| patch.lsn < start);
    for patch in patches[first..].iter().take_while(|patch| patch.lsn < end) {
        if let Some(byte) = bytes.get_mut((patch.lsn.0 - start.0) as usize) {
            *byte = patch.byte;
        }
    }
}
