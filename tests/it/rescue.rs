//! Rescues of archives that the real barman-cloud made: the cluster starts by hand and has production's
//! rows, whatever broke the rescue off, and the archive stays as it was.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    drill::Answer,
    fixture::{self, Recipe, Workshop},
    rescue::{Rescue, as_owner},
    tools,
    workdir::{WorkDir, tree},
};

mod damage;
mod refusals;
mod resume;

#[test]
fn production_comes_back_in_a_folder() {
    let archive = fixture::rich();
    // What a drill must keep to is no rule here.
    let spec =
        "  sandbox: {fsync: false, diskBudget: 1MiB}\n  limits: {total: 1s, bandwidth: 1KiB/s}";
    let rescue = Rescue::new(&archive.root, "rich", spec);
    let answer = rescue.run(&[]);
    answer.expect_outcome("complete", 0);
    let report = &answer.report;
    assert_eq!(report["reached"]["end"], report["promise"]["end"]);
    assert_eq!(report["reached"]["timeline"], 2, "{}", answer.stdout);
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    assert!(report["rto"]["seconds"].as_f64().is_some());
    assert_eq!(rescue.left(), ["main", "main.tablespaces"], "nothing else is left");
    is_as_production_was(&rescue, &archive.root);

    // Nobody is asked for but who was there.
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
    assert_eq!(server.sql("postgres", "select pg_is_in_recovery()"), "f");
    let roles = "select string_agg(rolname, ',') from pg_roles where rolname !~ '^pg_'";
    assert_eq!(server.sql("postgres", roles), "postgres");
    let space = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space'";
    let oid = report["cluster"]["tablespaces"][0]["oid"].as_u64().unwrap();
    let place = rescue.work.join(&format!("srv/main.tablespaces/{oid}"));
    assert_eq!(server.sql("postgres", space), fs::canonicalize(place).unwrap().to_str().unwrap());
    // It takes writes, and a restart of its own.
    server.sql("app", "insert into events values (1000000, now(), 'after')");
    server.stop();
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.sql("app", "select note from events where id = 1000000"), "after");
    drop(server);

    rescue.run(&[]).expect_error("E014", 2, "holds a data directory");
}

/// The files of a data directory that nothing of a rescue is left in.
fn is_as_production_was(rescue: &Rescue, root: &Path) {
    let dir = rescue.dir();
    for gone in [
        "recovery.signal",
        "standby.signal",
        "backup_label",
        "tablespace_map",
        "postmaster.pid",
        "postmaster.opts",
    ] {
        assert!(!dir.join(gone).exists(), "{gone} is there");
    }
    let tar = crate::support::damage::backup_folder(root).join("data.tar.gz");
    for name in ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"] {
        let mut unpack = Command::new("tar");
        unpack.arg("-xzOf").arg(&tar).arg(format!("./{name}"));
        let production = unpack.output().unwrap().stdout;
        assert!(!production.is_empty(), "`{name}` is not in the tar under this name");
        assert!(fs::read(dir.join(name)).unwrap() == production, "{name} is not production's");
    }
    let owner = tools::postgres_owner();
    let owned = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        owner.is_none_or(|owner| (meta.uid(), meta.gid()) == owner)
    };
    for file in tree(&dir) {
        assert!(owned(&dir.join(&file)), "{file} belongs to another user");
    }
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    for file in tree(&dir.join("pg_wal")) {
        let meta = fs::metadata(dir.join("pg_wal").join(&file)).unwrap();
        assert!(meta.is_dir() || meta.nlink() == 1, "{file} is not a file of its own");
    }
}

