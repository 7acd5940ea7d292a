//! Runs one target for its time.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::abort,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    memory,
    mutate::{self, Random},
};

/// Cases where no time is given.
const CASES: u64 = 400;
/// One input that takes longer hangs.
const HANG: Duration = Duration::from_mins(2);
/// Inputs that are kept because their outcome was new.
const MOST_KEPT: usize = 5000;
/// Different failures after which a run ends.
const MOST_FAILURES: usize = 8;

/// A parser and the inputs that it is tried with.
pub struct Target {
    pub name: &'static str,
    pub seeds: Vec<Vec<u8>>,
    /// Changes an input; the second one is there to take pieces of.
    pub mutate: fn(&mut Vec<u8>, &[u8], &mut Random),
    /// Makes checksums right again.
    pub repair: fn(&mut Vec<u8>),
    /// Parses, panics where something does not hold, and says in words what came out.
    pub check: fn(&[u8]) -> String,
    /// Bytes that no input may take.
    pub most_memory: usize,
    /// Longer inputs are cut.
    pub most_bytes: usize,
}

/// What is being tried, for the watch.
#[derive(Default)]
struct Trying {
    now: Mutex<Now>,
    ended: Condvar,
}

#[derive(Default)]
struct Now {
    /// Since when, and what.
    input: Option<(Instant, Vec<u8>)>,
    ended: bool,
}

pub fn nothing(_: &mut Vec<u8>) {}

/// Tries all regressions and seeds, then changes of them.
///
/// # Panics
/// Where an input failed; it was written to a file that the message names.
pub fn run(target: &Target) {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = variable("PGASSAY_FUZZ_SECONDS");
    let fresh = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = variable("PGASSAY_FUZZ_SEED");
    let seed = seed.unwrap_or_else(|| if seconds.is_some() { fresh() } else { 0 });
    let began = Instant::now();
    let over = |cases: u64| match seconds {
        Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
        None => cases >= CASES,
    };

    let trying = Arc::new(Trying::default());
    let watch = {
        let (trying, name) = (Arc::clone(&trying), target.name);
        std::thread::spawn(move || watch(&trying, name))
    };
    let mut session = Session {
        target,
        trying: &trying,
        outcomes: BTreeSet::new(),
        failures: Vec::new(),
        most: 0,
        slowest: Duration::ZERO,
    };
    for input in regressions(target.name).iter().chain(&target.seeds) {
        session.attempt(input);
    }
    let mut random = Random(seed);
    let mut inputs = target.seeds.clone();
    let mut cases = 0;
    while !over(cases) && session.failures.len() < MOST_FAILURES {
        let mut input = random.pick(&inputs).clone();
        let other = random.pick(&inputs).clone();
        let most = 1 << random.below(4);
        for _ in 0..=random.below(most) {
            (target.mutate)(&mut input, &other, &mut random);
        }
        input.truncate(target.most_bytes);
        if !random.one_in(8) {
            (target.repair)(&mut input);
        }
        if session.attempt(&input) && inputs.len() < MOST_KEPT {
            inputs.push(input);
        }
        cases += 1;
    }
    trying.now.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    trying.ended.notify_all();
    watch.join().unwrap();
    eprintln!(
        "fuzz {}: {cases} cases in {:.0} s from seed {seed}, {} outcomes, at most {} bytes and {:?}, \
         {} crashes",
        target.name,
        began.elapsed().as_secs_f64(),
        session.outcomes.len(),
        session.most,
        session.slowest,
        session.failures.len(),
    );
    assert!(session.failures.is_empty(), "{}", session.failures.join("\n"));
}

struct Session<'a> {
    target: &'a Target,
    trying: &'a Trying,
    outcomes: BTreeSet<String>,
    failures: Vec<String>,
    most: usize,
    slowest: Duration,
}

impl Session<'_> {
    /// Tries one input; whether its outcome is a new one.
    fn attempt(&mut self, input: &[u8]) -> bool {
        let now = || self.trying.now.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        now().input = Some((began, input.to_vec()));
        let check = || catch_unwind(AssertUnwindSafe(|| (self.target.check)(input)));
        let (result, most) = memory::peak(check);
        now().input = None;
        self.slowest = self.slowest.max(began.elapsed());
        self.most = self.most.max(most);
        match result {
            Ok(_) if most > self.target.most_memory => {
                self.failed(input, &format!("held {most} bytes"));
                false
            }
            Ok(outcome) => self.outcomes.insert(shape(&outcome)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
                self.failed(input, text.as_deref().unwrap_or("panicked"));
                false
            }
        }
    }

    fn failed(&mut self, input: &[u8], what: &str) {
        // One of each kind is enough.
        if self.outcomes.insert(format!("failure: {}", shape(what))) {
            let file = keep(self.target.name, input);
            self.failures.push(format!(
                "{}: {what}\n  input: {}",
                self.target.name,
                file.display()
            ));
        }
    }
}

/// An outcome without the numbers and names that are the input's own.
fn shape(outcome: &str) -> String {
    let mut shape = String::new();
    let mut quoted = false;
    for c in outcome.chars() {
        quoted ^= c == '`';
        let plain = if c.is_ascii_digit() || c.is_ascii_uppercase() { '#' } else { c };
        if !(quoted && c != '`' || plain == '#' && shape.ends_with('#')) {
            shape.push(plain);
        }
        if shape.len() > 400 {
            break;
        }
    }
    shape
}

fn regressions(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}-{:08x}", crc32c::crc32c(input)));
    fs::write(&file, input).unwrap();
    file
}

/// Ends the process where one input hangs: nothing else could end it.
fn watch(trying: &Trying, name: &str) {
    let mut now = trying.now.lock().unwrap_or_else(PoisonError::into_inner);
    while !now.ended {
        let waited = trying.ended.wait_timeout(now, Duration::from_secs(5));
        now = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some((since, input)) = &now.input
            && since.elapsed() > HANG
        {
            eprintln!("fuzz {name}: hangs with {}", keep(name, input).display());
            abort();
        }
    }
}

/// A change of bytes without any structure.
pub fn any_bytes(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    mutate::bytes(input, other, random);
}
