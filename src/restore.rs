//! From objects to files: decoders, the tar reader, unpacking into the sandbox.
//!
//! Everything here is streaming: memory is bounded by constants, never by what the archive holds or
//! claims. Damage comes back as findings, what the machine or the store did as errors.

pub mod ahead;
pub mod base;
pub mod codec;
pub mod pages;
pub mod pipe;
pub mod tar;
pub mod unpack;
pub mod wal;

#[cfg(test)]
pub(crate) mod testing;

use crate::drill::{Code, Error, FailureClass, Finding};

/// Why something could not be fetched and unpacked.
#[derive(Debug)]
pub enum FetchFailure {
    /// The store failed; nothing is known of the backup.
    Store(Error),
    /// The archive is damaged.
    Damaged(Vec<Finding>),
    /// This machine failed: disk, permissions.
    Local(Error),
    /// The caller's token was cancelled.
    Cancelled,
}

/// An object that was damaged at the first reading and is not at the second: nothing is known of it.
#[must_use]
pub fn two_readings(key: &str, first: &str) -> Error {
    let what = format!(
        "`{key}` was read twice: the first reading was damaged ({}), the second was not",
        first.trim_end_matches('.')
    );
    Error::new(Code::BodyIncomplete, what)
        .class(FailureClass::ObjectReadIncomplete)
        .hint("Run it again; if this comes back, look at what lies between here and the store.")
}

/// What seemed damaged at the only reading that could be had of it: nothing is known of it either, since
/// stores and networks err once. `missed` kept the second reading away; `None` where the time was over.
#[must_use]
pub fn seen_once(what: &str, seen: &str, missed: Option<&Error>) -> Error {
    let seen = seen.trim_end_matches('.');
    let Some(missed) = missed else {
        let what = format!(
            "`{what}` seemed damaged ({seen}), and the time was over before it could be read once more"
        );
        return Error::new(Code::OverBudget, what).class(FailureClass::ObjectReadIncomplete).hint(
            "Run it again with the same `--ledger`: what is not known to be good comes first.",
        );
    };
    let what = format!(
        "`{what}` seemed damaged ({seen}), and could not be read once more: {}",
        missed.message
    );
    Error::new(missed.code, what)
        .class(missed.class.unwrap_or(FailureClass::ObjectReadIncomplete))
        .hint("Run it again: only what two readings show is damage of the archive.")
}

/// An object that was listed and is gone or another one: the archive moved under the drill.
fn vanished(error: Error) -> Error {
    match error.code {
        Code::ObjectMissing | Code::ObjectChanged => error
            .class(FailureClass::DeletedDuringDrill)
            .hint("Retention or a new backup may have removed it; run the drill again."),
        _ => error,
    }
}
