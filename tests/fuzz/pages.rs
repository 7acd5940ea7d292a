//! Bad pages of a base backup, judged by a log and by catalogs that say anything at all.
//!
//! An input is a head of 8 bytes ([`Head`]) and parts: a kind, a length of two bytes, so many bytes.
//! Parts are records of the log, written with right CRCs, and pages of the backup's files.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use pgassay::{
    pg::{
        ControlFile, Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, heap,
        page::{self, PAGE_SIZE},
        relation_file::Fork,
        wal::{
            record::{BlockReference, Record, RelationFile},
            scan::{ScanStart, ScanTarget, WalScan},
        },
    },
    restore::pages::{BackupWindow, PageJudge, PageVerdict, PageWatch, Suspects, WatchRules},
};

use crate::{
    engine::{Target, any_bytes, run},
    mutate::{self, Random},
};

const HEAD: usize = 8;
const SEGMENT: usize = 1 << 20;
const SEGMENT_NUMBER: SegmentNumber = SegmentNumber(3);
const LONG_HEADER: usize = 40;
const SHORT_HEADER: usize = 24;
/// Bytes of log that one input may fill.
const MOST_LOG: usize = 16 * PAGE_SIZE;
/// Pages of files that one input may have.
const MOST_PAGES: usize = 24;
const REL: u32 = 16_384;

/// Files of the backup that parts may add pages to.
const PATHS: [&str; 18] = [
    "base/5/16384",
    "base/5/16384_init",
    "base/5/16384_vm",
    "base/5/16384.1",
    "base/5/16385",
    "base/5/pg_filenode.map",
    "global/pg_filenode.map",
    "base/5/1259",
    "base/5/2610",
    "global/1262",
    "global/1260",
    "pg_xact/0000",
    "pg_tblspc/16400/PG_15_202209061/5/16384",
    "pg_tblspc/16400/PG_15_202209061/5/pg_filenode.map",
    "pg_tblspc/16400/PG_15_202209061/5/1259",
    "pg_tblspc/16400/PG_14_202107181/5/16384",
    "base/6/16384",
    "base/5/t3_16384",
];

const RECORD: u8 = 0;
const BACKUP_END: u8 = 1;
const ROWS: u8 = 2;
const RAW: u8 = 3;
const MAP: u8 = 4;
const FILLED: u8 = 5;

/// What an input says before its parts.
#[derive(Clone, Copy)]
struct Head {
    major: Major,
    checksums: bool,
    rules: WatchRules,
    /// The record that is the redo point.
    redo: usize,
    /// Of a standby's backup: how many records the window has.
    records: Option<usize>,
    /// Files come in pieces of so many bytes.
    piece: usize,
}

impl Head {
    fn read(input: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = input.first_chunk()?;
        Some(Self {
            major: [Major::V14, Major::V15, Major::V18][usize::from(head[0] % 3)],
            checksums: head[1] & 1 == 0,
            rules: WatchRules {
                checksums: [None, Some(true), Some(false)][usize::from(head[1] / 2 % 3)],
                max_suspects: if head[2] == 0 { 1000 } else { usize::from(head[2]) },
            },
            redo: usize::from(head[3]),
            records: (head[4] > 0).then_some(usize::from(head[4])),
            piece: 1 + usize::from(head[5]) * 64,
        })
    }

    fn control(self) -> ControlFile {
        let bytes: &[u8] = match self.major {
            Major::V14 => include_bytes!("seeds/control-14"),
            Major::V15 => include_bytes!("seeds/control-15"),
            _ => include_bytes!("seeds/control-18"),
        };
        let control = ControlFile::parse(bytes).unwrap();
        ControlFile { data_checksum_version: u32::from(self.checksums), ..control }
    }
}

