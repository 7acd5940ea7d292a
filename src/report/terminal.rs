//! The report that a person reads in ten seconds: verdict and reason first, then what it rests on.

pub(super) mod layout;

use jiff::{Timestamp, Unit};

use super::said::{self, Fact};
use crate::drill::{
    DrillReport, Verdict,
    format::{bytes, count, duration, rate},
    report::{CheckStatus, ErrorReport},
    stage::{StageEnd, StageLog},
};

use layout::{Align, Page, Tone};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours only underline what the words say already.
    pub color: bool,
    /// Columns; long lines are wrapped there.
    pub width: usize,
}

impl Style {
    /// No colour, 100 columns: files, pipes, tests.
    pub const PLAIN: Self = Self { color: false, width: 100 };

    /// What fits stdout: its width where it is a terminal, and colour unless `NO_COLOR` is set.
    #[must_use]
    pub fn for_stdout() -> Self {
        use std::io::IsTerminal as _;

        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::PLAIN;
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size.map_or(0, |size| usize::from(size.ws_col));
        Self {
            color: std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            width: if width == 0 { Self::PLAIN.width } else { width.clamp(60, 140) },
        }
    }
}

/// The report as text, with a newline at its end. Text from the archive cannot move the cursor.
#[must_use]
pub fn render(report: &DrillReport, style: Style) -> String {
    let mut page = Page::new(style);
    verdict(&mut page, report);
    page.gap();
    facts(&mut page, &said::result(report));
    findings(&mut page, report);
    errors(&mut page, &report.errors);
    checks(&mut page, report);
    stages(&mut page, &report.stages);
    page.gap();
    facts(&mut page, &said::circumstances(report));
    for (index, note) in report.notes.iter().enumerate() {
        page.field(if index == 0 { "Notes" } else { "" }, note);
    }
    page.finish()
}

fn facts(page: &mut Page, facts: &[Fact]) {
    for fact in facts {
        for (index, (line, tone)) in fact.lines.iter().enumerate() {
            page.toned_field(if index == 0 { fact.name } else { "" }, line, *tone);
        }
    }
}

/// Wall clock to the second, in UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn verdict(page: &mut Page, report: &DrillReport) {
    let tone = match report.verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Breach | Verdict::Inconclusive => Tone::Doubt,
        Verdict::Fail => Tone::Bad,
    };
    let word = report.verdict.name().to_uppercase();
    page.headline(&word, tone, &format!("{}: {}", report.job, report.reason));
}

fn findings(page: &mut Page, report: &DrillReport) {
    let findings: Vec<_> =
        report.checks.iter().flat_map(|c| c.findings.iter().map(|f| (&c.name, f))).collect();
    if findings.is_empty() {
        return;
    }
    page.title(&format!("Findings ({})", count(findings.len() as u64)));
    for (check, finding) in findings {
        let at = finding.lsn.map_or_else(String::new, |lsn| format!(" at {lsn}"));
        let head = format!("{}  {}{at}  [{check}]", finding.class, finding.subject);
        page.item(&head, Tone::Bad, &[&finding.detail, &format!("hint: {}", finding.hint)]);
    }
}

pub(super) fn errors(page: &mut Page, errors: &[ErrorReport]) {
    if errors.is_empty() {
        return;
    }
    page.title(&format!("Errors ({})", count(errors.len() as u64)));
    for error in errors {
        let class = error.class.map_or_else(String::new, |class| format!("  {class}"));
        let hint = error.hint.as_ref().map(|hint| format!("hint: {hint}"));
        let mut below = vec![error.message.as_str()];
        below.extend(hint.as_deref());
        page.item(&format!("error[{}]{class}", error.code), Tone::Doubt, &below);
    }
}

fn checks(page: &mut Page, report: &DrillReport) {
    page.title("Checks");
    if report.checks.is_empty() {
        page.line("none was run");
        return;
    }
    let rows = report.checks.iter().map(|check| {
        let tone = match check.status {
            CheckStatus::Passed => Tone::Good,
            CheckStatus::Failed => Tone::Bad,
            CheckStatus::Skipped | CheckStatus::Errored => Tone::Doubt,
        };
        let cells = vec![
            check.status.name().to_owned(),
            check.name.clone(),
            duration(check.seconds),
            check.detail.clone(),
        ];
        (cells, tone)
    });
    let aligns = [Align::Left, Align::Left, Align::Right, Align::Left];
    page.table(&["status", "check", "time", "detail"], &aligns, rows);
}

