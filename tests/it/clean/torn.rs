//! Pages that a backup read while PostgreSQL wrote them: one half old, one half new. Recovery writes
//! such a page anew before it looks at it.

use std::{fs, io::Write as _, os::unix::fs::FileExt};

use super::{of, passes, small};
use crate::support::fixture::{Recipe, Workshop};

const PAGE: usize = 8192;

/// Where a tear is to be made.
struct Tear<'a> {
    /// A relation of the database `app`.
    relation: &'a str,
    /// Such as `_vm`.
    fork: &'a str,
    block: usize,
    /// How many bytes the reader had before the writer came.
    cut: usize,
}

const fn tear(relation: &str, block: usize, cut: usize) -> Tear<'_> {
    Tear { relation, fork: "", block, cut }
}

fn page(shop: &Workshop, file: &str, block: usize) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let file = fs::File::open(shop.on_disk(file)).unwrap();
    // A page that is not there yet has been extended by the time the reader comes to it.
    let read = file.read_at(&mut page, (block * PAGE) as u64).unwrap();
    assert!(read == PAGE || read == 0);
    page
}

fn write(shop: &Workshop, file: &str, block: usize, page: &[u8]) {
    let file = fs::File::options().write(true).open(shop.on_disk(file)).unwrap();
    file.write_all_at(page, (block * PAGE) as u64).unwrap();
}

