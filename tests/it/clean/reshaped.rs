//! Relations, databases and tablespaces that are made, moved or removed while a backup is taken:
//! much of that is logged only at its end, or not at all.

use std::{collections::BTreeSet, fs, os::unix::fs::FileExt as _, process::Command};

use pgassay::demo::source::run;

use super::{of, passes, small};
use crate::support::{
    drill::Drill,
    fixture::{Recipe, Workshop},
    hold::Session,
};

/// The files of the database `app`, inside the data directory.
fn files_of_app(shop: &Workshop) -> BTreeSet<String> {
    let oid = shop.sql("app", "select oid from pg_database where datname = 'app'");
    let folder = shop.on_disk(&format!("base/{oid}"));
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| format!("base/{oid}/{}", name.to_str().unwrap())).collect()
}

/// A GIN build that waits at two gates in the middle of its work.
struct Build {
    index: Session,
    gates: [Session; 2],
    /// Of the index, inside the data directory.
    file: String,
}

impl Build {
    fn begin(shop: &Workshop) -> Self {
        shop.sql(
            "app",
            "create function words(text) returns text[] immutable language plpgsql as $$ begin
               if $1 like 'gate %' then perform pg_advisory_lock_shared(right($1, 1)::int); end if;
               return string_to_array($1, ' ');
             end $$;
             create table docs (body text);
             insert into docs select string_agg(md5((i * 31 + j)::text), ' ') from generate_series(1, 3000) i, generate_series(1, 12) j group by i;
             insert into docs values ('gate 1');
             insert into docs select string_agg(md5((i * 17 + j)::text), ' ') from generate_series(1, 3000) i, generate_series(1, 12) j group by i;
             insert into docs values ('gate 2');",
        );
        let gates = [1, 2].map(|gate| {
            let lock = format!("select pg_advisory_lock({gate})");
            let session = shop.session("app", &[&lock]);
            let held = format!("select count(*) = 1 from pg_locks where locktype = 'advisory' and granted and objid = {gate}");
            shop.wait("app", &held);
            session
        });
        let before = files_of_app(shop);
        let index = shop.session(
            "app",
            &[
                "set maintenance_work_mem = '1MB'",
                "set max_parallel_maintenance_workers = 0",
                "create index docs_words on docs using gin (words(body)) with (fastupdate = off)",
            ],
        );
        at_gate(shop, 1);
        shop.sql("postgres", "checkpoint");
        let new: Vec<String> = files_of_app(shop).difference(&before).cloned().collect();
        let largest = new.iter().max_by_key(|f| fs::metadata(shop.on_disk(f)).unwrap().len());
        let file = largest.unwrap().clone();
        Self { index, gates, file }
    }

    /// A backup that reads half of each page from before the first gate and half from behind it.
    /// What is left to do then is to pass the second gate.
    fn torn_backup(self, shop: &Workshop) -> [Session; 2] {
        let [first, second] = self.gates;
        let path = shop.on_disk(&self.file);
        let (mut first, mut good) = (Some(first), Vec::new());
        shop.backup_held_at(&[&self.file, "global/pg_control"], &["--gzip"], |held| {
            if held == 1 {
                return fs::write(&path, &good).unwrap();
            }
            let old = fs::read(&path).unwrap();
            drop(first.take());
            at_gate(shop, 2);
            shop.sql("postgres", "checkpoint");
            good = fs::read(&path).unwrap();
            let (mut torn, mut count) = (good.clone(), 0);
            for (page, old) in torn.chunks_mut(8192).zip(old.chunks(8192)) {
                count += usize::from(page[..4096] != old[..4096] && page[4096..] != old[4096..]);
                page[..4096].copy_from_slice(&old[..4096]);
            }
            assert!(count > 3, "{count} pages torn");
            // The file keeps its inode: PostgreSQL has it open.
            fs::write(&path, torn).unwrap();
        });
        [self.index, second]
    }
}

fn at_gate(shop: &Workshop, gate: u32) {
    shop.wait(
        "app",
        &format!("select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted and objid = {gate}"),
    );
}

/// GIN, SP-GiST and buffered GiST builds log their pages at their end only (`log_newpage_range`).
/// Until then nothing makes good what a backup reads of them, and nothing needs to.
#[test]
fn an_index_that_is_built_before_during_and_after_the_backup() {
    let archive = of("gin-build", small(), |shop| {
        let [index, gate] = Build::begin(shop).torn_backup(shop);
        drop(gate);
        index.end();
        shop.add("later", 50);
    });
    passes(&archive, "gin-build");
}