pub(super) fn stages(page: &mut Page, stages: &StageLog) {
    page.title("Stages");
    if stages.0.is_empty() {
        page.line("none was begun");
        return;
    }
    let some = |amount: u64, text: String| if amount == 0 { "-".to_owned() } else { text };
    let rows = stages.0.iter().map(|record| {
        let seconds = record.duration.as_secs_f64();
        let aborted = record.end == StageEnd::Aborted;
        let rate = rate(record.fetched_bytes, seconds).unwrap_or_else(|| "-".to_owned());
        let cells = vec![
            record.stage.name().to_owned(),
            duration(seconds),
            some(record.fetched_bytes, bytes(record.fetched_bytes)),
            some(record.fetched_bytes, rate),
            some(record.restored_bytes, bytes(record.restored_bytes)),
            some(record.files, count(record.files)),
            some(record.wal_segments, count(record.wal_segments)),
            match (aborted, record.stage.counts_for_rto()) {
                (true, _) => "ABORTED",
                (false, true) => "counts",
                (false, false) => "-",
            }
            .to_owned(),
        ];
        (cells, if aborted { Tone::Bad } else { Tone::Plain })
    });
    let head = ["stage", "time", "fetched", "rate", "written", "files", "WAL", "RTO"];
    let mut aligns = [Align::Right; 8];
    (aligns[0], aligns[7]) = (Align::Left, Align::Left);
    page.table(&head, &aligns, rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{Finding, report::sample};

    #[test]
    fn a_pass() {
        insta::assert_snapshot!(render(&sample::pass(), Style::PLAIN));
    }

    #[test]
    fn a_breach() {
        insta::assert_snapshot!(render(&sample::breach(), Style::PLAIN));
    }

    #[test]
    fn a_fail_with_several_findings() {
        insta::assert_snapshot!(render(&sample::fail(), Style::PLAIN));
    }

    #[test]
    fn an_inconclusive_one() {
        insta::assert_snapshot!(render(&sample::inconclusive(), Style::PLAIN));
    }

    #[test]
    fn a_narrow_terminal_wraps() {
        insta::assert_snapshot!(render(&sample::fail(), Style { color: false, width: 64 }));
    }

    #[test]
    fn colours_change_no_word() {
        for report in sample::all() {
            let colored = render(&report, Style { color: true, ..Style::PLAIN });
            assert!(colored.contains("\u{1b}["));
            let mut words = String::new();
            let mut rest = colored.as_str();
            while let Some((before, after)) = rest.split_once('\u{1b}') {
                words.push_str(before);
                rest = after.split_once('m').unwrap().1;
            }
            words.push_str(rest);
            assert_eq!(words, render(&report, Style::PLAIN));
        }
    }

    #[test]
    fn names_from_the_archive_cannot_write_lines_of_their_own() {
        let mut report = sample::fail();
        let evil = "a\u{1b}[2K\rPASS\nPASS";
        let class = crate::drill::FailureClass::WalGap;
        report.checks[0].findings = vec![Finding::new(class, evil, evil, evil)];
        report.checks[0].detail = evil.to_owned();
        report.notes = vec![evil.to_owned()];
        report.server = evil.to_owned();
        let text = render(&report, Style::PLAIN);
        assert!(!text.contains(['\u{1b}', '\r']), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("PASS")), "{text}");
    }

    #[test]
    fn what_did_not_happen_is_said() {
        let mut report = sample::inconclusive();
        report.backup = None;
        report.sandbox = None;
        report.stages = crate::drill::stage::StageLog::default();
        let text = render(&report, Style::PLAIN);
        for said in ["none chosen", "recovery did not end", "none was made", "none was begun"] {
            assert!(text.contains(said), "{said}\n{text}");
        }
    }
}
