//! The cluster, and its backup by each peer: barman-cloud, pgBackRest and `pg_basebackup`, of the same
//! rows, with the same WAL.

use std::{fs, path::PathBuf};

use super::run::{self, as_owner, copy, folder, postgres, sound};
use crate::support::{
    fixture::{self, Archive, Recipe, Workshop},
    tools,
};

/// The server's name in barman-cloud's archive, and pgBackRest's stanza.
pub const SERVER: &str = "detection";
pub const STANZA: &str = "detection";
/// The tables, each with the sum of its rows' hashes.
pub const TABLES: [&str; 3] = ["items", "events", "customers"];

/// Where the three backups of one cluster are.
#[derive(Debug)]
pub struct Backups {
    pub archive: Archive,
    /// pgBackRest's repository.
    pub repository: PathBuf,
    /// `pg_basebackup`'s data directory, with a folder `space` beside it.
    pub plain: PathBuf,
}

/// Made once, as every archive of the tests.
pub fn backups() -> Backups {
    assert!(
        run::ended(&mut as_owner("/usr/bin/pgbackrest")).text.contains("pgBackRest"),
        "`pgbackrest` is missing: run `scripts/setup compare`"
    );
    let archive = fixture::archive("detection", |root| {
        let beside = root.parent().unwrap();
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, SERVER, recipe);
        let work = folder(&shop.work.join("peers"));
        let repository = folder(&work.join("pgbackrest"));
        // A file, since not every option is an option of every command.
        let config = work.join("pgbackrest.conf");
        let lines = format!(
            "[global]\nrepo1-path={}\nlock-path={}\nlog-level-file=off\nrepo1-retention-full=1\n[{STANZA}]\n\
             pg1-path={}\npg1-socket-path={}\npg1-user=postgres\n",
            repository.display(),
            work.display(),
            shop.source.data_dir().display(),
            shop.source.socket_dir().display()
        );
        fs::write(&config, lines).unwrap();
        let stanza = [format!("--stanza={STANZA}"), format!("--config={}", config.display())];
        sound(as_owner("/usr/bin/pgbackrest").args(&stanza).arg("stanza-create"));
        // Both get every segment: the same bytes in both archives.
        let both = format!(
            "{} && pgbackrest {} archive-push %p",
            shop.barman.archive_command(&["--gzip"]),
            stanza.join(" ")
        );
        shop.sql("postgres", &format!("alter system set archive_command = '{both}'"));
        shop.sql("postgres", "select pg_reload_conf()");
        shop.sql(
            "app",
            "create table customers (id int primary key, name text not null);
             insert into customers select i, 'customer ' || md5(i::text) from generate_series(1, 30000) i",
        );
        // Frozen: nothing has a reason to write to these pages again.
        shop.sql("app", "vacuum (freeze, analyze) customers");
        shop.sql("app", "checkpoint");
        shop.mark("base");
        let plain = work.join("basebackup");
        let mut backup = postgres("pg_basebackup");
        backup.args(["-U", "postgres", "-c", "fast", "-X", "fetch", "-D"]).arg(&plain);
        backup.arg("-h").arg(shop.source.socket_dir()).args(["-p", "5432"]);
        let (from, to) = (shop.work.join("source/space"), work.join("space"));
        sound(backup.arg("-T").arg(format!("{}={}", from.display(), to.display())));
        sound(as_owner("/usr/bin/pgbackrest").args(&stanza).args([
            "--type=full",
            "--start-fast",
            "backup",
        ]));
        shop.barman.backup(&shop.source, &["--gzip", "--max-archive-size", "2MB"]).unwrap();
        // These pages come anew with the WAL, and hide what may be bad in the backup.
        shop.sql("app", "update items set body = body || '!' where id <= 500");
        for i in 0..4 {
            shop.add(&format!("a{i}"), 1000);
        }
        shop.promote();
        shop.add("b", 1000);
        shop.mark("end");
        shop.switch_wal();
        for name in ["pgbackrest", "basebackup", "space"] {
            copy(&work.join(name), beside);
        }
        shop.finish()
    });
    let beside = archive.root.parent().unwrap().to_owned();
    Backups { repository: beside.join("pgbackrest"), plain: beside.join("basebackup"), archive }
}

/// The backup's id in barman-cloud's archive.
pub fn backup_id(archive: &Archive) -> String {
    let base = archive.root.join(format!("bucket/archive/{SERVER}/base"));
    let mut names = fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name());
    names.next().unwrap().into_string().unwrap()
}

/// A line that says which programs these are.
pub fn versions() -> Vec<String> {
    let barman = sound(
        std::process::Command::new(tools::tool("venv/bin/barman-cloud-restore")).arg("--version"),
    );
    let mut lines = vec![format!("barman-cloud {}", barman.split_whitespace().last().unwrap())];
    lines.push(sound(postgres("postgres").arg("--version")));
    lines.push(sound(as_owner("/usr/bin/pgbackrest").arg("version")));
    lines.into_iter().map(|line| line.trim().to_owned()).collect()
}
