//! The catalog tier's report: for people and as JSON.

use jiff::{Timestamp, Unit};

use super::terminal::{
    Style,
    layout::{Align, Page, Tone},
};
use crate::drill::{
    CatalogReport, Finding, Verdict,
    format::{bytes, count, counted, duration},
    holdings::{BackupLine, BackupState, TimelineLine},
};

/// Pretty JSON and a newline; `schema_version` comes first.
#[must_use]
pub fn json(report: &CatalogReport) -> String {
    super::json::document(report, report.schema_version)
}

/// As text, with a newline at its end. Text from the archive cannot move the cursor.
#[must_use]
pub fn render(report: &CatalogReport, style: Style) -> String {
    let mut page = Page::new(style);
    let tone = match report.verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Breach | Verdict::Inconclusive => Tone::Doubt,
        Verdict::Fail => Tone::Bad,
    };
    let word = report.verdict.name().to_uppercase();
    page.headline(&word, tone, &format!("{}: {}", report.job, report.reason));
    page.gap();
    head(&mut page, report);
    backups(&mut page, report);
    timelines(&mut page, report);
    gaps(&mut page, report);
    findings(&mut page, "Findings", &report.findings, report.finding_count, Tone::Bad);
    findings(&mut page, "Attention", &report.attentions, report.attention_count, Tone::Doubt);
    if !report.notes.is_empty() {
        page.gap();
    }
    for (index, note) in report.notes.iter().enumerate() {
        page.field(if index == 0 { "Notes" } else { "" }, note);
    }
    more(&mut page, report.notes.len(), report.note_count);
    page.finish()
}

/// Wall clock to the second, in UTC.
fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn head(page: &mut Page, report: &CatalogReport) {
    page.field("Archive", &format!("`{}` in {}", report.server, report.archive_url));
    let totals = report.totals;
    page.field(
        "",
        &format!(
            "{}, {}: {} of base backups, {} in {}",
            counted(totals.objects, "object"),
            bytes(totals.bytes),
            bytes(totals.base_bytes),
            bytes(totals.wal_bytes),
            counted(totals.wal_segments, "WAL segment")
        ),
    );
    let window = &report.window;
    let end = |lsn: Option<crate::pg::Lsn>, at: Option<Timestamp>, how: &str| {
        let lsn = lsn?;
        Some(at.map_or_else(|| lsn.to_string(), |at| format!("{lsn} ({how} {})", time(at))))
    };
    let from = end(window.from_lsn, window.from_time, "backup ended");
    let to = end(window.to_lsn, window.to_time, "archived");
    page.field(
        "Window",
        &match (from, to) {
            (Some(from), Some(to)) => format!("recoverable from {from} to {to}"),
            (Some(from), None) => format!("recoverable from {from}"),
            _ => "nothing can be recovered".to_owned(),
        },
    );
    if let Some(newest) = &report.newest_wal {
        let age = report.examined_at.duration_since(newest.archived_at).as_secs_f64().max(0.0);
        let text = format!(
            "`{}`, archived {}, {} ago",
            newest.segment,
            time(newest.archived_at),
            duration(age)
        );
        page.field("Newest", &text);
    }
    if let (Some(objective), Some(judged)) = (report.rpo.objective_seconds, report.rpo.judged) {
        let age = report.rpo.seconds(judged).unwrap_or_default();
        let over = if report.rpo.exceeded { "OVER" } else { "within" };
        let tone = if report.rpo.exceeded { Tone::Bad } else { Tone::Good };
        let text = format!(
            "{over} the objective of {}: the newest WAL that a recovery reaches is {} old",
            duration(objective),
            duration(age)
        );
        page.toned_field("RPO", &text, tone);
    }
}

fn backups(page: &mut Page, report: &CatalogReport) {
    page.title(&format!("Backups ({})", count(report.backup_count)));
    if report.backups.is_empty() {
        page.line("there is none");
        return;
    }
    let rows = report.backups.iter().map(|line| {
        let tone = match line.state {
            BackupState::Restorable | BackupState::Standalone => Tone::Good,
            BackupState::Blocked => Tone::Bad,
            BackupState::Short | BackupState::UnderWay | BackupState::Unknown => Tone::Doubt,
        };
        let cells = vec![
            line.state.name().replace('_', " "),
            line.id.clone(),
            line.end_at.map_or_else(|| "-".to_owned(), time),
            bytes(line.bytes),
            restores_to(line),
        ];
        (cells, tone)
    });
    let aligns = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];
    page.table(&["state", "backup", "ended", "size", "restores to"], &aligns, rows);
    more(page, report.backups.len(), report.backup_count);
}