#[test]
fn the_command_of_the_report_starts_it() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    let answer = rescue.run(&["--target-time", &archive.marks["middle"].time]);
    answer.expect_outcome("complete", 0);
    let left = &answer.report["left_behind"];
    assert_eq!(left["wanted"], true, "{}", answer.stdout);

    let archiving = &answer.report["cluster"]["archiving"];
    assert_eq!(archiving["setting"], "archive_command", "{}", answer.stdout);
    assert_eq!(archiving["file"], "postgresql.conf");
    assert!(answer.next().contains("`archive_command` in `postgresql.conf`"), "{}", answer.next());
    assert!(!answer.stdout.contains("barman-cloud-wal-archive"), "a command may hold secrets");
    let steps = answer.report["next"].as_array().unwrap();
    let commands: Vec<&str> = steps.iter().filter_map(|step| step["command"].as_str()).collect();
    let start = commands.iter().find(|command| command.ends_with(" start")).unwrap();
    assert!(start.contains("archive_mode=off"), "{start}");
    // The source's own folder for sockets is gone; that of the system is not ours to use.
    let socket = rescue.socket();
    let ours = format!("unix_socket_directories={}", socket.display());
    assert!(start.contains("unix_socket_directories=/tmp"), "{start}");
    let start = start.replace("unix_socket_directories=/tmp", &ours);
    let output = Command::new("sh").args(["-c", &format!("{start} > /dev/null 2>&1")]).status();
    assert!(output.unwrap().success(), "{start}");
    let bin = tools::postgres_bin(tools::packaged_major());
    let server = crate::support::rescue::Started { bin, dir: rescue.dir(), socket };
    assert_eq!(server.digest(), archive.marks["middle"].digest);
    assert_eq!(server.sql("postgres", "show archive_mode"), "off");

    // The timeline's history goes to the new archive, and nothing else of before does.
    let ready = commands.iter().find(|command| command.contains("touch ")).unwrap();
    assert!(Command::new("sh").args(["-c", ready]).status().unwrap().success(), "{ready}");
    server.sql("postgres", "checkpoint");
    let names = tree(&rescue.dir().join("pg_wal/archive_status"));
    let ready: Vec<&String> = names.iter().filter(|name| name.contains(".ready")).collect();
    let timeline = answer.report["reached"]["new_timeline"].as_u64().unwrap();
    assert_eq!(ready, [&format!("{timeline:08X}.history.ready")]);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn an_lsn_and_a_place_for_a_tablespace() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    let oid = tablespace_of(&archive.root);
    let fast = rescue.work.join("srv/fast");
    // An empty folder will do, also as the data directory.
    fs::create_dir(rescue.dir()).unwrap();
    let place = format!("{oid}={}", fast.display());
    let lsn = &archive.marks["middle"].lsn;
    let answer = rescue.run(&["--target-lsn", lsn, "--tablespace", &place]);
    answer.expect_outcome("complete", 0);
    assert_eq!(rescue.left(), ["fast", "main"]);
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["middle"].digest);
    let space = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space'";
    assert_eq!(server.sql("postgres", space), fs::canonicalize(fast).unwrap().to_str().unwrap());
}

/// The OID of the fixture's tablespace, by its tar.
fn tablespace_of(root: &Path) -> u32 {
    let folder = crate::support::damage::backup_folder(root);
    let names =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut oids = names.filter_map(|name| name.split('.').next()?.parse().ok());
    oids.next().unwrap()
}

/// What WAL and configuration of production would do here, had they their way.
#[test]
fn nothing_of_production_runs_or_is_written_to() {
    let work = WorkDir::new();
    let (root, outside) = (work.join("s3"), WorkDir::new());
    let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(outside.path(), open.clone()).unwrap();
    let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
    let mut shop = Workshop::new(&root, "habits", recipe);
    let touch = |name: &str| format!("touch {}", outside.join(name).display());
    for (setting, name) in [
        ("recovery_end_command", "recovery-end"),
        ("archive_cleanup_command", "cleanup"),
        ("restore_command", "restore"),
    ] {
        shop.sql("postgres", &format!("alter system set {setting} = '{}'", touch(name)));
    }
    shop.sql("postgres", "create role app login password 'kept'");
    shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
    let late = outside.join("late");
    fs::create_dir(&late).unwrap();
    if let Some((uid, gid)) = tools::postgres_owner() {
        std::os::unix::fs::chown(&late, Some(uid), Some(gid)).unwrap();
    }
    let make = format!("create tablespace late location '{}'", late.display());
    shop.sql("postgres", &make);
    shop.sql("app", "create table l tablespace late as select generate_series(1, 50) i");
    shop.add("later", 100);
    shop.mark("end");
    let marks = shop.finish();
    // Its content is of the source that is lost; the folder must stay empty.
    fs::remove_dir_all(&late).unwrap();
    fs::create_dir(&late).unwrap();
    fs::set_permissions(&late, open).unwrap();

    let rescue = Rescue::new(&root, "habits", "");
    let answer = rescue.run(&[]);
    answer.expect_outcome("complete", 0);
    assert_eq!(tree(outside.path()), ["late"], "production's settings or places took effect");
    let tablespaces = answer.report["cluster"]["tablespaces"].as_array().unwrap();
    assert_eq!(tablespaces.len(), 2, "{tablespaces:#?}");
    assert_eq!(tablespaces[1]["was"], late.to_str().unwrap(), "{tablespaces:#?}");
    let auto_conf = fs::read_to_string(rescue.dir().join("postgresql.auto.conf")).unwrap();
    assert!(auto_conf.contains("recovery_end_command"), "production's own is back: {auto_conf}");
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), marks["end"].digest);
    assert_eq!(server.sql("app", "select count(*) from l"), "50");
    let password =
        "select count(*) from pg_authid where rolname = 'app' and rolpassword is not null";
    assert_eq!(server.sql("postgres", password), "1");
    drop(server);
    assert_eq!(tree(outside.path()), ["late"]);
}

