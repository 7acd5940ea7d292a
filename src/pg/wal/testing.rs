//! Writes WAL for tests, as `XLogInsertRecord` and `AdvanceXLInsertBuffer` lay it out.

use super::page::{PAGE_SIZE, WalRules, header_length};
use super::record::{CRC_OFFSET, HEADER, RM_XACT, RM_XLOG, crc};
use super::scan::{ScanStart, ScanTarget, WalScan, WalSummary};
use super::xlog;
use crate::pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

pub(crate) const SYSTEM_ID: u64 = 7_000_000_000_000_000_001;
pub(crate) const FIRST_SEGMENT: SegmentNumber = SegmentNumber(3);

pub(crate) fn size() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

/// Those of the logs that are written here.
pub(crate) fn rules(major: Major, history: TimelineHistory) -> WalRules {
    let (system_id, segment_size) = (SYSTEM_ID, size());
    WalRules { major, system_id, segment_size, history, ancestors_known: true }
}

/// The segment at this place in [`LogWriter::segments`].
pub(crate) fn number(index: usize) -> SegmentNumber {
    SegmentNumber(FIRST_SEGMENT.0 + index as u64)
}

/// A log from the start of [`FIRST_SEGMENT`].
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    pub major: Major,
    pub timeline: u32,
    bytes: Vec<u8>,
    prev: Lsn,
    overwrites: bool,
}

impl LogWriter {
    pub(crate) fn new(major: Major) -> Self {
        let mut log =
            Self { major, timeline: 1, bytes: Vec::new(), prev: Lsn(0x100), overwrites: false };
        log.page_header(0);
        log
    }

    /// Where the next record begins, or the page boundary before it.
    pub(crate) fn at(&self) -> Lsn {
        Lsn(FIRST_SEGMENT.start(size()).0 + self.bytes.len() as u64)
    }

    fn page_header(&mut self, remaining: u32) {
        let at = self.at();
        let length = header_length(at, size());
        let mut info = if length == 40 { 2_u16 } else { 0 };
        info |= u16::from(remaining > 0);
        if std::mem::take(&mut self.overwrites) {
            info |= 8;
        }
        self.bytes.extend(self.major.wal_page_magic().to_le_bytes());
        self.bytes.extend(info.to_le_bytes());
        self.bytes.extend(self.timeline.to_le_bytes());
        self.bytes.extend(at.0.to_le_bytes());
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if length == 40 {
            self.bytes.extend(SYSTEM_ID.to_le_bytes());
            self.bytes.extend((size().bytes() as u32).to_le_bytes());
            self.bytes.extend((PAGE_SIZE as u32).to_le_bytes());
        }
    }

    fn page_room(&self) -> usize {
        let used = self.bytes.len() % PAGE_SIZE as usize;
        if used == 0 { 0 } else { PAGE_SIZE as usize - used }
    }

    /// Where a record written now begins.
    pub(crate) fn next_start(&mut self) -> Lsn {
        if self.page_room() == 0 {
            self.page_header(0);
        }
        self.at()
    }

    /// Appends a record of which `body` follows the header.
    pub(crate) fn record(&mut self, rmid: u8, info: u8, xid: u32, body: &[u8]) -> Lsn {
        let start = self.next_start();
        let bytes = self.build(rmid, info, xid, body);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.page_room() == 0 {
                self.page_header(rest.len() as u32);
            }
            let (here, later) = rest.split_at(self.page_room().min(rest.len()));
            self.bytes.extend_from_slice(here);
            rest = later;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.prev = start;
        start
    }