/// Its file is dropped by the abort record; no page of it was ever logged.
#[test]
#[ignore = "a matrix: make test-all"]
fn an_index_whose_build_is_given_up_after_the_backup() {
    let archive = of("gin-aborted", small(), |shop| {
        let [index, gate] = Build::begin(shop).torn_backup(shop);
        shop.sql(
            "app",
            "select pg_cancel_backend(pid) from pg_stat_activity where query like 'create index%'",
        );
        drop((index, gate));
        shop.alone();
        shop.add("later", 50);
    });
    passes(&archive, "gin-aborted");
}

/// The log ends before it says what becomes of the file: nobody owns it after recovery.
#[test]
#[ignore = "a matrix: make test-all"]
fn an_index_whose_build_the_archive_does_not_see_the_end_of() {
    let archive = super::made("gin-lost", |root| {
        let mut shop = Workshop::new(root, "gin-lost", small());
        let sessions = Build::begin(&shop).torn_backup(&shop);
        shop.add("later", 50);
        shop.remember_rows("app");
        shop.switch_wal();
        // The source is lost at once: no abort record, no shutdown checkpoint.
        shop.source.stop(false).unwrap();
        drop(sessions);
        shop.finish()
    });
    passes(&archive, "gin-lost");
}

/// `CREATE DATABASE … STRATEGY file_copy` and `ALTER DATABASE … SET TABLESPACE` copy files behind
/// the buffers' back; replay copies them again, whatever the backup read of the copy.
fn copied_by_files(name: &str, major: u32, strategy: &str) {
    let archive = of(name, Recipe { major, ..small() }, |shop| {
        template(shop);
        shop.sql("app", "create table held (i int)");
        let file = shop.file_of("held");
        shop.backup_held_at(&[&file, "global/pg_control"], &["--gzip"], |held| {
            if held == 0 {
                shop.sql("app", "update items set body = 'before the copy' where id < 400");
                shop.sql("postgres", &format!("create database copied template app {strategy}"));
                shop.sql("copied", "delete from items where id % 5 = 0; insert into events values (-1, now(), 'x')");
            } else {
                shop.sql("postgres", &format!("create database late template pattern {strategy}"));
                shop.sql("postgres", &format!("create database gone template pattern {strategy}"));
                shop.sql("postgres", "drop database gone");
                shop.sql("postgres", "alter database late rename to \"late one\"");
            }
        });
        shop.sql("postgres", &format!("create database after_it template copied {strategy}"));
        shop.sql("postgres", "alter database pattern set tablespace space");
        shop.sql("pattern", "insert into t values (0, 'moved')");
        shop.add("later", 50);
    });
    passes(&archive, name);
}

fn template(shop: &Workshop) {
    shop.sql("postgres", "create database pattern");
    shop.sql(
        "pattern",
        "create table t as select i, md5(i::text) from generate_series(1, 2000) i; create index on t (i)",
    );
}

/// No false alarm: a database that is moved while its old files are being read is lost. Replay copies
/// it from a place that the backup found half removed, so that only a drill tells what is left.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_database_that_is_moved_under_the_backup_is_lost() {
    let archive = of("moved", small(), |shop| {
        template(shop);
        shop.sql("postgres", "checkpoint");
        let file = shop.sql("pattern", "select pg_relation_filepath('t')");
        shop.backup_held_at(&[&file], &["--gzip"], |_| {
            shop.sql("postgres", "alter database pattern set tablespace space");
        });
        shop.add("later", 50);
    });
    let drill = Drill::new(&archive.root, "moved", "");
    for arguments in [&[][..], &["--recovery-point"]] {
        let answer = drill.verify(arguments);
        answer.expect("inconclusive", 4);
        let errors = answer.report["errors"].to_string();
        assert!(errors.contains("was moved from tablespace 1663 to"), "{errors}");
    }
    drill.run(&[]).expect("fail", 1).expect_finding("relation_missing", "pattern");
    drill.run(&["--depth", "restore"]).expect("inconclusive", 4);
}

