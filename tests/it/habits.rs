//! Habits of production that lock a drill out of a sound cluster, or lead it out of its sandbox.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Archive, Recipe, Workshop},
    workdir::{WorkDir, tree},
};

/// One cluster, after its base backup: runs `habit`, adds rows, and is lost.
fn of(name: &str, recipe: Recipe<'_>, habit: impl FnOnce(&mut Workshop)) -> Archive {
    fixture::archive(&format!("habit-{name}"), |root| {
        let mut shop = Workshop::new(root, name, recipe);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 100);
        shop.mark("end");
        habit(&mut shop);
        shop.finish()
    })
}

fn small() -> Recipe<'static> {
    Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() }
}

fn drill(archive: &Archive, server: &str) -> Answer {
    Drill::new(&archive.root, server, &archive.rows_of("end")).run(&[])
}

#[test]
fn a_superuser_of_another_name_that_may_not_log_in() {
    let archive = of("nologin", Recipe { superuser: "admin", ..small() }, |shop| {
        shop.sql("postgres", "alter role admin nologin");
    });
    drill(&archive, "nologin").expect("pass", 0);
}

#[test]
fn settings_of_databases_and_roles() {
    let archive = of("settings", small(), |shop| {
        shop.sql(
            "app",
            "create schema evil;
             create function evil.hashtextextended(text, bigint) returns bigint language sql as 'select 1/0';
             alter database app set search_path = evil, pg_catalog, public;
             alter database app set statement_timeout = '1ms';
             alter database app set default_transaction_read_only = on;
             alter database app set lock_timeout = '1ms';
             alter role all set default_transaction_read_only = on;
             create role nobody_at_all;
             alter database app set role = nobody_at_all;
             alter database app set session_preload_libraries = 'no_such_library'",
        );
    });
    drill(&archive, "settings").expect("pass", 0);
}

#[test]
fn databases_that_take_no_connection() {
    let archive = of("closed", small(), |shop| {
        shop.sql("postgres", "create database closed");
        shop.sql("closed", "create table t as select generate_series(1, 10) i");
        shop.sql(
            "postgres",
            "alter database closed allow_connections false; alter database app connection limit 0",
        );
    });
    let answer = drill(&archive, "closed");
    answer.expect("pass", 0);
    assert!(answer.report["checks"].to_string().contains("database"), "{}", answer.stdout);
}

#[test]
fn parameters_raised_after_the_backup() {
    let archive = of("parameters", small(), |shop| {
        let raised = "max_connections = 321\nmax_prepared_transactions = 312\nmax_worker_processes = 23\n\
                      max_locks_per_transaction = 99\nmax_wal_senders = 17\n";
        shop.source.append_config(raised).unwrap();
        shop.source.stop(true).unwrap();
        shop.source.start().unwrap();
        shop.sql("app", "begin; create table prepared (i int); prepare transaction 'left open'");
    });
    let answer = drill(&archive, "parameters");
    answer.expect("pass", 0);
    let settings = answer.report["sandbox"]["settings"].to_string();
    for setting in
        ["max_connections=321", "max_prepared_transactions=312", "max_worker_processes=23"]
    {
        assert!(settings.contains(setting), "{setting} is not in {settings}");
    }
}

