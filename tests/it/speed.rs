//! Speed of the read tier against its own decoders, and its peak memory: `make bench-verify`. Only a
//! release build says anything.

mod growth;
mod history;
mod link;
mod measure;

use std::{fs, path::Path, thread};

use measure::{Measured, Objects};
use pgassay::archive::Codec;

use crate::{
    memory::{MOST_OF_READING, verify_timed},
    support::{
        drill::Drill,
        fixture::{self, Archive, Recipe, Workshop},
        wal_folder::{WalFolder, encoded},
    },
};

/// What barman-cloud is mostly told to use.
const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Plain];
/// Rounds of which the middle one is told.
const ROUNDS: usize = 3;

/// Two servers for each codec: `base-…` with a tar of about 1 GiB, `wal-…` with about 1 GiB of WAL:
/// small records of inserts, then updates with full pages.
fn archives() -> Archive {
    fixture::archive("orders", |root| {
        let recipe = Recipe { compression: &[], ..Recipe::default() };
        let mut shop = Workshop::new(root, "wal", recipe);
        let spool = WalFolder::open(&shop);
        shop.switch_wal();
        let deliver = |server: &str| {
            for codec in CODECS {
                spool.deliver(root, &name(server, codec), codec);
                copy_backup(root, server, codec);
            }
            fs::remove_dir_all(root.join("bucket/archive").join(server)).unwrap();
            spool.clear();
        };
        // Orders, as a business has them: words that repeat, numbers that differ, a key like noise.
        let rows = |from: u32, to: u32| {
            format!(
                "insert into big select i, timestamptz '2026-01-01' + i * interval '1 second',
                   (array['new', 'paid', 'packed', 'sent', 'returned'])[i % 5 + 1],
                   'customer ' || i::int8 * 7919 % 100000, 'street ' || i % 977 || ', town ' || i % 313,
                   (i % 100000) / 100.0, md5(i::text)
                   from generate_series({from}, {to}) i"
            )
        };
        shop.barman.backup(&shop.source, &[]).unwrap();
        shop.sql("app", "create table big (i int, at timestamptz, state text, customer text, address text, sum numeric, key text)");
        shop.sql("app", &rows(1, 3_600_000));
        shop.sql("postgres", "checkpoint");
        shop.sql("app", "update big set state = 'sent' where i % 40 = 0");
        shop.switch_wal();
        deliver("wal");

        WalFolder::lose(&shop);
        shop.sql("app", &rows(3_600_001, 8_000_000));
        shop.sql("app", "alter table big add primary key (i)");
        spool.reopen(&shop);
        shop.barman.server = "base".into();
        shop.barman.backup(&shop.source, &[]).unwrap();
        shop.switch_wal();
        deliver("base");
        shop.finish()
    })
}

/// Gives the server of a codec the backup of `server`, its tars encoded.
fn copy_backup(root: &Path, server: &str, codec: Codec) {
    let archive = root.join("bucket/archive");
    let (from, to) = (archive.join(server).join("base"), archive.join(name(server, codec)));
    for backup in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        for file in fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().path()) {
            let below = file.strip_prefix(archive.join(server)).unwrap();
            let tar = file.extension().is_some_and(|extension| extension == "tar");
            if tar || file.ends_with("backup.info") {
                encoded(&file, &to.join(below), if tar { codec } else { Codec::Plain });
            }
        }
    }
}

fn name(server: &str, codec: Codec) -> String {
    format!("{server}-{codec:?}").to_lowercase()
}

#[test]
#[ignore = "takes minutes: `make bench-verify`"]
fn of_reading_and_of_decoding() {
    let archive = archives();
    let bucket = archive.root.join("bucket");
    let cores = thread::available_parallelism().unwrap().get();
    println!("Decoded bytes a second: decoding on one thread | on {cores} | verifying.");
    for kind in ["base", "wal"] {
        for codec in CODECS {
            let server = name(kind, codec);
            let objects = Objects::of(&bucket, &server);
            let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                rounds[0].push(measure::decode(&objects, 1));
                rounds[1].push(measure::decode(&objects, cores));
                rounds[2].push(measure::verify(&objects, &server));
            }
            let [one, two, verified] = rounds.map(middle);
            let told = |run: Measured| {
                let rate = one.bytes as f64 / run.seconds / 1e6;
                format!("{rate:6.0} MB/s ({:.2} CPU s)", run.cpu)
            };
            let more = |than: Measured| {
                let more = (verified.seconds / than.seconds - 1.0) * 100.0;
                format!("{more:+.0} %")
            };
            println!(
                "{server:>10} {:>5} MiB: {} | {} | {}: {} and {} of the time",
                one.bytes >> 20,
                told(one),
                told(two),
                told(verified),
                more(one),
                more(two),
            );
        }
    }
}

/// The middle one by time.
fn middle(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    rounds[rounds.len() / 2]
}

#[test]
#[ignore = "takes minutes: `make bench-verify`"]
fn and_peak_memory() {
    let archive = archives();
    for kind in ["base", "wal"] {
        for codec in CODECS {
            let server = name(kind, codec);
            let (answer, peak) = verify_timed(&Drill::new(&archive.root, &server, ""));
            answer.expect("pass", 0);
            println!("{server:>12}: peak memory {} MiB", peak >> 20);
            assert!(peak < MOST_OF_READING, "{server}: peak memory is {} MiB", peak >> 20);
        }
    }
}