/// Moved while tablespaces were copied, which come first: of its old folder the backup has nothing.
#[test]
fn a_database_that_is_moved_before_the_backup_comes_to_it_is_lost() {
    let archive = of("moved-away", small(), |shop| {
        template(shop);
        shop.sql("postgres", "checkpoint");
        // barman opens it by the tablespace's own path.
        let file = shop.file_of("events");
        let file = &file[file.find("PG_").unwrap()..];
        shop.backup_held_at(&[file], &["--gzip"], |_| {
            shop.sql("postgres", "alter database pattern set tablespace space");
        });
        shop.add("later", 50);
    });
    let drill = Drill::new(&archive.root, "moved-away", "");
    for arguments in [&[][..], &["--recovery-point"]] {
        let answer = drill.verify(arguments);
        answer.expect("fail", 1).expect_finding("relation_missing", ": database ");
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
    }
    let answer = drill.run(&[]);
    answer.expect("fail", 1).expect_finding("relation_missing", "pattern");
    answer.expect_finding("relation_missing", "was moved from tablespace 1663 to");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn databases_that_are_copied_by_files() {
    copied_by_files("file-copy", 15, "strategy file_copy");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn databases_that_are_copied_on_other_majors() {
    copied_by_files("file-copy-14", 14, "");
    copied_by_files("wal-copy", 15, "strategy wal_log");
    copied_by_files("file-copy-18", 18, "strategy file_copy");
}

/// Everything gets a new file while the old one is read; the old ones' zeros and remains stay in the
/// backup.
#[test]
#[ignore = "a matrix: make test-all"]
fn relations_rewritten_during_the_backup() {
    let archive = of("rewritten", small(), |shop| {
        shop.sql("app", "create materialized view seen as select id, name from items; create unique index on seen (id)");
        shop.sql("app", "delete from items where id % 3 = 0; delete from events where id % 2 = 0");
        let toast = "select reltoastrelid::regclass from pg_class where relname = 'items'";
        let files = [
            shop.file_of("items"),
            shop.file_of("items_pkey"),
            shop.file_of(&shop.sql("app", toast)),
            shop.file_of("pg_class"),
        ];
        let mut held: Vec<&str> = files.iter().map(String::as_str).collect();
        held.push("global/pg_control");
        shop.backup_held_at(&held, &["--gzip"], |held| match held {
            0 => drop(shop.sql("app", "vacuum full items")),
            1 => drop(shop.sql("app", "reindex table items")),
            2 => drop(shop.sql("app", "cluster events using events_pkey")),
            // Mapped catalogs get new files, and the map that names them changes, too.
            3 => {
                shop.sql("app", "vacuum full pg_class");
                shop.sql("app", "reindex index concurrently items_name_key");
                shop.sql("app", "refresh materialized view concurrently seen");
            }
            _ => {
                shop.sql("app", "alter table items set unlogged");
                shop.sql("app", "alter table items set logged");
                shop.sql("app", "alter table events set tablespace pg_default");
                shop.sql("postgres", "vacuum full pg_authid");
                shop.sql("app", "checkpoint");
            }
        });
        shop.add("later", 50);
    });
    passes(&archive, "rewritten");
}

/// `VACUUM` cuts mapped catalogs while they are read: what stood behind the cut is in the backup in
/// part, as zeros or not at all, and nobody needs it. A file that a crash left behind asks for the
/// catalogs.
#[test]
fn mapped_catalogs_that_are_cut_during_the_backup() {
    let archive = of("cut-catalogs", small(), |shop| {
        let many = |act: &str| {
            shop.sql("app", &format!("do 'begin for i in 1..1500 loop {act}; end loop; end'"));
        };
        many("execute format(''create table passing_%s (i int)'', i)");
        let folder = shop.file_of("pg_class").replace("/1259", "");
        let left_behind = shop.on_disk(&format!("{folder}/99999"));
        fs::copy(shop.on_disk(&shop.file_of("items")), &left_behind).unwrap();
        let half_written = fs::File::options().write(true).open(&left_behind).unwrap();
        half_written.write_all_at(&[0x55; 4096], 8192).unwrap();
        shop.sql("app", "checkpoint");
        let catalogs = ["pg_class", "pg_attribute"];
        let files = catalogs.map(|catalog| shop.file_of(catalog));
        let lengths =
            || files.each_ref().map(|file| fs::metadata(shop.on_disk(file)).unwrap().len());
        let long = lengths();
        let mut good = Vec::new();
        shop.backup_held_at(&[&files[0], &files[1], "global/pg_control"], &["--gzip"], |held| {
            if held == 2 {
                return;
            }
            let path = shop.on_disk(&files[held]);
            if good.is_empty() {
                // Read whole, half of each page from before the rows were deleted.
                let old = fs::read(&path).unwrap();
                many("execute format(''drop table passing_%s'', i)");
                shop.sql("app", "checkpoint");
                good = fs::read(&path).unwrap();
                let (mut torn, mut count) = (good.clone(), 0);
                let pages = torn.chunks_mut(8192).zip(old.chunks(8192));
                for (page, old) in pages.skip(old.len() / 8192 / 2) {
                    count += usize::from(page[..4096] != old[..4096]);
                    page[..4096].copy_from_slice(&old[..4096]);
                }
                assert!(count > 3, "{count} pages torn");
                fs::write(&path, torn).unwrap();
            } else {
                fs::write(shop.on_disk(&files[1 - held]), &good).unwrap();
                // barman has asked for this one's length.
                shop.sql("app", "vacuum pg_class, pg_attribute, pg_type");
                let short = lengths();
                assert!(short[0] < long[0] / 2 && short[1] < long[1] / 2, "{long:?} {short:?}");
            }
        });
        shop.add("later", 50);
    });
    passes(&archive, "cut-catalogs");
}

/// Unlogged relations come back empty from their init fork, temporary ones not at all, whatever
/// their pages in the backup look like.
#[test]
#[ignore = "a matrix: make test-all"]
fn unlogged_and_temporary_relations() {
    let archive = of("unlogged", small(), |shop| {
        shop.sql(
            "app",
            "create unlogged table flighty (i int primary key, tags int[], body text);
             create index on flighty using gin (tags); create index on flighty using hash (i);
             create index on flighty using brin (i);
             insert into flighty select i, array[i % 5], repeat('u', i % 3000) from generate_series(1, 3000) i",
        );
        let temporary = shop.session(
            "app",
            &["create temp table passing as select i, repeat('t', 500) body from generate_series(1, 5000) i",
              "create index on passing (i)", "begin", "select count(*) from passing"],
        );
        shop.wait(
            "app",
            "select count(*) = 1 from pg_stat_activity where state = 'idle in transaction'",
        );
        shop.sql("app", "checkpoint");
        let file = shop.file_of("flighty");
        let path = shop.on_disk(&file);
        shop.backup_held_at(&[&file, "global/pg_control"], &["--gzip"], |held| {
            // Half of another page: nobody ever reads it again.
            if held == 0 {
                let mut pages = fs::read(&path).unwrap();
                let (first, second) = pages.split_at_mut(8192);
                first[4096..].copy_from_slice(&second[4096..8192]);
                fs::write(&path, pages).unwrap();
            }
        });
        drop(temporary);
        shop.alone();
        shop.sql("app", "truncate flighty");
        shop.sql(
            "app",
            "insert into flighty select i, array[1], 'new' from generate_series(1, 100) i",
        );
        shop.sql("app", "create unlogged sequence late_one");
        shop.add("later", 50);
    });
    passes(&archive, "unlogged");
}

/// Replay makes these tablespaces; the sandbox must not make them where production had them.
#[test]
#[ignore = "a matrix: make test-all"]
fn tablespaces_that_come_and_go_inside_the_window_and_after_it() {
    let archive = of("tablespaces", small(), |shop| {
        let space = |name: &str| {
            let dir = shop.source.make_dir(name).unwrap();
            shop.sql("postgres", &format!("create tablespace {name} location '{}'", dir.display()));
        };
        space("before_it");
        shop.sql("app", "create table a (i int) tablespace before_it; insert into a select generate_series(1, 500)");
        shop.sql("app", "create table held (i int)");
        let file = shop.file_of("held");
        shop.backup_held_at(&[&file, "global/pg_control"], &["--gzip"], |held| {
            if held == 0 {
                space("inside");
                shop.sql("app", "create table b (i int primary key) tablespace inside; insert into b select generate_series(1, 500)");
                shop.sql("app", "alter table events set tablespace inside");
            } else {
                space("passing");
                shop.sql("app", "create table c (i int) tablespace passing; drop table c");
                shop.sql("postgres", "checkpoint");
                shop.sql("postgres", "drop tablespace passing");
            }
        });
        space("behind");
        shop.sql("postgres", "create database elsewhere tablespace behind");
        shop.sql("elsewhere", "create table d as select generate_series(1, 100) i");
        shop.sql("app", "drop table a");
        shop.sql("postgres", "checkpoint");
        shop.sql("postgres", "drop tablespace before_it");
        shop.add("later", 50);
    });
    passes(&archive, "tablespaces");
}

/// Pages that are only zeros behind a table's last row, in the backup and after it: no row says that
/// they are there, and nothing was lost in them.
#[test]
#[ignore = "a matrix: make test-all"]
fn pages_of_zeros_that_an_extension_left() {
    let archive = of("zeros", small(), |shop| {
        shop.sql(
            "app",
            "create table gaps as select i, repeat('g', 600) body from generate_series(1, 200) i",
        );
        shop.sql("app", "checkpoint");
        let path = shop.on_disk(&shop.file_of("gaps"));
        // What a crash between extension and the page's first record leaves behind.
        let length = fs::metadata(&path).unwrap().len();
        run(Command::new("truncate").arg("-s").arg((length + 40 * 8192).to_string()).arg(&path))
            .unwrap();
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.sql(
            "app",
            "insert into gaps select i, repeat('h', 600) from generate_series(1, 100) i",
        );
        shop.sql("app", "vacuum gaps");
        shop.add("later", 50);
    });
    passes(&archive, "zeros");
}
