use super::*;
use crate::{
    pg::{
        SegmentNumber,
        filenode_map::tests::bytes as map_bytes,
        heap::tests::page as heap_page,
        wal::{
            scan::WalScan,
            testing::{FIRST_SEGMENT, LogWriter},
        },
    },
    restore::pages::{
        PageVerdict, PageWatch, WatchRules,
        testing::{Block, Touch, body, control, page, seal, words},
    },
};

const REL: u32 = 16_384;
const HEAP: u8 = RM_HEAP;
const XLOG: u8 = 0;

/// A backup of one bad page, block 3 of `base/5/16384`, and a log that a test goes on with.
struct Case {
    log: LogWriter,
    major: Major,
    start: Lsn,
    suspects: Suspects,
    files: Vec<(String, Vec<u8>)>,
    most_moves: usize,
}

impl Case {
    fn new() -> Self {
        Self::of(Major::V15)
    }

    fn of(major: Major) -> Self {
        let mut log = LogWriter::new(major);
        // Before the redo point: must not count.
        log.record(HEAP, 0, 700, &body(major, &[(REL, 0, 3, Touch::Image)], b"x"));
        let start = log.next_start();
        let suspects = Self::watched(&[]);
        Self { log, major, start, suspects, files: Vec::new(), most_moves: MAX_MOVES }
    }

    /// The bad page, and `files` as they pass by.
    fn watched(files: &[(String, Vec<u8>)]) -> Suspects {
        let watch = PageWatch::new(WatchRules::default());
        let mut bytes: Vec<u8> = (0..5).flat_map(|block| page(1, block)).collect();
        bytes[3 * 8192 + 4000] ^= 1;
        watch.file(b"base/5/16384").unwrap().data(&bytes);
        for (path, bytes) in files {
            if let Some(mut file) = watch.file(path.as_bytes()) {
                file.data(bytes);
            }
        }
        watch.finish().judged_by(&control(true)).unwrap()
    }

    fn touch(&mut self, touch: Touch) -> &mut Self {
        self.blocks(HEAP, 0, &[(REL, 0, 3, touch)])
    }

    fn blocks(&mut self, rmid: u8, info: u8, blocks: &[Block]) -> &mut Self {
        self.log.record(rmid, info, 700, &body(self.major, blocks, b"x"));
        self
    }

    fn main(&mut self, rmid: u8, info: u8, data: &[u32]) -> &mut Self {
        self.log.main(rmid, info, 700, &words(data));
        self
    }

    fn end(&mut self) -> &mut Self {
        self.log.backup_end(self.start);
        self
    }

    /// A commit or abort that drops the relation.
    fn drops(&mut self, info: u8) -> &mut Self {
        // Time, flags (subtransactions and relations), then both lists.
        self.main(1, info | 0x80, &[0, 0, 6, 1, 701, 1, 1663, 5, REL])
    }

    /// Files of the backup: catalogs of database 5 that know what `class` says.
    fn catalogs(
        &mut self,
        class: &[ClassRow],
        index: &[(u32, u16, u32, bool)],
        clog: u8,
    ) -> &mut Self {
        let mut rows = vec![class_row(PG_INDEX, 2610, b'r', (1, 0, 0x0900))];
        rows.extend(class.iter().map(|r| {
            let mut row = class_row(r.oid, REL, r.kind, (r.xmin, r.xmax, r.mask));
            row.3[114] = r.persistence;
            row
        }));
        let index = index.iter().map(|(xmin, mask, oid, ready)| {
            let mut data = vec![0; 32];
            data[..4].copy_from_slice(&oid.to_le_bytes());
            data[20] = u8::from(*ready);
            (*xmin, 0, *mask, data)
        });
        let mut database = vec![0; 200];
        database[..4].copy_from_slice(&5u32.to_le_bytes());
        database[92..96].copy_from_slice(&1663u32.to_le_bytes());
        let sealed = |rows: &[(u32, u32, u16, Vec<u8>)]| {
            let mut page = heap_page(rows);
            seal(&mut page, 0);
            page.to_vec()
        };
        self.files = vec![
            ("base/5/pg_filenode.map".into(), map_bytes(&[(PG_CLASS, 1259)], true)),
            ("global/pg_filenode.map".into(), map_bytes(&[(PG_DATABASE, 1262)], true)),
            ("base/5/1259".into(), sealed(&rows)),
            ("base/5/2610".into(), sealed(&index.collect::<Vec<_>>())),
            ("global/1262".into(), sealed(&[(1, 0, 0x0900, database)])),
            ("pg_xact/0000".into(), vec![clog; 8192]),
        ];
        self.suspects = Self::watched(&self.files);
        self
    }

