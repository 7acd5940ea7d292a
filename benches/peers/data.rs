//! The data sets: real clusters, backed up by the real programs, kept between runs.
//!
//! Two clusters. `mixed`: pgbench's tables, and rows of text and jsonb under three indexes and in a
//! tablespace; its base backup in several compressions, and behind each the same WAL of a pgbench run.
//! `small`: nothing but very many small relations. pgBackRest has its own backup of both.

pub mod cluster;
mod log;

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use futures_util::StreamExt as _;
use pgassay::{
    config,
    demo::barman::{self, Barman},
    store,
};
use serde::{Deserialize, Serialize};

use crate::{
    peer::{ours, pgbackrest::Stanza},
    say,
    scale::Scale,
    server::{self, Endpoint, Server},
    tools,
};
use cluster::Live;

/// The database that holds everything.
pub const DATABASE: &str = "bench";
/// The servers of `mixed` in Barman's archive: what the base and the WAL are compressed with. There are
/// no base backups in zstd: barman-cloud makes none.
pub const MIXED: [(&str, &[&str], &[&str]); 4] = [
    ("mixed-gz", &["--gzip"], &["--gzip"]),
    ("mixed-lz4", &["--lz4"], &["--lz4"]),
    ("mixed-plain", &[], &[]),
    ("mixed-zstd", &["--lz4"], &["--zstd"]),
];
pub const SMALL: &str = "small-lz4";
/// Tables of `small` that are made in one transaction: each takes four locks.
const TABLES_AT_ONCE: u32 = 1000;

/// What is known of the data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub scale: Scale,
    pub mixed: Cluster,
    pub small: Cluster,
    /// Rows of `pgbench_history` at the end of the WAL.
    pub history: u64,
    /// Names of the first and the last segment that are read without a recovery.
    pub walked: [String; 2],
    /// Their bytes.
    pub walked_bytes: u64,
    /// What it took to make all of it.
    pub seconds: f64,
}

/// A cluster as it was backed up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Relations' files, also those of the tablespace.
    pub volume: Volume,
    /// By server in Barman's archive.
    pub archives: BTreeMap<String, Archived>,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Archived {
    pub backup: String,
    /// Bytes as stored.
    pub base: u64,
    pub wal: u64,
    pub segments: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub files: u64,
    pub bytes: u64,
}

/// The facts of data of this scale, if they are all there.
pub fn kept(folder: &Path, scale: Scale) -> Option<Facts> {
    let facts: Facts = serde_json::from_slice(&fs::read(folder.join("facts.json")).ok()?).ok()?;
    (facts.scale == scale).then_some(facts)
}

/// Makes all of it.
pub fn make(scale: Scale, server: &Server, folder: &Path, work: &Path) -> Facts {
    let since = Instant::now();
    let (mixed, history, walked) = mixed(scale, server, folder, work);
    let small = small(scale, server, work);
    let walked_bytes = (scale.walked as u64) << 24;
    let seconds = since.elapsed().as_secs_f64();
    let facts = Facts { scale, mixed, small, history, walked, walked_bytes, seconds };
    fs::write(folder.join("facts.json"), serde_json::to_vec_pretty(&facts).unwrap()).unwrap();
    facts
}

/// barman-cloud, set to a server of the archive.
pub fn barman(endpoint: &Endpoint, server: &str) -> Barman {
    Barman {
        bin_dir: barman::find_programs().ok(),
        endpoint: endpoint.url.clone(),
        url: format!("s3://{}/archive", server::BUCKET),
        server: server.to_owned(),
        access_key: server::ACCESS_KEY.to_owned(),
        secret_key: server::SECRET_KEY.to_owned(),
    }
}

