//! Archives that the real barman-cloud made of real clusters. Each is made once and kept below
//! `target/`; tests that damage one work on a copy.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use pgassay::demo::{
    barman::Barman,
    s3_server::S3Server,
    source::{Source, SourceSpec, run},
};
use serde::{Deserialize, Serialize};

use super::{
    spool::Spool,
    tools::{self, ACCESS_KEY, SECRET_KEY, s3_server},
    workdir::WorkDir,
};

/// Raise this when a fixture's making changes: kept archives of another version are made anew.
const VERSION: u32 = 1;

/// Rows of the fixture's tables as one value: their count and a sum of hashes.
pub const DIGEST: &str = "select (select count(*) || ':' || coalesce(sum(hashtextextended(i::text, 0)), 0) from items i) \
     || ' ' || (select count(*) || ':' || coalesce(sum(hashtextextended(e::text, 0)), 0) from events e)";

/// An archive on disk, as the S3 server serves it: `root/bucket/archive/<server>/…`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Archive {
    #[serde(skip)]
    pub root: PathBuf,
    pub marks: BTreeMap<String, Mark>,
}

/// A moment in the source's life.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// With a numeric offset.
    pub time: String,
    /// `pg_current_wal_insert_lsn()`.
    pub lsn: String,
    /// The last committed transaction.
    pub xid: String,
    /// [`DIGEST`] of the rows.
    pub digest: String,
    /// `pg_walfile_name()` there.
    pub segment: String,
    /// What gives `digest`, where it is not [`DIGEST`].
    #[serde(default)]
    pub query: String,
}

impl Archive {
    /// A drill's SQL check that the rows are those of a mark.
    pub fn rows_of(&self, mark: &str) -> String {
        let digest = &self.marks[mark].digest;
        format!(
            "  checks:\n    - sql: {{name: rows, database: app, query: \"{DIGEST}\", expect: \"= {digest}\"}}"
        )
    }
}

/// A cluster in the making, with the S3 server that it archives to.
#[derive(Debug)]
pub struct Workshop {
    pub work: WorkDir,
    pub source: Source,
    _s3: S3Server,
    pub barman: Barman,
    pub(super) spool: Option<Spool>,
    marks: BTreeMap<String, Mark>,
}

/// How a fixture's cluster is made.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    pub major: u32,
    /// More arguments for `initdb`.
    pub initdb: &'a [&'a str],
    /// More lines for `postgresql.conf`.
    pub settings: &'a [&'a str],
    /// Of the cluster's `archive_command`.
    pub compression: &'a [&'a str],
    pub superuser: &'a str,
    /// Whether its pages have checksums.
    pub checksums: bool,
}

impl Default for Recipe<'_> {
    fn default() -> Self {
        let major = tools::packaged_major();
        Self {
            major,
            initdb: &[],
            settings: &[],
            compression: &["--gzip"],
            superuser: "postgres",
            checksums: true,
        }
    }
}

impl Workshop {
    /// A running cluster with the tables `items` and `events` (the latter in a
    /// tablespace) in the database `app`.
    pub fn new(root: &Path, server: &str, recipe: Recipe<'_>) -> Self {
        let work = WorkDir::new();
        fs::create_dir_all(root.join("bucket")).unwrap();
        let s3 = s3_server(root);
        let barman = Barman {
            bin_dir: Some(tools::tool("venv/bin")),
            endpoint: s3.endpoint(),
            url: "s3://bucket/archive".into(),
            server: server.into(),
            access_key: ACCESS_KEY.into(),
            secret_key: SECRET_KEY.into(),
        };
        let mut lines = vec![
            "archive_mode = on".to_owned(),
            format!("archive_command = '{}'", barman.archive_command(recipe.compression)),
            "wal_level = replica".to_owned(),
            "max_wal_size = 4GB".to_owned(),
            "autovacuum = off".to_owned(),
        ];
        lines.extend(recipe.settings.iter().map(|&s| s.to_owned()));
        let source = Source::create(SourceSpec {
            bin_dir: tools::postgres_bin(recipe.major),
            root: work.join("source"),
            owner: tools::postgres_owner(),
            superuser: recipe.superuser.into(),
            initdb: [if recipe.checksums { &["--data-checksums"][..] } else { &[] }, recipe.initdb]
                .concat()
                .iter()
                .map(|&s| s.to_owned())
                .collect(),
            settings: lines,
            environment: barman.environment(),
        })
        .unwrap();
        let workshop = Self { work, source, _s3: s3, barman, spool: None, marks: BTreeMap::new() };
        let space = workshop.source.make_dir("space").unwrap();
        workshop
            .sql("postgres", &format!("create tablespace space location '{}'", space.display()));
        workshop.sql("postgres", "create database app");
        workshop.sql(
            "app",
            "create table items (id bigint generated always as identity primary key, name text unique, body text, tags int[]);
             create table events (id bigint primary key, at timestamptz default now(), note text) tablespace space;
             create index on items using gin (tags);
             create index on events (at) tablespace space;
             insert into items (name, body, tags) select 'n' || i, string_agg(md5(i::text || j), ''), array[i % 7, i % 11]
               from generate_series(1, 3000) i, generate_series(1, 3 + (case when i % 100 = 0 then 200 else 0 end)) j group by i;
             insert into events select i, '2026-01-01'::timestamptz + i * interval '1 minute', repeat(md5(i::text), 2)
               from generate_series(1, 2000) i;",
        );
        workshop
    }

