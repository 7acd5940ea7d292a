//! Peak memory of a drill of a 1 GiB cluster. Takes minutes: `make bench-memory` runs it.

use std::{fs, process::Command};

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Recipe, Workshop},
};

/// Our own process, not PostgreSQL's.
const MOST: u64 = 256 << 20;

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
    let figures = drill.work.join("time.txt");
    let plain = drill.command();
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-v", "-o"]).arg(&figures).arg(plain.get_program()).args(plain.get_args());
    timed.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let answer = Answer::from(timed.output().unwrap());
    answer.expect("pass", 0);
    let text = fs::read_to_string(&figures).unwrap();
    let line = text.lines().find(|l| l.contains("Maximum resident set size")).unwrap();
    let peak: u64 = line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() << 10;
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