    /// The verdict in a word: torn, unneeded, damage or undecided.
    #[track_caller]
    fn verdict(&self) -> &'static str {
        let verdict = self.whole();
        let classes: Vec<&str> = verdict.findings.iter().map(|f| f.class.name()).collect();
        match (verdict.torn, verdict.unneeded, &classes[..]) {
            (1, 0, []) => "torn",
            (0, 1, []) => "unneeded",
            (0, 0, ["page_checksum"]) => "damage",
            (0, 0, ["page_undecided"]) => "undecided",
            _ => panic!("{verdict:?}"),
        }
    }

    fn whole(&self) -> PageVerdict {
        self.with(None)
    }

    /// The same whether all files of the backup come by, as in a tar, or only those that are wanted.
    fn with(&self, min_recovery_point: Option<Lsn>) -> PageVerdict {
        let verdict = self.read(min_recovery_point, true);
        let asked = self.read(min_recovery_point, false);
        assert_eq!(verdict.findings, asked.findings);
        assert_eq!(verdict.unneeded, asked.unneeded);
        verdict
    }

    fn read(&self, min_recovery_point: Option<Lsn>, all: bool) -> PageVerdict {
        let window = BackupWindow { major: self.major, start: self.start, min_recovery_point };
        let mut judge = PageJudge::new(self.suspects.clone(), window);
        judge.changes.most = self.most_moves;
        let mut scan = WalScan::new(self.log.scan_start());
        let timeline = crate::pg::TimelineId(1);
        for (index, bytes) in self.log.segments().iter().enumerate() {
            let number = SegmentNumber(FIRST_SEGMENT.0 + index as u64);
            scan.segment_with(timeline, number, bytes.as_slice(), |record| judge.record(record));
        }
        assert_eq!(scan.finish().damage, None);
        let mut judged = judge.finish();
        let mut look = judged.questions();
        if let Some(look) = &mut look {
            for pass in 0.. {
                let wanted: Vec<String> = look.wanted().into_iter().map(str::to_owned).collect();
                if wanted.is_empty() {
                    assert!(!all || pass <= 1, "{pass} passes");
                    break;
                }
                for (path, bytes) in self.files.iter().filter(|f| all || wanted.contains(&f.0)) {
                    if let Some(mut file) = look.file(path) {
                        bytes.chunks(5000).for_each(|piece| file.data(piece));
                    }
                }
                look.next_pass();
            }
        }
        judged.verdict(look)
    }
}

#[derive(Clone, Copy)]
struct ClassRow {
    oid: u32,
    kind: u8,
    xmin: u32,
    xmax: u32,
    mask: u16,
    persistence: u8,
}

fn class_row(
    oid: u32,
    number: u32,
    kind: u8,
    (xmin, xmax, mask): (u32, u32, u16),
) -> (u32, u32, u16, Vec<u8>) {
    let mut data = vec![0; 144];
    data[..4].copy_from_slice(&oid.to_le_bytes());
    data[88..92].copy_from_slice(&number.to_le_bytes());
    data[115] = kind;
    (xmin, xmax, mask, data)
}