    /// Runs SQL and gives what it prints, unaligned and without headings.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let psql = tools::postgres_bin(tools::packaged_major()).join("psql");
        let mut command = Command::new(psql);
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            self.source.superuser(),
            "-d",
            database,
        ]);
        command.arg("-h").arg(self.source.socket_dir()).args(["-p", "5432", "-c", sql]);
        run(&mut command).unwrap_or_else(|e| panic!("{sql}: {e}")).trim().to_owned()
    }

    /// Adds rows with the batch's name in one transaction.
    pub fn add(&self, batch: &str, rows: u32) {
        self.sql(
            "app",
            &format!(
                "begin; insert into items (name, body, tags) select '{batch}-' || i, repeat(md5('{batch}' || i), 8), array[i]
                   from generate_series(1, {rows}) i;
                 insert into events select (select max(id) from events) + i, now(), '{batch}' from generate_series(1, {rows}) i; commit"
            ),
        );
    }

    /// Remembers this moment, then lets the clock move on.
    pub fn mark(&mut self, name: &str) {
        let xid = self.sql("app", "select pg_current_xact_id()");
        let row = self.sql(
            "app",
            "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"'),
               pg_current_wal_insert_lsn(), pg_walfile_name(pg_current_wal_insert_lsn())",
        );
        let mut fields = row.split('|').map(str::to_owned);
        let mut next = || fields.next().unwrap();
        let (time, lsn, segment) = (next(), next(), next());
        let digest = self.sql("app", DIGEST);
        let query = String::new();
        self.marks.insert(name.into(), Mark { time, lsn, xid, digest, segment, query });
        std::thread::sleep(Duration::from_millis(2));
    }

    /// Remembers the rows of every table of a database, large objects among them, as the mark
    /// `rows of <database>`. Unlogged tables do not outlive a crash, and are left out.
    pub fn remember_rows(&mut self, database: &str) {
        let tables = self.sql(
            database,
            "select string_agg(format('(select count(*) || ''/'' || coalesce(sum(hashtextextended(the_row::text, 0)), 0) \
               from only %I.%I the_row)', nspname, relname), ' || ' order by nspname, relname) \
             from pg_class c join pg_namespace n on n.oid = relnamespace \
             where relkind in ('r', 'm') and relispopulated and relpersistence = 'p' and (c.oid = 'pg_largeobject'::regclass \
               or nspname not in ('pg_catalog', 'information_schema', 'pg_toast'))",
        );
        let query = format!("select 'rows ' || md5({tables})");
        let digest = self.sql(database, &query);
        self.marks.insert(format!("rows of {database}"), Mark { digest, query, ..Mark::default() });
    }

    /// Waits until a query is true.
    pub fn wait(&self, database: &str, query: &str) {
        let since = Instant::now();
        while self.sql(database, query) != "t" {
            let log = fs::read_to_string(self.source.log_path()).unwrap_or_default();
            assert!(since.elapsed() < Duration::from_mins(2), "never true: {query}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Closes the current segment and waits until everything so far is in the archive.
    pub fn switch_wal(&self) {
        self.sql(
            "postgres",
            "create table if not exists switched (i int); insert into switched values (1)",
        );
        let last = self.sql("postgres", "select pg_walfile_name(pg_switch_wal())");
        let since = Instant::now();
        while self.sql("postgres", &format!("select coalesce(last_archived_wal, '') >= '{last}' and last_archived_wal !~ 'history' from pg_stat_archiver")) != "t" {
            let log = fs::read_to_string(self.source.log_path()).unwrap_or_default();
            assert!(since.elapsed() < Duration::from_mins(2), "`{last}` was not archived: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Goes on as a standby and promotes it: a new timeline.
    pub fn promote(&mut self) {
        self.source.stop(true).unwrap();
        fs::write(self.source.data_dir().join("standby.signal"), "").unwrap();
        self.source.start().unwrap();
        self.sql("postgres", "select pg_promote(true, 60)");
    }

    /// Loses the source and keeps the archive. PostgreSQL archives its last segment as it stops.
    pub fn finish(self) -> BTreeMap<String, Mark> {
        self.finish_keeping_folder().0
    }

    /// The same, but the folder that the source lay in is gone only when the caller drops it.
    pub fn finish_keeping_folder(mut self) -> (BTreeMap<String, Mark>, WorkDir) {
        self.source.stop(true).unwrap();
        self.deliver();
        (self.marks, self.work)
    }
}

/// The archive of that name, made by `make` if it is not there yet.
pub fn archive(name: &str, make: impl FnOnce(&Path) -> BTreeMap<String, Mark>) -> Archive {
    static LOCKS: Mutex<BTreeMap<String, &'static Mutex<()>>> = Mutex::new(BTreeMap::new());
    let lock =
        *LOCKS.lock().unwrap().entry(name.into()).or_insert_with(|| Box::leak(Box::default()));
    let _making = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("archive-{name}-{VERSION}"));
    let facts = dir.join("facts.json");
    if !facts.exists() {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("s3")).unwrap();
        let marks = make(&dir.join("s3"));
        let archive = Archive { root: PathBuf::new(), marks };
        fs::write(&facts, serde_json::to_vec_pretty(&archive).unwrap()).unwrap();
    }
    let mut archive: Archive = serde_json::from_slice(&fs::read(&facts).unwrap()).unwrap();
    archive.root = dir.join("s3");
    archive
}

/// The main fixture, server `rich`: a tablespace, a base backup in several parts, more than 30 WAL
/// segments after it on timeline 1, a promotion, and a few on timeline 2. Marks in order: `base`,
/// `early`, `middle` (followed by the restore point `halfway`), `before_switch`, `end`.
pub fn rich() -> Archive {
    archive("rich", |root| {
        let mut shop = Workshop::new(
            root,
            "rich",
            Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() },
        );
        shop.mark("base");
        shop.barman.backup(&shop.source, &["--gzip", "--max-archive-size", "2MB"]).unwrap();
        shop.add("early", 200);
        shop.mark("early");
        for i in 0..16 {
            shop.add(&format!("a{i}"), 1000);
        }
        shop.mark("middle");
        shop.sql("postgres", "select pg_create_restore_point('halfway')");
        for i in 0..16 {
            shop.add(&format!("b{i}"), 1000);
        }
        shop.mark("before_switch");
        shop.promote();
        for i in 0..3 {
            shop.add(&format!("c{i}"), 1000);
        }
        shop.mark("end");
        shop.switch_wal();
        shop.finish()
    })
}

/// One small archive of a major, server `major<N>`. Marks: `base`, `end`.
pub fn of_major(major: u32) -> Archive {
    archive(&format!("major{major}"), |root| {
        let mut shop =
            Workshop::new(root, &format!("major{major}"), Recipe { major, ..Recipe::default() });
        shop.mark("base");
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 3000);
        shop.mark("end");
        shop.switch_wal();
        shop.finish()
    })
}

/// Compressions of base backups and WAL by server name; `mixed` has each segment in another one.
pub const CODECS: [(&str, &[&str], &[&str]); 8] = [
    ("plain", &[], &[]),
    ("gzip", &["--gzip"], &["--gzip"]),
    ("bzip2", &["--bzip2"], &["--bzip2"]),
    ("snappy", &["--snappy"], &["--snappy"]),
    ("lz4", &["--lz4"], &["--lz4"]),
    ("xz", &[], &["--xz"]),
    ("zstd", &[], &["--zstd"]),
    ("mixed", &["--gzip"], &[]),
];

/// One server for each entry of [`CODECS`], all of one cluster. Marks: the server's name.
pub fn codecs() -> Archive {
    archive("codecs", |root| {
        let mut shop = Workshop::new(
            root,
            "none",
            Recipe { initdb: &["--wal-segsize=1"], compression: &[], ..Recipe::default() },
        );
        // The cluster archives to a folder, from where every codec takes its own copy.
        let spool = shop.source.make_dir("spool").unwrap();
        shop.sql(
            "postgres",
            &format!("alter system set archive_command = 'cp %p {}/%f'", spool.display()),
        );
        shop.sql("postgres", "select pg_reload_conf()");
        shop.switch_wal();
        for (server, data, wal) in CODECS {
            shop.barman.server = server.into();
            for entry in fs::read_dir(&spool).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            shop.barman.backup(&shop.source, data).unwrap();
            shop.add(server, 1500);
            shop.mark(server);
            shop.switch_wal();
            let mut files: Vec<PathBuf> =
                fs::read_dir(&spool).unwrap().map(|e| e.unwrap().path()).collect();
            files.sort();
            for (index, file) in files.iter().enumerate() {
                let each = ["--gzip", "--bzip2", "--xz", "--snappy", "--zstd", "--lz4"];
                let wal = if server == "mixed" { &each[index % 6..=index % 6] } else { wal };
                shop.barman.archive_wal(wal, file).unwrap();
            }
        }
        shop.finish()
    })
}
