//! What an error of the server says: damage, this machine, or neither.

use crate::drill::{CheckOutcome, Code, Error, FailureClass, Finding};

/// Most findings that one check lists; what is left is counted.
const MOST_FINDINGS: usize = 100;
/// Bytes that a server refuses to allocate at once (`MaxAllocSize`, `memutils.h`) though a sound row
/// may ask for them: the text form of an array or record of values that fit.
const TEXT_OF_SOUND_VALUES: std::ops::RangeInclusive<u64> = 1 << 30..=4 << 30;

/// An `ErrorResponse` of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Five characters (`utils/errcodes.txt`).
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
}

/// Why a query gave no result.
#[derive(Debug)]
pub enum SqlFailure {
    /// The server answered with an error.
    Server(ServerError),
    /// There was no answer: the connection failed or the drill was interrupted.
    Broken(Error),
}

/// What a server error means for the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The data is missing or damaged.
    Damage(FailureClass),
    /// Something that this machine lacks.
    Environment(FailureClass),
    /// It says nothing of the backup.
    Unknown,
}

impl ServerError {
    /// Message and detail in one line.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({})", self.message, detail.trim_end_matches('.')),
            None => self.message.clone(),
        }
    }

    /// Damage is what SQLSTATE XX000, XX001, XX002, or 58P01 on a relation's file says, unless its
    /// words name a library or a locale of this machine.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let says = |part: &str| self.message.contains(part);
        if ["could not load library", "could not access file", "incompatible library"]
            .into_iter()
            .any(says)
            || (says("could not find function") && says("in file"))
        {
            return Meaning::Environment(FailureClass::LibraryMissing);
        }
        // `CheckMyDatabase` (postinit.c) gives it no SQLSTATE of its own.
        let locale = "database locale is incompatible with operating system";
        let lacking =
            ["could not create locale", "could not open collator", "ICU is not supported"];
        if lacking.into_iter().any(says) || says(locale) {
            return Meaning::Environment(FailureClass::LocaleMissing);
        }
        if ["XX000", "55000"].contains(&self.sqlstate.as_str())
            && let Some(meaning) = self.without_sqlstate()
        {
            return meaning;
        }
        // The server names its own files so; a path of the system ends otherwise before its quote.
        let relation_file = ["\"base/", "\"global/", "\"pg_tblspc/"].into_iter().any(says);
        match self.sqlstate.as_str() {
            "XX000" | "XX001" | "XX002" => {
                Meaning::Damage(if says("invalid page in block") || says("page verification") {
                    FailureClass::PageChecksum
                } else if says("lacks a main relation fork") {
                    FailureClass::RelationMissing
                } else if self.sqlstate == "XX002" {
                    FailureClass::AmcheckIndex
                } else {
                    FailureClass::RelationMissing
                })
            }
            "58P01" if relation_file => Meaning::Damage(FailureClass::RelationMissing),
            // `ValidatePgVersion` (miscinit.c): the folder of a database is empty.
            "22023" if relation_file && says("is not a valid data directory") => {
                Meaning::Damage(FailureClass::RelationMissing)
            }
            // `InitPostgres` (postinit.c): there is none.
            "3D000"
                if self.detail.as_deref().is_some_and(|d| d.contains("database subdirectory")) =>
            {
                Meaning::Damage(FailureClass::RelationMissing)
            }
            "58P01" if says("could not access status of transaction") => {
                Meaning::Damage(FailureClass::PgdataLayout)
            }
            _ => Meaning::Unknown,
        }
    }

    /// What the words mean where the SQLSTATE says little: XX000 is also that of errors for which the
    /// code of the server or of an extension names none (`errstart`, `elog.c`), or whose `errno` is none
    /// that `errcode_for_file_access` knows.
    fn without_sqlstate(&self) -> Option<Meaning> {
        let all = self.text();
        let says = |part: &str| all.contains(part);
        if says("must be preloaded") || says("shared_preload_libraries") {
            return Some(Meaning::Environment(FailureClass::LibraryMissing));
        }
        // `pg_newlocale_from_collation` (pg_locale.c).
        if says("has no actual version") {
            return Some(Meaning::Environment(FailureClass::LocaleMissing));
        }
        let disk = ["Stale file handle", "Cannot allocate memory", "Connection timed out"];
        let of_disk = |words: &&str| self.message.ends_with(words);
        if self.message.starts_with("could not ") && disk.iter().any(of_disk) {
            return Some(Meaning::Unknown);
        }
        // `palloc` (mcxt.c). A damaged length is mostly negative there, which is nearly 2^64.
        let size = self.message.strip_prefix("invalid memory alloc request size ")?.parse().ok()?;
        TEXT_OF_SOUND_VALUES.contains(&size).then_some(Meaning::Unknown)
    }

    /// The finding for `subject`. What says nothing of the backup is a finding of class
    /// `infra_error`: something was not looked at, so the answer stays open.
    #[must_use]
    pub fn finding(&self, subject: impl Into<String>) -> Finding {
        let (class, hint) = match self.meaning() {
            Meaning::Damage(class) => (class, damage_hint(class)),
            Meaning::Environment(class) => (
                class,
                "Install what the message names on this machine, in the versions of production, \
                 and drill again.",
            ),
            Meaning::Unknown => (
                FailureClass::InfraError,
                "This object was not looked at: remove the cause that the message names and drill \
                 again.",
            ),
        };
        Finding::new(class, subject, format!("{} [{}]", self.text(), self.sqlstate), hint)
    }

    /// The error for something that could not be done. The words are shown only where they cannot
    /// hold a row's value.
    #[must_use]
    pub fn error(&self, doing: &str) -> Error {
        const SAFE: [&str; 12] =
            ["0A", "25", "28", "3D", "3F", "42", "53", "54", "55", "57", "58", "XX"];
        let safe = SAFE.into_iter().any(|class| self.sqlstate.starts_with(class));
        let words = if safe { self.message.as_str() } else { "its words may hold data" };
        let message = format!("{doing}: SQLSTATE {}: {words}", self.sqlstate);
        let error = Error::new(Code::ConnectionFailed, message);
        match self.meaning() {
            Meaning::Damage(class) | Meaning::Environment(class) => error.class(class),
            Meaning::Unknown => error,
        }
    }
}

