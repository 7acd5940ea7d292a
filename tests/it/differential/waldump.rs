//! `pg_waldump` and the scan on the same log: every record with its place, length, blocks and time,
//! and where reading ends when the log is damaged.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use jiff::Timestamp;
use pgassay::{
    demo::source::run,
    pg::{
        Lsn, Major, SegmentNumber, TimelineHistory, TimelineId,
        wal::{
            record::Record,
            scan::{ScanStart, WalDamage, WalScan},
        },
    },
};

use super::Random;
use crate::{
    support::tools,
    wal::{Server, agree},
};

/// `pg_waldump`'s line for a record, without the description.
fn line(record: &Record<'_>, names: &BTreeMap<u8, &str>) -> String {
    let long = |lsn: Lsn| format!("{:X}/{:08X}", lsn.0 >> 32, lsn.0 & 0xFFFF_FFFF);
    let mut text = format!(
        "{} tot {} tx {} lsn {} prev {}",
        names.get(&record.rmid).unwrap_or(&"?"),
        record.length(),
        record.xid,
        long(record.start),
        long(record.prev),
    );
    for block in record.blocks {
        let file = block.relation;
        let _ = write!(
            text,
            " #{} {}/{}/{} {}{}{}",
            block.id,
            file.tablespace,
            file.database,
            file.number,
            ["", "fsm ", "vm ", "init "][usize::from(block.fork)],
            block.block,
            match block.image {
                None => "",
                Some(image) if image.apply => " FPW",
                Some(_) => " FPW for WAL verification",
            },
        );
    }
    text
}

const MANAGERS: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

/// A line of `pg_waldump` in the form of [`line`], and the time of a commit or an abort.
fn waldump_line(text: &str) -> (String, Option<Timestamp>) {
    let after = |mark: &str| text.split_once(mark).map_or("", |(_, rest)| rest);
    let number = |rest: &str| {
        let end = rest.trim_start().find([',', ' ']).unwrap_or(rest.len());
        rest.trim_start()[..end].to_owned()
    };
    let mut line = format!(
        "{} tot {} tx {} lsn {} prev {}",
        number(after("rmgr: ")),
        number(after("len (rec/tot): ").split_once('/').unwrap().1),
        number(after(" tx: ")),
        number(after(" lsn: ")),
        number(after(" prev ")),
    );
    for block in text.split(", blkref ").skip(1) {
        let block = block.replace(": rel", "").replace(" blk ", " ").replace(" fork", "");
        let _ = write!(line, " {block}");
    }
    let description = after(", desc: ");
    let ended = ["COMMIT ", "ABORT ", "COMMIT_PREPARED ", "ABORT_PREPARED "];
    let time = ended.iter().any(|word| description.starts_with(word)).then(|| {
        // Of a prepared transaction the xid comes first.
        let from = description.find(" 20").unwrap() + 1;
        format!("{}Z", description[from..].split(" UTC").next().unwrap()).parse().unwrap()
    });
    (line, time)
}

