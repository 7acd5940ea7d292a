//! The page of one drill.

use maud::{Markup, html};

use super::{
    page::{badge, class, page, table, text},
    waterfall::waterfall,
};
use crate::{
    drill::{
        DrillReport,
        format::{counted, duration},
        report::{CheckReport, CheckStatus},
    },
    report::{
        said::{self, Fact},
        terminal::{layout::Tone, time},
    },
};

/// A whole page in a file.
#[must_use]
pub fn drill(report: &DrillReport) -> String {
    page(&text(&report.job), &lead(report), &content(report)).into_string()
}

/// What stands below the heading.
#[must_use]
pub fn lead(report: &DrillReport) -> Markup {
    html! {
        p { (badge(report.verdict)) " " (text(&report.reason)) }
        p class="soft" {
            "drill of " (time(report.started_at)) ", archive " code { (text(&report.server)) } " in "
            code { (text(&report.archive_url)) }
        }
    }
}

/// What a drill has to say.
#[must_use]
pub fn content(report: &DrillReport) -> Markup {
    html! {
        section aria-labelledby="result" {
            h2 id="result" { "Result" }
            (facts(&said::result(report)))
        }
        (findings(report))
        (errors(report))
        section aria-labelledby="stages" {
            h2 id="stages" { "Stages" }
            @if report.stages.0.is_empty() { p { "none was begun" } }
            @else { (waterfall(&report.stages)) }
        }
        section aria-labelledby="checks" {
            h2 id="checks" { "Checks" }
            @if report.checks.is_empty() { p { "none was run" } }
            @else { (checks(&report.checks)) }
        }
        section aria-labelledby="evidence" {
            h2 id="evidence" { "Evidence" }
            (facts(&said::circumstances(report)))
            @if !report.notes.is_empty() {
                h3 { "Notes" }
                ul { @for note in &report.notes { li { (text(note)) } } }
            }
        }
    }
}

fn facts(facts: &[Fact]) -> Markup {
    html! {
        dl {
            @for fact in facts {
                dt { (fact.name) }
                dd { @for (line, tone) in &fact.lines { p class=(class(*tone)) { (text(line)) } } }
            }
        }
    }
}

fn findings(report: &DrillReport) -> Markup {
    let count: usize = report.checks.iter().map(|check| check.findings.len()).sum();
    html! {
        @if count > 0 {
            section aria-labelledby="findings" {
                h2 id="findings" { "Findings (" (count) ")" }
                @for check in &report.checks {
                    @for finding in &check.findings {
                        article class="card" {
                            h3 { span class="bad" { (finding.class) } " " span class="mono" { (text(&finding.subject)) } }
                            p { (text(&finding.detail)) @if let Some(lsn) = finding.lsn { " (at " (lsn) ")" } }
                            p { strong { "What to do: " } (text(&finding.hint)) }
                            p class="soft" { "found by the check " code { (text(&check.name)) } }
                        }
                    }
                }
            }
        }
    }
}

fn errors(report: &DrillReport) -> Markup {
    let count = counted(report.errors.len() as u64, "error");
    html! {
        @if !report.errors.is_empty() {
            section aria-labelledby="errors" {
                h2 id="errors" { (count) " of the machine, the store or a tool" }
                @for error in &report.errors {
                    article class="card" {
                        h3 class="doubt" { (text(&error.code)) @if let Some(class) = error.class { " " (class) } }
                        p { (text(&error.message)) }
                        @if let Some(hint) = &error.hint { p { strong { "What to do: " } (text(hint)) } }
                    }
                }
            }
        }
    }
}

fn checks(checks: &[CheckReport]) -> Markup {
    let tone = |status| match status {
        CheckStatus::Passed => Tone::Good,
        CheckStatus::Failed => Tone::Bad,
        CheckStatus::Skipped | CheckStatus::Errored => Tone::Doubt,
    };
    let rows = html! {
        @for check in checks {
            tr {
                th scope="row" { (text(&check.name)) }
                td class=(class(tone(check.status))) { (check.status.name()) }
                td class="number" { (duration(check.seconds)) }
                td class="wide" { (text(&check.detail)) }
            }
        }
    };
    let head = [("check", false), ("status", false), ("time", true), ("detail", false)];
    table("Checks, in the order in which they ran", &head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::report::sample;

    #[test]
    fn a_failed_drill() {
        let page = drill(&sample::fail());
        let (_, body) = page.split_once("</head>").unwrap();
        insta::assert_snapshot!(body.replace("><", ">\n<"));
    }

    /// What a page must be, whatever the drill was.
    #[test]
    fn every_page_stands_by_itself() {
        for mut report in sample::all() {
            let evil = "\"><script>alert(1)</script><img src=//evil.example/x>\u{202e}\u{1b}[2J";
            report.reason = evil.to_owned();
            report.job = evil.to_owned();
            report.server = evil.to_owned();
            report.notes = vec![evil.to_owned()];
            for check in &mut report.checks {
                check.name = evil.to_owned();
                check.detail = evil.to_owned();
                for finding in &mut check.findings {
                    finding.subject = evil.to_owned();
                    finding.hint = evil.to_owned();
                }
            }
            for error in &mut report.errors {
                error.message = evil.to_owned();
            }
            super::super::tests::stands_by_itself(&drill(&report));
        }
    }
}
