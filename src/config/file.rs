//! The file of a job.

use std::{fs::File, io::Read as _, path::Path};

use super::{MAX_DOCUMENT, Problems, parse};
use crate::drill::{Code, Error, Job};

/// Why a file gives no job.
#[derive(Debug, thiserror::Error)]
pub enum NoJob {
    /// `JobUnreadable`.
    #[error("{0}")]
    Unreadable(Error),
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads and parses the file of a job. `shown` is what messages call it.
///
/// # Errors
/// [`NoJob`].
pub fn read(path: &Path, shown: &str) -> Result<Job, NoJob> {
    let text = text(path).map_err(|why| {
        let message = format!("cannot read the job `{shown}`: {why}");
        let hint = "Check the path, or write a job with `pgassay init s3://bucket/path`.";
        NoJob::Unreadable(Error::new(Code::JobUnreadable, message).hint(hint))
    })?;
    parse(&text, shown).map_err(NoJob::Invalid)
}

fn text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err("it is a folder".to_owned());
    }
    // A device or a pipe has no length to ask for.
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() > MAX_DOCUMENT {
        return Err("it is longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &Path) -> String {
        read(path, "a.yaml").unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_job_is_said_in_one_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        let said_of = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            said(&file)
        };
        assert_eq!(said_of(b"\xff"), "cannot read the job `a.yaml`: it is not UTF-8 text");
        let long = vec![b' '; MAX_DOCUMENT + 1];
        assert_eq!(said_of(&long), "cannot read the job `a.yaml`: it is longer than 1 MiB");
        assert_eq!(said(dir.path()), "cannot read the job `a.yaml`: it is a folder");
        assert!(
            said(&dir.path().join("none")).starts_with("cannot read the job `a.yaml`: No such")
        );
        let problems = said_of(b"kind: Pod\n");
        assert!(problems.contains("a.yaml:1:") && problems.contains("hint: "), "{problems}");
    }
}
