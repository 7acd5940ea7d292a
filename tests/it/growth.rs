//! Archives far larger than any that could be kept here, made as they are read: that each of their pages
//! is looked at, and that a wrong one is found. How fast, says `make bench-growth`.

use std::process::Command;

use pgassay::archive::Codec;

use crate::support::{
    drill::{Answer, Drill, environment},
    fixture,
    grown::{Grown, Growth, SERVER},
    object_server::ObjectServer,
    timed::{Took, timed},
    tools::RUNTIME,
};

const SMALL: u64 = 64 << 20;

/// `pgassay verify` of a server, ready to get more arguments.
pub fn verify_command(server: &ObjectServer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.args(["verify", "--s3-url", "s3://bucket/archive", "--server", SERVER, "-q"]);
    let endpoint = format!("http://{}", server.address());
    command.args(["--s3-region", "us-east-1", "--s3-endpoint", &endpoint, "--output", "json"]);
    command.env_clear().envs(environment());
    command
}

/// The pages that a report says were looked at.
pub fn pages(answer: &Answer) -> u64 {
    answer.report["backups"][0]["pages"].as_u64().unwrap()
}

/// Pages of the archive that all of these grew from.
pub fn pages_of_the_real_one() -> u64 {
    let answer = Drill::new(&fixture::codecs().root, "plain", "").verify(&[]);
    answer.expect("pass", 0);
    pages(&answer)
}

fn read(growth: Growth) -> (Answer, Took, Grown) {
    let mut grown = Grown::new(growth);
    let objects = std::mem::take(&mut grown.objects);
    let server = RUNTIME.block_on(ObjectServer::start(objects));
    let (answer, took) = timed(&verify_command(&server));
    (answer, took, grown)
}

#[test]
fn every_page_of_a_grown_table_is_looked_at() {
    let real = pages_of_the_real_one();
    for codec in [Codec::Plain, Codec::Gzip] {
        let (answer, _, grown) = read(Growth { bytes: SMALL, codec, damaged: None });
        answer.expect("pass", 0);
        assert_eq!(pages(&answer), real - grown.had + grown.has, "{codec:?}");
        assert_eq!(answer.report["backups"][0]["torn_pages"], 0);
        assert!(grown.bytes >= SMALL && grown.has > 8 * grown.had, "{codec:?}");
        let read = answer.report["volume"]["bytes"].as_u64().unwrap();
        assert!(read > grown.stored, "{read} of {}", grown.stored);
    }
}

#[test]
fn one_bit_of_one_page_is_found() {
    for codec in [Codec::Plain, Codec::Gzip] {
        let damaged = Some(3210);
        let (answer, _, grown) = read(Growth { bytes: SMALL, codec, damaged });
        answer.expect("fail", 1).expect_finding("page_checksum", &grown.relation);
        let found = answer.findings();
        let [(_, subject, finding)] = &*found else { panic!("{found:#?}") };
        assert!(subject.ends_with(&grown.relation), "{subject}");
        let detail = finding["detail"].as_str().unwrap();
        assert!(detail.contains("1 page is bad") && detail.contains("block 3210 "), "{detail}");
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
    }
}

/// Over the border of two files of a table, too.
#[test]
#[ignore = "a matrix: make test-all"]
fn memory_does_not_grow_with_it() {
    let real = pages_of_the_real_one();
    for codec in [Codec::Plain, Codec::Gzip] {
        // Less is not read in as many pieces.
        let peaks = [300 << 20, 1200 << 20].map(|bytes| {
            let (answer, took, grown) = read(Growth { bytes, codec, damaged: None });
            answer.expect("pass", 0);
            assert_eq!(pages(&answer), real - grown.had + grown.has, "{codec:?}");
            took.peak >> 20
        });
        println!("{codec:?}: peak memory {} MiB of 300 MiB, {} MiB of 1.2 GiB", peaks[0], peaks[1]);
        assert!(peaks[1] < peaks[0] + 16, "{codec:?}: {peaks:?} MiB");
    }
    // In the second file of the table.
    let damaged = Some(131_072 + 77);
    let (answer, _, _) = read(Growth { bytes: 1200 << 20, codec: Codec::Plain, damaged });
    answer.expect("fail", 1).expect_finding("page_checksum", "block 131149 ");
}
