//! What was found, until it is a report.

use jiff::Timestamp;

use crate::drill::{
    CheckOutcome, Error, FailureClass, Finding, Job, Verdict, VerifyReport,
    report::{CheckReport, ErrorReport},
    verdict::{self, Evidence},
    verify_report::{
        BackupState, BackupVerified, LedgerUse, MAX_FINDINGS, ReadVolume, SCHEMA_VERSION, Scope,
        TimelineVerified,
    },
};

/// So many attentions and errors are kept, each.
const MAX_OTHERS: usize = 100;
const MAX_NOTES: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Tally {
    catalog: Vec<Finding>,
    base: Vec<Finding>,
    wal: Vec<Finding>,
    more: u64,
    more_errors: u64,
    attentions: Vec<Finding>,
    pub errors: Vec<Error>,
    pub notes: Vec<String>,
    pub backups: Vec<BackupVerified>,
    pub timelines: Vec<TimelineVerified>,
    pub volume: ReadVolume,
    pub ledger: Option<LedgerUse>,
}

impl Tally {
    /// What the listing and the small files show.
    pub(super) fn catalog(&mut self, finding: Finding) {
        add(&mut self.catalog, finding, &mut self.more);
    }

    /// What the tars show.
    pub(super) fn base(&mut self, finding: Finding) {
        add(&mut self.base, finding, &mut self.more);
    }

    /// What the WAL shows.
    pub(super) fn wal(&mut self, finding: Finding) {
        add(&mut self.wal, finding, &mut self.more);
    }

    /// What no restore meets.
    pub(super) fn attention(&mut self, finding: Finding) {
        if self.attentions.len() < MAX_OTHERS && !self.attentions.contains(&finding) {
            self.attentions.push(finding);
        }
    }

    /// What could not be read.
    pub(super) fn error(&mut self, error: Error) {
        if self.errors.len() < MAX_OTHERS {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn report(
        mut self,
        job: &Job,
        scope: Scope,
        started_at: Timestamp,
        finished_at: Timestamp,
    ) -> VerifyReport {
        if self.more_errors > 0 {
            self.notes.push(format!("{} more objects could not be read", self.more_errors));
        }
        let check = |name: &str, findings: Vec<Finding>, passed: &str| {
            let outcome = if findings.is_empty() {
                CheckOutcome::Passed(passed.to_owned())
            } else {
                CheckOutcome::Failed(findings)
            };
            CheckReport::new(name, outcome, 0.0)
        };
        let base = match &self.ledger {
            None => "every tar was read to its last block",
            Some(_) => "every tar was read to its last block, now or as the ledger says",
        };
        let checks = vec![
            check("catalog", self.catalog, "nothing that a restore needs is missing"),
            check("base", self.base, base),
            check("wal", self.wal, "every page and every record of the WAL is good"),
        ];
        let good = self.backups.iter().filter(|b| b.state == BackupState::Good).count();
        let verdict = verdict::fold(Evidence {
            checks: &checks,
            // Where nothing was found and nothing is good, nothing was told.
            errored: !self.errors.is_empty() || good == 0,
            rto_exceeded: false,
            rpo_exceeded: false,
        });
        let reason = reason(verdict, &checks, &self.errors, good);
        VerifyReport {
            schema_version: SCHEMA_VERSION,
            pgassay_version: env!("CARGO_PKG_VERSION").to_owned(),
            job: job.name.clone(),
            archive_url: job.archive.store.url(),
            server: job.archive.server.clone(),
            scope,
            started_at,
            finished_at,
            verdict,
            reason,
            backups: self.backups,
            timelines: self.timelines,
            checks,
            more_findings: self.more,
            attentions: self.attentions,
            errors: self.errors.iter().map(ErrorReport::from).collect(),
            notes: self.notes,
            volume: self.volume,
            ledger: self.ledger,
        }
    }
}

fn add(to: &mut Vec<Finding>, finding: Finding, more: &mut u64) {
    // Several backups meet the same gap; one finding says it.
    if to.contains(&finding) {
        return;
    }
    if to.len() < MAX_FINDINGS {
        to.push(finding);
    } else {
        *more += 1;
    }
}

fn reason(verdict: Verdict, checks: &[CheckReport], errors: &[Error], good: usize) -> String {
    let first = |wanted: fn(FailureClass) -> bool| {
        let mut findings = checks.iter().flat_map(|check| &check.findings);
        let found = findings.find(|finding| wanted(finding.class));
        found.map(|f| format!("{}: {}: {}", f.class, f.subject, f.detail))
    };
    match verdict {
        Verdict::Pass if good == 1 => "one backup is good, with all of its WAL".to_owned(),
        Verdict::Pass => format!("{good} backups are good, with all of their WAL"),
        Verdict::Fail => first(|c| !c.is_breach() && !c.is_environment()).unwrap_or_default(),
        Verdict::Breach => first(FailureClass::is_breach).unwrap_or_default(),
        Verdict::Inconclusive => errors
            .first()
            .map(|error| error.message.clone())
            .or_else(|| first(FailureClass::is_environment))
            .unwrap_or_else(|| "no backup could be judged to its end".to_owned()),
    }
}
