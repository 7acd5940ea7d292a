//! Evidence of a drill, for people who were not there: a signed statement about its report, chained to
//! the one before.
//!
//! The statement is an in-toto Statement v1 (<https://in-toto.io/Statement/v1>) whose subject is the kept
//! report by its SHA-256; it travels in a DSSE envelope
//! (<https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md>) that is signed with Ed25519. It
//! holds counts and hashes, never a row, a reason or a finding's words.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drill::{DrillReport, Verdict, job::Depth, report::CheckStatus};

pub mod chain;
pub mod dsse;
pub mod key;
pub mod record;
pub mod view;

/// What kind of JSON a statement is.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a predicate of ours says. A change of meaning gets another version.
pub const PREDICATE_TYPE: &str = "https://pgassay.dev/evidence/v1";

/// An in-toto Statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    pub kind: String,
    /// The report, by the name that it is kept under.
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub predicate: Predicate,
}

/// A thing that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub name: String,
    pub digest: Digest,
}

/// SHA-256 in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest {
    pub sha256: String,
}

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: hex(digest::digest(&digest::SHA256, bytes).as_ref()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A text never refuses.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the drill did and came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicate {
    pub pgassay_version: String,
    pub job: String,
    pub drill_id: String,
    pub archive_url: String,
    pub server: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub verdict: Verdict,
    pub depth: Depth,
    pub target: String,
    pub backup: Option<Backup>,
    /// The end of the WAL that recovery had to reach, and the one that it reached.
    pub promised_end: Option<String>,
    pub reached_end: Option<String>,
    pub rto_seconds: Option<f64>,
    pub rpo_seconds: Option<f64>,
    pub checks: Vec<Check>,
    /// Findings by their class.
    pub findings: BTreeMap<String, u64>,
    /// Tables and rows that were read and counted.
    pub tables: Option<u64>,
    pub rows: Option<u64>,
    /// The evidence before this one of the same job.
    pub previous: Option<Link>,
}

/// The base backup that was drilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub id: String,
    pub system_id: String,
    pub timeline: u32,
    pub end_lsn: String,
}

/// A check, by what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: String,
    pub findings: u64,
}

/// Earlier evidence: the name that its report is kept under, and the digest of its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    pub digest: Digest,
}

/// What can be said of a report that is kept under `name` as these bytes.
#[must_use]
pub fn statement(
    name: &str,
    bytes: &[u8],
    report: &DrillReport,
    previous: Option<Link>,
) -> Statement {
    Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject { name: name.to_owned(), digest: Digest::of(bytes) }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: predicate(report, previous),
    }
}

fn predicate(report: &DrillReport, previous: Option<Link>) -> Predicate {
    let mut findings = BTreeMap::<String, u64>::new();
    for finding in report.checks.iter().flat_map(|check| &check.findings) {
        *findings.entry(finding.class.name().to_owned()).or_default() += 1;
    }
    let check = |check: &crate::drill::report::CheckReport| Check {
        name: check.name.clone(),
        status: CheckStatus::name(check.status).to_owned(),
        findings: check.findings.len() as u64,
    };
    let counts = report.row_counts.as_ref();
    let rpo = report.rpo.as_ref();
    Predicate {
        pgassay_version: report.pgassay_version.clone(),
        job: report.job.clone(),
        drill_id: report.drill_id.clone(),
        archive_url: report.archive_url.clone(),
        server: report.server.clone(),
        started_at: report.started_at,
        finished_at: report.finished_at,
        verdict: report.verdict,
        depth: report.depth,
        target: report.target.clone(),
        backup: report.backup.as_ref().map(|backup| Backup {
            id: backup.id.clone(),
            system_id: backup.system_id.to_string(),
            timeline: backup.timeline.0,
            end_lsn: backup.end_lsn.to_string(),
        }),
        promised_end: report.promise.as_ref().map(|promise| promise.end.to_string()),
        reached_end: report.reached.as_ref().map(|reached| reached.end.to_string()),
        rto_seconds: report.rto.as_ref().map(|rto| rto.seconds),
        rpo_seconds: rpo.and_then(|rpo| rpo.seconds(rpo.judged?)),
        checks: report.checks.iter().map(check).collect(),
        findings,
        tables: counts.map(|counts| counts.tables.len() as u64 + counts.other_tables),
        rows: counts.map(|counts| {
            counts.tables.iter().map(|table| table.rows).sum::<u64>() + counts.other_rows
        }),
        previous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::{
            report::sample,
            row_floor::{RowCounts, TableRows},
        },
        report::json,
    };

    #[test]
    fn what_is_said_of_a_drill() {
        let report = sample::fail();
        let bytes = json::render(&report);
        let previous = Link { name: "before".into(), digest: Digest::of(b"before") };
        let said = statement("reports/v1/orders/x.json", bytes.as_bytes(), &report, Some(previous));
        insta::assert_snapshot!(serde_json::to_string_pretty(&said).unwrap());
        let back: Statement = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
        assert_eq!(back, said);
    }

    #[test]
    fn rows_are_counted_and_never_shown() {
        let mut report = sample::pass();
        let tables = vec![TableRows { table: "shop.public.secret_name".into(), rows: 7 }];
        report.row_counts = Some(RowCounts { tables, other_tables: 2, other_rows: 3 });
        let said = statement("x", b"", &report, None);
        assert_eq!((said.predicate.tables, said.predicate.rows), (Some(3), Some(10)));
        let text = serde_json::to_string(&said).unwrap();
        assert!(!text.contains("secret_name"), "{text}");
        for report in sample::all() {
            let text = serde_json::to_string(&statement("x", b"", &report, None)).unwrap();
            assert!(!text.contains(&report.reason), "{text}");
            for check in &report.checks {
                for finding in &check.findings {
                    assert!(!text.contains(&finding.detail), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").sha256, abc);
    }
}