/// Committed long ago.
const TABLE: ClassRow =
    ClassRow { oid: 20_000, kind: b'r', xmin: 600, xmax: 0, mask: 0x0900, persistence: b'p' };
/// Made by a transaction of which only `pg_xact` knows.
const NEW_TABLE: ClassRow = ClassRow { mask: 0x0800, ..TABLE };
const INDEX: ClassRow = ClassRow { kind: b'i', ..TABLE };

#[test]
fn the_first_record_of_the_window_decides() {
    use Touch::{Change, CheckImage, Image, Init};
    for major in [Major::V14, Major::V15, Major::V18] {
        for (touches, expected) in [
            (&[Image][..], "torn"),
            (&[Init], "torn"),
            (&[Image, Change], "torn"),
            (&[Change], "damage"),
            (&[Change, Image], "damage"),
            (&[CheckImage], "damage"),
            (&[CheckImage, Image], "damage"),
        ] {
            let mut case = Case::of(major);
            for touch in touches {
                case.touch(*touch);
            }
            case.end();
            assert_eq!(case.verdict(), expected, "{major:?} {touches:?}");
        }
    }
}

#[test]
fn other_blocks_and_forks_do_not_count() {
    let mut case = Case::new();
    case.blocks(HEAP, 0, &[(REL, 0, 2, Touch::Image), (REL, 1, 3, Touch::Image)]);
    case.blocks(HEAP, 0, &[(REL, 2, 3, Touch::Image), (REL + 1, 0, 3, Touch::Image)]);
    case.end().catalogs(&[TABLE], &[], 0);
    assert_eq!(case.verdict(), "damage");
}

#[test]
fn healed_by_later_wal_is_damage() {
    for touch in [Touch::Image, Touch::Init, Touch::Change] {
        let mut case = Case::new();
        case.end().touch(touch);
        let found = case.whole().findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].class.name(), &*found[0].subject), ("page_checksum", "base/5/16384"));
        let heals = found[0].detail.contains("heals it at 0/3");
        assert_eq!(heals, touch != Touch::Change, "{}", found[0].detail);
    }
}

#[test]
fn another_backups_end_does_not_end_the_window() {
    let mut case = Case::new();
    case.log.backup_end(Lsn(0x123));
    case.touch(Touch::Image).end();
    assert_eq!(case.verdict(), "torn");
}

#[test]
fn a_standbys_window_ends_at_its_minimum_recovery_point() {
    let mut case = Case::new();
    case.log.commit(800, 1);
    let point = case.log.next_start();
    case.touch(Touch::Image);
    let verdict = case.with(Some(point));
    assert_eq!(verdict.findings.len(), 1, "{verdict:?}");
    let verdict = case.with(Some(Lsn(point.0 + 1)));
    assert_eq!((verdict.torn, verdict.findings.len()), (1, 0), "{verdict:?}");
    // Zero is none: then an end of the backup would be asked for.
    let verdict = case.with(Some(Lsn::INVALID));
    assert_eq!((verdict.torn, verdict.findings.len()), (1, 0), "{verdict:?}");
}

#[test]
fn a_window_without_end_is_undecided() {
    let mut case = Case::new();
    case.log.commit(800, 1);
    case.catalogs(&[], &[], 0);
    let found = case.whole().findings;
    assert!(found.iter().any(|f| f.class.name() == "page_undecided"), "{found:?}");
}

