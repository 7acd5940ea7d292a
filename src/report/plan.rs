//! The plan of a drill, before a byte of it is fetched: for people and as JSON.

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use super::terminal::{
    Style,
    layout::{Page, Tone},
};
use crate::{
    drill::{
        DrillPlan, Finding, Job,
        format::{bytes, count, counted},
        plan::{PlanRefusal, PlannedSegment, Window},
    },
    pg::Lsn,
};

/// What to show: a plan or its refusal, for which job, and the room that the sandbox would have.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    pub job: &'a Job,
    pub outcome: Result<&'a DrillPlan, &'a PlanRefusal>,
    /// Bytes free where the sandbox would be made; `None` where that is not known.
    pub free_disk: Option<u64>,
}

/// The recovery target in words: the plan's, which may have drawn it, else the job's.
fn target(view: &PlanView<'_>) -> String {
    match view.outcome {
        Ok(plan) => plan.target_words.clone(),
        Err(_) => view.job.recovery_point.to_string(),
    }
}

/// As text, with a newline at its end.
#[must_use]
pub fn render(view: &PlanView<'_>, style: Style) -> String {
    let mut page = Page::new(style);
    let job = view.job;
    let (findings, window) = match view.outcome {
        Ok(plan) => {
            if plan.findings.is_empty() {
                page.headline("PLAN", Tone::Good, &format!("{}: nothing was fetched", job.name));
            } else {
                let text = format!("{}: the listing already shows defects", job.name);
                page.headline("PLAN", Tone::Doubt, &text);
            }
            page.gap();
            planned(&mut page, view, plan);
            (&plan.findings, &plan.window)
        }
        Err(refusal) => {
            let text = format!("{}: the archive cannot give what the job asks for", job.name);
            page.headline("REFUSED", Tone::Bad, &text);
            page.gap();
            page.field("Archive", &format!("`{}` in {}", job.archive.server, url(job)));
            page.field("Target", &target(view));
            (&refusal.findings, &refusal.window)
        }
    };
    page.field("Window", &describe_window(window));
    if !findings.is_empty() {
        page.title(&format!("Findings ({})", count(findings.len() as u64)));
        for finding in findings {
            show(&mut page, finding);
        }
    }
    if let Ok(plan) = view.outcome
        && !plan.notes.is_empty()
    {
        page.gap();
        for (index, note) in plan.notes.iter().enumerate() {
            page.field(if index == 0 { "Notes" } else { "" }, note);
        }
    }
    page.finish()
}

fn planned(page: &mut Page, view: &PlanView<'_>, plan: &DrillPlan) {
    let job = view.job;
    page.field(
        "Backup",
        &format!("{} of `{}` in {}", plan.backup.id, job.archive.server, url(job)),
    );
    let info = plan.backup.info.as_ref().ok();
    let ended = info.and_then(|info| info.end_time).map(time);
    let ended = ended.map_or_else(String::new, |at| format!(", ended {at}"));
    page.field("", &format!("PostgreSQL {}, system {}{ended}", plan.major, plan.system_id));
    page.field("", &format!("chosen: {}", plan.why));
    page.field("Target", &plan.target_words);
    let timelines: Vec<String> = plan
        .history
        .ancestors
        .iter()
        .map(|ancestor| format!("{} until {}", ancestor.timeline, ancestor.switch))
        .chain([plan.history.timeline.to_string()])
        .collect();
    page.field("Timeline", &timelines.join(", then "));
    let range = wal_range(plan).map_or_else(String::new, |(first, last)| {
        if first == last { format!(", {first}") } else { format!(", {first} to {last}") }
    });
    let segments = counted(plan.wal.len() as u64, "segment");
    page.field("WAL", &format!("{segments}{range}"));
    page.field(
        "Fetch",
        &format!(
            "{}: {} base backup + {} WAL",
            bytes(plan.base_bytes + plan.wal_bytes),
            bytes(plan.base_bytes),
            bytes(plan.wal_bytes)
        ),
    );
    disk(page, view, plan);
    let expectation = &plan.expectation;
    page.field(
        "Expected",
        &format!(
            "timeline {}, at least up to {}, at most up to {}",
            expectation.timeline, expectation.at_least, expectation.at_most
        ),
    );
}