/// Takes a backup that sees both versions of these pages. `change` makes the new ones; whatever it
/// does comes inside the backup's window.
fn torn_backup(shop: &Workshop, tears: &[Tear<'_>], change: &str) {
    let file = |tear: &Tear<'_>| shop.file_of(tear.relation) + tear.fork;
    let files: Vec<String> = tears.iter().map(file).collect();
    let mut held: Vec<&str> = files.iter().map(String::as_str).collect();
    held.sort_unstable();
    held.dedup();
    // The last file that a backup opens.
    held.push("global/pg_control");
    let last = held.len() - 1;
    let mut good: Vec<Vec<u8>> = Vec::new();
    shop.backup_held_at(&held, &["--gzip"], |index| {
        if good.is_empty() {
            let old: Vec<Vec<u8>> =
                tears.iter().zip(&files).map(|(t, file)| page(shop, file, t.block)).collect();
            shop.sql("app", change);
            shop.sql("app", "checkpoint");
            for ((tear, file), old) in tears.iter().zip(&files).zip(&old) {
                let new = page(shop, file, tear.block);
                let mixed = [&old[..tear.cut], &new[tear.cut..]].concat();
                let name = format!("{}{} {}", tear.relation, tear.fork, tear.block);
                assert!(mixed != new && mixed != *old, "{name} is not torn");
                write(shop, file, tear.block, &mixed);
                good.push(new);
            }
        }
        if index == last {
            for ((tear, file), good) in tears.iter().zip(&files).zip(&good) {
                write(shop, file, tear.block, good);
            }
        }
    });
}

/// The first record of each page holds a full image of it, also where production does without:
/// `pg_backup_start` turns full-page writes on (`runningBackups`).
fn torn_and_imaged(name: &str, settings: &[&str]) {
    let archive = of(name, Recipe { settings, ..small() }, |shop| {
        shop.sql("app", "create table torn as select i, repeat(md5(i::text), 9) body from generate_series(1, 4000) i");
        shop.sql("app", "alter table torn add primary key (i)");
        let tears = [
            tear("torn", 1, 4096),
            tear("torn", 2, 512),
            tear("torn", 3, 7680),
            tear("torn_pkey", 1, 4096),
            tear("torn_pkey", 2, 512),
            tear("items", 0, 4096),
        ];
        let change = "update torn set body = repeat('x', 290) where i <= 500; update items set name = 'y' || id where id < 50";
        // What was updated lies elsewhere in the page then, and pruning moves the rest.
        let change = format!("{change}; delete from torn where i % 3 = 0 and i < 400");
        torn_backup(shop, &tears, &change);
        shop.add("later", 50);
    });
    passes(&archive, name);
}

#[test]
fn a_full_image_heals_a_torn_page() {
    torn_and_imaged("torn", &[]);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn a_full_image_heals_a_torn_page_where_full_page_writes_are_off() {
    torn_and_imaged("torn-fpw-off", &["full_page_writes = off"]);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn a_compressed_image_heals_a_torn_page() {
    torn_and_imaged("torn-zipped", &["wal_compression = pglz", "wal_log_hints = on"]);
}

/// `BKPBLOCK_WILL_INIT`: redo makes the page without reading it, and the record holds no image.
#[test]
fn a_page_that_is_made_anew_needs_no_image() {
    let archive = of("torn-init", small(), |shop| {
        shop.sql(
            "app",
            "create sequence counter; select nextval('counter');
             create table emptied (i int, body text);
             alter table emptied alter body set storage plain;
             insert into emptied select i, repeat(md5(i::text), 9) from generate_series(1, 100) i;
             create table grown (i int, body text)",
        );
        // Page 0 keeps no row: the next one that goes there is its first (`XLOG_HEAP_INIT_PAGE`).
        shop.sql("app", "delete from emptied where ctid < '(1,0)'");
        shop.sql("app", "vacuum (freeze) emptied");
        shop.sql("app", "checkpoint");
        let tears = [
            tear("emptied", 0, 4096),
            tear("counter", 0, 4096),
            // Extended, and written for the first time.
            tear("grown", 0, 4096),
            tear("grown", 1, 512),
        ];
        torn_backup(
            shop,
            &tears,
            "select nextval('counter') from generate_series(1, 70);
             insert into emptied values (-1, repeat('z', 7500));
             insert into grown select i, repeat('g', 300) from generate_series(1, 100) i",
        );
        shop.add("later", 50);
    });
    passes(&archive, "torn-init");
}

/// What lies beyond a truncation or in a dropped relation is never looked at again.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_torn_page_of_what_is_gone_by_the_end_of_the_backup() {
    let archive = of("torn-gone", small(), |shop| {
        for table in ["dropped", "cut", "emptied"] {
            shop.sql("app", &format!("create table {table} as select i, repeat(md5(i::text), 9) body from generate_series(1, 1000) i"));
        }
        shop.sql("app", "vacuum (freeze) dropped");
        shop.sql("app", "checkpoint");
        let files = ["dropped", "cut", "emptied"].map(|table| shop.file_of(table));
        let held = [files[0].as_str(), &files[1], &files[2], "global/pg_control"];
        let mut begun = false;
        let mut pages: Vec<Vec<u8>> = Vec::new();
        shop.backup_held_at(&held, &["--gzip"], |index| {
            if index == 3 {
                for (file, page) in files.iter().zip(&pages) {
                    write(shop, file, 30, page);
                }
                // The end of the window is behind these.
                shop.sql(
                    "app",
                    "drop table dropped; truncate emptied; delete from cut where i > 100",
                );
                shop.sql("app", "vacuum (truncate) cut");
                assert!(fs::metadata(shop.on_disk(&files[1])).unwrap().len() < 10 * 8192);
            } else if !begun {
                begun = true;
                for file in &files {
                    let old = page(shop, file, 30);
                    // As a hint bit or a row of a transaction that came to nothing leaves it: no
                    // matter what the other half is.
                    let other = page(shop, file, 31);
                    write(shop, file, 30, &[&old[..4096], &other[4096..]].concat());
                    pages.push(old);
                }
            }
        });
        shop.add("later", 50);
    });
    passes(&archive, "torn-gone");
}

/// The free space map is not logged at all, the visibility map's clearing has no image: replay and
/// production put an empty page in the place of one that they cannot read (`RBM_ZERO_ON_ERROR`).
#[test]
fn torn_maps_are_no_damage() {
    let archive = of("torn-maps", small(), |shop| {
        // So many pages that their bits lie in two sectors of the visibility map.
        shop.sql(
            "app",
            "create table wide (i int, body text) with (fillfactor = 10);
             alter table wide alter body set storage plain;
             insert into wide select i, repeat('w', 1000) from generate_series(1, 2200) i;
             create table mapped as select i, repeat('m', 700) body from generate_series(1, 500) i",
        );
        shop.sql("app", "vacuum (freeze) wide");
        shop.sql("app", "vacuum (freeze) mapped");
        shop.sql("app", "checkpoint");
        let tears = [
            Tear { relation: "wide", fork: "_vm", block: 0, cut: 512 },
            Tear { relation: "mapped", fork: "_fsm", block: 2, cut: 4096 },
        ];
        torn_backup(
            shop,
            &tears,
            "update wide set i = i where i > 2150;
             insert into mapped select i, repeat('n', 700) from generate_series(501, 560) i;",
        );
        shop.add("later", 50);
    });
    passes(&archive, "torn-maps");
}

/// A file that shrinks between its size and its last byte: barman-cloud fills the rest with zeros.
#[test]
#[ignore = "a matrix: make test-all"]
fn files_that_shrink_or_vanish_while_they_are_read() {
    let archive = of("shrunk", small(), |shop| {
        for table in ["shrunk", "vanished", "rewritten"] {
            shop.sql("app", &format!("create table {table} as select i, repeat(md5(i::text), 9) body from generate_series(1, 2000) i"));
        }
        shop.sql("app", "checkpoint");
        let files = ["shrunk", "vanished", "rewritten"].map(|table| shop.file_of(table));
        let held: Vec<&str> = files.iter().map(String::as_str).collect();
        shop.backup_held_at(&held, &["--gzip"], |index| match index {
            0 => {
                shop.sql("app", "delete from shrunk where i > 300");
                shop.sql("app", "vacuum (truncate) shrunk");
                assert!(fs::metadata(shop.on_disk(&files[0])).unwrap().len() < 200_000);
            }
            1 => {
                shop.sql("app", "drop table vanished");
                shop.sql("app", "checkpoint");
                assert!(!shop.on_disk(&files[1]).exists());
            }
            _ => {
                shop.sql("app", "truncate rewritten; insert into rewritten values (1, 'one')");
                // The old file has no byte until the next checkpoint removes it.
                assert_eq!(fs::metadata(shop.on_disk(&files[2])).unwrap().len(), 0);
            }
        });
        shop.add("later", 50);
    });
    passes(&archive, "shrunk");
}

/// A block that the writer has only half extended is the end of its file.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_file_that_ends_in_part_of_a_block() {
    let archive = of("part-of-a-block", small(), |shop| {
        shop.sql("app", "create table half as select i, repeat(md5(i::text), 9) body from generate_series(1, 200) i");
        shop.sql("app", "checkpoint");
        let file = shop.file_of("half");
        let held = [file.as_str(), "global/pg_control"];
        // The size counts that it has before barman-cloud looks: longer by part of a page.
        let length = fs::metadata(shop.on_disk(&file)).unwrap().len();
        let mut longer = fs::File::options().append(true).open(shop.on_disk(&file)).unwrap();
        longer.write_all(&[0x5A; 3000]).unwrap();
        shop.backup_held_at(&held, &["--gzip"], |index| {
            if index == 1 {
                longer.set_len(length).unwrap();
                shop.sql(
                    "app",
                    "insert into half select i, repeat('h', 300) from generate_series(1, 200) i",
                );
            }
        });
        shop.add("later", 50);
    });
    passes(&archive, "part-of-a-block");
}
