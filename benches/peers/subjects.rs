//! What is compared, in the order in which it is measured.

mod base;
mod checks;
mod helper;
mod link;
mod one_pass;
mod ready;
mod walk;

use std::time::Instant;

use self::link::Shaped;
use crate::{
    bench::{Bench, Target},
    data::{self, Cluster},
    peer::{barman, postgres},
    say,
    subject::{Subject, Table},
};

/// Measures everything, or what has `only` in its title.
pub fn all(bench: &Bench, only: Option<&str>) -> Vec<Table> {
    let run = Run { bench, only, since: Instant::now() };
    [mixed, log, small].into_iter().flat_map(|group| group(&run)).collect()
}

/// What is measured, and since when.
struct Run<'a> {
    bench: &'a Bench,
    only: Option<&'a str>,
    since: Instant,
}

impl Run<'_> {
    fn wants(&self, subject: &Subject<'_>) -> bool {
        self.only.is_none_or(|word| subject.title.contains(word))
    }

    fn measure(&self, subjects: Vec<Subject<'_>>) -> Vec<Table> {
        let wanted = subjects.into_iter().filter(|subject| self.wants(subject));
        wanted.map(|subject| subject.measure(&self.bench.scale, self.since)).collect()
    }
}

/// The mixed cluster: restored, and looked at.
fn mixed(run: &Run<'_>) -> Vec<Table> {
    let bench = run.bench;
    let floor = bench.place("extracted");
    let checks = || {
        let checksums = |cache| checks::checksums(bench, &floor, cache);
        let (warm, cold) = (checksums(checks::Cache::Warm), checksums(checks::Cache::Cold));
        let one_pass = one_pass::one_pass(bench, &floor);
        vec![warm, cold, one_pass, checks::amcheck(bench, &floor)]
    };
    let mut tables = Vec::new();
    let to_check = checks().iter().any(|subject| run.wants(subject));
    let shaped = Shaped::start(bench);
    let restores = || {
        let mut subjects = base::mixed(bench, &floor);
        subjects.extend(link::link(bench, &shaped, &floor));
        subjects
    };
    if to_check || restores().iter().any(|subject| run.wants(subject)) {
        extract(bench, "mixed-gz", &bench.facts.mixed, &floor);
        tables.extend(run.measure(restores()));
    }
    if to_check {
        recover(bench, &floor);
        tables.extend(run.measure(checks()));
    }
    let _ = std::fs::remove_dir_all(&floor.root);
    tables
}

/// The WAL behind it.
fn log(run: &Run<'_>) -> Vec<Table> {
    let bench = run.bench;
    let subjects =
        vec![walk::walk(bench), helper::helper(bench), ready::ready(bench), ready::codecs(bench)];
    run.measure(subjects)
}

/// The cluster of many small relations.
fn small(run: &Run<'_>) -> Vec<Table> {
    let floor = run.bench.place("extracted");
    let subject = base::small(run.bench, &floor);
    if run.wants(&subject) {
        extract(run.bench, data::SMALL, &run.bench.facts.small, &floor);
    }
    run.measure(vec![subject])
}

/// A base as barman-cloud restores it, to copy from.
fn extract(bench: &Bench, name: &str, cluster: &Cluster, to: &Target) {
    let backup = &cluster.archives[name].backup;
    barman::restore(&bench.server.plain, name, backup, to).unwrap();
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
