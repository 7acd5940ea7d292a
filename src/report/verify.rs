//! The read tier's report: for people and as JSON.

use jiff::{Timestamp, Unit};

use super::terminal::{
    Style,
    layout::{Align, Page, Tone},
};
use crate::drill::{
    Finding, Verdict, VerifyReport,
    format::{bytes, count, counted, duration, rate},
    holdings::Blocker,
    verify_report::{BackupState, BackupVerified, Commit, LedgerUse, Scope, TimelineVerified},
};

/// So many findings a person is shown; the JSON has all.
const SHOWN: usize = 50;

/// Pretty JSON and a newline; `schema_version` comes first.
#[must_use]
pub fn json(report: &VerifyReport) -> String {
    super::json::document(report, report.schema_version)
}

/// As text, with a newline at its end. Text from the archive cannot move the cursor.
#[must_use]
pub fn render(report: &VerifyReport, style: Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, report);
    backups(&mut page, &report.backups);
    timelines(&mut page, &report.timelines);
    let found: Vec<&Finding> = report.findings().collect();
    findings(&mut page, "Findings", &found, report.more_findings, Tone::Bad);
    let attentions: Vec<&Finding> = report.attentions.iter().collect();
    findings(&mut page, "Attention", &attentions, 0, Tone::Doubt);
    if !report.errors.is_empty() {
        page.title("Errors");
        for error in &report.errors {
            let head = format!("{}  {}", error.code, error.message);
            page.item(&head, Tone::Doubt, &[error.hint.as_deref().unwrap_or_default()]);
        }
    }
    if !report.notes.is_empty() {
        page.gap();
    }
    for (index, note) in report.notes.iter().enumerate() {
        page.field(if index == 0 { "Notes" } else { "" }, note);
    }
    page.gap();
    let tone = match report.verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Breach | Verdict::Inconclusive => Tone::Doubt,
        Verdict::Fail => Tone::Bad,
    };
    let word = report.verdict.name().to_uppercase();
    page.headline(&word, tone, &format!("{}: {}", report.job, report.reason));
    page.finish()
}

fn head(page: &mut Page, report: &VerifyReport) {
    page.field("Archive", &format!("`{}` in {}", report.server, report.archive_url));
    let volume = &report.volume;
    let speed = rate(volume.bytes, volume.seconds).map_or_else(String::new, |r| format!(", {r}"));
    let what = match report.scope {
        Scope::Archive => "all of it",
        Scope::RecoveryPoint => "what the recovery point needs",
    };
    page.field(
        "Read",
        &format!(
            "{what}: {}, {} in {}{speed}; {} with {} of WAL",
            counted(volume.objects, "object"),
            bytes(volume.bytes),
            duration(volume.seconds),
            counted(volume.wal_segments, "WAL segment"),
            counted(volume.wal_records, "record"),
        ),
    );
    if let Some(used) = &report.ledger {
        ledger(page, used);
    }
}

/// What was not read.
fn ledger(page: &mut Page, used: &LedgerUse) {
    let trusted = match &used.oldest_reading {
        None => "nothing: all of it was to be read".to_owned(),
        Some(oldest) => format!(
            "{}, {}, with {} and {}, read on {oldest} or later and unchanged since",
            counted(used.trusted_objects, "object"),
            bytes(used.trusted_bytes),
            counted(used.trusted_backups, "backup"),
            counted(used.trusted_wal_segments, "WAL segment"),
        ),
    };
    page.field("Trusted", &trusted);
    let estimate = &used.estimate;
    let time = estimate.seconds.map_or_else(String::new, |s| format!(" in {}", duration(s)));
    let (objects, size) = (counted(estimate.objects, "object"), bytes(estimate.bytes));
    page.field("Estimate", &format!("{objects}, {size}{time}"));
    if used.left_objects > 0 {
        let (objects, size) = (counted(used.left_objects, "object"), bytes(used.left_bytes));
        page.field("Left out", &format!("{objects}, {size}, by the budget"));
    }
}

/// Wall clock to the second, in UTC.
fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn commit(commit: Option<Commit>) -> String {
    commit.map_or_else(|| "-".to_owned(), |commit| time(commit.at))
}

fn backups(page: &mut Page, backups: &[BackupVerified]) {
    if backups.is_empty() {
        return;
    }
    page.title("Backups");
    let head = ["backup", "state", "size", "files", "recovers to", "last commit", "in the way"];
    let (left, right) = (Align::Left, Align::Right);
    let rows = backups.iter().map(|backup| {
        let tone = match backup.state {
            BackupState::Good => Tone::Good,
            BackupState::Damaged => Tone::Bad,
            BackupState::NotRestorable | BackupState::Unknown => Tone::Doubt,
        };
        let reach = backup.reach.map_or_else(
            || "-".to_owned(),
            |reach| format!("{} on timeline {}", reach.lsn, reach.timeline),
        );
        let cells = vec![
            backup.id.clone(),
            backup.state.words().to_owned(),
            bytes(backup.bytes),
            count(backup.files),
            reach,
            commit(backup.reach.and_then(|reach| reach.last_commit)),
            backup.blocked_by.iter().map(blocker).collect::<Vec<_>>().join(", "),
        ];
        (cells, tone)
    });
    page.table(&head, &[left, left, right, right, left, left, left], rows);
}

fn blocker(blocker: &Blocker) -> String {
    let Blocker { class, subject, lsn } = blocker;
    let name = subject.rsplit('/').next().unwrap_or(subject);
    lsn.map_or_else(|| format!("{class} {name}"), |lsn| format!("{class} {name} at {lsn}"))
}

fn timelines(page: &mut Page, timelines: &[TimelineVerified]) {
    if timelines.is_empty() {
        return;
    }
    page.title("Timelines");
    let head = [
        "timeline",
        "segments",
        "records",
        "damaged",
        "gaps",
        "good to",
        "last commit",
        "from, to",
    ];
    let (left, right) = (Align::Left, Align::Right);
    let rows = timelines.iter().map(|timeline| {
        let cells = vec![
            timeline.timeline.to_string(),
            count(timeline.segments),
            count(timeline.records),
            count(timeline.damaged),
            count(timeline.gaps),
            timeline.end.map_or_else(|| "-".to_owned(), |end| end.to_string()),
            commit(timeline.last_commit),
            format!("{} {}", timeline.first, timeline.last),
        ];
        (cells, if timeline.damaged > 0 { Tone::Bad } else { Tone::Good })
    });
    page.table(&head, &[right, right, right, right, right, left, left, left], rows);
    for timeline in timelines {
        let id = timeline.timeline;
        if !timeline.tablespaces.is_empty() {
            let made = timeline.tablespaces.join(", ");
            page.line(&format!("tablespaces made on timeline {id}: {made}"));
        }
        if !timeline.custom_resource_managers.is_empty() {
            let ids = timeline.custom_resource_managers.iter().map(u8::to_string);
            let ids = ids.collect::<Vec<_>>().join(", ");
            page.line(&format!(
                "replay of timeline {id} needs the extensions of the resource managers {ids}"
            ));
        }
    }
}

fn findings(page: &mut Page, title: &str, findings: &[&Finding], more: u64, tone: Tone) {
    if findings.is_empty() {
        return;
    }
    page.title(title);
    for finding in findings.iter().take(SHOWN) {
        let Finding { class, subject, detail, hint, .. } = finding;
        page.item(&format!("{class}  {subject}"), tone, &[detail, hint]);
    }
    let more = more + findings.len().saturating_sub(SHOWN) as u64;
    if more > 0 {
        page.line(&format!("and {} more", count(more)));
    }
}