fn part(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind][..], &(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// Parts of an input, as far as they are whole.
fn parts(input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = input.get(HEAD..).unwrap_or_default();
    let mut parts = Vec::new();
    while let Some((&[kind, low, high], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let Some((bytes, after)) = after.split_at_checked(length) else { break };
        parts.push((kind % 6, bytes));
        rest = after;
    }
    parts
}

/// The log of an input in a segment of its own.
struct Log {
    bytes: Vec<u8>,
    at: usize,
    previous: Lsn,
    starts: Vec<Lsn>,
    ends: Vec<Lsn>,
}

thread_local! {
    /// One segment for all inputs, so that none costs a megabyte.
    static LOG: RefCell<Log> = const {
        RefCell::new(Log {
            bytes: Vec::new(),
            at: 0,
            previous: Lsn(0),
            starts: Vec::new(),
            ends: Vec::new(),
        })
    };
}

impl Log {
    fn size() -> SegmentSize {
        SegmentSize::new(SEGMENT as u32).unwrap()
    }

    fn begin(&mut self, head: Head, system_id: u64) {
        self.bytes.resize(SEGMENT, 0);
        self.bytes[..MOST_LOG + PAGE_SIZE].fill(0);
        self.at = 0;
        self.previous = Lsn(SEGMENT_NUMBER.start(Self::size()).0 - 100);
        self.starts.clear();
        self.ends.clear();
        self.page(head, 0);
        self.bytes[2] |= 2;
        self.bytes[24..32].copy_from_slice(&system_id.to_le_bytes());
        self.bytes[32..36].copy_from_slice(&(SEGMENT as u32).to_le_bytes());
        self.bytes[36..40].copy_from_slice(&(PAGE_SIZE as u32).to_le_bytes());
        self.at = LONG_HEADER;
    }

    /// Begins a page that continues a record of which so many bytes are left.
    fn page(&mut self, head: Head, left: usize) {
        let page = &mut self.bytes[self.at..self.at + SHORT_HEADER];
        page[..2].copy_from_slice(&head.major.wal_page_magic().to_le_bytes());
        page[2] = u8::from(left > 0);
        page[4..8].copy_from_slice(&1_u32.to_le_bytes());
        let address = SEGMENT_NUMBER.start(Self::size()).0 + self.at as u64;
        page[8..16].copy_from_slice(&address.to_le_bytes());
        page[16..20].copy_from_slice(&(left as u32).to_le_bytes());
        self.at += SHORT_HEADER;
    }

    fn lsn(&self) -> Lsn {
        Lsn(SEGMENT_NUMBER.start(Self::size()).0 + self.at as u64)
    }

    fn record(&mut self, head: Head, rmid: u8, info: u8, xid: u32, body: &[u8]) {
        let length = 24 + body.len();
        if self.at + length + 8 * SHORT_HEADER > MOST_LOG {
            return;
        }
        if self.at.is_multiple_of(PAGE_SIZE) {
            self.page(head, 0);
        }
        let start = self.lsn();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend(xid.to_le_bytes());
        bytes.extend(self.previous.0.to_le_bytes());
        bytes.extend([info, rmid, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(body), &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(body);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.at.is_multiple_of(PAGE_SIZE) {
                self.page(head, rest.len());
            }
            let room = PAGE_SIZE - self.at % PAGE_SIZE;
            let (here, after) = rest.split_at(rest.len().min(room));
            self.bytes[self.at..self.at + here.len()].copy_from_slice(here);
            self.at += here.len();
            rest = after;
        }
        self.at = self.at.next_multiple_of(8);
        self.previous = start;
        self.starts.push(start);
        self.ends.push(self.lsn());
    }
}

/// Pages of the backup's files by path.
fn files(parts: &[(u8, &[u8])]) -> BTreeMap<&'static str, Vec<u8>> {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut count = 0;
    for (kind, bytes) in parts {
        let [path, flags, bytes @ ..] = bytes else { continue };
        if !(ROWS..=FILLED).contains(kind) || count >= MOST_PAGES {
            continue;
        }
        let file = files.entry(PATHS[usize::from(*path) % PATHS.len()]).or_default();
        if *kind == MAP {
            file.extend(map(bytes, flags & 1 == 1));
            continue;
        }
        let mut page = match *kind {
            ROWS => rows(bytes),
            RAW => {
                let mut page = [0; PAGE_SIZE];
                let length = bytes.len().min(PAGE_SIZE);
                page[..length].copy_from_slice(&bytes[..length]);
                page
            }
            _ => [bytes.first().copied().unwrap_or_default(); PAGE_SIZE],
        };
        // A right checksum, or, with a bit that fell over, a wrong one.
        if flags & 1 == 0 {
            let block = (file.len() / PAGE_SIZE) as u32;
            let sum = page::checksum(&page, block);
            page[8..10].copy_from_slice(&sum.to_le_bytes());
            if flags & 2 == 2 {
                page[4000] ^= 1;
            }
        }
        file.extend(page);
        count += 1;
    }
    files
}

/// A heap page with rows of `xmin`, `xmax`, infomask, length and data.
fn rows(mut bytes: &[u8]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let (mut lower, mut upper) = (24, PAGE_SIZE);
    while let Some((row, after)) = bytes.split_first_chunk::<11>() {
        let length = usize::from(row[10]).min(after.len());
        let (data, after) = after.split_at(length);
        if upper - lower < length + 40 {
            break;
        }
        upper = (upper - 24 - length) & !7;
        page[upper..upper + 8].copy_from_slice(&row[..8]);
        page[upper + 20..upper + 22].copy_from_slice(&row[8..10]);
        page[upper + 22] = 24;
        page[upper + 24..upper + 24 + length].copy_from_slice(data);
        let pointer = upper as u32 | 1 << 15 | ((24 + length) as u32) << 17;
        page[lower..lower + 4].copy_from_slice(&pointer.to_le_bytes());
        lower += 4;
        bytes = after;
    }
    page[12..14].copy_from_slice(&(lower as u16).to_le_bytes());
    page[14..16].copy_from_slice(&(upper as u16).to_le_bytes());
    page[16..18].copy_from_slice(&8192_u16.to_le_bytes());
    page[18..20].copy_from_slice(&0x2004_u16.to_le_bytes());
    page
}

/// `pg_filenode.map` with these pairs.
fn map(pairs: &[u8], old: bool) -> Vec<u8> {
    let (size, crc_at) = if old { (512, 504) } else { (524, 520) };
    let mut bytes = vec![0; size];
    let pairs = &pairs[..(pairs.len() / 8 * 8).min(62 * 8)];
    bytes[..4].copy_from_slice(&0x0059_2717_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&(pairs.len() as u32 / 8).to_le_bytes());
    bytes[8..8 + pairs.len()].copy_from_slice(pairs);
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What must hold of the verdict, found by a plainer reading of the log.
#[derive(Default)]
struct Plain {
    /// Whether the window's first record that names a block makes it anew.
    first: HashMap<(RelationFile, u8, u32), bool>,
    over: bool,
    /// Files were made, cut or dropped.
    reshaped: bool,
}

impl Plain {
    fn record(&mut self, record: &Record<'_>, window: BackupWindow) {
        if record.start < window.start || self.over {
            return;
        }
        self.reshaped |= record.storage_event(window.major).is_some();
        for block in record.blocks {
            let BlockReference { relation, fork, block: number, will_init, image, .. } = *block;
            let anew = will_init || image.is_some_and(|image| image.apply);
            self.first.entry((relation, fork, number)).or_insert(anew);
        }
        self.over = match window.min_recovery_point {
            Some(point) => record.end >= point,
            None => record.ended_backup() == Some(window.start),
        };
    }

    /// Suspects that the window makes anew, and those that it takes for sound.
    fn count(&self, suspects: &Suspects) -> (u64, u64) {
        let (mut anew, mut needed) = (0, 0);
        for (file, pages) in &suspects.forks {
            let (tablespace, database) = (file.location.tablespace(), file.location.database());
            let relation = RelationFile { tablespace, database, number: file.filenode };
            let fork = if file.fork == Fork::Init { 3 } else { 0 };
            for page in pages {
                match self.first.get(&(relation, fork, page.block)) {
                    Some(true) => anew += 1,
                    Some(false) => needed += 1,
                    None => {}
                }
            }
        }
        (anew, needed)
    }
}

fn watched(head: Head, files: &BTreeMap<&str, Vec<u8>>, piece: usize) -> Option<Suspects> {
    let watch = PageWatch::new(head.rules);
    for (path, bytes) in files {
        if let Some(mut file) = watch.file(path.as_bytes()) {
            bytes.chunks(piece).for_each(|piece| file.data(piece));
        }
    }
    watch.finish().judged_by(&head.control()).ok()
}

fn verdict(judge: PageJudge, files: &BTreeMap<&str, Vec<u8>>, piece: usize) -> PageVerdict {
    let mut judged = judge.finish();
    let mut look = judged.questions();
    if let Some(look) = &mut look {
        let mut passes = 0;
        while !look.wanted().is_empty() {
            for (path, bytes) in files {
                if let Some(mut file) = look.file(path) {
                    bytes.chunks(piece).for_each(|piece| file.data(piece));
                }
            }
            look.next_pass();
            passes += 1;
            assert!(passes <= 3);
        }
    }
    judged.verdict(look)
}

fn check(input: &[u8]) -> String {
    let Some(head) = Head::read(input) else { return "no head".into() };
    let parts = parts(input);
    let files = files(&parts);
    LOG.with_borrow_mut(|log| judged(head, &parts, &files, log))
}

fn judged(
    head: Head,
    parts: &[(u8, &[u8])],
    files: &BTreeMap<&str, Vec<u8>>,
    log: &mut Log,
) -> String {
    let control = head.control();
    log.begin(head, control.system_identifier);
    let first = log.lsn();
    for (kind, bytes) in parts {
        match (*kind, *bytes) {
            (RECORD, [rmid, info, a, b, c, d, body @ ..]) => {
                log.record(head, *rmid, *info, u32::from_le_bytes([*a, *b, *c, *d]), body);
            }
            (BACKUP_END, _) => {
                let start = log.starts.get(head.redo).copied().unwrap_or(first);
                let body = [&[255, 8][..], &start.0.to_le_bytes()].concat();
                log.record(head, 0, 0x50, 0, &body);
            }
            _ => {}
        }
    }
    let start = log.starts.get(head.redo).copied().unwrap_or(first);
    let last = |count: usize| log.ends.get(head.redo + count).copied().unwrap_or(Lsn(u64::MAX));
    let min_recovery_point = head.records.map(last);
    let window = BackupWindow { major: head.major, start, min_recovery_point };

    let Some(suspects) = watched(head, files, usize::MAX) else { return "unsupported".into() };
    let in_pieces = watched(head, files, head.piece).unwrap();
    assert_eq!(
        (suspects.checked, &suspects.forks, &suspects.maps, suspects.not_kept),
        (in_pieces.checked, &in_pieces.forks, &in_pieces.maps, in_pieces.not_kept)
    );
    let count = suspects.count();
    let mut judge = PageJudge::new(suspects.clone(), window);
    let mut again = PageJudge::new(in_pieces, window);
    let mut plain = Plain::default();
    let mut scan = WalScan::new(ScanStart {
        major: head.major,
        system_id: control.system_identifier,
        segment_size: Log::size(),
        start: first,
        history: TimelineHistory::root(TimelineId(1)),
        target: ScanTarget::Latest,
        exclusive: false,
        min_recovery_point: None,
    });
    scan.segment_with(TimelineId(1), SEGMENT_NUMBER, log.bytes.as_slice(), |record| {
        judge.record(record);
        again.record(record);
        plain.record(record, window);
    });
    let scanned = scan.finish();
    let found = verdict(judge, files, usize::MAX);
    assert_eq!(
        format!("{found:?}"),
        format!("{:?}", verdict(again, files, head.piece)),
        "pieces of {}",
        head.piece
    );

    // A bad page is never forgotten.
    assert!(found.torn + found.unneeded <= count);
    assert!(found.torn + found.unneeded == count || !found.findings.is_empty());
    let (anew, needed) = plain.count(&suspects);
    assert!(found.torn <= anew);
    let damage = found.findings.iter().filter(|f| f.class.name() == "page_checksum").count();
    if !plain.reshaped {
        assert_eq!(found.torn, anew);
        assert!(needed == 0 || damage > 0);
    }
    let mut said = format!(
        "{} {} {}, {damage} of {} findings",
        words(count),
        words(found.torn),
        words(found.unneeded),
        found.findings.len()
    );
    for finding in &found.findings {
        let _ = write!(said, "; {}", finding.detail);
    }
    let ended = scanned.damage.as_ref().map_or("", |damage| damage.detail.as_str());
    format!("{said} {} {ended}", found.unfinished.len().min(2))
}

fn words(count: u64) -> &'static str {
    match count {
        0 => "none",
        1 => "one",
        _ => "many",
    }
}

/// The body of a record that names blocks: flags, number, block. `apply` is the major's flag of images.
fn blocks(apply: u8, all: &[(u8, u32, u32)], main: &[u8]) -> Vec<u8> {
    let (mut body, mut images) = (Vec::new(), Vec::new());
    for (id, (flags, number, block)) in all.iter().enumerate() {
        body.extend([id as u8, *flags, 0, 0]);
        if flags & 0x10 != 0 {
            // 100 bytes around a hole.
            body.extend([100, 0, 50, 0, 0x01 | apply]);
            images.extend([7; 100]);
        }
        for word in [1663, 5, *number, *block] {
            body.extend(word.to_le_bytes());
        }
    }
    body.extend([255, main.len() as u8]);
    body.extend(images);
    body.extend(main);
    body
}

fn record(rmid: u8, info: u8, body: &[u8]) -> Vec<u8> {
    part(RECORD, &[&[rmid, info, 0xBC, 2, 0, 0][..], body].concat())
}

fn main_of(rmid: u8, info: u8, words: &[u32]) -> Vec<u8> {
    let main: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    record(rmid, info, &[&[255, main.len() as u8][..], &main].concat())
}

fn row(xmin: u32, xmax: u32, mask: u16, data: &[u8]) -> Vec<u8> {
    let mut row = [xmin.to_le_bytes(), xmax.to_le_bytes()].concat();
    row.extend(mask.to_le_bytes());
    row.push(data.len() as u8);
    row.extend(data);
    row
}

/// A bad page, catalogs that know its relation, and what records say of it.
fn seeds() -> Vec<Vec<u8>> {
    let class = |oid: u32, number: u32, kind: u8| {
        let mut data = vec![0; 140];
        data[..4].copy_from_slice(&oid.to_le_bytes());
        data[88..92].copy_from_slice(&number.to_le_bytes());
        // Before 18, and in 18.
        (data[115], data[119]) = (kind, kind);
        data
    };
    let mut index = vec![0; 32];
    index[..4].copy_from_slice(&20_000_u32.to_le_bytes());
    (index[19], index[20]) = (1, 1);
    let mut database = vec![0; 230];
    database[..4].copy_from_slice(&5_u32.to_le_bytes());
    database[92..96].copy_from_slice(&1663_u32.to_le_bytes());
    database[224..228].copy_from_slice(&1663_u32.to_le_bytes());
    let pairs = |pairs: &[u32]| -> Vec<u8> { pairs.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let catalogs = |mask: u16, kind: u8| {
        let page = |path: u8, rows: &[u8]| part(ROWS, &[&[path, 0], rows].concat());
        let known = row(600, 0, mask, &class(20_000, REL, kind));
        [
            // Pages 0 and 2 are sound, page 1 is not.
            page(0, &row(600, 0, 0x0900, b"a row")),
            part(ROWS, &[&[0, 2][..], &row(600, 0, 0x0900, b"a row")].concat()),
            page(0, &row(600, 0, 0x0900, b"a row")),
            part(MAP, &[&[5, 0][..], &pairs(&[1259, 1259])].concat()),
            part(MAP, &[&[6, 1][..], &pairs(&[1262, 1262, 1260, 1260])].concat()),
            page(7, &[row(1, 0, 0x0900, &class(2610, 2610, b'r')), known].concat()),
            page(8, &row(600, 0, 0x0900, &index)),
            page(9, &row(1, 0, 0x0900, &database)),
            part(FILLED, &[11, 1, 0x55]),
        ]
        .concat()
    };
    let mut seeds = Vec::new();
    for (head, apply) in [
        ([1, 0, 0, 0, 0, 80, 0, 0], 0x02),
        ([0, 0, 0, 0, 0, 3, 0, 0], 0x04),
        ([2, 0, 0, 1, 2, 200, 0, 0], 0x02),
    ] {
        let blocks = |all: &[(u8, u32, u32)]| blocks(apply, all, b"x");
        let end = part(BACKUP_END, b"");
        let class_changes = record(10, 0x20, &blocks(&[(0x10, 1259, 0)]));
        let logs = [
            [record(10, 0, &blocks(&[(0x10, REL, 1)])), end.clone()],
            [record(10, 0, &blocks(&[(0, REL, 1), (0x40, REL, 2)])), end.clone()],
            [end.clone(), record(0, 0xB0, &blocks(&[(0x10, REL, 1)]))],
            [main_of(2, 0x20, &[1, 1663, 5, REL, 7]), end.clone()],
            [end.clone(), main_of(1, 0x80, &[0, 0, 6, 1, 701, 1, 1663, 5, REL])],
            [main_of(1, 0x80, &[0, 0, 2, 1, 601]), end.clone()],
            [main_of(7, 0, &[5, 1663, 0]), end.clone()],
            [class_changes, main_of(4, 0x20, &[5, 1, 1663])],
        ];
        for log in logs {
            for (mask, kind) in [(0x0900, b'r'), (0x0800, b'r'), (0x0900, b'i')] {
                seeds.push([&head[..], &catalogs(mask, kind), &log.concat()].concat());
            }
        }
    }
    seeds
}

fn changed(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    /// What catalogs and records agree on.
    const WORDS: [u32; 20] = [
        0,
        1,
        2,
        3,
        5,
        6,
        600,
        601,
        700,
        1259,
        1260,
        1262,
        1663,
        1664,
        2610,
        16_384,
        16_385,
        16_400,
        20_000,
        u32::MAX,
    ];
    let head = input.first_chunk::<HEAD>().copied().unwrap_or_default();
    let owned = |input: &[u8]| -> Vec<(u8, Vec<u8>)> {
        parts(input).into_iter().map(|(kind, bytes)| (kind, bytes.to_vec())).collect()
    };
    let (mut mine, theirs) = (owned(input), owned(other));
    let mut head = head.to_vec();
    if mine.is_empty() {
        *input = other.to_vec();
        return;
    }
    let at = random.below(mine.len());
    match random.below(10) {
        0 => {
            let at = random.below(HEAD);
            head[at] = *random.pick(&[0, 0, 1, 2, 3, 4, 5, 127, 255]);
        }
        1 => drop(mine.remove(at)),
        2 if !theirs.is_empty() => mine.insert(at, random.pick(&theirs).clone()),
        3 => {
            let to = random.below(mine.len());
            mine.swap(at, to);
        }
        4 => {
            // The path, or the resource manager, and what follows it.
            let bytes = &mut mine[at].1;
            if bytes.len() > 1 {
                let at = random.below(2);
                bytes[at] = *random.pick(&[0, 1, 2, 3, 4, 7, 10, 0x10, 0x20, 0x50, 0x80, 0xB0]);
            }
        }
        5..=7 => {
            // A word where words stand.
            let bytes = &mut mine[at].1;
            if bytes.len() > 4 {
                let at = random.below(bytes.len() - 4);
                let at = if random.one_in(4) { at } else { at & !1 };
                bytes[at..at + 4].copy_from_slice(&random.pick(&WORDS).to_le_bytes());
            }
        }
        _ => any_bytes(&mut mine[at].1, other, random),
    }
    *input = head;
    for (kind, bytes) in mine {
        input.extend(part(kind, &bytes[..bytes.len().min(9000)]));
    }
}

#[test]
fn pages() {
    let seeds = seeds();
    let outcomes: std::collections::BTreeSet<String> = seeds.iter().map(|s| check(s)).collect();
    // They reach every answer, or changes of them would stay shallow.
    for word in ["one one none", "one none one", "1 of 1 findings", "cannot be told"] {
        assert!(outcomes.iter().any(|said| said.contains(word)), "{word}: {outcomes:#?}");
    }
    run(&Target {
        name: "pages",
        seeds,
        mutate: changed,
        repair: |_| (),
        check,
        most_memory: 4 << 20,
        most_bytes: 64 << 10,
    });
}

/// Rows of a page that may be anything: none lies outside of it.
#[test]
fn heap() {
    let mut seed = Vec::new();
    for (xmin, mask) in [(600, 0x0900), (700, 0x0500), (1, 0), (800, 0x1100)] {
        seed.extend(row(xmin, 650, mask, &[7; 120]));
    }
    run(&Target {
        name: "heap",
        seeds: vec![rows(&seed).to_vec(), rows(&row(600, 0, 0x0300, b"")).to_vec()],
        mutate: |input, other, random| {
            // Line pointers and the headers of rows, more often than what they hold.
            if random.one_in(2) && input.len() == PAGE_SIZE {
                let at =
                    if random.one_in(2) { random.below(64) } else { 7000 + random.below(1192) };
                input[at] = match random.below(3) {
                    0 => input[at] ^ 1 << random.below(8),
                    _ => random.next() as u8,
                };
            } else {
                mutate::bytes(input, other, random);
            }
        },
        repair: |input| input.resize(PAGE_SIZE, 0),
        check: |input| {
            let Some(page) = input.first_chunk::<PAGE_SIZE>() else { return "short".into() };
            let inside = page.as_ptr_range();
            let (mut count, mut kinds) = (0, std::collections::BTreeSet::new());
            for tuple in heap::tuples(page) {
                let data = tuple.data.as_ptr_range();
                assert!(inside.start <= data.start && data.end <= inside.end);
                // Three bytes are no column.
                assert!(tuple.u32_at(tuple.data.len().saturating_sub(3)).is_none());
                kinds.insert(format!("{:?} {:?}", tuple.made, tuple.ended));
                count += 1;
            }
            assert!(count <= (PAGE_SIZE - 24) / 4);
            format!("{} {kinds:?}", words(count as u64))
        },
        most_memory: 1 << 20,
        most_bytes: PAGE_SIZE,
    });
}
