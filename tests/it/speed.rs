//! Speed of the read tier against its own decoders, and its peak memory: `make bench-verify`. Only a
//! release build says anything.

mod measure;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use measure::Measured;
use pgassay::{archive::Codec, restore::codec::encode};

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Archive, Recipe, Workshop},
};

/// What barman-cloud is mostly told to use.
const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Plain];
/// Rounds of which the middle one is told.
const ROUNDS: usize = 3;
/// Peak memory of the program, whatever the archive's size.
const MOST: u64 = 128 << 20;

/// Two servers for each codec: `base-…` with a tar of about 1 GiB, `wal-…` with about 1 GiB of WAL:
/// small records of inserts, then updates with full pages.
fn archives() -> Archive {
    fixture::archive("speed", |root| {
        let recipe = Recipe { compression: &[], ..Recipe::default() };
        let mut shop = Workshop::new(root, "wal", recipe);
        let spool = shop.source.make_dir("spool").unwrap();
        shop.sql(
            "postgres",
            &format!("alter system set archive_command = 'cp %p {}/%f'", spool.display()),
        );
        shop.sql("postgres", "select pg_reload_conf()");
        shop.switch_wal();
        let rows = |from: u32, to: u32| {
            format!(
                "insert into big select i, md5(i::text) || md5((i * 7)::text), md5((i * 13)::text) || md5((i * 17)::text)
                   from generate_series({from}, {to}) i"
            )
        };
        shop.barman.backup(&shop.source, &[]).unwrap();
        shop.sql("app", "create table big (i int, a text, b text)");
        shop.sql("app", &rows(1, 2_500_000));
        shop.sql("postgres", "checkpoint");
        shop.sql("app", "update big set a = b where i % 40 = 0");
        shop.switch_wal();
        let wals = moved(&spool, &root.join("wals-of-wal"));

        shop.sql("postgres", "alter system set archive_command = 'true'");
        shop.sql("postgres", "select pg_reload_conf()");
        shop.sql("app", &rows(2_500_001, 5_800_000));
        shop.sql("app", "alter table big add primary key (i)");
        shop.sql(
            "postgres",
            &format!("alter system set archive_command = 'cp %p {}/%f'", spool.display()),
        );
        shop.sql("postgres", "select pg_reload_conf()");
        shop.barman.server = "base".into();
        shop.barman.backup(&shop.source, &[]).unwrap();
        shop.switch_wal();
        let few = moved(&spool, &root.join("wals-of-base"));
        let marks = shop.finish();

        for (server, wals) in [("wal", wals), ("base", few)] {
            let plain = root.join("bucket/archive").join(server);
            for codec in CODECS {
                let to = root.join("bucket/archive").join(name(server, codec));
                for file in files(&plain.join("base")) {
                    let below = file.strip_prefix(&plain).unwrap();
                    let tar = file.extension().is_some_and(|extension| extension == "tar");
                    encoded(&file, &to.join(below), if tar { codec } else { Codec::Plain });
                }
                for file in files(&wals) {
                    let wal = file.file_name().unwrap().to_str().unwrap();
                    if wal.len() == 24 {
                        encoded(&file, &to.join("wals").join(&wal[..16]).join(wal), codec);
                    }
                }
            }
            fs::remove_dir_all(plain).unwrap();
            fs::remove_dir_all(wals).unwrap();
        }
        marks
    })
}

fn name(server: &str, codec: Codec) -> String {
    format!("{server}-{codec:?}").to_lowercase()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().contains(".s3s-fs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn moved(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        fs::remove_file(file).unwrap();
    }
    to.to_owned()
}

fn encoded(from: &Path, to: &Path, codec: Codec) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let to = format!("{}{}", to.display(), codec.extension());
    fs::write(to, encode(codec, &fs::read(from).unwrap()).unwrap()).unwrap();
}

#[test]
#[ignore = "takes minutes: `make bench-verify`"]
fn of_reading_and_of_decoding() {
    let archive = archives();
    let bucket = archive.root.join("bucket");
    println!(
        "{:>5} {:>5} {:>9} {:>15} {:>15} {:>15} {:>15} {:>7} {:>7}",
        "", "", "decoded", "decode", "verify", "decode", "verify", "time", "CPU"
    );
    for kind in ["base", "wal"] {
        for codec in CODECS {
            let server = name(kind, codec);
            // Fills the page cache, so that the first round is like the others.
            measure::decode(&bucket, &server);
            let rounds = (0..ROUNDS)
                .map(|_| (measure::decode(&bucket, &server), measure::verify(&bucket, &server)));
            let (decoded, verified): (Vec<_>, Vec<_>) = rounds.unzip();
            let (decoded, verified) = (middle(decoded), middle(verified));
            let bytes = decoded.bytes as f64;
            let rate = |seconds: f64| format!("{:.0} MB/s", bytes / seconds / 1e6);
            let cpu = |seconds: f64| format!("{:.2} s/GB", seconds / bytes * 1e9);
            let more = |part: f64, of: f64| format!("{:+.0} %", (part / of - 1.0) * 100.0);
            println!(
                "{kind:>5} {:>5} {:>9} {:>15} {:>15} {:>15} {:>15} {:>7} {:>7}",
                format!("{codec:?}").to_lowercase(),
                format!("{} MiB", decoded.bytes >> 20),
                rate(decoded.seconds),
                rate(verified.seconds),
                cpu(decoded.cpu),
                cpu(verified.cpu),
                more(verified.seconds, decoded.seconds),
                more(verified.cpu, decoded.cpu),
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
            let drill = Drill::new(&archive.root, &server, "");
            let figures = drill.work.join("time.txt");
            let mut timed = Command::new("/usr/bin/time");
            timed.args(["-v", "-o"]).arg(&figures).arg(env!("CARGO_BIN_EXE_pgassay"));
            timed.env_clear().envs(crate::support::drill::environment());
            timed.arg("verify").arg(drill.work.join("job.yaml")).args(["--output", "json"]);
            let answer = Answer::from(timed.output().unwrap());
            answer.expect("pass", 0);
            let peak = peak(&fs::read_to_string(&figures).unwrap());
            println!("{server:>12}: peak memory {} MiB", peak >> 20);
            assert!(peak < MOST, "{server}: peak memory is {} MiB", peak >> 20);
        }
    }
}

/// Bytes, of what GNU time says with `-v`.
fn peak(figures: &str) -> u64 {
    let line = figures.lines().find(|line| line.contains("Maximum resident set size")).unwrap();
    line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() << 10
}
