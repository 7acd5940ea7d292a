//! Headers of WAL pages (`XLogPageHeaderData` and `XLogLongPageHeaderData`,
//! `access/xlog_internal.h`), checked as `XLogReaderValidatePageHeader` does and a little harder.

use super::fault::Defect;
use super::field::{u16_at, u32_at, u64_at};
use super::scan::DamageKind;
use crate::pg::{Lsn, Major, SegmentSize, TimelineHistory};

/// `XLOG_BLCKSZ`: bytes in a WAL page.
pub const PAGE_SIZE: u64 = 8192;
/// `SizeOfXLogShortPHD`.
pub(super) const SHORT_HEADER: u64 = 24;
/// `SizeOfXLogLongPHD`: the first page of every segment has it.
pub(super) const LONG_HEADER: u64 = 40;

const FIRST_IS_CONTRECORD: u16 = 0x0001;
const HAS_LONG_HEADER: u16 = 0x0002;
const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
/// `XLP_ALL_FLAGS`; 0x0004 is `XLP_BKP_REMOVABLE`, which changes nothing for a reader.
const ALL_FLAGS: u16 = 0x000F;

/// What the WAL must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRules {
    pub major: Major,
    pub system_id: u64,
    pub segment_size: SegmentSize,
    /// The timeline that is read, and where it comes from.
    pub history: TimelineHistory,
    /// `false` where its history file is not known: then its first segments may hold pages and
    /// records of any earlier timeline.
    pub ancestors_known: bool,
}

/// What a reader needs of a page header that has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    /// Bytes before the page's first record or continuation.
    pub length: u64,
    /// The page begins inside a record.
    pub continues: bool,
    /// A record was left unfinished before this page and a new one stands in its place.
    pub overwrites: bool,
    /// `xlp_rem_len`: bytes of the continued record from here on.
    pub remaining: u32,
}

/// First byte of the page that holds `lsn`.
pub(super) const fn page_start(lsn: Lsn) -> Lsn {
    Lsn(lsn.0 - lsn.0 % PAGE_SIZE)
}

/// Length of the header of the page that begins at `page`.
pub(super) const fn header_length(page: Lsn, size: SegmentSize) -> u64 {
    if page.0.is_multiple_of(size.bytes()) { LONG_HEADER } else { SHORT_HEADER }
}

impl WalRules {
    /// Checks the header of the page that should begin at `address`.
    pub(super) fn check(&self, page: &[u8], address: Lsn) -> Result<PageHeader, Defect> {
        let first = address.0.is_multiple_of(self.segment_size.bytes());
        let (Some(magic), Some(info), Some(timeline), Some(page_address), Some(remaining)) =
            (u16_at(page, 0), u16_at(page, 2), u32_at(page, 4), u64_at(page, 8), u32_at(page, 16))
        else {
            return Err(Defect::corrupt("The page is cut short.".into()));
        };
        if magic != self.major.wal_page_magic() {
            // Nothing is an end on the first page: an archived segment was begun.
            if !first && page.iter().all(|byte| *byte == 0) {
                return Err(Defect::unwritten("The page is all zeros.".into()));
            }
            return Err(Defect::corrupt(format!(
                "The page's magic number is {magic:04X} instead of {:04X}.",
                self.major.wal_page_magic()
            )));
        }
        if info & !ALL_FLAGS != 0 || (info & HAS_LONG_HEADER != 0) != first {
            return Err(Defect::corrupt(format!("The page has invalid info bits {info:04X}.")));
        }
        if first {
            self.check_long_header(page)?;
        }
        if page_address != address.0 {
            let found = Lsn(page_address);
            let detail = format!("The page says that it is {found} but stands at {address}.");
            // A recycled segment holds older pages until they are overwritten.
            let recycled = !first && found < address && found.0.is_multiple_of(PAGE_SIZE);
            return Err(if recycled { Defect::unwritten(detail) } else { Defect::corrupt(detail) });
        }
        // `xlp_tli` is the timeline that was being written when the page was begun.
        let expected = self.history.timeline_at(address);
        let fits = if self.ancestors_known {
            timeline == expected.0
        } else {
            (1..=expected.0).contains(&timeline)
        };
        if !fits {
            return Err(Defect::corrupt(format!(
                "The page belongs to timeline {timeline}, but at {address} recovery follows \
                 timeline {expected}."
            )));
        }
        Ok(PageHeader {
            length: header_length(address, self.segment_size),
            continues: info & FIRST_IS_CONTRECORD != 0,
            overwrites: info & FIRST_IS_OVERWRITE_CONTRECORD != 0,
            remaining,
        })
    }

    fn check_long_header(&self, page: &[u8]) -> Result<(), Defect> {
        let (Some(system_id), Some(segment_size), Some(page_size)) =
            (u64_at(page, 24), u32_at(page, 32), u32_at(page, 36))
        else {
            return Err(Defect::corrupt("The page is cut short.".into()));
        };
        if system_id != self.system_id {
            return Err(Defect {
                kind: DamageKind::ForeignSystem,
                unwritten: false,
                detail: format!(
                    "The segment was written by the database system {system_id}, the backup by {}.",
                    self.system_id
                ),
            });
        }
        if u64::from(segment_size) != self.segment_size.bytes() {
            return Err(Defect::corrupt(format!(
                "The segment's header says segments of {segment_size} bytes instead of {}.",
                self.segment_size.bytes()
            )));
        }
        if u64::from(page_size) != PAGE_SIZE {
            return Err(Defect::corrupt(format!(
                "The segment's header says WAL pages of {page_size} bytes instead of {PAGE_SIZE}."
            )));
        }
        Ok(())
    }

    /// Whether the page at `address` was written for that place: the cheap sign that the log went on.
    pub(super) fn written(&self, page: &[u8], address: Lsn) -> bool {
        u16_at(page, 0) == Some(self.major.wal_page_magic()) && u64_at(page, 8) == Some(address.0)
    }
}
