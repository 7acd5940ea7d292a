//! Time from the store to an open cluster where WAL is most of it: a drill beside PostgreSQL with all WAL
//! in place already, with `cp` from a folder, and with the real `barman-cloud-wal-restore`. Only a
//! release build says anything: `make bench-replay`.

mod peer;

use std::{process::Stdio, sync::mpsc, thread, time::Duration};

use peer::{Peer, Recovered};
use pgassay::archive::Codec;
use serde_json::Value;

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Archive, DIGEST, Recipe, Workshop},
    peak, tools,
    wal_folder::WalFolder,
};

/// Segments of 16 MiB behind the base backup, at least.
const SEGMENTS: usize = 120;
/// Rounds of which the middle one is told.
const ROUNDS: usize = 3;
/// Segments that `barman-cloud-wal-restore` is timed with: it takes too long for all of them.
const FEW: u64 = 20;
const SERVER: &str = "replay";

/// A pgbench that goes on behind its base backup, with full pages after each of its checkpoints.
fn pgbench_archive() -> Archive {
    fixture::archive(SERVER, |root| {
        let recipe = Recipe { settings: &["max_wal_size = 1GB"], ..Recipe::default() };
        let mut shop = Workshop::new(root, SERVER, recipe);
        WalFolder::lose(&shop);
        pgbench(&shop, &["-i", "-q", "-s", "40"]);
        let wal = WalFolder::open(&shop);
        shop.barman.backup(&shop.source, &["--lz4"]).unwrap();
        while wal.segments().len() < SEGMENTS {
            pgbench(&shop, &["-n", "-c", "4", "-T", "5"]);
        }
        shop.mark("end");
        shop.switch_wal();
        wal.deliver(root, SERVER, Codec::Gzip);
        shop.finish()
    })
}

fn pgbench(shop: &Workshop, arguments: &[&str]) {
    let mut command =
        std::process::Command::new(tools::postgres_bin(tools::packaged_major()).join("pgbench"));
    command.args(arguments).args(["-U", shop.source.superuser(), "-p", "5432", "-h"]);
    command.arg(shop.source.socket_dir()).arg("app");
    pgassay::demo::source::run(&mut command).unwrap();
}

/// One drill: what it said, and what its process alone took.
#[derive(Debug)]
struct Drilled {
    report: Value,
    cpu: f64,
    peak: u64,
}

fn drilled(archive: &Archive, memory: &str) -> Drilled {
    let mark = &archive.marks["end"].digest;
    let spec = format!(
        "  depth: restore\n  sandbox: {{memory: {memory}}}\n  checks:\n    - sql: {{name: rows, database: app, query: \"{DIGEST}\", expect: \"= {mark}\"}}"
    );
    let drill = Drill::new(&archive.root, SERVER, &spec);
    let child = drill.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (over, ended) = mpsc::channel::<()>();
    let watching = thread::spawn(move || {
        let (mut cpu, mut peak) = (0.0, 0);
        while ended.recv_timeout(Duration::from_millis(20)).is_err() {
            cpu = peer::cpu_of(pid).unwrap_or(cpu);
            peak = peak::so_far(pid).unwrap_or(peak);
        }
        (cpu, peak)
    });
    let answer = Answer::from(child.wait_with_output().unwrap());
    over.send(()).unwrap();
    let (cpu, peak) = watching.join().unwrap();
    answer.expect("pass", 0);
    Drilled { report: answer.report, cpu, peak }
}

fn stage(report: &Value, name: &str) -> f64 {
    let stages = report["stages"].as_array().unwrap().iter();
    stages.filter(|s| s["stage"] == name).map(|s| s["seconds"].as_f64().unwrap()).sum()
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "takes minutes, and says something in a release build only"]
fn of_replay_beside_the_peers() {
    let archive = pgbench_archive();
    let first = drilled(&archive, "512MiB");
    let settings: Vec<String> = first.report["sandbox"]["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting.as_str().unwrap().to_owned())
        .collect();
    let peer = Peer::new(&archive, SERVER, settings);
    let segments = peer.segments() as f64;
    println!("{segments} segments of 16 MiB.");
    println!("settings: {}", first.report["sandbox"]["settings"]);
    let (mut ours, mut low) = (Vec::new(), Vec::new());
    let (mut placed, mut copied, mut barman) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(drilled(&archive, "512MiB"));
        placed.push(peer.placed());
        copied.push(peer.copied());
        barman.push(peer.barman(FEW));
        low.push(drilled(&archive, "64MiB"));
    }
    for (memory, drills) in [("512 MiB", &ours), ("64 MiB", &low)] {
        let of = |name| middle(drills.iter().map(|d| stage(&d.report, name)).collect());
        let ready = drills.iter().map(|d| d.report["rto"]["seconds"].as_f64().unwrap());
        println!(
            "a drill with {memory}: ready after {:.2} s: fetch {:.2}, start {:.2}, replay {:.2} ({:.3} a segment), promote {:.2}; {:.2} CPU s of its own, peak {} MiB",
            middle(ready.collect()),
            of("fetch"),
            of("start"),
            of("replay"),
            of("replay") / segments,
            of("promote"),
            middle(drills.iter().map(|d| d.cpu).collect()),
            drills.iter().map(|d| d.peak).max().unwrap() >> 20,
        );
    }
    let told = |what: &str, runs: &[Recovered], segments: f64| {
        let seconds = middle(runs.iter().map(|run| run.seconds).collect());
        println!(
            "PostgreSQL with {what}: open after {seconds:.2} s ({:.3} a segment), {:.2} CPU s",
            seconds / segments,
            middle(runs.iter().map(|run| run.cpu).collect()),
        );
    };
    told("all WAL in pg_wal", &placed, segments);
    told("restore_command = 'cp …'", &copied, segments);
    told(&format!("barman-cloud-wal-restore, {FEW} segments only"), &barman, FEW as f64);
    println!("barman-cloud-restore before it: {:.2} s", peer.base_seconds);
}
