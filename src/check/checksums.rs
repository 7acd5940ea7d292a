//! The check `checksums`: every page of every relation of the stopped cluster, as the server itself
//! would judge it on reading.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    path::Path,
    ptr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Check, CheckContext, Phase,
    failure::{capped, damage_hint, interrupted},
    workers::width,
};
use crate::{
    drill::{CheckOutcome, Code, Error, FailureClass, Finding},
    pg::{
        control::{ControlFile, DbState},
        page::PAGE_SIZE,
        relation_file::{Fork, RelationFile},
    },
    telemetry::{Progress, progress::ProgressEvent},
};

pub mod files;
pub mod scan;
mod visibility_map;

use files::ForkFiles;
use scan::{Scan, Settings, Stretch};

const NAME: &str = "checksums";
/// Bytes between two progress events.
const STEP: u64 = 64 << 20;

/// Verifies every page of the data directory.
#[derive(Clone, Copy, Debug)]
pub struct Checksums;

#[async_trait]
impl Check for Checksums {
    fn name(&self) -> String {
        NAME.into()
    }

    fn phase(&self) -> Phase {
        Phase::Stopped
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let data_dir = context.cluster.data_dir.clone();
        let progress = context.progress.clone();
        let cancel = context.cancel.clone();
        let all = move || verify_cluster(&data_dir, &progress, &cancel);
        match tokio::task::spawn_blocking(all).await {
            Ok(Ok(mut cluster)) => {
                cluster.pass_over(&context.observations.snapshot().unfinished);
                cluster.outcome()
            }
            Ok(Err(error)) => CheckOutcome::Errored(error),
            Err(_) => CheckOutcome::Errored(Error::new(Code::Bug, "a page reader panicked")),
        }
    }
}

/// What all pages of a cluster said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPages {
    pub files: u64,
    pub pages: u64,
    /// Whether the cluster has data checksums; without, only page headers were judged.
    pub checksums: bool,
    /// Bad pages of free space and visibility maps: PostgreSQL makes them anew on reading.
    pub bad_map_pages: u64,
    pub findings: Vec<Finding>,
}

impl ClusterPages {
    fn outcome(self) -> CheckOutcome {
        if !self.findings.is_empty() {
            return CheckOutcome::Failed(capped(self.findings));
        }
        let looked = format!("{} pages in {} files", self.pages, self.files);
        let maps = match self.bad_map_pages {
            0 => String::new(),
            n => format!("; {n} bad pages in free space or visibility maps, which heal on reading"),
        };
        let off = if self.checksums {
            ""
        } else {
            ": data checksums are off in this cluster, only page headers could be checked"
        };
        CheckOutcome::Passed(format!("{looked}{off}{maps}"))
    }
}

/// Reads every relation file below `data_dir`, several at once. The server must have been stopped
/// cleanly.
///
/// # Errors
/// Where a file cannot be read, or the cluster is not at rest.
pub fn verify_cluster(
    data_dir: &Path,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<ClusterPages, Error> {
    let control = read_control(data_dir)?;
    let settings = Settings {
        checksums: control.has_data_checksums(),
        segment_blocks: control.relation_segment_blocks,
    };
    let mut forks = files::list(data_dir)?;
    forks.sort_by_key(|fork| Reverse(fork.bytes()));
    let units: Vec<Unit> = forks.iter().flat_map(units_of).collect();
    let progress = Counter::new(progress, forks.iter().map(ForkFiles::bytes).sum());
    let (next, pages) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(at) else { return Ok(found) };
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            let count = |bytes| progress.add(bytes);
            let scan = scan::stretch(data_dir, unit.fork, unit.stretch, settings, &count, cancel)?;
            pages.fetch_add(scan.pages, Ordering::Relaxed);
            let edges = unit.opens.then(|| Edges::of(data_dir, unit.fork, settings));
            let (fork, edges) = (unit.fork, edges.unwrap_or_default());
            if !scan.is_sound() || edges != Edges::default() {
                found.push((at, Found { fork, scan, edges }));
            }
        }
    };
    let ends: Vec<Result<Vec<_>, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..width()).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Error::new(Code::Bug, "a page reader panicked"));
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut found: Vec<(usize, Found<'_>)> =
        ends.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    found.sort_by_key(|(at, _)| *at);
    let mut cluster = ClusterPages {
        files: forks.iter().map(|fork| fork.segments.len() as u64).sum(),
        pages: pages.into_inner(),
        checksums: settings.checksums,
        ..ClusterPages::default()
    };
    // Stretches of one fork stand side by side.
    let mut found = found.into_iter().map(|(_, found)| found).peekable();
    while let Some(mut whole) = found.next() {
        while let Some(behind) = found.next_if(|next| ptr::eq(next.fork, whole.fork)) {
            whole = whole.and_then(behind);
        }
        cluster.add(whole);
    }
    cluster.findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(cluster)
}

