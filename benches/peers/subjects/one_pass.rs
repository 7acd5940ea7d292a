//! What it costs to check pages while they stream by, beside reading them once more.

use std::{env, fs};

use super::super::{
    Outcome,
    bench::{Bench, Target},
    measure::Measured,
    peer::ours,
    subject::{Bar, Contender, Goal, Subject},
    worker,
};
use super::checks::{Cache, pinned, prepare};

const RIDING: &str = "pages checked as they stream by";
const AGAIN: &str = "a second pass over the files, warm";
const AGAIN_COLD: &str = "a second pass over the files, cold";

/// The base backup in gzip, decoded and walked from the page cache on one core; nothing is written.
pub fn one_pass<'a>(bench: &'a Bench, cluster: &'a Target) -> Subject<'a> {
    let tar = move || -> Outcome<std::path::PathBuf> {
        let path = bench.kept.join("one-pass.tar.gz");
        if !path.exists() {
            let backup = &bench.facts.mixed.archives["mixed-gz"].backup;
            let key = format!("archive/mixed-gz/base/{backup}/data.tar.gz");
            let bytes = ours::read(&bench.server, "mixed-gz", &key);
            fs::write(&path, bytes).map_err(|error| error.to_string())?;
        }
        Ok(path)
    };
    let program = || pinned(Some("0"), env::current_exe().unwrap().as_os_str());
    let walk = move |verb: &'static str| -> Outcome<Measured> {
        let walk = program().args([worker::WORD, verb]).arg(tar()?);
        walk.run().map(|(measured, _)| measured)
    };
    let again = move |cache: Cache| -> Outcome<Measured> {
        let bare = walk("decode")?;
        prepare(cluster, cache)?;
        let check = program().args([worker::WORD, "checksums"]).arg(&cluster.data);
        check.run().map(|(second, _)| bare.then(second))
    };
    let alone = "the tar of the data directory decoded and walked, nothing else";
    Subject {
        title: "One pass",
        counts: "Seconds on one core (`taskset -c 0`) to decode and walk the gzip tar of the data directory from the \
                 page cache, without writing it: alone, with every page checked on the way, and followed by a check \
                 of the files as a pass of its own."
            .to_owned(),
        contenders: vec![
            Contender::new(RIDING, "the same with every page verified (`PageWatch`)", move || {
                walk("decode-and-check")
            }),
            Contender::new("no check", alone, move || walk("decode")),
            Contender::new(AGAIN, "then the check `checksums`", move || again(Cache::Warm)),
            Contender::new(AGAIN_COLD, "the same, the files put out of the page cache", move || {
                again(Cache::Cold)
            }),
        ],
        goals: vec![Goal { ours: RIDING, than: AGAIN, bar: Bar::Faster(1.0) }],
    }
}
