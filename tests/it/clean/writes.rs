//! Base backups of clusters that write as fast as they can: pages change, move and go while they
//! are copied, and every kind of record may lie across the backup's window.

use std::fs;

use super::{of, passes_from_each_backup};
use crate::support::{
    fixture::{Archive, Recipe, Workshop},
    tools,
};

/// So few buffers that backends write pages all the time, and a background writer in a hurry.
const HURRY: [&str; 5] = [
    "shared_buffers = 2MB",
    "bgwriter_delay = 10ms",
    "bgwriter_lru_maxpages = 1000",
    "bgwriter_lru_multiplier = 10",
    "checkpoint_timeout = 30s",
];

/// Backups under load, one after the other, and checkpoints without a pause. Nothing holds the load
/// back: WAL is spooled, and goes to the archive when the load is over.
fn busy(name: &str, recipe: Recipe<'_>, backups: usize) -> Archive {
    let settings = [&HURRY[..], recipe.settings].concat();
    of(name, Recipe { settings: &settings, ..recipe }, |shop| {
        shop.spool_wal(&["--gzip"]);
        shop.pgbench(&["-i", "-q", "-s", "2"]).end();
        let script = shop.work.join("checkpoints.sql");
        fs::write(&script, "checkpoint;\n\\sleep 300 ms\n").unwrap();
        let script = script.to_str().unwrap().to_owned();
        for backup in 0..backups {
            let seed = format!("--random-seed={}", 7 + backup);
            let load = shop.pgbench(&["-n", "-c", "4", "-T", "600", &seed]);
            let checkpoints = shop.pgbench(&["-n", "-T", "600", "-f", &script]);
            let churn = churn(shop);
            let enough = format!("select count(*) > {} from pgbench_history", 500 * (backup + 1));
            shop.wait("app", &enough);
            shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
            drop((load, checkpoints, churn));
            shop.alone();
            shop.deliver();
        }
        shop.add("later", 50);
    })
}

/// Rows that come and go, so that vacuum and index clean-up are in the log, too.
fn churn(shop: &Workshop) -> crate::support::hold::Session {
    let script = shop.work.join("churn.sql");
    let text = "\\set i random(1, 3000)\n\
                delete from items where id = :i;\n\
                insert into items (name, body, tags) values ('c' || random(), repeat('c', (random() * 3000)::int), array[:i % 13]);\n\
                update events set note = note where id = :i;\n\
                vacuum items;\n";
    fs::write(&script, text).unwrap();
    shop.pgbench(&["-n", "-T", "600", "-f", script.to_str().unwrap()])
}

/// Segments of which few are filled: each one that goes to the archive starts Python.
fn large() -> Recipe<'static> {
    Recipe { initdb: &["--wal-segsize=64"], ..Recipe::default() }
}

/// Torn pages, hint bits and index splits as they come; full images make them good.
#[test]
fn a_cluster_that_writes_without_a_pause() {
    let recipe = Recipe { settings: &["wal_compression = pglz"], ..large() };
    passes_from_each_backup(&busy("full-speed", recipe, 1), "full-speed");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn several_backups_of_one_that_never_rests() {
    passes_from_each_backup(&busy("full-speed-long", large(), 3), "full-speed-long");
}

/// `pg_backup_start` turns full-page writes on until the backup's end.
#[test]
#[ignore = "a matrix: make test-all"]
fn without_full_page_writes() {
    let settings = ["full_page_writes = off"];
    let recipe = Recipe { settings: &settings, ..large() };
    passes_from_each_backup(&busy("full-speed-fpw-off", recipe, 2), "full-speed-fpw-off");
}

/// Hint bits need no image then, and the pages have nothing to compare with.
#[test]
#[ignore = "a matrix: make test-all"]
fn without_checksums() {
    let recipe = Recipe { checksums: false, ..Recipe::default() };
    passes_from_each_backup(&busy("full-speed-no-sums", recipe, 1), "full-speed-no-sums");
}

/// `XLOG_FPI_FOR_HINT` where there are no checksums to ask for it.
#[test]
#[ignore = "a matrix: make test-all"]
fn with_logged_hint_bits() {
    let settings = ["wal_log_hints = on", "wal_compression = lz4"];
    let recipe = Recipe { checksums: false, settings: &settings, ..Recipe::default() };
    passes_from_each_backup(&busy("full-speed-hints", recipe, 1), "full-speed-hints");
}

/// Every compression of page images that a major has, and the records of logical decoding. Only the
/// distribution's own server is sure to have all of them.
#[test]
#[ignore = "a matrix: make test-all"]
fn compressed_images_of_every_major() {
    let packaged = tools::packaged_major();
    for (major, compression) in [
        (14, "on"),
        (packaged, "lz4"),
        (packaged, "zstd"),
        (16, "pglz"),
        (17, "pglz"),
        (18, "pglz"),
    ] {
        let name = format!("full-speed-{major}-{compression}");
        let compression = format!("wal_compression = {compression}");
        let settings = ["wal_level = logical", compression.as_str()];
        let recipe = Recipe { major, settings: &settings, ..large() };
        passes_from_each_backup(&busy(&name, recipe, 1), &name);
    }
}
