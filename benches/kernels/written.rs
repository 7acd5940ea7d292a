//! Pages, WAL and tars of which every byte is the same in every run.

use pgassay::pg::{
    Lsn, Major, SegmentNumber, SegmentSize, TimelineId,
    page::{self, PAGE_SIZE},
    wal::record,
};

/// Bytes of a WAL page (`XLOG_BLCKSZ`).
const WAL_PAGE: usize = 8192;
/// `SizeOfXLogShortPHD`, `SizeOfXLogLongPHD`.
const HEADERS: [usize; 2] = [24, 40];
/// Where a record's CRC stands, and where its header ends (`XLogRecord`).
const CRC: std::ops::Range<usize> = 20..24;
/// `RM_HEAP_ID`.
const HEAP: u8 = 10;

/// A small generator (xorshift64*).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// So many bytes of pages with sound headers and checksums, that compress about as tables do: words
/// that repeat, numbers that differ.
pub fn pages(bytes: usize) -> Vec<u8> {
    let mut random = Random(7);
    let mut out = Vec::with_capacity(bytes);
    for block in 0..(bytes / PAGE_SIZE) as u32 {
        let mut page = [0; PAGE_SIZE];
        let mut rest = &mut page[1200..];
        while rest.len() > 100 {
            let number = random.next();
            let row = format!(
                "{:>10} order of customer {:05} {} {:016x}",
                block * 90 + rest.len() as u32 / 90,
                number % 100_000,
                ["new", "paid", "packed", "sent", "returned"][number as usize % 5],
                random.next(),
            );
            rest[..row.len()].copy_from_slice(row.as_bytes());
            rest = &mut rest[row.len() + 8..];
        }
        // pd_lower, pd_upper, pd_special, pd_pagesize_version.
        for (at, value) in [(12, 400_u16), (14, 1200), (16, 8192), (18, 8192 | 4)] {
            page[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        let sum = page::checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        out.extend(page);
    }
    out
}

/// A tar of `bytes` in files of `size` bytes each.
pub fn tar(bytes: usize, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, data) in pages(bytes).chunks(size).enumerate() {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, &format!("base/5/{}", 16_384 + number));
        put(100, "0000600");
        put(124, &format!("{:011o}", data.len()));
        put(136, "14700000000");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(data);
    }
    out.resize((out.len() + 1024).next_multiple_of(10_240), 0);
    out
}

/// A WAL segment of 16 MiB, and what a reader must know of it.
#[derive(Debug)]
pub struct Segment {
    pub bytes: Vec<u8>,
    pub records: u64,
    pub system_id: u64,
    pub size: SegmentSize,
    pub number: SegmentNumber,
    pub timeline: TimelineId,
    /// Where the first record begins.
    pub start: Lsn,
}

/// A segment of inserts into a heap, of which one in `image_every` comes with an image of its page.
pub fn segment(major: Major, image_every: u64) -> Segment {
    let (size, number, timeline) = (SegmentSize::DEFAULT, SegmentNumber(3), TimelineId(1));
    let (first, end) = (number.start(size), number.next().start(size));
    let images = pages(64 * PAGE_SIZE);
    let mut random = Random(3);
    let mut log = Log { major, bytes: Vec::new(), first, system_id: 7_000_000_000_000_000_001 };
    log.page_header(0);
    let (mut records, mut previous) = (0, Lsn(first.0 - 64));
    loop {
        let image = image_every > 0 && records % image_every == 0;
        let image = image.then(|| {
            let at = random.next() as usize % 64 * PAGE_SIZE;
            &images[at..at + PAGE_SIZE]
        });
        let length = 40 + random.next() as usize % 120;
        let record = insert(previous, records as u32, &images[2000..2000 + length], image);
        // Room for it and for the headers of the pages that it crosses.
        if log.at().0 + record.len() as u64 + 3 * HEADERS[1] as u64 > end.0 {
            break;
        }
        previous = log.record(&record);
        records += 1;
    }
    let Log { mut bytes, system_id, .. } = log;
    bytes.resize(size.bytes() as usize, 0);
    let start = Lsn(first.0 + HEADERS[1] as u64);
    Segment { bytes, records, system_id, size, number, timeline, start }
}

/// One insert (`xl_heap_insert`), as `XLogRecordAssemble` puts it together.
fn insert(previous: Lsn, block: u32, row: &[u8], image: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    // Block 0 of the main fork, with data, perhaps with an image.
    body.extend([0, if image.is_some() { 0x30 } else { 0x20 }]);
    body.extend((row.len() as u16).to_le_bytes());
    if let Some(image) = image {
        body.extend((image.len() as u16).to_le_bytes());
        // No hole; `BKPIMAGE_APPLY` of 15 and later.
        body.extend([0, 0, 2]);
    }
    for number in [1663_u32, 5, 16_384, block] {
        body.extend(number.to_le_bytes());
    }
    // `XLR_BLOCK_ID_DATA_SHORT`, and the row's place.
    body.extend([255, 3]);
    body.extend(image.unwrap_or_default());
    body.extend(row);
    body.extend([1, 0, 0]);
    let mut bytes = Vec::with_capacity(CRC.end + body.len());
    bytes.extend(((CRC.end + body.len()) as u32).to_le_bytes());
    bytes.extend(731_u32.to_le_bytes());
    bytes.extend(previous.0.to_le_bytes());
    bytes.extend([0, HEAP, 0, 0, 0, 0, 0, 0]);
    bytes.extend(body);
    let crc = record::crc(&bytes);
    bytes[CRC].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A log being written, as `CopyXLogRecordToWAL` lays it out.
struct Log {
    major: Major,
    bytes: Vec<u8>,
    first: Lsn,
    system_id: u64,
}

impl Log {
    fn at(&self) -> Lsn {
        Lsn(self.first.0 + self.bytes.len() as u64)
    }

    fn page_header(&mut self, remaining: u32) {
        let (long, at) = (self.bytes.is_empty(), self.at());
        let info = u16::from(remaining > 0) | if long { 2 } else { 0 };
        self.bytes.extend(self.major.wal_page_magic().to_le_bytes());
        self.bytes.extend(info.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(at.0.to_le_bytes());
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if long {
            self.bytes.extend(self.system_id.to_le_bytes());
            self.bytes.extend((SegmentSize::DEFAULT.bytes() as u32).to_le_bytes());
            self.bytes.extend((WAL_PAGE as u32).to_le_bytes());
        }
    }

    /// Appends a record and says where it begins.
    fn record(&mut self, record: &[u8]) -> Lsn {
        if self.bytes.len().is_multiple_of(WAL_PAGE) {
            self.page_header(0);
        }
        let start = self.at();
        let mut rest = record;
        while !rest.is_empty() {
            if self.bytes.len().is_multiple_of(WAL_PAGE) {
                self.page_header(rest.len() as u32);
            }
            let room = WAL_PAGE - self.bytes.len() % WAL_PAGE;
            let (here, later) = rest.split_at(room.min(rest.len()));
            self.bytes.extend(here);
            rest = later;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        start
    }
}
