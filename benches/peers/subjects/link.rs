//! Restoring a base backup behind a link with latency, where one connection is slow.

use std::{net::SocketAddr, time::Duration};

use super::{
    super::{
        bench::{Bench, Target},
        data::Cluster,
        server::Endpoint,
        shaping::{Link, ShapingProxy},
        subject::{Bar, Goal, Subject},
        tools::RUNTIME,
    },
    base::{self, BARMAN, FLOOR, OURS},
};

/// Of an answer.
const LATENCY: Duration = Duration::from_millis(20);
/// Bytes a second of each connection.
const SPEED: u64 = 40_000_000;

/// The link, as long as it is measured.
pub struct Shaped {
    _proxy: ShapingProxy,
    endpoint: Endpoint,
}

impl Shaped {
    pub fn start(bench: &Bench) -> Self {
        let server: SocketAddr =
            bench.server.plain.url.trim_start_matches("http://").parse().unwrap();
        let link = Link { latency: LATENCY / 2, bytes_per_second: Some(SPEED) };
        let proxy = RUNTIME.block_on(ShapingProxy::start(server, link)).unwrap();
        let endpoint = Endpoint { url: format!("http://{}", proxy.address()), ca: None };
        Self { _proxy: proxy, endpoint }
    }
}

/// Uncompressed and in gzip; with our default of eight connections.
pub fn link<'a>(bench: &'a Bench, shaped: &'a Shaped, extracted: &'a Target) -> Vec<Subject<'a>> {
    let cluster: &Cluster = &bench.facts.mixed;
    let counts = format!(
        "Behind a proxy that makes a link of the loopback: {} ms for an answer, {} MB/s for each connection. We may take \
         eight connections, our default; the others take what they take. {}",
        LATENCY.as_millis(),
        SPEED / 1_000_000,
        base::COUNTS
    );
    let subject = |title, name, goals| Subject {
        title,
        counts: counts.clone(),
        contenders: vec![
            base::ours(bench, OURS, &shaped.endpoint, name),
            base::barman(bench, &shaped.endpoint, cluster, name),
            base::floor(bench, cluster, extracted),
        ],
        goals,
    };
    let faster = Goal { ours: OURS, than: BARMAN, bar: Bar::Faster(5.0) };
    let by_disk = Goal { ours: OURS, than: FLOOR, bar: Bar::Within(1.5) };
    let plain = subject("Base restore behind latency, uncompressed", "mixed-plain", vec![faster]);
    let gzip = subject("Base restore behind latency, gzip", "mixed-gz", vec![by_disk]);
    vec![plain, gzip]
}