#[test]
fn what_the_window_removes_is_of_no_account() {
    // SMGR truncate to 3 blocks, main fork.
    assert_eq!(Case::new().main(2, 0x20, &[3, 1663, 5, REL, 7]).end().verdict(), "unneeded");
    // To four blocks, and of the maps alone: block 3 stays.
    for words in [[4, 1663, 5, REL, 7], [0, 1663, 5, REL, 6]] {
        let mut case = Case::new();
        case.main(2, 0x20, &words).end().catalogs(&[TABLE], &[], 0);
        assert_eq!(case.verdict(), "damage");
    }
    for info in [0x00, 0x20] {
        assert_eq!(Case::new().drops(info).end().verdict(), "unneeded");
    }
    // Made unlogged inside the window.
    assert_eq!(Case::new().main(2, 0x10, &[1663, 5, REL, 3]).end().verdict(), "unneeded");
    // Databases: copied, dropped.
    for major in [Major::V14, Major::V15] {
        let drop = if major == Major::V14 { 0x10 } else { 0x20 };
        let verdict = Case::of(major).main(4, 0x00, &[5, 1663, 1, 1663]).end().verdict();
        assert_eq!(verdict, "unneeded");
        assert_eq!(Case::of(major).main(4, drop, &[5, 1, 1663]).end().verdict(), "unneeded");
    }
    // In 15 that is a database whose pages are logged one by one.
    let mut case = Case::new();
    case.main(4, 0x10, &[5, 1, 1663]).end().catalogs(&[TABLE], &[], 0);
    assert_eq!(case.verdict(), "damage");
    // A record that needed the page came first: recovery cannot pass it.
    assert_eq!(Case::new().touch(Touch::Change).drops(0).end().verdict(), "damage");
}

#[test]
fn what_is_rolled_back_or_copied_later_was_in_the_making() {
    assert_eq!(Case::new().end().drops(0x20).verdict(), "unneeded");
    assert_eq!(Case::new().end().main(4, 0x00, &[5, 1663, 1, 1663]).verdict(), "unneeded");
}

#[test]
fn what_is_dropped_later_existed_if_the_catalogs_say_so() {
    for (rows, expected) in
        [(&[TABLE][..], "damage"), (&[], "unneeded"), (&[NEW_TABLE], "unneeded")]
    {
        let mut case = Case::new();
        case.end().drops(0x00).catalogs(rows, &[], 0);
        assert_eq!(case.verdict(), expected);
        let mut case = Case::new();
        case.end().main(2, 0x20, &[3, 1663, 5, REL, 7]).catalogs(rows, &[], 0);
        assert_eq!(case.verdict(), expected);
        let mut case = Case::new();
        case.end().main(4, 0x20, &[5, 1, 1663]).catalogs(rows, &[], 0);
        assert_eq!(case.verdict(), expected);
    }
}

#[test]
fn logged_whole_later_was_in_the_making_unless_the_catalogs_know_it() {
    const FPI: u8 = 0xB0;
    const FPI_FOR_HINT: u8 = 0xA0;
    let bad = [(REL, 0, 3, Touch::Image)];
    for (info, rows, expected) in [
        (FPI, &[NEW_TABLE][..], "unneeded"),
        (FPI, &[], "unneeded"),
        (FPI, &[TABLE], "damage"),
        (FPI_FOR_HINT, &[NEW_TABLE], "damage"),
    ] {
        let mut case = Case::new();
        case.end().blocks(XLOG, info, &bad).catalogs(rows, &[], 0);
        assert_eq!(case.verdict(), expected, "{info:X}");
    }
    // Pages of what exists are logged whole, too: without catalogs nothing can be told.
    assert_eq!(Case::new().end().blocks(XLOG, FPI, &bad).verdict(), "undecided");
}

