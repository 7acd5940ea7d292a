//! Restoring a base backup: from an empty folder to files that would outlive a crash.

use super::super::{
    Outcome,
    bench::{Bench, Target},
    data::{Cluster, SMALL},
    measure::Measured,
    peer::{barman, floor, ours, pgbackrest},
    server::Endpoint,
    subject::{Bar, Contender, Goal, Subject},
};

pub const OURS: &str = "pgassay";
const OURS_TLS: &str = "pgassay, TLS";
pub const BARMAN: &str = "barman-cloud-restore";
const PGBACKREST: &str = "pgBackRest, TLS";
pub const FLOOR: &str = "cp";

pub const COUNTS: &str = "Seconds from an empty folder to files that are synced. Ours are those of the stages `plan` and \
    `fetch` in a drill's report, which hold listing, fetching, decoding, verifying every page and every WAL record up \
    to the backup's end, writing and syncing; its processor seconds are those of the whole drill, PostgreSQL \
    and all, and no measure of the restore. The page cache is warm, the S3 server is on the same machine and takes its \
    part of the processors.";

/// The mixed cluster in every compression of base backups.
pub fn mixed<'a>(bench: &'a Bench, extracted: &'a Target) -> Vec<Subject<'a>> {
    let cluster = &bench.facts.mixed;
    let subject = |title, name| Subject {
        title,
        counts: COUNTS.to_owned(),
        contenders: vec![
            ours(bench, OURS, &bench.server.plain, name),
            barman(bench, &bench.server.plain, cluster, name),
            floor(bench, cluster, extracted),
        ],
        goals: vec![],
    };
    let mut gzip = subject("Base restore, gzip", "mixed-gz");
    if let Ok(tls) = &bench.server.tls {
        gzip.contenders.insert(1, ours(bench, OURS_TLS, tls, "mixed-gz"));
    }
    gzip.contenders.push(pgbackrest(bench, cluster, "mixed"));
    gzip.goals = vec![
        Goal { ours: OURS, than: BARMAN, bar: Bar::Faster(1.6) },
        Goal { ours: OURS_TLS, than: PGBACKREST, bar: Bar::Faster(1.5) },
        Goal { ours: OURS, than: FLOOR, bar: Bar::Within(1.5) },
    ];
    let lz4 = subject("Base restore, LZ4", "mixed-lz4");
    let plain = subject("Base restore, uncompressed", "mixed-plain");
    vec![gzip, lz4, plain]
}

/// The cluster of many small relations.
pub fn small<'a>(bench: &'a Bench, extracted: &'a Target) -> Subject<'a> {
    let cluster = &bench.facts.small;
    Subject {
        title: "Base restore, many small relations",
        counts: format!("{} files. {COUNTS}", cluster.volume.files),
        contenders: vec![
            ours(bench, OURS, &bench.server.plain, SMALL),
            barman(bench, &bench.server.plain, cluster, SMALL),
            floor(bench, cluster, extracted),
            pgbackrest(bench, cluster, "small"),
        ],
        goals: vec![],
    }
}

pub fn ours<'a>(
    bench: &'a Bench,
    name: &'static str,
    endpoint: &'a Endpoint,
    server: &'static str,
) -> Contender<'a> {
    let how = "`pgassay drill JOB --depth restore --target-immediate --output json`";
    Contender::new(name, how, move || {
        let arguments = ["--depth", "restore", "--target-immediate"];
        let drilled = ours::drill(bench, endpoint, server, &arguments)?;
        Ok(Measured { seconds: drilled.stages(&["plan", "fetch"]), ..drilled.whole })
    })
}

pub fn barman<'a>(
    bench: &'a Bench,
    endpoint: &'a Endpoint,
    cluster: &'a Cluster,
    server: &'static str,
) -> Contender<'a> {
    let how = "`barman-cloud-restore --tablespace space:DIR URL SERVER BACKUP DIR && sync -f DIR`";
    Contender::new(BARMAN, how, move || {
        let backup = &cluster.archives[server].backup;
        restored(bench, cluster, |to| barman::restore(endpoint, server, backup, to))
    })
}

fn pgbackrest<'a>(bench: &'a Bench, cluster: &'a Cluster, stanza: &'static str) -> Contender<'a> {
    let how = "`pgbackrest --process-max=2 --tablespace-map=space=DIR restore`, of its own backup in the same compression, \
               from the same S3 server through the same TLS; it syncs its files itself";
    Contender::new(PGBACKREST, how, move || {
        restored(bench, cluster, |to| pgbackrest::restore(bench, stanza, to))
    })
}

pub fn floor<'a>(bench: &'a Bench, cluster: &'a Cluster, extracted: &'a Target) -> Contender<'a> {
    let how = "`cp -a` of the extracted cluster, from the page cache, then `sync -f DIR`";
    Contender::new(FLOOR, how, move || restored(bench, cluster, |to| floor::copy(extracted, to)))
}

/// A restore to a fresh place, of all that the cluster has.
fn restored(
    bench: &Bench,
    cluster: &Cluster,
    restore: impl FnOnce(&Target) -> Outcome<Measured>,
) -> Outcome<Measured> {
    let target = bench.fresh();
    let measured = restore(&target)?;
    target.holds(cluster)?;
    Ok(measured)
}
