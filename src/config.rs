//! Job documents and flags: parsed strictly, all problems at once, each with its place and a hint.
//!
//! Nothing here touches the clock, nor a file but in `file`: `cmd` reads the flags.

mod archive;
mod checks;
mod document;
mod file;
pub mod flags;
mod node;
mod notify;
mod problem;
mod recovery_point;
mod sandbox;
pub mod template;
mod timing;
mod url;
mod value;
mod walker;

pub use file::{NoJob, read};
pub use problem::{Problem, Problems};

use crate::drill::Job;

/// Longest job document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Memory for shared buffers and our own where a job says nothing.
pub const DEFAULT_MEMORY: u64 = 512 << 20;

/// A stage without progress ends after this time where a job says nothing.
pub const DEFAULT_NO_PROGRESS: std::time::Duration = std::time::Duration::from_mins(10);

/// Whether a file of a folder is a job, by its name: `*.yaml` and `*.yml`, but no hidden one, such as an
/// editor's.
#[must_use]
pub fn is_job_file(path: &std::path::Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Reads one job document. `file_name` only appears in the problems.
///
/// # Errors
/// Every problem of the document, in its order.
pub fn parse(text: &str, file_name: &str) -> Result<Job, Problems> {
    let problems = walker::Collector::default();
    let job = node::load(text, &problems).and_then(|root| document::read(&root, &problems));
    let found = problems.into_sorted();
    match job {
        Some(job) if found.is_empty() => Ok(job),
        _ => Err(Problems::new(file_name, found)),
    }
}

#[cfg(test)]
mod tests;