/// Production's configuration on a machine that lacks what it names.
#[test]
fn the_first_start_goes_round_what_is_not_here() {
    let archive = fixture::archive("rescue-elsewhere", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "elsewhere", recipe);
        // Not started again: only the backups carry them.
        let lines = "ssl = on\nssl_cert_file = '/nonexistent/server.crt'\nlogging_collector = on\n\
            log_directory = '/nonexistent/log/postgres'\nsynchronous_standby_names = ''\n\
            shared_preload_libraries = 'pg_stat_statements, no_such_library'\n\
            data_directory = '/nonexistent/data'\nhba_file = '/nonexistent/pg_hba.conf'\n";
        shop.source.append_config(lines).unwrap();
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.source.append_config("no_such_setting = 1\n").unwrap();
        // Ids are seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 50);
        shop.mark("end");
        shop.finish()
    });
    let base = archive.root.join("bucket/archive/elsewhere/base");
    let ids = fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<String> = ids.collect();
    ids.sort();

    let rescue = Rescue::new(&archive.root, "elsewhere", "");
    let answer = rescue.run(&["--backup", &ids[0]]);
    answer.expect_outcome("complete", 0);
    let cluster = &answer.report["cluster"];
    assert!(cluster["refused_configuration"].is_null(), "{}", answer.stdout);
    for words in
        ["`ssl_cert_file`", "`no_such_library` of `shared_preload_libraries`", "`hba_file`"]
    {
        assert!(answer.next().contains(words), "{words}: {}", answer.next());
    }
    let (socket, steps) = (rescue.socket(), answer.report["next"].as_array().unwrap());
    let mut commands = steps.iter().filter_map(|step| step["command"].as_str());
    let start = commands.find(|command| command.ends_with(" start")).unwrap();
    let ours = format!("unix_socket_directories={}", socket.display());
    let start = start.replace("unix_socket_directories=/tmp", &ours);
    let status = Command::new("sh").args(["-c", &format!("{start} > /dev/null 2>&1")]).status();
    assert!(status.unwrap().success(), "{start}");
    let bin = tools::postgres_bin(tools::packaged_major());
    let server = crate::support::rescue::Started { bin, dir: rescue.dir(), socket };
    assert_eq!(server.digest(), archive.marks["end"].digest);
    assert_eq!(server.sql("postgres", "show shared_preload_libraries"), "pg_stat_statements");
    drop(server);

    let other = rescue.work.join("srv/other");
    let answer = rescue.run_into(&other, &["--backup", &ids[1]]);
    answer.expect_outcome("complete", 0);
    let said = answer.report["cluster"]["refused_configuration"].as_str().unwrap_or_default();
    assert!(said.contains("no_such_setting"), "{said}: {}", answer.stdout);
    assert!(answer.next().contains("no_such_setting"), "{}", answer.next());
}

#[test]
fn without_a_job_file_and_in_words() {
    let archive = fixture::rich();
    let rescue = Rescue::new(&archive.root, "rich", "");
    let flags = |command: &mut Command| {
        command.env_clear().envs(crate::support::drill::environment()).arg("rescue");
        command.arg(rescue.dir()).args(["--s3-url", "s3://bucket/archive", "--server", "rich"]);
        command.args(["--s3-endpoint", &rescue.proxy.endpoint(), "--s3-region", "us-east-1"]);
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    flags(&mut command);
    let planned = Answer::from(command.arg("--plan").output().unwrap());
    assert_eq!(planned.exit, 0, "{planned:?}");
    assert!(planned.stdout.starts_with("PLAN  rich: nothing was fetched"), "{}", planned.stdout);
    assert_eq!(rescue.left(), Vec::<String>::new(), "planning changes nothing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    flags(&mut command);
    let answer = Answer::from(command.output().unwrap());
    assert_eq!(answer.exit, 0, "{answer:?}");
    assert!(answer.stdout.starts_with("COMPLETE  rich: recovered to "), "{}", answer.stdout);
    for words in
        ["What to do next", "   1. Keep this cluster out of the old archive", " hand_over "]
    {
        assert!(answer.stdout.contains(words), "{words}: {}", answer.stdout);
    }
    for words in ["backup 20", "what was committed after about", "on disk in `"] {
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
}

#[test]
#[ignore = "a matrix: make test-all"]
fn another_major() {
    of_major(18);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn every_other_major() {
    [14, 16, 17].into_iter().for_each(of_major);
}

fn of_major(major: u32) {
    let archive = fixture::of_major(major);
    let rescue = Rescue::new(&archive.root, &format!("major{major}"), "");
    rescue.run(&[]).expect_outcome("complete", 0);
    let server = rescue.start(major);
    assert_eq!(server.digest(), archive.marks["end"].digest);
    server.stop();
    // Nobody packages the clients of 14 apart from a whole distribution.
    if major == 14 {
        return;
    }
    // At rest, as the server that was started by hand has left it.
    let mut check = Command::new(tools::client_bin(major).join("pg_checksums"));
    check.arg("-D").arg(rescue.dir()).arg("--check");
    pgassay::demo::source::run(as_owner(&mut check)).unwrap();
}

/// Folders and files below the working folder, for messages.
fn state_of(rescue: &Rescue) -> Vec<PathBuf> {
    let names = tree(&rescue.state());
    names.into_iter().filter(|n| !n.starts_with("data/")).map(PathBuf::from).collect()
}
