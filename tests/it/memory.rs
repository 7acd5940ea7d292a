//! Peak memory of our own process: of a drill of a 1 GiB cluster (`make bench-memory`), and of reading
//! archives that are ten times larger than the bound.

use pgassay::archive::Codec;

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Recipe, Workshop},
    timed::{Took, timed},
    wal_folder::WalFolder,
};

/// Of a drill: our own process, not PostgreSQL's.
const MOST: u64 = 256 << 20;
/// Of reading an archive, whatever its size.
pub const MOST_OF_READING: u64 = 128 << 20;

#[test]
#[ignore = "takes minutes: `make bench-memory`"]
fn a_gibibyte_fits_into_256_mib() {
    let archive = fixture::archive("gibibyte", |root| {
        let recipe = Recipe { settings: &["wal_compression = on"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "gibibyte", recipe);
        // What the backup does not need is not archived.
        shop.sql("postgres", "alter system set archive_command = 'true'");
        shop.sql("postgres", "select pg_reload_conf()");
        shop.sql(
            "app",
            "create table big as select i, md5(i::text) || md5((i * 7)::text) as a, md5((i * 13)::text) || md5((i * 17)::text) as b
               from generate_series(1, 5800000) i;
             alter table big add primary key (i)",
        );
        let size = shop.sql("app", "select pg_database_size('app')").parse::<u64>().unwrap();
        assert!(size > 1 << 30, "the cluster has only {size} bytes");
        shop.sql("postgres", "alter system reset archive_command");
        shop.sql("postgres", "select pg_reload_conf()");
        shop.barman.backup(&shop.source, &["--lz4"]).unwrap();
        for i in 0..10 {
            shop.sql("app", &format!("update big set a = b where i % 100 = {i}"));
        }
        shop.mark("end");
        shop.switch_wal();
        shop.finish()
    });
    let drill = Drill::new(&archive.root, "gibibyte", &archive.rows_of("end"));
    let (answer, Took { peak, .. }) = timed(&drill.command());
    answer.expect("pass", 0);
    let report = &answer.report;
    println!(
        "peak memory {} MiB; restored {} MiB from {} MiB; RTO {:.1} s",
        peak >> 20,
        report["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["restored_bytes"].as_u64().unwrap())
            .sum::<u64>()
            >> 20,
        report["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["fetched_bytes"].as_u64().unwrap())
            .sum::<u64>()
            >> 20,
        report["rto"]["seconds"].as_f64().unwrap(),
    );
    assert!(peak < MOST, "peak memory is {} MiB", peak >> 20);
}

/// Reads the archive of `drill` with `pgassay verify`; with its peak memory.
pub fn verify_timed(drill: &Drill) -> (Answer, u64) {
    let (answer, took) = timed(&drill.verify_command());
    (answer, took.peak)
}

/// WAL of 10 × the bound in segments of `mib` MiB, and with `fat` a base backup as large.
#[expect(clippy::print_stdout, reason = "the numbers are what it is run for")]
fn tenfold(mib: u64, fat: bool) {
    let bytes = 10 * MOST_OF_READING + (64 << 20);
    let server = format!("tenfold{mib}");
    let archive = fixture::archive(&server, |root| {
        let segments = format!("--wal-segsize={mib}");
        // Both must hold two segments.
        let sizes = [("min", 256.max(2 * mib)), ("max", 1024.max(2 * mib))];
        let settings = sizes.map(|(which, size)| format!("{which}_wal_size = {size}MB"));
        let settings = settings.each_ref().map(String::as_str);
        let recipe = Recipe { initdb: &[&segments], settings: &settings, ..Recipe::default() };
        let mut shop = Workshop::new(root, &server, recipe);
        WalFolder::lose(&shop);
        if fat {
            shop.sql(
                "app",
                &format!(
                    "create table fat (filler text); alter table fat alter filler set storage plain;
                     insert into fat select repeat('x', 7900) from generate_series(1, {})",
                    bytes / 8192
                ),
            );
        }
        let spool = WalFolder::open(&shop);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 100);
        shop.sql(
            "app",
            &format!(
                "select pg_logical_emit_message(false, 'next', 'segment'), pg_switch_wal() from generate_series(1, {})",
                bytes / (mib << 20)
            ),
        );
        shop.mark("end");
        shop.switch_wal();
        spool.deliver(root, &server, Codec::Gzip);
        shop.finish()
    });
    let (answer, peak) = verify_timed(&Drill::new(&archive.root, &server, ""));
    answer.expect("pass", 0);
    let volume = &answer.report["volume"];
    println!("segments of {mib} MiB: peak memory {} MiB; {volume}", peak >> 20);
    assert!(volume["wal_segments"].as_u64().unwrap() * (mib << 20) > 10 * MOST_OF_READING);
    assert!(peak < MOST_OF_READING, "peak memory is {} MiB", peak >> 20);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn an_archive_of_ten_times_the_bound_is_read_below_it() {
    tenfold(16, true);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn segments_of_64_mib_are_read_below_the_same_bound() {
    tenfold(64, false);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn and_with_the_largest_segments() {
    tenfold(1024, false);
}
