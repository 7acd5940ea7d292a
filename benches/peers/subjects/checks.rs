//! Looking at a recovered cluster: every page's checksum, and amcheck.

use std::{env, fs::File, path::Path};

use rustix::fs::{Advice, fadvise};

use super::super::{
    Outcome,
    bench::{Bench, Target},
    measure::{Measured, Timed},
    peer::{ours, postgres},
    subject::{Bar, Contender, Goal, Subject},
    worker,
};

/// Whether the system holds the files in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    Warm,
    Cold,
}

const OURS: [&str; 2] = ["pgassay, two cores", "pgassay, one core"];
const THEIRS: [&str; 2] = ["pg_checksums", "pg_checksums, one core"];

/// Page checksums of a cluster at rest.
pub fn checksums<'a>(bench: &'a Bench, cluster: &'a Target, cache: Cache) -> Subject<'a> {
    let volume = bench.facts.mixed.volume;
    let (title, state) = match cache {
        Cache::Warm => ("Page checksums, warm", "The files are in the page cache."),
        Cache::Cold => (
            "Page checksums, cold",
            "The files were put out of the page cache before each run (`posix_fadvise`); how cold that is, the disk \
             below the machine decides.",
        ),
    };
    let run = move |program: Timed| {
        prepare(cluster, cache)?;
        let (measured, said) = program.run()?;
        if said.contains("Bad checksums:") && !said.contains("Bad checksums:  0") {
            return Err(said);
        }
        Ok(measured)
    };
    let ours = |name, cores, words: &str| {
        Contender::new(
            name,
            format!("the check `checksums` as a program of its own{words}"),
            move || {
                let program = pinned(cores, env::current_exe().unwrap().as_os_str());
                run(program.args([worker::WORD, "checksums"]).arg(&cluster.data))
            },
        )
    };
    let theirs = |name, cores, words: &str| {
        Contender::new(name, format!("`pg_checksums --check -D DIR`{words}"), move || {
            let program = pinned(cores, postgres::program("pg_checksums").as_os_str());
            run(program.args(["--check", "-D"]).arg(&cluster.data))
        })
    };
    let alone = ", under `taskset -c 0`";
    Subject {
        title,
        counts: format!(
            "Seconds for {} files of {:.0} MB. {state}",
            volume.files,
            volume.bytes as f64 / 1e6
        ),
        contenders: vec![
            ours(OURS[0], None, ""),
            ours(OURS[1], Some("0"), alone),
            theirs(THEIRS[0], None, ""),
            theirs(THEIRS[1], Some("0"), alone),
        ],
        goals: vec![
            Goal { ours: OURS[1], than: THEIRS[1], bar: Bar::Within(1.0) },
            Goal { ours: OURS[0], than: THEIRS[0], bar: Bar::Faster(1.0) },
        ],
    }
}

/// A program on these processors only.
pub fn pinned(cores: Option<&str>, program: &std::ffi::OsStr) -> Timed {
    // The benchmark's own program may lie where only who built it can go.
    match cores {
        Some(cores) => Timed::ours("taskset").args(["-c", cores]).arg(program),
        None => Timed::ours(program),
    }
}

/// Puts all files where the subject wants them: into the page cache or out of it.
pub fn prepare(cluster: &Target, cache: Cache) -> Outcome<()> {
    for folder in [&cluster.data, &cluster.space] {
        touch(folder, cache).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Reads every file, or puts it out of the page cache.
fn touch(folder: &Path, cache: Cache) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            touch(&path, cache)?;
        } else if entry?.is_file() {
            let mut file = File::open(path)?;
            if cache == Cache::Warm {
                std::io::copy(&mut file, &mut std::io::sink())?;
            } else {
                // Only what is on the disk can be put out.
                file.sync_all()?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}

/// amcheck over all databases of a running cluster.
pub fn amcheck<'a>(bench: &'a Bench, cluster: &'a Target) -> Subject<'a> {
    let theirs = |name, more: &'static [&'static str]| {
        let how = format!("`pg_amcheck --all -j 2 {}`", more.join(" "));
        Contender::new(name, how, move || {
            let server = postgres::Server::start(bench, cluster, &[], &[])?;
            let amcheck = server.client("pg_amcheck").args(["--all", "--install-missing"]);
            let amcheck = amcheck.args(["-j", "2"]).args(more);
            let (measured, _) = amcheck.run()?;
            server.stop(true)?;
            // What the server needs for it is not in the client's figures.
            Ok(Measured::of(measured.seconds))
        })
    };
    let how = "the check `amcheck` of `pgassay drill JOB --depth deep --target-immediate`: heaps, and B-trees with their \
               parents and heap entries";
    Subject {
        title: "amcheck",
        counts: "Seconds for all databases of the running cluster; PostgreSQL does the work. The server has just \
                 been started for `pg_amcheck`, and has read every table before in the drill. The peak is that of our \
                 process in the whole drill."
            .to_owned(),
        contenders: vec![
            Contender::new("pgassay", how, move || {
                let arguments = ["--depth", "deep", "--target-immediate"];
                let drilled = ours::drill(bench, &bench.server.plain, "mixed-gz", &arguments)?;
                Ok(Measured { seconds: drilled.check("amcheck")?, cpu: None, ..drilled.whole })
            }),
            theirs("pg_amcheck, parents", &["--heapallindexed", "--parent-check"]),
            theirs("pg_amcheck", &["--heapallindexed"]),
        ],
        goals: vec![],
    }
}
