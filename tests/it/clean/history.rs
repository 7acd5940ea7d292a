//! What servers live through: crashes, promotions, standbys, idleness.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use pgassay::demo::source::{Source, SourceSpec, run};

use super::{finish, made, of, passes, passes_from_each_backup, passes_with, small};
use crate::support::{
    fixture::{Recipe, Workshop},
    hold::backup_held_at,
    tools,
};

/// Four timelines, each promoted from the one before, each with a backup and rows of its own: the
/// path from every backup to the newest end leads through the history files.
#[test]
fn cascaded_promotions_with_a_backup_on_each_timeline() {
    let archive = of("cascade", small(), |shop| {
        for round in 0..4 {
            shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
            shop.add(&format!("round{round}"), 200);
            if round < 3 {
                shop.promote();
            }
        }
    });
    let ids = || {
        let base = archive.root.join("bucket/archive/cascade/base");
        let names = fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name());
        let mut ids: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
        ids.sort();
        ids
    };
    let answer = passes_with(&archive, "cascade", &["--backup", &ids()[0]]);
    assert_eq!(answer.report["reached"]["timeline"], 4);
    passes(&archive, "cascade");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn every_backup_of_cascaded_promotions() {
    cascaded_promotions_with_a_backup_on_each_timeline();
    let archive = of("cascade", small(), |_| unreachable!());
    passes_from_each_backup(&archive, "cascade");
}

/// Nothing was written after the backup: the archive ends with the segment of the backup's end.
#[test]
#[ignore = "a matrix: make test-all"]
fn an_idle_cluster_with_large_segments() {
    let archive = made("idle", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=64"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "idle", recipe);
        super::remember(&mut shop);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        // Lost at once: no shutdown checkpoint, no segment after the backup's last.
        shop.source.stop(false).unwrap();
        shop.finish()
    });
    passes(&archive, "idle");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn large_segments() {
    let recipe = Recipe { initdb: &["--wal-segsize=64"], ..Recipe::default() };
    let archive = of("large-segments", recipe, |shop| {
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        for batch in 0..3 {
            shop.add(&format!("large{batch}"), 1000);
            shop.switch_wal();
        }
    });
    passes(&archive, "large-segments");
}

/// Crash recovery ends with a checkpoint and goes on in the same segment, on the same timeline.
#[test]
#[ignore = "a matrix: make test-all"]
fn crashes_of_production_during_and_after_the_backup() {
    let archive = of("crashes", small(), |shop| {
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        for crash in 0..3 {
            shop.add(&format!("before{crash}"), 300);
            let open = shop.session(
                "app",
                &[
                    "begin",
                    "insert into items (name) values ('never')",
                    "create table never (i int)",
                    "select pg_switch_wal()",
                ],
            );
            shop.wait("app", "select count(*) = 1 from pg_stat_activity where state = 'idle in transaction' and query like '%pg_switch_wal%'");
            shop.source.stop(false).unwrap();
            drop(open);
            shop.source.start().unwrap();
        }
    });
    passes(&archive, "crashes");
}