impl SqlFailure {
    /// The error, whoever gave it.
    #[must_use]
    pub fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Server(error) => error.error(doing),
            Self::Broken(error) => error,
        }
    }
}

impl From<SqlFailure> for CheckOutcome {
    /// An outcome where nothing else is known of the subject than that our own query failed.
    fn from(failure: SqlFailure) -> Self {
        match failure {
            SqlFailure::Broken(error) => Self::Errored(error),
            SqlFailure::Server(error) => match error.meaning() {
                Meaning::Unknown => Self::Errored(error.error("the server refused a query")),
                _ => Self::Failed(vec![error.finding("system catalogs")]),
            },
        }
    }
}

/// What to do about damage of this class.
#[must_use]
pub const fn damage_hint(class: FailureClass) -> &'static str {
    match class {
        FailureClass::PageChecksum => {
            "Run `pg_checksums` or `pg_amcheck` on production: if the page is sound there, the \
             backup or its way here is at fault; take a new base backup at once."
        }
        FailureClass::PageZeroed => {
            "Rows are lost on this page: compare it with production and take a new base backup."
        }
        FailureClass::AmcheckIndex => {
            "Run `pg_amcheck --heapallindexed` on production: if it complains there too, repair \
             production (`REINDEX`), then take a new base backup."
        }
        FailureClass::RelationMissing => {
            "Look for the file on production: if it is there, the backup is incomplete; take a new \
             one and drill it."
        }
        FailureClass::ForeignKeyBroken => {
            "Look for the same rows on production: if nothing is missing there, the backup has lost \
             rows of the referenced table; take a new base backup. If they are missing there too, they were \
             lost or written past the triggers of production itself: mend them, or declare the key `NOT VALID`."
        }
        _ => "Compare with production, then take a new base backup and drill it.",
    }
}

/// The drill was stopped.
#[must_use]
pub fn interrupted() -> Error {
    Error::new(Code::Interrupted, "stopped while the checks ran")
}

