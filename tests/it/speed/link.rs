//! A base backup restored over a link with latency: `make bench-fetch`.

use std::{fs, num::NonZeroUsize, sync::Arc, time::Duration};

use pgassay::{
    archive::Codec,
    config,
    restore::base::{BaseTarget, restore_base},
    store::{self, SharedStore},
    survey::survey,
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use super::{
    ROUNDS, archives,
    measure::{Measured, Objects, measured},
    middle, name,
};
use crate::support::{
    object_server::ObjectServer,
    shaping::{Link, ShapingProxy},
    tools::{self, RUNTIME},
    workdir::WorkDir,
};

/// Bytes a second of a connection, and the latency of its answers: from another region, or by a VPN.
const SPEED: u64 = 40_000_000;
const LATENCIES: [u64; 2] = [20, 40];

/// Restores the backup of a server from `endpoint`, durably; with how many bytes were fetched.
fn restore(endpoint: &str, server: &str, connections: usize) -> Measured {
    let job = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
         url: s3://bucket/archive\n    server: {server}\n    s3: {{endpoint: \"{endpoint}\", region: \
         us-east-1, pathStyle: true, credentials: {{anonymous: {{}}}}}}\n"
    );
    let mut job = config::parse(&job, "job.yaml").unwrap();
    job.limits.connections = NonZeroUsize::new(connections).unwrap();
    let work = WorkDir::new();
    let target = BaseTarget {
        data_dir: work.join("pgdata"),
        owner: tools::postgres_owner(),
        fsync: true,
        memory: job.sandbox.memory,
    };
    let cancel = CancellationToken::new();
    let store: SharedStore = RUNTIME.block_on(store::open(&job)).unwrap();
    let silent = Progress::silent();
    let catalog = RUNTIME.block_on(survey(&store, &job.archive, &silent, &cancel)).unwrap();
    let backup = catalog.backups.first().unwrap();
    let run = measured(|| {
        let restored = restore_base(&store, backup, &target, &|_| (), &cancel);
        RUNTIME.block_on(restored).unwrap().fetched_bytes
    });
    fs::remove_dir_all(&target.data_dir).unwrap();
    run
}

#[test]
#[ignore = "takes minutes: `make bench-fetch`"]
#[expect(clippy::print_stdout, reason = "the numbers are what it is run for")]
fn of_a_restore_behind_latency() {
    let archive = archives();
    for codec in [Codec::Plain, Codec::Gzip] {
        let server = name("base", codec);
        let objects = Objects::of(&archive.root.join("bucket"), &server);
        let objects = RUNTIME.block_on(ObjectServer::start(objects.into_map()));
        let links = LATENCIES.map(|latency| {
            let latency = Duration::from_millis(latency) / 2;
            Some(Link { latency, bytes_per_second: Some(SPEED) })
        });
        for link in links.into_iter().chain([None]) {
            let mut alone = None;
            for connections in [1, 2, 4, 8] {
                let proxy = link.map(|link| {
                    Arc::new(
                        RUNTIME.block_on(ShapingProxy::start(objects.address(), link)).unwrap(),
                    )
                });
                let address = proxy.as_ref().map_or(objects.address(), |proxy| proxy.address());
                let endpoint = format!("http://{address}");
                let rounds = (0..ROUNDS).map(|_| restore(&endpoint, &server, connections));
                let run = middle(rounds.collect());
                let rate = run.bytes as f64 / run.seconds / 1e6;
                let alone = *alone.get_or_insert(rate);
                println!(
                    "{server:>10} {:>5} MB, {}, {connections} allowed: {rate:5.0} MB/s, {:5.2} s, {:5.2} CPU s, \
                     {:.1} times one{}",
                    run.bytes / 1_000_000,
                    link.map_or("no link".into(), |link| format!("{:?}", 2 * link.latency)),
                    run.seconds,
                    run.cpu,
                    rate / alone,
                    proxy.map_or(String::new(), |proxy| {
                        format!(", {} connections at most", proxy.most_connections())
                    }),
                );
            }
        }
    }
}