#[test]
fn untouched_pages_are_damage_if_their_relation_exists() {
    let frozen = ClassRow { mask: 0x0B00, ..TABLE };
    let bootstrap = ClassRow { xmin: 1, ..NEW_TABLE };
    let aborted = ClassRow { mask: 0x0A00, ..TABLE };
    let ended = ClassRow { xmax: 650, mask: 0x0500, ..TABLE };
    let locked = ClassRow { xmax: 650, mask: 0x0180, ..TABLE };
    let ending = ClassRow { xmax: 650, mask: 0x0100, ..TABLE };
    let multi = ClassRow { xmax: 650, mask: 0x1100, ..TABLE };
    for (name, rows, clog, expected) in [
        ("committed", &[TABLE][..], 0, "damage"),
        ("frozen", &[frozen], 0, "damage"),
        ("bootstrap", &[bootstrap], 0, "damage"),
        ("committed by pg_xact", &[NEW_TABLE], 0x55, "damage"),
        ("rolled back by pg_xact", &[NEW_TABLE], 0xAA, "unneeded"),
        ("running or crashed", &[NEW_TABLE], 0, "unneeded"),
        ("a subtransaction whose parent is not known", &[NEW_TABLE], 0xFF, "undecided"),
        ("rolled back", &[aborted], 0x55, "unneeded"),
        ("ended", &[ended], 0, "unneeded"),
        ("only locked", &[locked], 0x55, "damage"),
        ("being ended", &[ending], 0, "damage"),
        ("ended by pg_xact", &[ending], 0x55, "unneeded"),
        ("ended by we do not know whom", &[multi], 0, "undecided"),
        ("one dead, one alive", &[ended, TABLE], 0, "damage"),
        ("not there", &[], 0, "unneeded"),
    ] {
        let mut case = Case::new();
        case.end().catalogs(rows, &[], clog);
        assert_eq!(case.verdict(), expected, "{name}");
    }
}

#[test]
fn a_commit_inside_the_window_counts() {
    // Transaction 600 and, as its child, 601.
    for (xid, at) in [(600, true), (600, false), (601, true)] {
        let mut case = Case::new();
        if !at {
            case.end();
        }
        case.log.main(1, 0x80, 600, &words(&[0, 0, 2, 1, 601]));
        if at {
            case.end();
        }
        case.catalogs(&[ClassRow { xmin: xid, ..NEW_TABLE }], &[], 0);
        assert_eq!(case.verdict(), if at { "damage" } else { "unneeded" }, "{xid} {at}");
    }
}

#[test]
fn rows_that_moved_inside_the_window_may_have_been_missed() {
    // From a page that the backup does not have.
    let update = [(1259, 0, 0, Touch::Image), (1259, 0, 1, Touch::Change)];
    for (rows, expected) in
        [(&[][..], "undecided"), (&[TABLE], "damage"), (&[NEW_TABLE], "unneeded")]
    {
        let mut case = Case::new();
        case.catalogs(rows, &[], 0).blocks(HEAP, 0x20, &update).end();
        assert_eq!(case.verdict(), expected);
    }
    // An insert moves nothing, nor does an update within a page, and what comes after the window does
    // not matter.
    let mut case = Case::new();
    case.catalogs(&[], &[], 0).blocks(HEAP, 0x00, &update).blocks(HEAP, 0x20, &update[..1]);
    case.end().blocks(HEAP, 0x20, &update);
    assert_eq!(case.verdict(), "unneeded");
    // The map itself.
    let mut case = Case::new();
    case.catalogs(&[], &[], 0).main(7, 0, &[5, 1663, 0]).end();
    assert_eq!(case.verdict(), "undecided");
}

#[test]
fn what_is_forgotten_of_one_catalog_is_not_taken_for_known() {
    for (most_moves, expected) in [(2, "undecided"), (1, "undecided"), (0, "undecided")] {
        let mut case = Case::new();
        case.most_moves = most_moves;
        case.catalogs(&[], &[], 0);
        case.blocks(HEAP, 0x20, &[(1259, 0, 0, Touch::Change), (1259, 0, 1, Touch::Change)]);
        // The one too many is of `pg_database`, which is shared.
        let shared = [(1262, 0, 0, Touch::Change), (1262, 0, 1, Touch::Change)];
        let mut update = body(case.major, &shared, b"x");
        let (own, global) = (words(&[1663, 5]), words(&[1664, 0]));
        let places: Vec<usize> =
            (0..update.len() - 8).filter(|at| update[*at..*at + 8] == own).collect();
        assert_eq!(places.len(), 2);
        for at in places {
            update[at..at + 8].copy_from_slice(&global);
        }
        case.log.record(HEAP, 0x20, 700, &update);
        case.end();
        assert_eq!(case.verdict(), expected, "{most_moves} moves are remembered");
    }
}