    fn build(&self, rmid: u8, info: u8, xid: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(((HEADER + body.len()) as u32).to_le_bytes());
        bytes.extend(xid.to_le_bytes());
        bytes.extend(self.prev.0.to_le_bytes());
        bytes.extend([info, rmid, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(body);
        let crc = crc(&bytes);
        bytes[CRC_OFFSET..HEADER].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// A record that has main data only.
    pub(crate) fn main(&mut self, rmid: u8, info: u8, xid: u32, data: &[u8]) -> Lsn {
        let mut body = Vec::with_capacity(data.len() + 5);
        if let Ok(length) = u8::try_from(data.len()) {
            body.extend([255, length]);
        } else {
            body.push(254);
            body.extend((data.len() as u32).to_le_bytes());
        }
        body.extend_from_slice(data);
        self.record(rmid, info, xid, &body)
    }

    pub(crate) fn commit(&mut self, xid: u32, time: i64) -> Lsn {
        self.main(RM_XACT, 0x00, xid, &time.to_le_bytes())
    }

    pub(crate) fn abort(&mut self, xid: u32, time: i64) -> Lsn {
        self.main(RM_XACT, 0x20, xid, &time.to_le_bytes())
    }

    pub(crate) fn backup_end(&mut self, start: Lsn) -> Lsn {
        self.main(RM_XLOG, 0x50, 0, &start.0.to_le_bytes())
    }

    /// A checkpoint on timeline 1 that began at `redo`; `length` bytes long, as which it should be 88.
    pub(crate) fn checkpoint(&mut self, kind: u8, redo: Lsn, length: usize) -> Lsn {
        let mut data = vec![0; length];
        data[..8].copy_from_slice(&redo.0.to_le_bytes());
        data[8..12].copy_from_slice(&1_u32.to_le_bytes());
        data[12..16].copy_from_slice(&1_u32.to_le_bytes());
        self.main(RM_XLOG, kind, 0, &data)
    }

    pub(crate) fn restore_point(&mut self, name: &str) -> Lsn {
        let mut data = vec![0; 72];
        data[8..8 + name.len()].copy_from_slice(name.as_bytes());
        self.main(RM_XLOG, 0x70, 0, &data)
    }

    /// No-operation records, until `room` bytes are left in the page (a multiple of 8).
    pub(crate) fn fill_page(&mut self, room: usize) {
        self.next_start();
        let fill = self.page_room() - room;
        assert!((32..8192).contains(&fill), "cannot fill {fill} bytes");
        // Header 24, main data header 5.
        self.main(RM_XLOG, 0x20, 0, &vec![7; fill - 29][..]);
        assert_eq!(self.page_room(), room);
    }

    pub(crate) fn switch(&mut self) -> Lsn {
        let start = self.record(RM_XLOG, xlog::SWITCH, 0, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(size().bytes() as usize), 0);
        start
    }

    /// Production crashes inside a record of `length` bytes whose first page alone was written, and
    /// goes on with a record that says so.
    pub(crate) fn crash_inside_record(&mut self, length: usize) -> Lsn {
        let start = self.next_start();
        let mut bytes = self.build(RM_XLOG, 0x20, 0, &[254, 0, 0, 0, 0]);
        bytes.resize(length, 1);
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes.truncate(self.page_room());
        self.bytes.extend(bytes);
        assert_eq!(self.page_room(), 0, "the record must reach the page's end");
        self.overwrites = true;
        let mut data = start.0.to_le_bytes().to_vec();
        data.extend([0; 8]);
        self.main(RM_XLOG, xlog::OVERWRITE_CONTRECORD, 0, &data);
        start
    }

    /// The log so far, the last segment filled with zeros.
    pub(crate) fn segments(&self) -> Vec<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(size().bytes() as usize), 0);
        bytes.chunks(size().bytes() as usize).map(<[u8]>::to_vec).collect()
    }

    pub(crate) fn scan_start(&self) -> ScanStart {
        ScanStart {
            major: self.major,
            system_id: SYSTEM_ID,
            segment_size: size(),
            start: Lsn(FIRST_SEGMENT.start(size()).0 + 40),
            history: TimelineHistory::root(TimelineId(1)),
            target: ScanTarget::Latest,
            exclusive: false,
            min_recovery_point: None,
        }
    }

    pub(crate) fn scan(&self) -> WalSummary {
        scan(self.scan_start(), &self.segments())
    }

    pub(crate) fn scan_to(&self, target: ScanTarget, exclusive: bool) -> WalSummary {
        scan(ScanStart { target, exclusive, ..self.scan_start() }, &self.segments())
    }
}

/// Scans segments from [`FIRST_SEGMENT`] on.
pub(crate) fn scan(start: ScanStart, segments: &[Vec<u8>]) -> WalSummary {
    let timeline = start.history.timeline;
    let mut scan = WalScan::new(start);
    for (index, bytes) in segments.iter().enumerate() {
        scan.segment(timeline, number(index), bytes.as_slice());
    }
    scan.finish()
}

/// Three commits, then whatever the caller adds.
pub(crate) fn log() -> LogWriter {
    let mut log = LogWriter::new(Major::V15);
    for xid in 700..703 {
        log.commit(xid, i64::from(xid) * 1_000_000);
    }
    log
}