fn compare_with_waldump(server: &Server) {
    assert_eq!(server.history.ancestors.len(), 1);
    let switch = server.history.ancestors[0].switch;
    let names: BTreeMap<u8, &str> = (0..).zip(MANAGERS).collect();
    let (mut ours, mut our_times) = (Vec::new(), Vec::new());
    let start = server.whole();
    let first = start.start;
    let summary = server.scan_with(start, |record| {
        ours.push(line(record, &names));
        our_times.push(record.transaction_end(server.major).map(|end| end.at));
    });
    assert_eq!(summary.records as usize, ours.len());
    // The segment with the fork: what the old timeline wrote of it is set aside under this name.
    let fork = server.size.segment_of(switch).file_name(TimelineId(1), server.size);
    let archive = server.archive();
    fs::copy(archive.join(format!("{fork}.partial")), archive.join(&fork)).unwrap();
    // One call for each timeline: it knows no history files.
    let mut theirs = Vec::new();
    for (timeline, start, end) in [(1, first, switch), (2, switch, summary.end)] {
        let program = tools::client_bin(server.major.number()).join("pg_waldump");
        let mut command = Command::new(program);
        command.env("TZ", "UTC").arg("-p").arg(&archive);
        command.arg(format!("--timeline={timeline}"));
        command.arg(format!("--start={start}")).arg(format!("--end={end}"));
        theirs.extend(run(&mut command).unwrap().lines().map(waldump_line));
    }
    for (index, (theirs, their_time)) in theirs.iter().enumerate() {
        assert_eq!(ours.get(index), Some(theirs));
        assert_eq!(our_times[index], *their_time, "{theirs}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Damage in one of two segments: the kinds that disks and transfers do.
fn damage(bytes: &mut [u8], headers: &[usize], random: &mut Random) -> String {
    let (pages, sectors) = (bytes.len() / 8192, bytes.len() / 512);
    let flip = |bytes: &mut [u8], at: usize, random: &mut Random| {
        let bit = random.below(8);
        bytes[at] ^= 1 << bit;
        format!("bit {bit} of byte {at:#X} flipped")
    };
    match random.below(7) {
        0 => {
            let at = random.below(bytes.len());
            flip(bytes, at, random)
        }
        1 => {
            let at = headers[random.below(headers.len())] + random.below(24);
            flip(bytes, at.min(bytes.len() - 1), random)
        }
        2 => {
            let at = random.below(pages) * 8192 + random.below(24);
            flip(bytes, at, random)
        }
        3 => {
            let at = random.below(pages) * 8192;
            bytes[at..at + 8192].fill(0);
            format!("the page at {at:#X} zeroed")
        }
        4 => {
            let (from, to) = (random.below(sectors) * 512, random.below(sectors) * 512);
            bytes.copy_within(from..from + 512, to);
            format!("the sector at {to:#X} overwritten with that at {from:#X}")
        }
        5 => {
            let (from, to) = (random.below(pages) * 8192, random.below(pages) * 8192);
            bytes.copy_within(from..from + 8192, to);
            format!("the page at {to:#X} overwritten with that at {from:#X}")
        }
        _ => {
            let at = random.below(sectors) * 512;
            bytes[at..].fill(0);
            format!("nothing but zeros from {at:#X}")
        }
    }
}

/// The records that `pg_waldump` reads from `start` to `end`, and what it says on the way out.
fn starts_by_waldump(server: &Server, folder: &Path, start: Lsn, end: Lsn) -> (Vec<Lsn>, String) {
    let program = tools::client_bin(server.major.number()).join("pg_waldump");
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("--timeline=1");
    command.arg(format!("--start={start}")).arg(format!("--end={end}"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    let lsn = |line: &str| {
        let (_, rest) = line.split_once("lsn: ").unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    (text.lines().map(lsn).collect(), said)
}

fn starts_by_us(
    server: &Server,
    start: Lsn,
    end: Lsn,
    segments: &[(SegmentNumber, Vec<u8>)],
) -> (Vec<Lsn>, Option<WalDamage>) {
    let from = ScanStart { start, history: TimelineHistory::root(TimelineId(1)), ..server.whole() };
    let mut scan = WalScan::new(from);
    let mut starts = Vec::new();
    for (number, bytes) in segments {
        scan.segment_with(TimelineId(1), *number, bytes.as_slice(), |record| {
            if record.start < end {
                starts.push(record.start);
            }
        });
    }
    let summary = scan.finish();
    let damage = summary.damage.or(summary.open_end).filter(|damage| damage.lsn < end);
    (starts, damage)
}

/// Two neighbouring segments of the real log, damaged in one of them, again and again.
fn damage_ends_both_alike(server: &Server, rounds: u64) {
    let folder = server.work.join("damaged");
    fs::create_dir(&folder).unwrap();
    let (size, switch) = (server.size, server.history.ancestors[0].switch);
    let mut records = Vec::new();
    server.scan_with(server.whole(), |record| records.push((record.start, record.end)));
    let first = size.segment_of(records[0].0).next();
    // Both segments end before the fork.
    let count = (size.segment_of(switch).0 - first.0 - 1) as usize;
    let (mut earlier, mut found) = (0, 0);
    for round in 0..rounds {
        let mut random = Random(round);
        let number = SegmentNumber(first.0 + random.below(count) as u64);
        let within = |lsn: Lsn| lsn >= number.start(size) && lsn < number.next().end(size);
        let whole: Vec<Lsn> = records
            .iter()
            .filter(|(start, end)| within(*start) && *end <= number.next().end(size))
            .map(|(start, _)| *start)
            .collect();
        // The end is the last record's start: what follows it is not in these two files.
        let (Some(&start), Some(&end)) = (whole.first(), whole.last()) else { continue };
        let mut segments: Vec<(SegmentNumber, Vec<u8>)> = [number, number.next()]
            .into_iter()
            .map(|number| (number, server.segment(number).unwrap().1))
            .collect();
        let which = random.below(2);
        let (number, bytes) = &mut segments[which];
        let inside = |lsn: Lsn| lsn >= number.start(size) && lsn < number.end(size);
        let headers: Vec<usize> = whole
            .iter()
            .filter(|start| inside(**start))
            .map(|start| (start.0 - number.start(size).0) as usize)
            .collect();
        if headers.is_empty() {
            continue;
        }
        let what = format!("{} {number:?}: {}", round, damage(bytes, &headers, &mut random));
        for (number, bytes) in &segments {
            fs::write(folder.join(number.file_name(TimelineId(1), size)), bytes).unwrap();
        }
        let (theirs, said) = starts_by_waldump(server, &folder, start, end);
        let (ours, damage) = starts_by_us(server, start, end, &segments);
        assert!(theirs.starts_with(&ours), "{what}: {said}\n{damage:?}");
        if theirs.len() > ours.len() {
            // It knows neither the history nor the database system.
            let detail = damage.unwrap().detail;
            let known = detail.contains("timeline") || detail.contains("database system");
            assert!(known, "{what}: {detail}");
            earlier += 1;
            continue;
        }
        assert_eq!(damage.is_some(), !said.is_empty(), "{what}: {said}\n{damage:?}");
        if let Some((_, at)) = said.split_once("data checksum in record at ") {
            let damage = damage.unwrap();
            assert!(damage.detail.contains("CRC"), "{what}: {said}\n{damage:?}");
            assert_eq!(damage.lsn, at.trim().parse().unwrap(), "{what}");
        }
        found += u64::from(!said.is_empty());
    }
    assert!(found > rounds / 3, "only {found} of {rounds} damages were found");
    assert!(earlier < rounds / 5, "{earlier} of {rounds} damages were found by us alone");
}

#[test]
fn packaged_small_segments() {
    let settings = ["wal_level = logical", "wal_compression = on"];
    let server = agree(packaged(), 1, &settings);
    compare_with_waldump(&server);
    damage_ends_both_alike(&server, 60);
}

#[test]
fn packaged_large_segments() {
    let settings = ["wal_consistency_checking = 'heap2,btree'"];
    compare_with_waldump(&agree(packaged(), 16, &settings));
}

#[test]
fn of_16() {
    let server = agree(Major::V16, 1, &["wal_compression = on"]);
    compare_with_waldump(&server);
    damage_ends_both_alike(&server, 60);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn of_17() {
    let server = agree(Major::V17, 1, &["wal_level = logical"]);
    compare_with_waldump(&server);
    damage_ends_both_alike(&server, 400);
}

#[test]
fn of_18() {
    let server = agree(Major::V18, 1, &["wal_compression = on"]);
    compare_with_waldump(&server);
    damage_ends_both_alike(&server, 60);
}

/// The major that the distribution packages.
fn packaged() -> Major {
    Major::from_number(tools::packaged_major()).unwrap()
}