fn disk(page: &mut Page, view: &PlanView<'_>, plan: &DrillPlan) {
    let needed = format!("at most {}", bytes(plan.disk_bytes));
    let budget = view.job.sandbox.disk_budget;
    let (room, whose) = match (view.free_disk, budget) {
        (Some(free), Some(budget)) if budget < free => (Some(budget), "in the job's `diskBudget`"),
        (Some(free), _) => (Some(free), "free"),
        (None, Some(budget)) => (Some(budget), "in the job's `diskBudget`"),
        (None, None) => (None, ""),
    };
    match room {
        None => page.field("Disk", &needed),
        Some(room) if room < plan.disk_bytes => {
            page.toned_field(
                "Disk",
                &format!("{needed}, NOT ENOUGH: {} {whose}", bytes(room)),
                Tone::Bad,
            );
        }
        Some(room) => page.field("Disk", &format!("{needed}, {} {whose}", bytes(room))),
    }
}

fn show(page: &mut Page, finding: &Finding) {
    let at = finding.lsn.map_or_else(String::new, |lsn| format!(" at {lsn}"));
    let head = format!("{}  {}{at}", finding.class, finding.subject);
    page.item(&head, Tone::Bad, &[&finding.detail, &format!("hint: {}", finding.hint)]);
}

/// Names of the first and the last segment.
fn wal_range(plan: &DrillPlan) -> Option<(String, String)> {
    let size = plan.segment_size;
    let name = |segment: PlannedSegment| segment.number.file_name(segment.timeline, size);
    Some((name(plan.wal.first()?), name(plan.wal.last()?)))
}

fn describe_window(window: &Window) -> String {
    let end = |lsn: Option<Lsn>, at: Option<Timestamp>| match (lsn, at) {
        (Some(lsn), Some(at)) => Some(format!("{lsn} ({})", time(at))),
        (Some(lsn), None) => Some(lsn.to_string()),
        (None, Some(at)) => Some(time(at)),
        (None, None) => None,
    };
    match (end(window.from_lsn, window.from_time), end(window.to_lsn, window.to_time)) {
        (Some(from), Some(to)) => format!("recoverable from {from} to {to}"),
        (Some(from), None) => format!("recoverable from {from}"),
        _ => "nothing can be recovered the way the job asks".to_owned(),
    }
}

/// Wall clock to the second, in UTC.
fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn url(job: &Job) -> String {
    job.archive.store.url()
}

