//! Bad pages in base backups that the real barman-cloud made of busy clusters: damage is found also
//! where replay would heal it, and what was only torn or in the making raises no alarm.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    drill::{Answer, Drill, damaged_copy},
    fixture::{Archive, Mark, Recipe, Workshop, archive},
    tools,
};

/// Tables of the fixture: its marks give their files' paths.
const TABLES: [&str; 5] = ["cold", "hot", "busy", "fresh", "scratch"];

/// A plain backup, server `pages`, during which a row of `busy` is locked and `fresh` is filled, while the
/// index `made` is being built; after it `hot` is updated and the index finished.
fn pages(major: u32, settings: &[&str]) -> Archive {
    let kind = if settings.is_empty() { "" } else { "-settings" };
    archive(&format!("bad-pages{major}{kind}"), |root| {
        let recipe = Recipe { major, settings, ..Recipe::default() };
        let shop = Workshop::new(root, "pages", recipe);
        shop.sql(
            "app",
            "create table cold as select i, repeat(md5(i::text), 8) as note from generate_series(1, 300) i;
             create table hot as table cold; create table busy as table cold;
             create table fresh (i int, note text); create unlogged table scratch as table cold;
             create table docs as select i, array[i % 7, i % 11] as tags from generate_series(1, 200) i;
             create function slow(i int, tags int[]) returns int[] language plpgsql immutable as
               $$ begin if i = 200 then perform pg_advisory_xact_lock(4711); end if; return tags; end $$",
        );
        shop.sql("app", "vacuum freeze cold");
        shop.sql("app", "checkpoint");
        let holder = session(&shop, "select pg_advisory_lock(4711); select pg_sleep(600)");
        wait(&shop, "select count(*) > 0 from pg_locks where locktype = 'advisory' and granted");
        let builder = session(&shop, "create index made on docs using gin (slow(i, tags))");
        wait(
            &shop,
            "select count(*) > 0 from pg_locks where locktype = 'advisory' and not granted",
        );
        shop.sql("app", "checkpoint");

        // The first folder's files come first: nothing of a relation has been read yet.
        shop.backup_held_at(&["postgresql.conf"], &[], |_| {
            // Writes to the row's page, where it stays.
            shop.sql("app", "select from busy where i = 20 for update");
            shop.sql(
                "app",
                "insert into fresh select i, repeat('x', 500) from generate_series(1, 40) i",
            );
            shop.sql("app", "checkpoint");
        });
        let mut marks = BTreeMap::new();
        let made = shop.sql("app", "select relfilenode from pg_class where relname = 'made'");
        assert_eq!(made, "", "the build must not be seen yet");
        for table in TABLES {
            let path = shop.sql("app", &format!("select pg_relation_filepath('{table}')"));
            marks.insert(table.to_owned(), Mark { digest: path, ..Mark::default() });
        }
        shop.sql("app", "update hot set note = upper(note)");
        shop.sql(
            "app",
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted",
        );
        end(holder);
        wait_for(builder);
        let path = shop.sql("app", "select pg_relation_filepath('made')");
        marks.insert("made".to_owned(), Mark { digest: path, ..Mark::default() });
        shop.switch_wal();
        shop.finish();
        marks
    })
}

