//! A base backup restored over a link with latency: `make bench-fetch`.

use std::{net::SocketAddr, time::Duration};

use pgassay::{
    archive::Backup,
    config,
    demo::barman::Barman,
    restore::{
        base::{BaseTarget, examine_base, restore_base},
        pages::WatchRules,
    },
    store::{self, SharedStore},
    survey::survey,
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use super::{
    ROUNDS,
    measure::{Measured, Objects, measured},
    middle,
};
use crate::support::{
    fixture::{self, Archive, Recipe, Workshop},
    object_server::ObjectServer,
    shaping::{Link, ShapingProxy},
    tools::{self, RUNTIME},
    workdir::WorkDir,
};

/// Bytes a second of a connection, and the latency of its answers: from another region, or by a VPN.
const SPEED: u64 = 40_000_000;
const LATENCIES: [u64; 2] = [20, 40];

/// The servers `plain` and `gzip` with a base backup of half a gigabyte each, of the same cluster.
fn archive() -> Archive {
    fixture::archive("latency", |root| {
        let shop = Workshop::new(root, "plain", Recipe { compression: &[], ..Recipe::default() });
        // What the backup does not need is not archived.
        shop.sql("postgres", "alter system set archive_command = 'true'");
        shop.sql("postgres", "select pg_reload_conf()");
        shop.sql(
            "app",
            "create table big as select i, md5(i::text) || md5((i * 7)::text) as a, 'customer ' || i % 1000 as b
               from generate_series(1, 4000000) i;
             alter table big add primary key (i)",
        );
        shop.sql("postgres", "alter system reset archive_command");
        shop.sql("postgres", "select pg_reload_conf()");
        for (server, arguments) in [("plain", &[] as &[&str]), ("gzip", &["--gzip"])] {
            let barman = Barman { server: server.into(), ..shop.barman.clone() };
            barman.backup(&shop.source, arguments).unwrap();
        }
        shop.finish()
    })
}

/// A base backup to read from somewhere.
struct Reader {
    store: SharedStore,
    backup: Backup,
    memory: u64,
    cancel: CancellationToken,
}

impl Reader {
    fn new(address: SocketAddr, server: &str, connections: usize) -> Self {
        let job = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
             url: s3://bucket/archive\n    server: {server}\n    s3: {{endpoint: \"http://{address}\", region: \
             us-east-1, pathStyle: true, credentials: {{anonymous: {{}}}}}}\n  limits: {{connections: \
             {connections}}}\n"
        );
        let job = config::parse(&job, "job.yaml").unwrap();
        let (silent, cancel) = (Progress::silent(), CancellationToken::new());
        let store: SharedStore = RUNTIME.block_on(store::open(&job)).unwrap();
        let catalog = RUNTIME.block_on(survey(&store, &job.archive, &silent, &cancel)).unwrap();
        let backup = catalog.backups.into_iter().next().unwrap();
        Self { store, backup, memory: job.sandbox.memory, cancel }
    }

    /// To nowhere.
    fn read(&self) -> Measured {
        let rules = WatchRules::within(self.memory, None);
        let read = examine_base(&self.store, &self.backup, rules, &|_| (), &self.cancel);
        measured(|| RUNTIME.block_on(read).unwrap().restored.fetched_bytes)
    }

    /// Into files, durably.
    fn restore(&self) -> Measured {
        let work = WorkDir::new();
        let target = BaseTarget {
            journal: None,
            data_dir: work.join("pgdata"),
            owner: tools::postgres_owner(),
            fsync: true,
            memory: self.memory,
        };
        let restore = restore_base(&self.store, &self.backup, &target, &|_| (), &self.cancel);
        measured(|| RUNTIME.block_on(restore).unwrap().fetched_bytes)
    }
}

#[test]
#[ignore = "takes minutes: `make bench-fetch`"]
fn of_a_restore_behind_latency() {
    let archive = archive();
    println!("Bytes a second as stored: to nowhere | into files, durably.");
    for server in ["plain", "gzip"] {
        let objects = Objects::of(&archive.root.join("bucket"), server);
        let objects = RUNTIME.block_on(ObjectServer::start(objects.into_map()));
        let links = LATENCIES.map(|latency| {
            let latency = Duration::from_millis(latency) / 2;
            Some(Link { latency, bytes_per_second: Some(SPEED) })
        });
        for link in links.into_iter().chain([None]) {
            let of_link = |connections: usize| {
                let proxy = link.map(|link| {
                    RUNTIME.block_on(ShapingProxy::start(objects.address(), link)).unwrap()
                });
                let address = proxy.as_ref().map_or(objects.address(), ShapingProxy::address);
                let reader = Reader::new(address, server, connections);
                let rounds = (0..ROUNDS).map(|_| (reader.read(), reader.restore()));
                let (read, restored): (Vec<_>, Vec<_>) = rounds.unzip();
                (middle(read), middle(restored), proxy.map(|proxy| proxy.most_connections()))
            };
            let alone = of_link(1);
            let eight = of_link(8);
            for (allowed, (read, restored, most)) in [(1, alone), (8, eight)] {
                let told = |run: Measured, alone: Measured| {
                    format!(
                        "{:4.0} MB/s, {:5.2} CPU s, {:.1} times one",
                        run.bytes as f64 / run.seconds / 1e6,
                        run.cpu,
                        alone.seconds / run.seconds
                    )
                };
                println!(
                    "{server:>6} {:>4} MB, {:>5}, {allowed} allowed: {} | {}{}",
                    read.bytes / 1_000_000,
                    link.map_or("local".into(), |link| format!("{:?}", 2 * link.latency)),
                    told(read, alone.0),
                    told(restored, alone.1),
                    most.map_or(String::new(), |most| format!(", {most} connections at most")),
                );
            }
        }
    }
}
