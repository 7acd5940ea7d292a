//! The read tier on base backups of growing size.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use pgassay::archive::Codec;

use crate::{
    growth::{pages, pages_of_the_real_one, verify_command},
    speed::measure::{Measured, measured},
    support::{
        grown::{Grown, Growth},
        object_server::ObjectServer,
        timed::{Took, timed},
        tools::RUNTIME,
    },
};

/// GB of the tar, without compression.
const SIZES: [u64; 3] = [5, 20, 80];

/// One size.
#[derive(Debug)]
pub struct Read {
    pub codec: Codec,
    /// Of the grown tar: without compression, and as it is sent.
    pub bytes: u64,
    pub stored: u64,
    pub pages: u64,
    pub took: Took,
    /// What the server took from the processors meanwhile, seconds.
    pub server: f64,
    /// The same tar read over one connection to nowhere, of the smallest size.
    pub to_nowhere: Option<Measured>,
}

/// Reads all sizes in all codecs.
#[expect(clippy::print_stdout, reason = "a run takes long")]
pub fn measure() -> Vec<Read> {
    let real = pages_of_the_real_one();
    let cases = [Codec::Plain, Codec::Gzip].into_iter().flat_map(|c| SIZES.map(|size| (c, size)));
    let read = |(codec, size)| {
        let mut grown = Grown::new(Growth { bytes: size * 1_000_000_000, codec, damaged: None });
        let objects = std::mem::take(&mut grown.objects);
        let tar = objects.keys().find(|key| key.contains("/data.tar")).unwrap().clone();
        let server = RUNTIME.block_on(ObjectServer::start(objects));
        let smallest = size == SIZES[0];
        let to_nowhere = smallest.then(|| measured(|| drain(server.address(), &tar)));
        let mut run = None;
        let ours = measured(|| {
            run = Some(timed(&verify_command(&server)));
            0
        });
        let (answer, took) = run.unwrap();
        answer.expect("pass", 0);
        // All of them, and no page was passed over.
        assert_eq!(pages(&answer), real - grown.had + grown.has, "{codec:?} {size}");
        let Grown { bytes, stored, .. } = grown;
        println!("{codec:?}, {size} GB: {took:?}");
        let pages = pages(&answer);
        Read { codec, bytes, stored, pages, took, server: ours.cpu, to_nowhere }
    };
    cases.map(read).collect()
}

/// Reads an object to nowhere.
fn drain(address: SocketAddr, key: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("GET /bucket/{key} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return sum,
            count => sum += count as u64,
        }
    }
}
