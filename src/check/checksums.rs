//! The check `checksums`: every page of every relation of the stopped cluster, as the server itself
//! would judge it on reading.

use std::collections::BTreeSet;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::{path::Path, sync::Arc};

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

use files::ForkFiles;
use scan::{ForkScan, Settings};

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
    let mut cluster = ClusterPages { checksums: settings.checksums, ..ClusterPages::default() };
    let mut forks = files::list(data_dir)?;
    forks.sort_by_key(ForkFiles::bytes);
    let total = forks.iter().map(ForkFiles::bytes).sum();
    let queue = Mutex::new(forks);
    let read = Arc::new(AtomicU64::new(0));
    let count = |bytes: u64| {
        let before = read.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != (before + bytes) / STEP {
            progress.emit(ProgressEvent::CheckProgress {
                name: NAME.into(),
                done: before + bytes,
                total,
                unit: "bytes",
            });
        }
    };
    let work = || {
        let mut scans = Vec::new();
        loop {
            // The largest is the last of the list.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(fork) = next else { return Ok(scans) };
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            scans.push(scan::fork(data_dir, &fork, settings, &count, cancel)?);
        }
    };
    let ends: Vec<Result<Vec<ForkScan>, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..width()).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Error::new(Code::Bug, "a page reader panicked"));
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| panicked())).collect()
    });
    for end in ends {
        for scan in end? {
            cluster.add(scan);
        }
    }
    cluster.findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(cluster)
}

impl ClusterPages {
    /// Leaves out bad pages of relations that never came to be.
    fn pass_over(&mut self, unfinished: &BTreeSet<RelationFile>) {
        let subjects: BTreeSet<String> = unfinished.iter().map(subject).collect();
        self.findings.retain(|finding| {
            finding.class != FailureClass::PageChecksum || !subjects.contains(&finding.subject)
        });
    }

    fn add(&mut self, scan: ForkScan) {
        self.files += scan.files;
        self.pages += scan.pages;
        if matches!(scan.first.fork, Fork::Fsm | Fork::Vm) {
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
                scan.pages,
                scan.damaged.words()
            );
            add(FailureClass::PageChecksum, &scan.first, detail);
        }
        if scan.zeroed.count > 0 {
            let detail = format!(
                "{} pages are all zeros although the visibility map says that they hold rows, {}",
                scan.zeroed.count,
                scan.zeroed.words()
            );
            add(FailureClass::PageZeroed, &scan.first, detail);
        }
        if let Some((count, first)) = scan.beyond {
            let detail = format!(
                "the relation ends too early: its visibility map knows {count} more pages with rows, \
                 from block {first} on"
            );
            add(FailureClass::RelationMissing, &scan.first, detail);
        }
        for (file, what) in scan.broken_files {
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