#[test]
fn commands_of_production_are_never_run() {
    let marks = WorkDir::new();
    fs::set_permissions(marks.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let work = WorkDir::new();
    let root = work.join("s3");
    let mut shop = Workshop::new(&root, "commands", small());
    let touch = |name: &str| format!("touch {}", marks.join(name).display());
    for (setting, name) in [
        ("recovery_end_command", "recovery-end"),
        ("archive_cleanup_command", "cleanup"),
        ("restore_command", "restore"),
    ] {
        shop.sql("postgres", &format!("alter system set {setting} = '{}'", touch(name)));
    }
    shop.source
        .append_config(&format!(
            "logging_collector = on\nlog_destination = 'csvlog,jsonlog'\nlog_directory = '{}'\nport = 5432\n\
             external_pid_file = '{}'\nlisten_addresses = '127.0.0.1'\n\
             shared_preload_libraries = 'plpgsql,no_such_library'\n",
            marks.join("log").display(),
            marks.join("pid").display(),
        ))
        .unwrap();
    // Not started again: only the backup shall carry them.
    shop.sql("postgres", "select pg_create_physical_replication_slot('standby', true)");
    shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
    shop.add("later", 100);
    shop.mark("end");
    let archive = Archive { root, marks: shop.finish() };
    let answer = drill(&archive, "commands");
    answer.expect("inconclusive", 4).expect_finding("library_missing", "no_such_library");
    assert_eq!(answer.findings().len(), 1, "{}", answer.stdout);
    let allowed = "    - extensions: {mayBeMissing: [no_such_library]}";
    let spec = format!("{}\n{allowed}", archive.rows_of("end"));
    Drill::new(&archive.root, "commands", &spec).run(&[]).expect("pass", 0);
    assert_eq!(tree(marks.path()), Vec::<String>::new(), "production's settings took effect");
}

#[test]
fn a_tablespace_created_after_the_backup_stays_in_the_sandbox() {
    let work = WorkDir::new();
    let root = work.join("s3");
    let mut shop = Workshop::new(&root, "created", small());
    shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
    let outside = shop.source.make_dir("outside").unwrap();
    shop.sql("postgres", &format!("create tablespace late location '{}'", outside.display()));
    shop.sql("app", "create table in_late tablespace late as select generate_series(1, 1000) i");
    shop.add("later", 100);
    shop.mark("end");
    // The source is lost, but a folder at that location is there again, writable, with a file in it.
    let owner = crate::support::tools::postgres_owner();
    let location = outside.clone();
    let source_work = shop.work.path().to_path_buf();
    let (marks, folder) = shop.finish_keeping_folder();
    fs::remove_dir_all(source_work.join("source")).unwrap();
    fs::create_dir_all(&location).unwrap();
    fs::write(location.join("precious"), "as it was").unwrap();
    for path in [location.parent().unwrap(), &location] {
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    }
    fs::set_permissions(&location, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = fs::metadata(&location).unwrap();
    let archive = Archive { root, marks };
    let spec = format!(
        "{}\n    - sql: {{name: late, database: app, query: \"select count(*) from in_late\", expect: \"= 1000\"}}",
        archive.rows_of("end")
    );
    Drill::new(&archive.root, "created", &spec).run(&[]).expect("pass", 0);
    let after = fs::metadata(&location).unwrap();
    assert_eq!(tree(&location), ["precious"]);
    assert_eq!(before.permissions(), after.permissions(), "its mode was changed");
    assert_eq!(
        before.modified().unwrap(),
        after.modified().unwrap(),
        "something was written into it"
    );
    drop(folder);
}

#[test]
fn a_locale_that_is_not_here_is_inconclusive() {
    let archive = of("locale", small(), |shop| {
        shop.sql("postgres", "create database far");
        shop.sql("postgres", "update pg_database set datcollate = 'xx_YY.UTF-8', datctype = 'xx_YY.UTF-8' where datname = 'far'");
    });
    let answer = drill(&archive, "locale");
    answer.expect("inconclusive", 4).expect_finding("locale_missing", "xx_YY.UTF-8");
}

#[test]
fn a_login_trigger_that_refuses_everybody() {
    let recipe = Recipe { major: 17, ..small() };
    let archive = of("trigger", recipe, |shop| {
        shop.sql(
            "app",
            "create function refuse() returns event_trigger language plpgsql as $$ begin raise 'closed'; end $$;
             create event trigger refuse on login execute function refuse()",
        );
    });
    drill(&archive, "trigger").expect("pass", 0);
}

#[test]
fn the_program_below_a_folder_that_only_root_can_enter() {
    let archive = fixture::rich();
    let closed = tempfile::Builder::new().prefix("closed-").tempdir_in("/var/tmp").unwrap();
    let program = closed.path().join("pgassay");
    fs::copy(env!("CARGO_BIN_EXE_pgassay"), &program).unwrap();
    let drill = Drill::new(&archive.root, "rich", "  depth: restore");
    let mut command = Command::new(&program);
    command.env_clear().envs(crate::support::drill::environment());
    for name in ["HOME", "TMPDIR"] {
        let dir = closed.path().join(name);
        fs::create_dir(&dir).unwrap();
        command.env(name, dir);
    }
    let job: PathBuf = drill.work.join("job.yaml");
    command.current_dir(closed.path()).arg("drill").arg(job).args([
        "--output",
        "json",
        "--work-dir",
    ]);
    let answer = Answer::from(command.arg(drill.sandboxes()).output().unwrap());
    answer.expect("pass", 0);
    drill.assert_nothing_left(&answer);
}

#[test]
fn a_later_timeline_whose_history_file_retention_removed() {
    let work = WorkDir::new();
    let root = work.join("s3");
    let mut shop = Workshop::new(&root, "second", small());
    shop.promote();
    shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
    shop.add("later", 100);
    shop.mark("end");
    let archive = Archive { root, marks: shop.finish() };
    let history = archive.root.join("bucket/archive/second/wals/00000002.history.gz");
    fs::remove_file(history).unwrap();
    drill(&archive, "second").expect("pass", 0);
}

#[test]
fn an_open_prepared_transaction_holds_nobody_up() {
    let recipe = Recipe { settings: &["max_prepared_transactions = 5"], ..small() };
    let archive = of("prepared", recipe, |shop| {
        shop.sql(
            "app",
            "begin; insert into events values (-1, now(), 'open'); lock table items; prepare transaction 'it''s open'",
        );
        shop.sql("app", "create materialized view empty as select 1 with no data");
    });
    drill(&archive, "prepared").expect("pass", 0);
}
