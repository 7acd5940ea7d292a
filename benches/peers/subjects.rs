//! What is compared, in the order in which it is measured.

mod base;
mod checks;
mod ready;
mod walk;

use std::time::Instant;

use crate::{
    bench::{Bench, Target},
    peer::{barman, postgres},
    say,
    subject::{Subject, Table},
};

/// Measures everything, or what has `only` in its title.
pub fn all(bench: &Bench, only: Option<&str>) -> Vec<Table> {
    let since = Instant::now();
    let mut tables = Vec::new();
    let mut measure = |subject: Subject<'_>| {
        if only.is_none_or(|word| subject.title.contains(word)) {
            tables.push(subject.measure(&bench.scale, since));
        }
    };
    {
        let floor = extracted(bench, "mixed-gz", "extracted");
        for subject in base::mixed(bench, &floor) {
            measure(subject);
        }
        recover(bench, &floor);
        measure(checks::checksums(bench, &floor, checks::Cache::Warm));
        measure(checks::checksums(bench, &floor, checks::Cache::Cold));
        measure(checks::amcheck(bench, &floor));
        let _ = std::fs::remove_dir_all(&floor.root);
    }
    measure(walk::walk(bench));
    measure(ready::ready(bench));
    measure(ready::codecs(bench));
    let floor = extracted(bench, "small-lz4", "extracted");
    measure(base::small(bench, &floor));
    tables
}

/// A base as barman-cloud restores it, to copy from.
fn extracted(bench: &Bench, name: &str, folder: &str) -> Target {
    let root = bench.folder(folder);
    let target = Target { data: root.join("data"), space: root.join("space"), root };
    let facts = &bench.facts;
    let mut archives = facts.mixed.archives.iter().chain(&facts.small.archives);
    let archive = archives.find(|(server, _)| *server == name).unwrap().1;
    barman::restore(&bench.server.plain, name, &archive.backup, &target).unwrap();
    target
}

/// Recovers it where it is, to the end of its backup, and stops it cleanly.
fn recover(bench: &Bench, target: &Target) {
    say("recovering a cluster to look at");
    postgres::signal_recovery(target);
    let endpoint = &bench.server.plain;
    let command = barman::restore_command(endpoint, "mixed-gz", None).unwrap();
    let settings = [
        format!("restore_command={command}"),
        "recovery_target=immediate".to_owned(),
        "recovery_target_action=promote".to_owned(),
    ];
    let environment = barman::environment(endpoint);
    let server = postgres::Server::start(bench, target, &settings, &environment).unwrap();
    server.sql("vacuum (freeze, analyze)").unwrap();
    server.stop(true).unwrap();
}
