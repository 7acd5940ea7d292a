//! From nothing to the first query that writes: base, WAL and recovery to the newest record.

use std::fs;

use super::super::{
    Outcome,
    bench::{Bench, Target},
    measure::Measured,
    peer::{barman, ours, pgbackrest, postgres},
    server::Endpoint,
    subject::{Bar, Contender, Goal, Subject},
};

const OURS: &str = "pgassay";
const OURS_TLS: &str = "pgassay, TLS";
const BARMAN: &str = "barman-cloud";
const PARALLEL: &str = "barman-cloud, 4 ahead";
const PGBACKREST: &str = "pgBackRest, TLS";

const COUNTS: &str = "Seconds from an empty folder to the first query that writes, with every segment of the archive \
    replayed. Ours are the RTO in a drill's report, whose verdict says that every WAL record was verified and that \
    recovery reached the end of the last one; processor seconds are those of the whole drill. Peers are measured from \
    the start of their restore, and their rows are counted afterwards; PostgreSQL runs with the source's configuration, \
    durable (`fsync=on`), and their processor seconds are those of the restore and of PostgreSQL with all that it \
    started.";

/// Everybody on gzip.
pub fn ready(bench: &Bench) -> Subject<'_> {
    let plain = &bench.server.plain;
    let mut contenders = vec![ours(bench, OURS, plain, "mixed-gz")];
    if let Ok(tls) = &bench.server.tls {
        contenders.push(ours(bench, OURS_TLS, tls, "mixed-gz"));
    }
    let how = "`barman-cloud-restore`, then PostgreSQL with `barman-cloud-wal-restore URL SERVER %f %p` as its `restore_command`";
    contenders.push(Contender::new(BARMAN, how, move || by_barman(bench, false)));
    let how =
        "the same with `barman-cloud-wal-restore -p 4`, which fetches segments ahead into a folder";
    contenders.push(Contender::new(PARALLEL, how, move || by_barman(bench, true)));
    let how = "`pgbackrest restore`, then PostgreSQL with `pgbackrest archive-get` and `archive-async=y`, both with \
               `process-max=2`, from its own repository with the same WAL";
    contenders.push(Contender::new(PGBACKREST, how, move || by_pgbackrest(bench)));
    Subject {
        title: "Ready to query, gzip",
        counts: format!(
            "{} WAL segments. {COUNTS}",
            bench.facts.mixed.archives["mixed-gz"].segments
        ),
        contenders,
        goals: vec![
            Goal { ours: OURS, than: BARMAN, bar: Bar::Faster(5.0) },
            Goal { ours: OURS_TLS, than: PGBACKREST, bar: Bar::Faster(1.0) },
        ],
    }
}

/// Ours alone, by what the WAL is compressed with.
pub fn codecs(bench: &Bench) -> Subject<'_> {
    let names = [
        ("WAL and base in LZ4", "mixed-lz4"),
        ("WAL in zstd, base in LZ4", "mixed-zstd"),
        ("nothing compressed", "mixed-plain"),
    ];
    let plain = &bench.server.plain;
    Subject {
        title: "Ready to query, other compressions",
        counts: "The same WAL; pgassay alone.".to_owned(),
        contenders: names.map(|(name, server)| ours(bench, name, plain, server)).into(),
        goals: vec![],
    }
}

fn ours<'a>(
    bench: &'a Bench,
    name: &'static str,
    endpoint: &'a Endpoint,
    server: &'static str,
) -> Contender<'a> {
    let how = "`pgassay drill JOB --depth restore --output json`";
    Contender::new(name, how, move || {
        let drilled = ours::drill(bench, endpoint, server, &["--depth", "restore"])?;
        Ok(Measured { seconds: drilled.rto()?, ..drilled.whole })
    })
}

fn by_barman(bench: &Bench, parallel: bool) -> Outcome<Measured> {
    let (target, endpoint, server) = (bench.fresh(), &bench.server.plain, "mixed-gz");
    let backup = &bench.facts.mixed.archives[server].backup;
    let spool = bench.folder("spool");
    let ahead = parallel.then_some((4, spool.as_path()));
    let command = barman::restore_command(endpoint, server, ahead)?;
    let restored = barman::restore(endpoint, server, backup, &target)?;
    postgres::signal_recovery(&target);
    let settings = [format!("restore_command={command}")];
    let recovered = recovered(bench, &target, &settings, &barman::environment(endpoint))?;
    Ok(restored.then(recovered))
}

fn by_pgbackrest(bench: &Bench) -> Outcome<Measured> {
    let target = bench.fresh();
    let restored = pgbackrest::restore(bench, "mixed", &target)?;
    Ok(restored.then(recovered(bench, &target, &[], &[])?))
}

/// PostgreSQL on it, from its start to a query that writes; then the rows are counted.
fn recovered(
    bench: &Bench,
    target: &Target,
    settings: &[String],
    environment: &[(String, String)],
) -> Outcome<Measured> {
    let server = postgres::Server::start(bench, target, settings, environment)?;
    let rows = server.sql("select count(*) from pgbench_history")?;
    let measured = server.stop(false)?;
    fs::remove_dir_all(&target.root).map_err(|error| error.to_string())?;
    if rows != bench.facts.history.to_string() {
        return Err(format!("it recovered {rows} of {} rows", bench.facts.history));
    }
    Ok(measured)
}