fn mixed(scale: Scale, server: &Server, folder: &Path, work: &Path) -> (Cluster, u64, [String; 2]) {
    say("making the mixed cluster");
    let live = Live::start(&work.join("mixed"));
    live.pgbench(&["-i", "-q", "-s", &scale.pgbench.to_string()]);
    live.sql(&format!(
        "create table events (id bigint primary key, user_id int, at timestamptz, note text, doc jsonb);
         insert into events select i, i::bigint * 7919 % 50000, '2026-01-01'::timestamptz + i * interval '7 seconds',
           'customer ' || i % 977 || ' ' || repeat(md5(i::text), 4),
           jsonb_build_object('state', (array['new', 'paid', 'sent'])[i % 3 + 1], 'town', i % 313, 'key', md5((i * 3)::text))
           from generate_series(1, {}) i;
         create index on events (user_id, at);
         create index on events using gin (doc jsonb_path_ops);
         create table spaced tablespace space as select i as id, repeat(md5(i::text), 30) as body from generate_series(1, {}) i;
         checkpoint",
        scale.events, scale.spaced
    ));
    log::forget(&live);
    let volume = live.volume();
    let mut backups = Vec::new();
    for (name, base, _) in MIXED {
        say(&format!("backing it up to `{name}`"));
        barman(&server.plain, name).backup(&live.source, base).unwrap();
        backups.push(name);
    }
    let stanza = Stanza::of(server, "mixed", "gz", &live, work);
    say(&format!("running pgbench for {} WAL segments", scale.segments));
    let walked = log::make(&live, scale, server, stanza.as_ref(), folder);
    let history = live.sql("select count(*) from pgbench_history").parse().unwrap();
    drop(live);
    let archives = archives(server, &backups);
    let info = format!("archive/mixed-plain/base/{}/backup.info", archives["mixed-plain"].backup);
    let to = folder.join("walk").join(info.replace("mixed-plain", "log"));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, ours::read(server, "mixed-plain", &info)).unwrap();
    (Cluster { volume, archives }, history, walked)
}

fn small(scale: Scale, server: &Server, work: &Path) -> Cluster {
    say(&format!("making a cluster of {} relations", scale.tables * 4));
    let live = Live::start(&work.join("small"));
    let mut from = 0;
    while from < scale.tables {
        let to = scale.tables.min(from + TABLES_AT_ONCE);
        live.sql(&format!(
            "do $$ begin for i in {from}..{} loop
               execute format('create table t%s (id int primary key, note text)', i);
               execute format('insert into t%s values (1, %L)', i, md5(i::text));
             end loop; end $$",
            to - 1
        ));
        from = to;
    }
    live.sql("checkpoint");
    log::forget(&live);
    let volume = live.volume();
    say("backing it up");
    barman(&server.plain, SMALL).backup(&live.source, &["--lz4"]).unwrap();
    let stanza = Stanza::of(server, "small", "lz4", &live, work);
    live.switch_wal();
    log::deliver(log::files(&live), server, &[(SMALL, &["--lz4"])], stanza.as_ref());
    drop(live);
    Cluster { volume, archives: archives(server, &[SMALL]) }
}

/// What the archive holds of these servers.
fn archives(server: &Server, names: &[&str]) -> BTreeMap<String, Archived> {
    names.iter().map(|name| ((*name).to_owned(), archived(server, name))).collect()
}

fn archived(server: &Server, name: &str) -> Archived {
    let job = config::parse(&ours::job(server, &server.plain, name), "job.yaml").unwrap();
    let mut archived = Archived::default();
    tools::RUNTIME.block_on(async {
        let store = store::open(&job).await.unwrap();
        let mut pages = store.list(&format!("archive/{name}/"));
        while let Some(page) = pages.next().await {
            for object in page.unwrap() {
                let mut words = object.key.split('/').skip(2);
                if words.next() == Some("base") {
                    words.next().unwrap().clone_into(&mut archived.backup);
                    archived.base += object.size;
                } else {
                    archived.wal += object.size;
                    let name = object.key.rsplit('/').next().unwrap();
                    archived.segments += u64::from(!name.contains(".backup"));
                }
            }
        }
    });
    archived
}

/// The files of a data directory that belong to relations, or of any other folder.
pub fn volume(folder: &Path) -> Volume {
    let below = ["base", "global"].map(|name| folder.join(name));
    let mut volume = Volume::default();
    if below[0].exists() {
        for folder in below {
            add_up(&folder, &mut volume);
        }
    } else {
        add_up(folder, &mut volume);
    }
    volume
}

fn add_up(folder: &Path, volume: &mut Volume) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            add_up(&entry.path(), volume);
        } else if kind.is_file() && entry.file_name() != "pg_internal.init" {
            volume.files += 1;
            volume.bytes += entry.metadata().unwrap().len();
        }
    }
}
