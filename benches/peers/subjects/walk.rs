//! Reading WAL without a recovery: every record and its CRC.

use std::env;

use super::super::{
    bench::Bench,
    measure::Timed,
    peer::postgres,
    subject::{Bar, Contender, Goal, Subject},
    worker,
};
use super::checks::pinned;

const OURS: [&str; 2] = ["pgassay, two cores", "pgassay, one core"];
const THEIRS: &str = "pg_waldump";

/// The same segments, from the page cache.
pub fn walk(bench: &Bench) -> Subject<'_> {
    let folder = bench.kept.join("walk");
    let ours = |name, cores, words: &str| {
        let (folder, count) = (folder.clone(), bench.scale.walked.to_string());
        let how = format!(
            "`verify` of an archive that has only this WAL, read from a folder, as a program of its own{words}"
        );
        Contender::new(name, how, move || {
            let program = pinned(cores, env::current_exe().unwrap().as_os_str());
            let program = program.args([worker::WORD, "walk"]).arg(&folder).arg(&count);
            program.run().map(|(measured, _)| measured)
        })
    };
    let flat = folder.join("flat");
    let theirs = Contender::new(THEIRS, "`pg_waldump --stats -p DIR FIRST LAST`", move || {
        let program = Timed::ours(postgres::program("pg_waldump")).arg("--stats").arg("-p");
        program.arg(&flat).args(&bench.facts.walked).run().map(|(measured, _)| measured)
    });
    Subject {
        title: "WAL walk",
        counts: format!(
            "Seconds to read {} segments ({:.0} MB) from the page cache, every record's CRC checked.",
            bench.scale.walked,
            bench.facts.walked_bytes as f64 / 1e6
        ),
        contenders: vec![
            ours(OURS[0], None, ""),
            ours(OURS[1], Some("0"), ", under `taskset -c 0`"),
            theirs,
        ],
        goals: vec![Goal { ours: OURS[0], than: THEIRS, bar: Bar::Faster(3.0) }],
    }
}
