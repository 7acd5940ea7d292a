//! Errors of the product: one sentence, a stable code, a hint that names the next step.
//!
//! `Error` means "could not do it"; what is wrong with a backup is a [`super::Finding`]. Messages are
//! lower case, without a final period, values in backticks; hints are full sentences that name the
//! flag, file or command. Secrets never enter either.

use std::fmt;

use super::FailureClass;

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident => $code:literal, $kind:ident;)+) => {
        /// Stable error codes. Append only; a code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $doc] $variant,)+ }

        impl Code {
            /// Every code, for the generated list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Such as `P001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $code,)+ } }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc.trim_ascii(),)+ }
            }

            /// What an error of this code means for the exit status.
            #[must_use]
            pub const fn kind(self) -> ErrorKind { match self { $(Self::$variant => ErrorKind::$kind,)+ } }
        }
    };
}

/// How an error ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line, a job or what they name is wrong: exit 2.
    Usage,
    /// The machine, store or a tool failed, nothing is known of the backup: exit 4.
    Environment,
    /// Stopped by a signal, after teardown: exit 130 or 143.
    Interrupted,
    /// Our own mistake: exit 5.
    Bug,
}

codes! {
    /// The command line contradicts itself.
    Usage => "P001", Usage;
    /// A job file cannot be read.
    JobUnreadable => "P002", Usage;
    /// A job is not valid; the message lists every problem.
    JobInvalid => "P003", Usage;
    /// A URL is not one that pgassay can read.
    UrlInvalid => "P004", Usage;
    /// The bucket does not exist.
    BucketMissing => "S001", Usage;
    /// There is no object below the server's prefix.
    ArchiveEmpty => "S002", Usage;
    /// The store refused access (403).
    AccessDenied => "S003", Environment;
    /// An object does not exist (404).
    ObjectMissing => "S004", Environment;
    /// An object is not the one that was listed (412).
    ObjectChanged => "S005", Environment;
    /// The bucket lives in another region.
    WrongRegion => "S006", Usage;
    /// The endpoint's name cannot be resolved.
    DnsFailed => "S007", Environment;
    /// The endpoint cannot be reached.
    ConnectFailed => "S008", Environment;
    /// The TLS handshake failed.
    TlsFailed => "S009", Environment;
    /// The store keeps answering with errors or not at all.
    StoreUnavailable => "S010", Environment;
    /// No credentials could be found or fetched.
    CredentialsMissing => "S011", Usage;
    /// An object's body ended early, also after resuming.
    BodyIncomplete => "S012", Environment;
    /// The store's answer makes no sense.
    StoreProtocol => "S013", Environment;
    /// The store refused a write.
    WriteRefused => "S014", Environment;
    /// No PostgreSQL of the backup's major is installed here.
    PostgresMissing => "E001", Environment;
    /// No unprivileged user can run PostgreSQL.
    NoUnprivilegedUser => "E002", Environment;
    /// The disk has less room than the plan needs.
    DiskFull => "E003", Environment;
    /// The work directory is in use or not empty.
    WorkDirectory => "E004", Usage;
    /// The sandbox cannot be made.
    Sandbox => "E005", Environment;
    /// PostgreSQL did not start or recover for a reason of this machine.
    PostgresFailed => "E006", Environment;
    /// A stage went over its deadline or stopped moving.
    DeadlineExceeded => "E007", Environment;
    /// Another drill of the same job is running.
    DrillRunning => "E008", Environment;
    /// A connection to the recovered cluster failed.
    ConnectionFailed => "E009", Environment;
    /// A needed program is missing.
    ToolMissing => "E010", Environment;
    /// A file cannot be read or written.
    Io => "E011", Environment;
    /// Stopped by a signal.
    Interrupted => "I001", Interrupted;
    /// Something that cannot be, happened.
    Bug => "B001", Bug;
    /// The backup asks for something that this version cannot do.
    Unsupported => "E012", Environment;
    /// The budget of a run left something unread.
    OverBudget => "E013", Environment;
    /// The folder of a rescue cannot be what it is to be.
    RescueFolder => "E014", Usage;
    /// What an interrupted rescue left there belongs to another one.
    RescueOther => "E015", Usage;
    /// Another rescue into the same folder is running.
    RescueRunning => "E016", Environment;
    /// A report cannot be kept or read.
    ReportStore => "R001", Environment;
    /// Metrics cannot be delivered.
    MetricsPush => "R002", Environment;
    /// A key to sign evidence or to verify it cannot be used.
    KeyInvalid => "R003", Usage;
    /// The URL of a notification is none.
    NotifyUrl => "R004", Usage;
    /// A notification cannot be delivered.
    NotifyFailed => "R005", Environment;
    /// The folder of a service's state is taken or cannot be used.
    ServiceState => "E017", Usage;
    /// The address of a service's pages is taken or cannot be used.
    ServiceListen => "E018", Usage;
}

/// A failure to do something, ready to print. `Display` is the message alone.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
    /// The failure class under which a report names this error, where it has one.
    pub class: Option<FailureClass>,
}

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, class: None }
    }

    /// Adds the next step for the reader.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the failure class.
    #[must_use]
    pub fn class(mut self, class: FailureClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// An input or output error on a file.
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let code = if full { Code::DiskFull } else { Code::Io };
        let plain = Self::new(code, format!("{doing}: {error}")).class(FailureClass::InfraError);
        if full {
            plain.hint("Free some room there or name another folder with `--work-dir`.")
        } else {
            plain
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _};

    use super::*;

    #[test]
    fn the_page_lists_every_code() {
        let mut codes = BTreeMap::new();
        for code in Code::ALL {
            assert!(codes.insert(code.as_str(), code).is_none(), "{} twice", code.as_str());
        }
        let mut table = String::from("| code | exit | meaning |\n|---|---|---|\n");
        for (name, code) in codes {
            let exit = match code.kind() {
                ErrorKind::Usage => "2",
                ErrorKind::Environment => "4",
                ErrorKind::Interrupted => "130, 143",
                ErrorKind::Bug => "5",
            };
            let _ = writeln!(table, "| `{name}` | {exit} | {} |", code.meaning());
        }
        let page = include_str!("../../docs/error-codes.md");
        assert!(page.ends_with(&table), "docs/error-codes.md must end with:\n{table}");
    }
}