/// Crashes inside a record, and cuts the log off at the first multiple of `unit` bytes behind the
/// record's beginning: a page's or a segment's border, behind which nothing ever came to the disk. The
/// server goes on there and marks the page: `XLP_FIRST_IS_OVERWRITE_CONTRECORD`,
/// `XLOG_OVERWRITE_CONTRECORD`.
fn crash_inside_a_record(shop: &mut Workshop, unit: u64) {
    // Not one of the segments may be archived with what is cut off here.
    let archive = shop.sql("postgres", "show archive_command");
    shop.sql("postgres", "alter system set archive_command = ''");
    shop.sql("postgres", "select pg_reload_conf()");
    shop.wait("postgres", "select current_setting('archive_command') in ('', '(disabled)')");
    shop.sql("postgres", "select pg_switch_wal()");
    shop.sql("postgres", "checkpoint");
    // A record longer than a segment crosses whatever there is to cross.
    let begin = shop.sql("postgres", "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
    shop.sql("postgres", "select pg_logical_emit_message(true, 'cut', repeat('x', 1500000))");
    let end = shop.sql("postgres", "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
    shop.source.stop(false).unwrap();
    let (begin, end): (u64, u64) = (begin.parse().unwrap(), end.parse().unwrap());
    let cut = (begin / unit + 1) * unit;
    assert!(cut < end);
    let segment = 1 << 20;
    let per_id = (1 << 32) / segment;
    let path = |number: u64| -> PathBuf {
        let name = format!("00000001{:08X}{:08X}", number / per_id, number % per_id);
        shop.source.data_dir().join("pg_wal").join(name)
    };
    for number in cut / segment..=end / segment + 8 {
        let offset = cut.saturating_sub(number * segment);
        if offset == 0 {
            let status = path(number).file_name().unwrap().to_str().unwrap().to_owned();
            let status = format!("pg_wal/archive_status/{status}.ready");
            let _ = fs::remove_file(shop.source.data_dir().join(status));
            let _ = fs::remove_file(path(number));
        } else {
            let file = fs::File::options().write(true).open(path(number)).unwrap();
            file.write_all_at(&vec![0; (segment - offset) as usize], offset).unwrap();
        }
    }
    shop.source.start().unwrap();
    let log = fs::read_to_string(shop.source.log_path()).unwrap();
    assert!(
        log.contains("redo done") || log.contains("database system was not properly shut down"),
        "{log}"
    );
    let escaped = archive.replace('\'', "''");
    shop.sql("postgres", &format!("alter system set archive_command = '{escaped}'"));
    shop.sql("postgres", "select pg_reload_conf()");
    shop.add(&format!("after{begin}"), 200);
}

#[test]
fn crashes_inside_a_record() {
    let archive = of("contrecord", small(), |shop| {
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("before", 100);
        // At a segment's end, and at a page's.
        crash_inside_a_record(shop, 1 << 20);
        crash_inside_a_record(shop, 8192);
    });
    passes(&archive, "contrecord");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn crashes_inside_a_record_of_other_majors() {
    for major in [14, 16, 17, 18] {
        let name = format!("contrecord-{major}");
        let archive = of(&name, Recipe { major, ..small() }, |shop| {
            shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
            shop.add("before", 100);
            crash_inside_a_record(shop, 1 << 20);
            crash_inside_a_record(shop, 8192);
        });
        passes(&archive, &name);
    }
}

/// A streaming standby of the workshop's server.
fn standby(shop: &Workshop) -> Source {
    let mut standby = Source::create(SourceSpec {
        bin_dir: tools::postgres_bin(tools::packaged_major()),
        root: shop.work.join("standby"),
        owner: tools::postgres_owner(),
        superuser: "postgres".into(),
        initdb: Vec::new(),
        settings: Vec::new(),
        environment: shop.barman.environment(),
    })
    .unwrap();
    standby.stop(true).unwrap();
    let data = standby.data_dir();
    fs::remove_dir_all(&data).unwrap();
    let mut copy = shop.client("pg_basebackup");
    let spaces = format!("{0}={0}-of-standby", shop.work.join("source/space").display());
    copy.args(["-X", "stream", "-c", "fast", "-R", "-T", &spaces, "-D"]).arg(&data);
    run(&mut copy).unwrap();
    if let Some((user, group)) = tools::postgres_owner() {
        let mut chown = Command::new("chown");
        chown.arg("-R").arg(format!("{user}:{group}")).arg(&data);
        run(chown.arg(shop.work.join("source/space-of-standby"))).unwrap();
    }
    let socket = standby.socket_dir();
    let settings = format!(
        "unix_socket_directories = '{}'\nwal_retrieve_retry_interval = '100ms'\n",
        socket.display()
    );
    standby.append_config(&settings).unwrap();
    standby.start().unwrap();
    standby
}

/// No `XLOG_BACKUP_END` and no `.backup` file: the backup is consistent where its own `pg_control`
/// says (`minRecoveryPoint`), and its last segment comes to the archive later, from the primary.
#[test]
fn a_backup_from_a_standby() {
    let archive = made("standby", |root| {
        let shop = Workshop::new(root, "standby", small());
        let mut standby = standby(&shop);
        shop.add("streamed", 300);
        let load = shop.session("app", &["do $$ begin for i in 1..2000 loop update events set note = 'n' || i where id = i; commit; end loop; end $$"]);
        shop.barman.backup(&standby, &["--gzip"]).unwrap();
        load.end();
        shop.add("later", 300);
        standby.stop(true).unwrap();
        finish(shop)
    });
    passes(&archive, "standby");
}

/// The standby follows its primary's promotion while it is copied: the window begins on one timeline
/// and ends on the next.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_backup_from_a_standby_whose_primary_is_promoted() {
    let archive = made("standby-switch", |root| {
        let mut shop = Workshop::new(root, "standby-switch", small());
        let mut standby = standby(&shop);
        let barman = shop.barman.clone();
        let held = [shop.file_of("items"), "global/pg_control".to_owned()];
        let held: Vec<&str> = held.iter().map(String::as_str).collect();
        backup_held_at(&barman, &standby, &held, &["--gzip"], |index| {
            if index == 0 {
                shop.add("before", 300);
                shop.promote();
                shop.add("behind", 300);
                shop.sql("app", "update items set name = name || 'x' where id % 10 = 0");
                shop.sql("app", "checkpoint");
                let end = shop.sql("app", "select pg_current_wal_insert_lsn()");
                let replayed = format!("select pg_last_wal_replay_lsn() >= '{end}'");
                let since = Instant::now();
                while asked(&standby, &replayed) != "t" {
                    assert!(since.elapsed() < Duration::from_mins(2), "the standby stays behind");
                    std::thread::sleep(Duration::from_millis(20));
                }
                // A restart point: what was written since counts for consistency.
                asked(&standby, "checkpoint");
                let timeline = "select min_recovery_end_timeline from pg_control_recovery()";
                assert_eq!(asked(&standby, timeline), "2");
            }
        });
        shop.add("later", 300);
        standby.stop(true).unwrap();
        finish(shop)
    });
    let answer = passes(&archive, "standby-switch");
    assert_eq!(answer.report["backup"]["timeline"], 1);
    assert_eq!(answer.report["reached"]["timeline"], 2);
}

/// What a statement on a server of the packaged major prints.
fn asked(server: &Source, sql: &str) -> String {
    let psql = tools::postgres_bin(tools::packaged_major()).join("psql");
    let mut command = Command::new(psql);
    command.args(["-XqAt", "-U", "postgres", "-d", "postgres", "-p", "5432", "-c", sql]);
    run(command.arg("-h").arg(server.socket_dir())).unwrap().trim().to_owned()
}

/// Of a cluster that is on its second timeline, and that goes on to its third after the backup: the
/// window ends on the timeline that it began on, the path of replay does not.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_backup_from_a_standby_on_several_timelines() {
    let archive = made("standby-cascade", |root| {
        let mut shop = Workshop::new(root, "standby-cascade", small());
        shop.promote();
        let mut standby = standby(&shop);
        shop.add("streamed", 300);
        shop.barman.backup(&standby, &["--gzip"]).unwrap();
        standby.stop(true).unwrap();
        shop.add("before", 300);
        shop.promote();
        shop.add("later", 300);
        finish(shop)
    });
    passes(&archive, "standby-cascade");
}