/// To this LSN and time on this timeline; blocked by this.
#[must_use]
pub fn restores_to(line: &BackupLine) -> String {
    let reach = line.reach.as_ref().map(|reach| {
        let at =
            reach.archived_at.map_or_else(String::new, |at| format!(", archived {}", time(at)));
        format!("{} on timeline {}{at}", reach.lsn, reach.timeline)
    });
    let blocked: Vec<String> = line
        .blocked_by
        .iter()
        .map(|blocker| format!("{} {}", blocker.class, blocker.subject))
        .collect();
    match (reach, line.state, blocked.is_empty()) {
        (_, BackupState::UnderWay, _) => "not yet: it is being taken, or may be".to_owned(),
        (Some(reach), _, true) => reach,
        (Some(reach), _, false) => format!("{reach}; blocked by {}", blocked.join(", ")),
        (None, BackupState::Unknown, _) => format!("cannot be told: {}", blocked.join(", ")),
        (None, ..) => format!("nowhere; blocked by {}", blocked.join(", ")),
    }
}

fn timelines(page: &mut Page, report: &CatalogReport) {
    if report.timeline_count < 2 {
        return;
    }
    page.title(&format!("Timelines ({})", count(report.timeline_count)));
    for line in &report.timelines {
        page.line(&timeline(line));
    }
    more(page, report.timelines.len(), report.timeline_count);
}

fn timeline(line: &TimelineLine) -> String {
    let origin = match (line.parent, line.forked_at) {
        (Some(parent), Some(at)) => format!(", forked off {parent} at {at}"),
        _ if line.id.0 > 1 && !line.has_history => ", whose history is not known".to_owned(),
        _ => String::new(),
    };
    let wal = match (&line.first_segment, &line.last_segment) {
        (Some(first), Some(last)) => {
            let at =
                line.archived_at.map_or_else(String::new, |at| format!(", archived {}", time(at)));
            format!(": {}, `{first}` to `{last}`{at}", counted(line.segments, "segment"))
        }
        _ => ": no segment is archived".to_owned(),
    };
    format!("{}{origin}{wal}", line.id)
}

fn gaps(page: &mut Page, report: &CatalogReport) {
    if report.gaps.is_empty() {
        return;
    }
    page.title(&format!("Gaps ({})", count(report.gap_count)));
    for gap in &report.gaps {
        let missing = if gap.segments == 1 {
            format!("`{}`", gap.first_segment)
        } else {
            format!("`{}` to `{}`", gap.first_segment, gap.last_segment)
        };
        let others = gap.cut_off_count - gap.cut_off.len() as u64;
        let others =
            if others == 0 { String::new() } else { format!(" and {} more", count(others)) };
        page.line(&format!(
            "{missing}, {} from {}, cuts off {}{others}",
            counted(gap.segments, "segment"),
            gap.from_lsn,
            gap.cut_off.join(", ")
        ));
    }
    more(page, report.gaps.len(), report.gap_count);
}

fn findings(page: &mut Page, title: &str, findings: &[Finding], all: u64, tone: Tone) {
    if findings.is_empty() {
        return;
    }
    page.title(&format!("{title} ({})", count(all)));
    for finding in findings {
        let at = finding.lsn.map_or_else(String::new, |lsn| format!(" at {lsn}"));
        let head = format!("{}  {}{at}", finding.class, finding.subject);
        page.item(&head, tone, &[&finding.detail, &format!("hint: {}", finding.hint)]);
    }
    more(page, findings.len(), all);
}

fn more(page: &mut Page, listed: usize, all: u64) {
    let left = all - listed as u64;
    if left > 0 {
        page.line(&format!("… and {} more", count(left)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::holdings::sample;

    #[test]
    fn a_sound_archive() {
        insta::assert_snapshot!(render(&sample::sound(), Style::PLAIN));
    }

    #[test]
    fn a_damaged_archive() {
        insta::assert_snapshot!(render(&sample::damaged(), Style::PLAIN));
        insta::assert_snapshot!("damaged_json", json(&sample::damaged()));
    }

    #[test]
    fn an_empty_list_is_said() {
        let text = render(&sample::without_backups(), Style::PLAIN);
        assert!(
            text.contains("there is none") && text.contains("nothing can be recovered"),
            "{text}"
        );
    }
}