/// A client that works beside the test.
fn session(shop: &Workshop, sql: &str) -> Child {
    let psql = tools::postgres_bin(tools::packaged_major()).join("psql");
    let mut command = Command::new(psql);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", shop.source.superuser(), "-d", "app"]);
    command.arg("-h").arg(shop.source.socket_dir()).args(["-p", "5432", "-c", sql]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait(shop: &Workshop, condition: &str) {
    let since = Instant::now();
    while shop.sql("app", condition) != "t" {
        assert!(since.elapsed() < Duration::from_mins(2), "{condition}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(mut child: Child) {
    assert!(!child.wait().unwrap().success());
}

fn wait_for(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

fn packaged() -> Archive {
    pages(tools::packaged_major(), &[])
}

/// Where a relation's file lies in the backup's tar: its first byte and its length.
fn member(bytes: &[u8], path: &str) -> (usize, usize) {
    let mut at = 0;
    loop {
        let name = bytes[at..at + 100].split(|byte| *byte == 0).next().unwrap();
        let octal = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(octal.trim_matches(['\0', ' ']), 8).unwrap();
        if name.strip_prefix(b"./").unwrap_or(name) == path.as_bytes() {
            return (at + 512, size);
        }
        assert!(!name.is_empty(), "`{path}` is not in the tar");
        at += 512 + size.next_multiple_of(512);
    }
}

/// Flips a bit of a file's page: of block `Some`, or of its last one.
fn flip(root: &Path, path: &str, block: Option<usize>) {
    let base = root.join("bucket/archive/pages/base");
    let tar: PathBuf = fs::read_dir(base).unwrap().next().unwrap().unwrap().path().join("data.tar");
    let mut bytes = fs::read(&tar).unwrap();
    let (start, size) = member(&bytes, path);
    let block = block.unwrap_or_else(|| size / 8192 - 1);
    assert!((block + 1) * 8192 <= size, "`{path}` has {size} bytes");
    bytes[start + block * 8192 + 8000] ^= 0x40;
    fs::write(tar, bytes).unwrap();
}

fn file<'a>(archive: &'a Archive, relation: &str) -> &'a str {
    &archive.marks[relation].digest
}

fn notes(answer: &Answer) -> String {
    answer.report["notes"].to_string()
}

/// One page damaged, then a drill.
fn drill_flipped(archive: &Archive, relation: &str, spec: &str) -> Answer {
    let copy = damaged_copy(archive, |root| flip(root, file(archive, relation), Some(1)));
    Drill::new(copy.path(), "pages", spec).run(&[])
}

#[test]
fn a_page_that_later_wal_heals_is_damage() {
    let archive = packaged();
    let answer = drill_flipped(&archive, "hot", "  depth: restore");
    answer
        .expect("fail", 1)
        .expect_finding("page_checksum", file(&archive, "hot"))
        .expect_finding("page_checksum", "but every target before has lost it");
    assert_eq!(answer.findings().len(), 1, "{:?}", answer.findings());
}

#[test]
fn a_page_that_no_wal_touches_is_damage() {
    let archive = packaged();
    let answer = drill_flipped(&archive, "cold", "  depth: restore");
    answer
        .expect("fail", 1)
        .expect_finding("page_checksum", file(&archive, "cold"))
        .expect_finding("page_checksum", "block 1 (checksum ")
        .expect_finding("page_checksum", "the backup's own WAL does not repair it");
}

/// Pages that are bad in the tar and that nobody misses: two that the backup's own WAL makes anew, by
/// an image and without, a visibility map's, an unlogged table's, and one of an index in the making.
fn flip_what_does_not_matter(root: &Path, archive: &Archive) {
    flip(root, file(archive, "busy"), Some(0));
    flip(root, file(archive, "fresh"), None);
    flip(root, &format!("{}_vm", file(archive, "cold")), Some(0));
    flip(root, file(archive, "scratch"), Some(1));
    flip(root, file(archive, "made"), Some(1));
}

fn expect_no_alarm(archive: &Archive) {
    let copy = damaged_copy(archive, |root| flip_what_does_not_matter(root, archive));
    let answer = Drill::new(copy.path(), "pages", "").run(&[]);
    answer.expect("pass", 0);
    let said = notes(&answer);
    for words in [
        "pages of",
        "the backup's own WAL makes them anew",
        "1 bad pages in the base backup are of no account",
        "1 pages of free space or visibility maps",
    ] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    // The index never comes to be: its file stays as it is in the backup.
    let answer = Drill::new(copy.path(), "pages", "  recoveryPoint: {target: immediate}").run(&[]);
    answer.expect("pass", 0);
}

#[test]
fn torn_pages_and_pages_nobody_needs_are_no_alarm() {
    expect_no_alarm(&packaged());
}

#[test]
#[ignore = "a matrix: make test-all"]
fn other_majors_and_settings() {
    for (major, settings) in [
        (14, &[][..]),
        (16, &[]),
        (17, &["full_page_writes = off"]),
        (18, &[]),
        (18, &["wal_compression = pglz", "full_page_writes = off"]),
    ] {
        let archive = pages(major, settings);
        let answer = drill_flipped(&archive, "hot", "  depth: restore");
        answer.expect("fail", 1).expect_finding("page_checksum", file(&archive, "hot"));
        expect_no_alarm(&archive);
    }
}
