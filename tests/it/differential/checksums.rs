//! `pg_checksums` and the check `checksums` on the same data directory: the same files and pages, and
//! once pages are damaged the same ones with the same sums.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
};

use pgassay::{
    check::checksums::{files, verify_cluster},
    demo::source::{Source, SourceSpec, run},
    drill::FailureClass,
    pg::{
        Major,
        page::{self, PAGE_SIZE, PageState},
        relation_file::{Fork, RelationFile},
    },
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use super::Random;
use crate::support::{tools, workdir::WorkDir};

/// Calculated and stored.
type Bad = BTreeMap<(String, u32), (u16, u16)>;

fn at_rest(major: Major, work: &WorkDir) -> Source {
    let mut source = Source::create(SourceSpec {
        bin_dir: tools::postgres_bin(major.number()),
        root: work.join("source"),
        owner: tools::postgres_owner(),
        superuser: "postgres".into(),
        initdb: vec!["--data-checksums".into()],
        settings: vec!["autovacuum = off".into()],
        environment: Vec::new(),
    })
    .unwrap();
    let space = source.make_dir("space").unwrap();
    let mut psql = Command::new(tools::postgres_bin(tools::packaged_major()).join("psql"));
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", "5432", "-h"]);
    psql.arg(source.socket_dir());
    for statement in [
        &format!("create tablespace space location '{}'", space.display()),
        "create table t (id int primary key, body text, tags int[]) tablespace space",
        "insert into t select i, repeat(md5(i::text), 4), array[i % 7] from generate_series(1, 9000) i",
        "create index on t using gin (tags)",
        "create index on t using brin (id)",
        "create unlogged table u as select generate_series(1, 3000) i",
        "create table emptied (i int)",
        "delete from t where id % 5 = 0",
        "vacuum t",
    ] {
        psql.args(["-c", statement]);
    }
    run(&mut psql).unwrap();
    source.stop(true).unwrap();
    source
}

/// What `pg_checksums` says: files, pages, bad pages.
fn theirs(major: Major, data: &Path) -> (u64, u64, Bad) {
    let mut command = Command::new(tools::client_bin(major.number()).join("pg_checksums"));
    let output = command.args(["--check", "-D"]).arg(data).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{text}{said}")).trim().parse::<u64>().unwrap()
    };
    let mut bad = Bad::new();
    for line in said.lines() {
        let words =
            line.split_once("verification failed in file \"").unwrap_or_else(|| panic!("{line}"));
        let (file, rest) = words.1.split_once("\", block ").unwrap();
        let (block, rest) = rest.split_once(": calculated checksum ").unwrap();
        let (computed, stored) = rest.split_once(" but block contains ").unwrap();
        let sum = |text: &str| u16::from_str_radix(text.trim(), 16).unwrap();
        let file = Path::new(file).strip_prefix(data).unwrap().to_str().unwrap().to_owned();
        bad.insert((file, block.parse().unwrap()), (sum(computed), sum(stored)));
    }
    assert_eq!(output.status.success(), bad.is_empty(), "{text}{said}");
    assert_eq!(number("Bad checksums:"), bad.len() as u64);
    (number("Files scanned:"), number("Blocks scanned:"), bad)
}

/// The same of ours, page by page, and the pages that only the server would refuse.
fn ours(data: &Path) -> (u64, u64, Bad, BTreeSet<String>) {
    let (mut count, mut pages, mut bad, mut refused) = (0, 0, Bad::new(), BTreeSet::new());
    for fork in files::list(data).unwrap() {
        for &segment in fork.segments.keys() {
            assert_eq!(segment, 0, "small relations have one file");
            let name = fork.first.to_string();
            let bytes = fs::read(data.join(&name)).unwrap();
            count += 1;
            for (block, page) in (0..).zip(bytes.as_chunks::<PAGE_SIZE>().0) {
                pages += 1;
                match page::verify(page, block) {
                    PageState::Valid | PageState::New => {}
                    PageState::BadHeader => drop(refused.insert(name.clone())),
                    PageState::BadChecksum { stored, computed } => {
                        bad.insert((name.clone(), block), (computed, stored));
                    }
                }
            }
        }
    }
    (count, pages, bad, refused)
}

fn compare(major: Major, data: &Path) -> usize {
    let (their_files, their_pages, their_bad) = theirs(major, data);
    let (files, pages, bad, refused) = ours(data);
    assert_eq!((files, pages), (their_files, their_pages));
    assert_eq!(bad, their_bad);
    let cluster = verify_cluster(data, &Progress::silent(), &CancellationToken::new()).unwrap();
    assert_eq!((cluster.files, cluster.pages), (their_files, their_pages));
    let map = |name: &str| {
        let file = RelationFile::parse(name).unwrap();
        matches!(file.fork, Fork::Fsm | Fork::Vm)
    };
    let named: BTreeSet<String> = cluster
        .findings
        .iter()
        .filter(|finding| finding.class == FailureClass::PageChecksum)
        .map(|finding| finding.subject.split(' ').next().unwrap().to_owned())
        .collect();
    let damaged = bad.keys().map(|(file, _)| file).chain(&refused);
    let expected: BTreeSet<String> = damaged.filter(|file| !map(file)).cloned().collect();
    assert_eq!(named, expected);
    let in_maps = bad.keys().filter(|(file, _)| map(file)).count() as u64;
    assert!(cluster.bad_map_pages >= in_maps);
    bad.len()
}

fn damage(data: &Path, random: &mut Random) {
    let forks = files::list(data).unwrap();
    let mut left = 40;
    while left > 0 {
        let fork = &forks[random.below(forks.len())];
        let pages = fork.bytes() as usize / PAGE_SIZE;
        if pages == 0 {
            continue;
        }
        left -= 1;
        let path = data.join(fork.first.to_string());
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = (random.below(pages) * PAGE_SIZE) as u64;
        let mut page = [0; PAGE_SIZE];
        file.read_exact_at(&mut page, at).unwrap();
        match random.below(6) {
            0 => page[random.below(PAGE_SIZE)] ^= 1 << random.below(8),
            1 => page[random.below(24)] ^= 1 << random.below(8),
            2 => page.fill(0),
            // A torn page: the front half was never written.
            3 => page[..PAGE_SIZE / 2].fill(0),
            // A page of elsewhere in the same file: the block number counts.
            4 => {
                let from = (random.below(pages) * PAGE_SIZE) as u64;
                file.read_exact_at(&mut page, from).unwrap();
            }
            _ => {
                let sector = random.below(16) * 512;
                page[sector..sector + 512].fill(random.next() as u8);
            }
        }
        file.write_all_at(&page, at).unwrap();
    }
}

fn agree(major: Major, rounds: u64) {
    let work = WorkDir::new();
    let source = at_rest(major, &work);
    let data = source.data_dir();
    assert_eq!(compare(major, &data), 0);
    let mut before = 0;
    for round in 0..rounds {
        damage(&data, &mut Random(round));
        let bad = compare(major, &data);
        assert!(bad > before, "no page got worse in round {round}");
        before = bad;
    }
}

#[test]
fn of_the_packaged_one() {
    agree(Major::from_number(tools::packaged_major()).unwrap(), 2);
}

#[test]
fn of_16() {
    agree(Major::V16, 2);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn of_17() {
    agree(Major::V17, 20);
}

#[test]
fn of_18() {
    agree(Major::V18, 2);
}