/// Two pages of `pg_class` without the relation, by the LSNs that they were copied with.
fn two_pages(case: &mut Case, lsns: [Lsn; 2]) {
    let rows = [class_row(PG_INDEX, 2610, b'r', (1, 0, 0x0900))];
    let pages = lsns.into_iter().zip(0..).flat_map(|(lsn, block)| {
        let mut page = heap_page(&rows);
        page[..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
        seal(&mut page, block);
        page
    });
    let class = case.files.iter_mut().find(|(path, _)| path == "base/5/1259").unwrap();
    class.1 = pages.collect();
}

#[test]
fn a_row_is_missed_where_it_had_left_one_page_and_not_come_to_the_other() {
    for (left, came, expected) in [
        (false, false, "unneeded"),
        (false, true, "unneeded"),
        (true, true, "unneeded"),
        (true, false, "undecided"),
    ] {
        let mut case = Case::new();
        case.catalogs(&[], &[], 0);
        let before = case.log.next_start();
        case.blocks(HEAP, 0x20, &[(1259, 0, 1, Touch::Change), (1259, 0, 0, Touch::Change)]);
        let after = case.log.next_start();
        let lsn = |has: bool| if has { after } else { before };
        two_pages(&mut case, [lsn(left), lsn(came)]);
        case.end();
        assert_eq!(case.verdict(), expected, "left {left}, came {came}");
    }
}

#[test]
fn a_zeroed_page_of_a_catalog_proves_no_absence() {
    for (made, expected) in [(false, "undecided"), (true, "unneeded")] {
        let mut case = Case::new();
        case.catalogs(&[], &[], 0);
        two_pages(&mut case, [Lsn(8); 2]);
        let class = case.files.iter_mut().find(|(path, _)| path == "base/5/1259").unwrap();
        class.1[8192..].fill(0);
        if made {
            case.blocks(HEAP, 0x80, &[(1259, 0, 1, Touch::Init)]);
        }
        case.end();
        assert_eq!(case.verdict(), expected, "made anew in the window: {made}");
    }
}

#[test]
fn what_stands_behind_the_cut_of_a_catalog_is_dead() {
    let bytes: [fn(&mut [u8]); 2] = [|page| page.fill(0), |page| page[4000] ^= 1];
    for damage in bytes {
        for (blocks, behind, expected) in
            [(1, false, "unneeded"), (2, false, "undecided"), (1, true, "undecided")]
        {
            let mut case = Case::new();
            case.catalogs(&[], &[], 0);
            two_pages(&mut case, [Lsn(8); 2]);
            let class = case.files.iter_mut().find(|(path, _)| path == "base/5/1259").unwrap();
            damage(&mut class.1[8192..]);
            if behind {
                case.end();
            }
            case.main(2, 0x20, &[blocks, 1663, 5, 1259, 7]).end();
            assert_eq!(case.verdict(), expected, "{blocks} blocks, behind the window: {behind}");
        }
    }
}

#[test]
fn an_unlogged_relation_whose_init_fork_is_not_remembered() {
    let mut case = Case::new();
    case.end().catalogs(&[ClassRow { persistence: b'u', ..TABLE }], &[], 0);
    case.suspects.incomplete_names = true;
    assert_eq!(case.verdict(), "unneeded");
}

#[test]
fn an_index_counts_once_it_is_ready() {
    for (name, index, clog, expected) in [
        ("ready", &[(600, 0x0900, 20_000, true)][..], 0, "damage"),
        ("being built concurrently", &[(600, 0x0900, 20_000, false)], 0, "unneeded"),
        (
            "made ready by a transaction that runs",
            &[(600, 0x0900, 20_000, false), (650, 0x0800, 20_000, true)],
            0,
            "unneeded",
        ),
        (
            "made ready",
            &[(600, 0x0900, 20_000, false), (650, 0x0800, 20_000, true)],
            0x55,
            "damage",
        ),
        ("its row is not found", &[], 0, "undecided"),
    ] {
        let mut case = Case::new();
        case.end().catalogs(&[INDEX], index, clog);
        assert_eq!(case.verdict(), expected, "{name}");
    }
}

#[test]
fn catalogs_that_cannot_be_read_prove_no_absence() {
    for file in ["base/5/1259", "base/5/pg_filenode.map", "global/pg_filenode.map"] {
        let mut case = Case::new();
        case.end().catalogs(&[], &[], 0);
        case.files.retain(|(path, _)| path != file);
        case.suspects = Case::watched(&case.files);
        assert_eq!(case.verdict(), "undecided", "without {file}");
    }
    // A torn page of pg_class, which the window makes anew.
    let mut case = Case::new();
    case.end().catalogs(&[], &[], 0);
    case.files.iter_mut().find(|(path, _)| path == "base/5/1259").unwrap().1[8000] ^= 1;
    assert_eq!(case.verdict(), "undecided");
}

#[test]
fn a_database_in_the_making_does_not_exist() {
    let mut case = Case::new();
    case.end().catalogs(&[TABLE], &[], 0);
    let database = case.files.iter_mut().find(|(path, _)| path == "global/1262").unwrap();
    let mut row = vec![0; 200];
    row[..4].copy_from_slice(&5u32.to_le_bytes());
    row[92..96].copy_from_slice(&1663u32.to_le_bytes());
    let mut sealed = heap_page(&[(600, 0, 0x0800, row)]);
    seal(&mut sealed, 0);
    database.1 = sealed.to_vec();
    assert_eq!(case.verdict(), "unneeded");
}

#[test]
fn mapped_catalogs_always_exist() {
    let mut case = Case::new();
    case.end().catalogs(&[], &[], 0);
    case.files[0].1 = map_bytes(&[(PG_CLASS, 1259), (1247, REL)], true);
    case.suspects = Case::watched(&case.files);
    assert_eq!(case.verdict(), "damage");
}

#[test]
fn many_bad_pages_of_a_file_are_one_finding() {
    let mut case = Case::new();
    let watch = PageWatch::new(WatchRules::default());
    watch.file(b"base/5/16384").unwrap().data(&vec![9; 8192 * 20]);
    case.suspects = watch.finish().judged_by(&control(true)).unwrap();
    let all: Vec<Block> = (0..20).map(|block| (REL, 0, block, Touch::Change)).collect();
    case.blocks(HEAP, 0, &all).end();
    let found = case.whole().findings;
    assert_eq!(found.len(), 1);
    assert!(found[0].detail.starts_with("20 pages are bad in the base backup: block 0 "));
    assert!(found[0].detail.ends_with(", and 15 more"), "{}", found[0].detail);
}

#[test]
fn more_suspects_than_fit_are_undecided_unless_there_is_damage() {
    for (touch, expected) in [(Touch::Image, "page_undecided"), (Touch::Change, "page_checksum")] {
        let watch = PageWatch::new(WatchRules { checksums: None, max_suspects: 1 });
        watch.file(b"base/5/16384").unwrap().data(&vec![9; 8192 * 3]);
        let mut case = Case::new();
        case.suspects = watch.finish().judged_by(&control(true)).unwrap();
        case.blocks(HEAP, 0, &[(REL, 0, 0, touch)]).end();
        let found = case.whole().findings;
        let classes: Vec<_> = found.iter().map(|f| f.class.name()).collect();
        assert_eq!(classes, [expected]);
    }
}
