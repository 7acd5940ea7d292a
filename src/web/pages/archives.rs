//! Archives, and what one of them holds.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{Place, moment, refused, shell, to, window};
use crate::{
    drill::{
        CatalogReport, Finding,
        format::{bytes, count, counted},
    },
    report::{
        catalog::restores_to,
        html::page::{badge, table, text},
    },
    web::{
        api::archives::{ArchiveLine, find, lines},
        catalogs::Looked,
        problem::Problem,
        site::Site,
    },
};

/// How often it looks at itself again while the archive is being listed.
const LOOK: Duration = Duration::from_secs(2);

pub(super) async fn list(State(site): State<Site>) -> Response {
    let archives = lines(&site).archives;
    let rows = html! { @for line in &archives { (archive(line)) } };
    let head = [
        ("server", false),
        ("archive", false),
        ("jobs", false),
        ("recoverable", false),
        ("gaps", true),
        ("seen", false),
    ];
    let lead = html! {
        p { (counted(archives.len() as u64, "archive")) ". One is listed when its page is opened." }
    };
    let content = table("Archives of the folder's jobs", &head, &rows);
    shell(Place::Archives, None, "Archives", &lead, &content).into_response()
}

fn archive(line: &ArchiveLine) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(to("archives", &line.archive.id)) { (text(&line.archive.server)) } }
            td class="wide" { code { (text(&line.archive.url)) } }
            td {
                @for (index, job) in line.jobs.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href=(to("jobs", job)) { (text(job)) }
                }
            }
            td { (between(line.window_from, line.window_to)) }
            td class="number" { @if let Some(gaps) = line.gap_count { (count(gaps)) } @else { "–" } }
            td class="wide" {
                @if let Some(problem) = &line.problem { span class="doubt" { (text(problem)) } }
                @else if let Some(at) = line.examined_at { (moment(at)) } @else { "not yet" }
            }
        }
    }
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Markup {
    html! {
        @match (from, to) {
            (Some(from), Some(to)) => { (moment(from)) " to " (moment(to)) }
            (Some(from), None) => { "from " (moment(from)) }
            _ => "–",
        }
    }
}

pub(super) async fn one(State(site): State<Site>, Path(id): Path<String>) -> Response {
    let Some(job) = find(&site.desk.shown(), &id) else {
        return refused(&Problem::no_archive(&id));
    };
    let Looked { outcome, reading } = site.catalogs.look(&id, &job).await;
    let lead = html! {
        p class="soft" { "archive " code { (text(&job.archive.server)) } " in " code { (text(&job.archive.store.url())) } }
    };
    let content = html! {
        div id="catalog" data-part {
            @if reading { p class="doubt" role="status" { "It is being listed." } }
            @match outcome.as_deref() {
                None => {}
                Some(Ok(report)) => (catalog(report)),
                Some(Err(error)) => {
                    p class="card doubt" {
                        "It could not be listed: " (text(&error.to_string()))
                        @if let Some(hint) = &error.hint { " " (text(hint)) }
                    }
                }
            }
        }
    };
    let look = reading.then_some(LOOK);
    shell(Place::Other, look, &job.archive.server, &lead, &content).into_response()
}

fn catalog(report: &CatalogReport) -> Markup {
    let totals = report.totals;
    html! {
        p { (badge(report.verdict)) " " (text(&report.reason)) }
        p class="soft" {
            "listed at " (moment(report.examined_at)) ": " (counted(totals.objects, "object")) ", " (bytes(totals.bytes)) ", "
            (bytes(totals.base_bytes)) " of base backups, " (bytes(totals.wal_bytes)) " in "
            (counted(totals.wal_segments, "WAL segment"))
        }
        section aria-labelledby="window" {
            h2 id="window" { "Recoverable window" }
            p { "Without a break up to the newest WAL: " (between(report.window.from_time, report.window.to_time)) }
            (window::figure(report))
        }
        (findings("Findings", "bad", &report.findings, report.finding_count))
        (findings("Attention", "doubt", &report.attentions, report.attention_count))
        section aria-labelledby="gaps" {
            h2 id="gaps" { "Missing segments (" (count(report.gap_count)) ")" }
            @if report.gaps.is_empty() { p class="good" { "none" } }
            ul {
                @for gap in report.gaps.iter().rev() {
                    li {
                        (counted(gap.segments, "segment")) " from " code { (gap.first_segment) } " (" (gap.from_lsn) "), "
                        "cuts off " (counted(gap.cut_off_count, "backup"))
                    }
                }
            }
        }
        section aria-labelledby="backups" {
            h2 id="backups" { "Backups (" (count(report.backup_count)) ")" }
            (backups(report))
        }
    }
}

fn findings(title: &str, class: &str, findings: &[Finding], all: u64) -> Markup {
    html! {
        @if !findings.is_empty() {
            section aria-label=(title) {
                h2 { (title) " (" (count(all)) ")" }
                @for finding in findings {
                    article class="card" {
                        h3 { span class=(class) { (finding.class) } " " span class="mono" { (text(&finding.subject)) } }
                        p { (text(&finding.detail)) }
                        p { strong { "What to do: " } (text(&finding.hint)) }
                    }
                }
            }
        }
    }
}

fn backups(report: &CatalogReport) -> Markup {
    let rows = html! {
        @for line in report.backups.iter().rev() {
            tr {
                th scope="row" { (text(&line.id)) }
                td { (line.state.name().replace('_', " ")) }
                td class="whole" { @if let Some(at) = line.end_at { (moment(at)) } @else { "–" } }
                td class="number" { (bytes(line.bytes)) }
                td class="wide" { (text(&restores_to(line))) }
            }
        }
    };
    let head = [
        ("backup", false),
        ("state", false),
        ("ended", false),
        ("size", true),
        ("restores to", false),
    ];
    table("Backups, the newest first", &head, &rows)
}