/// Cuts a long list and says how much was left out. Damage comes first: what this machine lacks must
/// not hide it.
#[must_use]
pub fn capped(mut findings: Vec<Finding>) -> Vec<Finding> {
    let total = findings.len();
    findings.sort_by_key(|finding| finding.class.is_environment());
    if total > MOST_FINDINGS {
        findings.truncate(MOST_FINDINGS);
        if let Some(last) = findings.last().cloned() {
            let detail = format!("{} more findings are not listed", total - MOST_FINDINGS);
            let subject = format!("{total} findings in all");
            findings.push(Finding::new(last.class, subject, detail, last.hint));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(sqlstate: &str, message: &str) -> ServerError {
        ServerError { sqlstate: sqlstate.into(), message: message.into(), detail: None }
    }

    #[test]
    fn meanings() {
        use FailureClass::*;
        use Meaning::*;
        for (sqlstate, message, meaning) in [
            ("XX001", "invalid page in block 2 of relation base/5/16384", Damage(PageChecksum)),
            (
                "XX001",
                "could not read block 7 in file \"base/5/1\": read only 0 of 8192 bytes",
                Damage(RelationMissing),
            ),
            (
                "58P01",
                "could not open file \"base/16384/2662\": No such file or directory",
                Damage(RelationMissing),
            ),
            ("XX002", "item order invariant violated for index \"i\"", Damage(AmcheckIndex)),
            (
                "XX000",
                "missing chunk number 0 for toast value 16390 in pg_toast_16384",
                Damage(RelationMissing),
            ),
            ("22023", "\"base/5\" is not a valid data directory", Damage(RelationMissing)),
            ("22023", "invalid value for parameter \"base/5\"", Unknown),
            ("3D000", "database \"app\" does not exist", Unknown),
            ("58P01", "could not access status of transaction 734", Damage(PgdataLayout)),
            (
                "58P01",
                "could not access file \"$libdir/postgis-3\": No such file or directory",
                Environment(LibraryMissing),
            ),
            (
                "XX000",
                "incompatible library \"/x.so\": version mismatch",
                Environment(LibraryMissing),
            ),
            ("0A000", "ICU is not supported in this build", Environment(LocaleMissing)),
            ("58P01", "could not open file \"/etc/x\": No such file or directory", Unknown),
            ("58030", "could not read block 7 in file \"base/5/1\": Input/output error", Unknown),
            (
                "58P01",
                "could not open file \"/srv/database/x.csv\" for reading: No such file or directory",
                Unknown,
            ),
            ("XX000", "could not read block 7 in file \"base/5/1\": Stale file handle", Unknown),
            ("XX000", "extension \"timescaledb\" must be preloaded", Environment(LibraryMissing)),
            (
                "XX000",
                "pg_cron can only be loaded via shared_preload_libraries",
                Environment(LibraryMissing),
            ),
            (
                "55000",
                "pg_stat_statements must be loaded via \"shared_preload_libraries\"",
                Environment(LibraryMissing),
            ),
            (
                "XX000",
                "collation \"de\" has no actual version, but a version was recorded",
                Environment(LocaleMissing),
            ),
            ("XX000", "invalid memory alloc request size 1073741824", Unknown),
            ("XX000", "invalid memory alloc request size 2147483651", Unknown),
            ("XX000", "invalid memory alloc request size 4294967297", Damage(RelationMissing)),
            (
                "XX000",
                "invalid memory alloc request size 18446744073709551613",
                Damage(RelationMissing),
            ),
            // The name of an index must not excuse it.
            (
                "XX002",
                "item order invariant violated for index \"shared_preload_libraries\"",
                Damage(AmcheckIndex),
            ),
            ("42P01", "relation \"orders\" does not exist", Unknown),
            ("57014", "canceling statement due to user request", Unknown),
        ] {
            assert_eq!(server(sqlstate, message).meaning(), meaning, "{sqlstate} {message}");
        }
    }

    #[test]
    fn values_stay_out_of_errors() {
        let cast = server("22P02", "invalid input syntax for type integer: \"4111 1111\"");
        assert!(!cast.error("query").message.contains("4111"));
        let table = server("42P01", "relation \"orders\" does not exist");
        assert!(table.error("query").message.contains("orders"));
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let one = server("XX001", "invalid page in block 2 of relation base/5/16384").finding("t");
        let cut = capped(vec![one; 250]);
        assert_eq!(cut.len(), 101);
        assert_eq!(cut[100].detail, "150 more findings are not listed");
        assert_eq!(cut[100].class, FailureClass::PageChecksum);
    }

    #[test]
    fn damage_is_listed_before_what_this_machine_lacks() {
        let lacking = server("58P01", "could not access file \"$libdir/postgis-3\": No such file");
        let damage = |block: u32| {
            let words = format!("invalid page in block {block} of relation base/5/16384");
            server("XX001", &words).finding("t")
        };
        let mut findings = vec![lacking.finding("t"); 150];
        findings.extend([damage(1), damage(2)]);
        let cut = capped(findings);
        assert_eq!(cut.len(), 101);
        assert!(cut[0].detail.contains("block 1 ") && cut[1].detail.contains("block 2 "));
        assert_eq!(cut[2].class, FailureClass::LibraryMissing);
        assert_eq!(cut[100].class, FailureClass::LibraryMissing);
        assert_eq!(cut[100].detail, "52 more findings are not listed");
    }

    #[test]
    fn a_detail_may_name_the_library_that_must_be_preloaded() {
        let mut error = server("XX000", "extension \"x\" is not loaded");
        error.detail = Some("Add it to \"shared_preload_libraries\".".into());
        assert_eq!(error.meaning(), Meaning::Environment(FailureClass::LibraryMissing));
    }
}
