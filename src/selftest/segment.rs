//! A WAL segment in memory, with the places of its records, and changes to it that leave every checksum
//! right where that is wanted.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    archive::Codec,
    drill::plan::PlannedSegment,
    pg::{
        SegmentSize,
        wal::record::{self, Record},
    },
    restore::codec::encode,
};

use super::{dice::Dice, overlay::View};

/// `XLOG_BLCKSZ`.
pub const PAGE: usize = 8192;
/// `SizeOfXLogRecord`.
pub const RECORD_HEADER: usize = 24;

/// A segment of the recovery point.
#[derive(Clone, Debug)]
pub struct Segment {
    pub planned: PlannedSegment,
    /// Decoded.
    pub bytes: Bytes,
    /// Records that begin and end in one page, in order.
    pub records: Vec<Place>,
}

/// A record's place in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: usize,
    pub length: usize,
    pub rmid: u8,
    /// `xl_info` without the bits of the WAL machinery.
    pub operation: u8,
    pub xid: u32,
    /// It holds a full-page image.
    pub image: bool,
}

impl Place {
    /// Where `record` lies, where that is one page of its segment.
    #[must_use]
    pub fn of(record: &Record<'_>, size: SegmentSize) -> Option<Self> {
        let offset = (record.start.0 % size.bytes()) as usize;
        let length = record.length();
        (offset / PAGE == (offset + length - 1) / PAGE).then(|| Self {
            offset,
            length,
            rmid: record.rmid,
            operation: record.operation(),
            xid: record.xid,
            image: record.blocks.iter().any(|block| block.image.is_some()),
        })
    }

    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.length
    }
}

impl Segment {
    /// The file's name without a compression's extension.
    #[must_use]
    pub fn name(&self) -> &str {
        let key = self.planned.object.key.as_str();
        let file = key.rsplit('/').next().unwrap_or(key);
        Codec::split(file).0
    }

    #[must_use]
    pub fn key(&self) -> &str {
        &self.planned.object.key
    }

    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.planned.object.codec
    }

    /// The key that it would have in this codec.
    #[must_use]
    pub fn key_in(&self, codec: Codec) -> String {
        key_in(&self.planned.object.key, codec)
    }

    /// Shows these stored bytes instead, under the key of `codec`.
    pub fn store_as(&self, view: &mut View, codec: Codec, stored: Vec<u8>) {
        view.hide(self.key());
        view.show(self.key_in(codec), stored, self.planned.object.modified);
    }

    /// Shows these decoded bytes instead, in the segment's own codec.
    pub fn show(&self, view: &mut View, decoded: &[u8]) -> Result<(), String> {
        let stored = encode(self.codec(), decoded).map_err(|error| error.to_string())?;
        self.store_as(view, self.codec(), stored);
        Ok(())
    }

    /// Pages up to the last in which a record begins. What follows `XLOG_SWITCH` is filling that nobody
    /// reads: no change there is damage.
    #[must_use]
    pub fn written(&self) -> usize {
        self.records.last().map_or(0, |place| place.offset / PAGE + 1)
    }

    /// Where the later half of the records begins.
    #[must_use]
    pub fn half(&self) -> Option<usize> {
        self.records.get(self.records.len() / 2).map(|place| place.offset)
    }

    /// One of the records that fit.
    pub fn pick(&self, dice: &mut Dice, fits: impl Fn(&Place) -> bool) -> Option<Place> {
        // Away from the borders, so that a segment's first and last records are left alone.
        let places: Vec<Place> = self.records.iter().copied().filter(fits).collect();
        dice.pick(&places).copied()
    }

    /// Whether a record covers this byte: padding between records holds nothing.
    #[must_use]
    pub fn is_in_a_record(&self, offset: usize) -> bool {
        let behind = self.records.partition_point(|place| place.offset <= offset);
        behind > 0 && self.records[behind - 1].range().contains(&offset)
    }

    /// Whether `decoded` differs from the segment inside a record.
    #[must_use]
    pub fn is_hurt_by(&self, decoded: &[u8]) -> bool {
        decoded.len() != self.bytes.len()
            || (0..decoded.len()).any(|at| decoded[at] != self.bytes[at] && self.is_in_a_record(at))
    }
}

/// A key with the extension of another codec.
#[must_use]
pub fn key_in(key: &str, codec: Codec) -> String {
    format!("{}{}", Codec::split(key).0, codec.extension())
}

/// Makes a record's CRC right again.
pub fn seal(bytes: &mut [u8], place: Place) {
    let record = &mut bytes[place.range()];
    let crc = record::crc(record).to_le_bytes();
    record[20..24].copy_from_slice(&crc);
}

/// Writes over a record one of another kind and the same length, with `main` as its data, padded with
/// zeros, and a right CRC. The length must leave 26 to 281 bytes.
pub fn overwrite(bytes: &mut [u8], place: Place, rmid: u8, info: u8, main: &[u8]) {
    let record = &mut bytes[place.range()];
    record[4..8].fill(0);
    record[16..18].copy_from_slice(&[info, rmid]);
    record[18..].fill(0);
    // XLR_BLOCK_ID_DATA_SHORT: one byte of length, then the record's only data.
    record[RECORD_HEADER] = 255;
    record[RECORD_HEADER + 1] = (place.length - RECORD_HEADER - 2) as u8;
    record[RECORD_HEADER + 2..][..main.len()].copy_from_slice(main);
    seal(bytes, place);
}