/// What one thread does without another's help.
#[derive(Clone, Copy, Debug)]
struct Unit<'a> {
    fork: &'a ForkFiles,
    stretch: Stretch,
    /// The fork's first: its edges are looked at with it.
    opens: bool,
}

fn units_of(fork: &ForkFiles) -> impl Iterator<Item = Unit<'_>> {
    let stretches = scan::stretches(fork).enumerate();
    stretches.map(move |(at, stretch)| Unit { fork, stretch, opens: at == 0 })
}

/// What is wrong with stretches of a fork.
#[derive(Debug)]
struct Found<'a> {
    fork: &'a ForkFiles,
    scan: Scan,
    edges: Edges,
}

/// What is wrong with a fork's files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edges {
    /// How many blocks the visibility map knows beyond the heap's end, and the first of them.
    beyond: Option<(u64, u64)>,
    /// Files that are missing, cut or not made of whole pages.
    broken: Vec<(RelationFile, String)>,
}

impl Edges {
    fn of(data_dir: &Path, fork: &ForkFiles, settings: Settings) -> Self {
        Self {
            beyond: visibility_map::beyond(data_dir, fork, settings),
            broken: fork.broken(settings.segment_blocks),
        }
    }
}

impl Found<'_> {
    fn and_then(mut self, behind: Self) -> Self {
        self.scan.extend(behind.scan);
        self.edges.broken.extend(behind.edges.broken);
        self.edges.beyond = self.edges.beyond.or(behind.edges.beyond);
        self
    }
}

/// Tells how far all threads together are.
struct Counter<'a> {
    progress: &'a Progress,
    total: u64,
    read: AtomicU64,
}

impl<'a> Counter<'a> {
    const fn new(progress: &'a Progress, total: u64) -> Self {
        Self { progress, total, read: AtomicU64::new(0) }
    }

    fn add(&self, bytes: u64) {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != (before + bytes) / STEP {
            self.progress.emit(ProgressEvent::CheckProgress {
                name: NAME.into(),
                done: before + bytes,
                total: self.total,
                unit: "bytes",
            });
        }
    }
}

impl ClusterPages {
    /// Leaves out bad pages of relations that never came to be.
    fn pass_over(&mut self, unfinished: &BTreeSet<RelationFile>) {
        let subjects: BTreeSet<String> = unfinished.iter().map(subject).collect();
        self.findings.retain(|finding| {
            finding.class != FailureClass::PageChecksum || !subjects.contains(&finding.subject)
        });
    }

    fn add(&mut self, found: Found<'_>) {
        let Found { fork, scan, edges } = found;
        if matches!(fork.first.fork, Fork::Fsm | Fork::Vm) {
            self.bad_map_pages += scan.damaged.count;
            return;
        }
        let mut add = |class, file: &RelationFile, detail: String| {
            self.findings.push(Finding::new(class, subject(file), detail, damage_hint(class)));
        };
        if scan.damaged.count > 0 {
            let detail = format!(
                "{} of {} pages are damaged, {}",
                scan.damaged.count,
                fork.bytes() / PAGE_SIZE as u64,
                scan.damaged.words()
            );
            add(FailureClass::PageChecksum, &fork.first, detail);
        }
        if scan.zeroed.count > 0 {
            let detail = format!(
                "{} pages are all zeros although the visibility map says that they hold rows, {}",
                scan.zeroed.count,
                scan.zeroed.words()
            );
            add(FailureClass::PageZeroed, &fork.first, detail);
        }
        if let Some((count, first)) = edges.beyond {
            let detail = format!(
                "the relation ends too early: its visibility map knows {count} more pages with rows, \
                 from block {first} on"
            );
            add(FailureClass::RelationMissing, &fork.first, detail);
        }
        for (file, what) in edges.broken {
            add(FailureClass::RelationMissing, &file, what);
        }
    }
}

fn subject(file: &RelationFile) -> String {
    format!("{file} (filenode {})", file.filenode)
}

pub(super) fn read_control(data_dir: &Path) -> Result<ControlFile, Error> {
    let path = data_dir.join("global/pg_control");
    let bytes = std::fs::read(&path)
        .map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
    let control = ControlFile::parse(&bytes).map_err(|error| {
        Error::new(Code::PostgresFailed, format!("`{}`: {error}", path.display()))
    })?;
    if control.state != DbState::ShutDown {
        let message = format!("the cluster is `{}`, not shut down: its files move", control.state);
        return Err(Error::new(Code::PostgresFailed, message));
    }
    if control.block_size as usize != PAGE_SIZE {
        let message = format!("pages of {} bytes cannot be checked", control.block_size);
        return Err(Error::new(Code::Unsupported, message));
    }
    Ok(control)
}
