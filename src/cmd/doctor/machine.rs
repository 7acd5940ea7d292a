//! What this machine has: PostgreSQL, a user, room, namespaces.

use std::path::{Path, PathBuf};

use super::{Probe, Status};
use crate::drill::{format, job::SandboxSpec};

/// Below this a work directory is hardly of use.
const LITTLE_ROOM: u64 = 1 << 30;

pub(super) fn probe(sandbox: Option<&SandboxSpec>, work_dir: Option<PathBuf>) -> Vec<Probe> {
    let work_dir = work_dir.or_else(|| sandbox.and_then(|sandbox| sandbox.work_dir.clone()));
    vec![room(work_dir.as_deref())]
}

fn room(work_dir: Option<&Path>) -> Probe {
    let place = work_dir.unwrap_or(Path::new(DEFAULT_WORK_DIR));
    match free_disk(work_dir) {
        Some(free) if free < LITTLE_ROOM => {
            let detail = format!("only {} free in `{}`", format::bytes(free), place.display());
            Probe::new("disk", Status::Warn, detail)
                .hint("Name a folder with more room with `--work-dir` or `sandbox.workDir`.")
        }
        Some(free) => {
            Probe::ok("disk", format!("{} free in `{}`", format::bytes(free), place.display()))
        }
        None => {
            let detail = format!("`{}` is not a folder that can be looked at", place.display());
            Probe::new("disk", Status::Missing, detail)
                .hint("Make it, or name another with `--work-dir` or `sandbox.workDir`.")
        }
    }
}

const DEFAULT_WORK_DIR: &str = "/var/tmp";

/// Bytes free for an unprivileged user where sandboxes would be made.
pub(in crate::cmd) fn free_disk(work_dir: Option<&Path>) -> Option<u64> {
    let stat = rustix::fs::statvfs(work_dir.unwrap_or(Path::new(DEFAULT_WORK_DIR))).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}