/// As one JSON document. 64-bit identifiers are texts, as in reports.
#[must_use]
pub fn json(view: &PlanView<'_>) -> Value {
    let job = view.job;
    let (findings, window) = match view.outcome {
        Ok(plan) => (&plan.findings, &plan.window),
        Err(refusal) => (&refusal.findings, &refusal.window),
    };
    let plan = view.outcome.ok().map(|plan| {
        let range = wal_range(plan);
        let info = plan.backup.info.as_ref().ok();
        json!({
            "backup": {
                "id": plan.backup.id,
                "name": info.and_then(|info| info.backup_name.as_ref()),
                "why": plan.why,
                "begin_at": info.and_then(|info| info.begin_time),
                "end_at": info.and_then(|info| info.end_time),
                "system_id": plan.system_id.to_string(),
                "major": plan.major,
            },
            "timeline": plan.history.timeline,
            "wal": {
                "first": range.as_ref().map(|(first, _)| first),
                "last": range.as_ref().map(|(_, last)| last),
                "segments": plan.wal.len(),
            },
            "base_bytes": plan.base_bytes,
            "wal_bytes": plan.wal_bytes,
            "disk_bytes": plan.disk_bytes,
            "expectation": plan.expectation,
            "notes": plan.notes,
        })
    });
    json!({
        "schema_version": crate::drill::report::SCHEMA_VERSION,
        "job": job.name,
        "archive_url": url(job),
        "server": job.archive.server,
        "target": target(view),
        "refused": view.outcome.is_err(),
        "plan": plan,
        "free_disk_bytes": view.free_disk,
        "window": window,
        "findings": findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::{Backup, CatalogBuilder},
        config,
        drill::{FailureClass, expectation::Expectation, job::Target, plan::PlannedWal},
        pg::{Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, timeline::Ancestor},
    };

    fn job() -> Job {
        let archive = config::flags::ArchiveFlags {
            url: Some("s3://home-backups/postgres".to_owned()),
            server: Some("orders".to_owned()),
            ..config::flags::ArchiveFlags::default()
        };
        config::flags::job(&archive, &config::flags::Overrides::default()).unwrap()
    }

    fn window() -> Window {
        Window {
            from_lsn: Some(Lsn(0x200_0100)),
            from_time: Some("2026-11-15T02:00:00Z".parse().unwrap()),
            to_lsn: Some(Lsn(0x900_0000)),
            to_time: Some("2026-11-22T03:59:12Z".parse().unwrap()),
        }
    }

    fn plan() -> DrillPlan {
        let (old, new) = (TimelineId(1), TimelineId(2));
        let (seven, eight) = (SegmentNumber(7), SegmentNumber(8));
        let size = SegmentSize::DEFAULT;
        let mut listed = CatalogBuilder::new("");
        for name in [seven.file_name(old, size), eight.file_name(new, size)] {
            listed.add(&format!("wals/{}/{name}.gz", &name[..16]), 1 << 20, None, None);
        }
        let wal = listed.finish().wal;
        let wal = PlannedWal::new(wal.select(size, [(old, seven, seven), (new, eight, eight)]));
        DrillPlan {
            backup: Backup::empty("20261122T020000"),
            why: "the newest one".to_owned(),
            major: Major::V17,
            segment_size: size,
            system_id: 7_434_000_000_000_000_001,
            target: Target::Latest,
            target_words: "latest".to_owned(),
            exclusive: false,
            history: TimelineHistory {
                timeline: TimelineId(2),
                ancestors: vec![Ancestor { timeline: TimelineId(1), switch: Lsn(0x800_0060) }],
            },
            history_files: Vec::new(),
            wal,
            expectation: Expectation {
                timeline: TimelineId(2),
                at_least: Lsn(0x700_0100),
                at_most: Lsn(0x900_0000),
            },
            backups_apart: None,
            base_bytes: 3 << 30,
            wal_bytes: 2 << 20,
            disk_bytes: 9 << 30,
            findings: Vec::new(),
            notes: vec!["an unknown key was skipped".to_owned()],
            window: window(),
        }
    }

    #[test]
    fn a_plan() {
        let (job, plan) = (job(), plan());
        let view = PlanView { job: &job, outcome: Ok(&plan), free_disk: Some(20 << 30) };
        insta::assert_snapshot!("plan", render(&view, Style::PLAIN));
        insta::assert_snapshot!("plan_json", format!("{:#}", json(&view)));
        let tight = PlanView { free_disk: Some(1 << 30), ..view };
        assert!(render(&tight, Style::PLAIN).contains("NOT ENOUGH: 1.0 GiB free"));
    }

    #[test]
    fn a_refusal() {
        let finding = Finding::new(
            FailureClass::WalGap,
            "000000010000000000000007",
            "the segment is not in the archive",
            "Compare with the server's `pg_stat_archiver`.",
        );
        let (job, refusal) = (job(), PlanRefusal { findings: vec![finding], window: window() });
        let view = PlanView { job: &job, outcome: Err(&refusal), free_disk: None };
        insta::assert_snapshot!("refusal", render(&view, Style::PLAIN));
        assert_eq!(json(&view)["refused"], true);
        let empty = PlanRefusal { findings: Vec::new(), window: Window::default() };
        let view = PlanView { outcome: Err(&empty), ..view };
        assert!(render(&view, Style::PLAIN).contains("nothing can be recovered"));
    }
}
