//! The report that a person reads in ten seconds: verdict and reason first, then what it rests on.

pub(super) mod layout;

use jiff::{Timestamp, Unit};

use crate::drill::{
    DrillReport, FailureClass, Verdict,
    format::{bytes, count, counted, duration, rate},
    measure::RpoEvidence,
    reached::compare,
    report::{CheckStatus, ErrorReport, SandboxReport},
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
    backup(&mut page, report);
    reached(&mut page, report);
    rto(&mut page, report);
    rpo(&mut page, report);
    findings(&mut page, report);
    errors(&mut page, &report.errors);
    checks(&mut page, report);
    stages(&mut page, &report.stages);
    page.gap();
    sandbox(&mut page, report.sandbox.as_ref());
    drill(&mut page, report);
    for (index, note) in report.notes.iter().enumerate() {
        page.field(if index == 0 { "Notes" } else { "" }, note);
    }
    page.finish()
}

/// Wall clock to the second, in UTC.
pub(super) fn time(at: Timestamp) -> String {
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

fn backup(page: &mut Page, report: &DrillReport) {
    let Some(backup) = &report.backup else {
        page.field(
            "Backup",
            &format!("none chosen, from `{}` in {}", report.server, report.archive_url),
        );
        return;
    };
    let name = backup.name.as_ref().map_or_else(String::new, |name| format!(" (`{name}`)"));
    page.field(
        "Backup",
        &format!("{}{name} of `{}` in {}", backup.id, report.server, report.archive_url),
    );
    page.field(
        "",
        &format!(
            "PostgreSQL {}, timeline {}, {} and {} in {}",
            backup.major,
            backup.timeline,
            bytes(backup.compressed_bytes),
            bytes(backup.wal_bytes),
            counted(backup.wal_segments, "WAL segment"),
        ),
    );
    if let Some(end) = backup.end_at {
        let age = report.started_at.duration_since(end).as_secs_f64();
        let when = if age >= 0.0 {
            format!("{} before the drill", duration(age))
        } else {
            format!("{} after the drill began, by its own clock", duration(-age))
        };
        page.field("", &format!("ended {}, {when}", time(end)));
    }
    page.field("", &format!("chosen: {}", backup.why));
}

fn reached(page: &mut Page, report: &DrillReport) {
    page.field("Target", &report.target);
    let Some(reached) = &report.reached else {
        page.field("Reached", "nothing: recovery did not end");
        if let Some(promise) = &report.promise {
            page.field(
                "",
                &format!("promised: timeline {} up to {}", promise.timeline, promise.end),
            );
        }
        return;
    };
    let last = reached.last_transaction_at;
    let last = last.map_or_else(
        || "no transaction replayed".to_owned(),
        |at| format!("last transaction {}", time(at)),
    );
    page.field("Reached", &format!("timeline {} up to {}, {last}", reached.timeline, reached.end));
    let Some(promise) = &report.promise else {
        page.toned_field("", "what the archive promises is not known", Tone::Doubt);
        return;
    };
    let differences = compare(promise, reached);
    if differences.is_empty() {
        page.toned_field("", "as the archive promises", Tone::Good);
        return;
    }
    let beyond = differences.iter().all(|f| f.class == FailureClass::RecoveredBeyond);
    let last = promise
        .last_transaction
        .map_or_else(String::new, |last| format!(", last transaction {}", time(last.at)));
    let text = format!(
        "{}: the archive promises timeline {} up to {}{last}",
        if beyond { "BEYOND" } else { "SHORT" },
        promise.timeline,
        promise.end
    );
    page.toned_field("", &text, Tone::Bad);
}

/// `kept`, `EXCEEDED` or that there is none, with the objective.
fn against(objective: Option<f64>, exceeded: bool, counts: bool) -> (String, Tone) {
    match objective {
        None => ("no objective stated".to_owned(), Tone::Plain),
        Some(seconds) if !counts => {
            (format!("objective {}: does not count", duration(seconds)), Tone::Doubt)
        }
        Some(seconds) if exceeded => {
            (format!("objective {}: EXCEEDED", duration(seconds)), Tone::Bad)
        }
        Some(seconds) => (format!("objective {}: kept", duration(seconds)), Tone::Good),
    }
}

fn rto(page: &mut Page, report: &DrillReport) {
    let Some(rto) = &report.rto else {
        page.field("RTO", "not measured: the cluster never opened");
        return;
    };
    let (judgement, tone) = against(rto.objective_seconds, rto.exceeded, rto.fsync);
    let fsync = if rto.fsync { "fsync on" } else { "fsync OFF" };
    let text = format!("{}, {judgement} ({} engine, {fsync})", duration(rto.seconds), rto.engine);
    page.toned_field("RTO", &text, tone);
}

fn rpo(page: &mut Page, report: &DrillReport) {
    let Some(rpo) = &report.rpo else {
        page.field("RPO", "not measured");
        return;
    };
    let say = |evidence: RpoEvidence| {
        let name = evidence.name().replace('_', " ");
        let age = rpo.seconds(evidence).map_or_else(|| "not known".to_owned(), duration);
        format!("{name} {age}")
    };
    let judged = rpo.judged.and_then(|evidence| Some((evidence, rpo.seconds(evidence)?)));
    match judged {
        Some((evidence, seconds)) => {
            let (judgement, tone) = against(rpo.objective_seconds, rpo.exceeded, true);
            let by = evidence.name().replace('_', " ");
            page.toned_field("RPO", &format!("{}, {judgement} (by {by})", duration(seconds)), tone);
        }
        None => page.field("RPO", "not known"),
    }
    page.field("", &format!("because {}", rpo.why));
    page.field("", &format!("ages: {}", RpoEvidence::ALL.map(say).join("; ")));
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

fn sandbox(page: &mut Page, sandbox: Option<&SandboxReport>) {
    let Some(sandbox) = sandbox else {
        page.field("Sandbox", "none was made");
        return;
    };
    let postgres = if sandbox.postgres.is_empty() {
        "no PostgreSQL started".to_owned()
    } else {
        format!("PostgreSQL {}", sandbox.postgres)
    };
    let network = if sandbox.network_isolated {
        "in a network namespace of its own"
    } else {
        "NOT cut off from the network"
    };
    page.field("Sandbox", &format!("{postgres}, {network}"));
    let speed: Vec<String> =
        sandbox.speed().map(|(name, value)| format!("{name} {value}")).collect();
    if !speed.is_empty() {
        page.field("", &format!("replayed with {}", speed.join(", ")));
    }
    let (text, tone) = match (sandbox.removed, sandbox.kept_until) {
        (true, _) => ("removed".to_owned(), Tone::Plain),
        (false, Some(until)) => {
            (format!("kept until {} in {}", time(until), sandbox.path), Tone::Plain)
        }
        (false, None) => (format!("LEFT BEHIND in {}", sandbox.path), Tone::Bad),
    };
    page.toned_field("", &text, tone);
}

fn drill(page: &mut Page, report: &DrillReport) {
    let took = report.finished_at.duration_since(report.started_at).as_secs_f64();
    page.field(
        "Drill",
        &format!("{} at {}, {}", report.drill_id, time(report.started_at), duration(took)),
    );
    let depth = match report.depth {
        crate::drill::job::Depth::Catalog => "catalog",
        crate::drill::job::Depth::Read => "read",
        crate::drill::job::Depth::Restore => "restore",
        crate::drill::job::Depth::Deep => "deep",
    };
    page.field(
        "",
        &format!("depth {depth}, seed {}, pgassay {}", report.seed, report.pgassay_version),
    );
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
