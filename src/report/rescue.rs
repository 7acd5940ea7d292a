//! The report of a rescue: for people and as JSON.

use super::{
    json,
    terminal::{
        Style, errors,
        layout::{Page, Tone},
        stages, time,
    },
};
use crate::drill::{
    RescueReport,
    format::{bytes, count, counted, duration},
    reached::compare,
    rescue::RescueOutcome,
};

/// As text, with a newline at its end: what there is, what is missing, and what to do next.
#[must_use]
pub fn render(report: &RescueReport, style: Style) -> String {
    let mut page = Page::new(style);
    let (word, tone) = match report.outcome {
        RescueOutcome::Complete => ("COMPLETE", Tone::Good),
        RescueOutcome::Incomplete => ("INCOMPLETE", Tone::Bad),
        RescueOutcome::Unproven => ("UNPROVEN", Tone::Doubt),
        RescueOutcome::Impossible => ("IMPOSSIBLE", Tone::Bad),
        RescueOutcome::BrokenOff => ("BROKEN OFF", Tone::Doubt),
    };
    page.headline(word, tone, &format!("{}: {}", report.job, report.reason));
    page.gap();
    cluster(&mut page, report);
    backup(&mut page, report);
    reached(&mut page, report);
    rto(&mut page, report);
    findings(&mut page, report);
    errors(&mut page, &report.errors);
    next(&mut page, report);
    stages(&mut page, &report.stages);
    page.gap();
    let took = report.finished_at.duration_since(report.started_at).as_secs_f64();
    page.field(
        "Rescue",
        &format!("{} at {}, {}", report.rescue_id, time(report.started_at), duration(took)),
    );
    let resumed = if report.resumed { "went on with an earlier run, " } else { "" };
    page.field("", &format!("{resumed}pgassay {}", report.pgassay_version));
    for (index, note) in report.notes.iter().enumerate() {
        page.field(if index == 0 { "Notes" } else { "" }, note);
    }
    page.finish()
}

/// As one JSON document; 64-bit identifiers are texts.
#[must_use]
pub fn json(report: &RescueReport) -> String {
    json::document(report, report.schema_version)
}

fn cluster(page: &mut Page, report: &RescueReport) {
    let Some(cluster) = &report.cluster else {
        page.field("Cluster", &format!("none in `{}`", report.directory));
        return;
    };
    page.field("Cluster", &cluster.directory);
    let timeline = cluster.timeline.map_or_else(String::new, |id| format!(", on timeline {id}"));
    page.field(
        "",
        &format!(
            "PostgreSQL {}{timeline}, files of user `{}`, stopped cleanly",
            cluster.postgres, cluster.user
        ),
    );
    for tablespace in &cluster.tablespaces {
        let name = tablespace.name.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
        let was = tablespace.was.as_ref().map_or_else(String::new, |was| format!(", was `{was}`"));
        let place = if tablespace.in_place { " (no link)" } else { "" };
        page.field(
            "",
            &format!("tablespace {}{name} in `{}`{place}{was}", tablespace.oid, tablespace.path),
        );
    }
    if !cluster.network_isolated {
        page.field("", "recovery was NOT cut off from the network");
    }
}

fn backup(page: &mut Page, report: &RescueReport) {
    let from = format!("of `{}` in {}", report.server, report.archive_url);
    let Some(backup) = &report.backup else {
        page.field("Backup", &format!("none chosen, {from}"));
        return;
    };
    let name = backup.name.as_ref().map_or_else(String::new, |name| format!(" (`{name}`)"));
    page.field("Backup", &format!("{}{name} {from}", backup.id));
    page.field(
        "",
        &format!(
            "PostgreSQL {}, system {}, timeline {}, {} and {} in {}",
            backup.major,
            backup.system_id,
            backup.timeline,
            bytes(backup.compressed_bytes),
            bytes(backup.wal_bytes),
            counted(backup.wal_segments, "WAL segment"),
        ),
    );
    page.field("", &format!("chosen: {}", backup.why));
}

fn reached(page: &mut Page, report: &RescueReport) {
    page.field("Target", &report.target);
    let Some(reached) = &report.reached else {
        page.field("Data", "nothing was recovered");
        return;
    };
    let last = reached.last_transaction_at.map_or_else(
        || "no transaction replayed".to_owned(),
        |at| format!("last transaction {at}"),
    );
    page.field("Data", &format!("up to {} on timeline {}, {last}", reached.end, reached.timeline));
    match &report.promise {
        Some(promise) if compare(promise, reached).is_empty() => {
            page.toned_field("", "as the archive's own records promise", Tone::Good);
        }
        Some(promise) => {
            let text =
                format!("the archive promises timeline {} up to {}", promise.timeline, promise.end);
            page.toned_field("", &text, Tone::Bad);
        }
        None => page.toned_field("", "what the archive promises is not known", Tone::Doubt),
    }
    let Some(left) = &report.left_behind else {
        if report.target == "latest"
            && let Some(at) = report.window.as_ref().and_then(|window| window.to_time)
        {
            let text = format!(
                "what production committed after that; its newest WAL in the archive is of {}",
                time(at)
            );
            page.field("Lost", &text);
        }
        return;
    };
    let stored = left.stored_at.map_or_else(String::new, |at| format!(", stored {}", time(at)));
    if left.wanted {
        page.field(
            "Left out",
            &format!("what came after the target, up to {}{stored}", left.up_to),
        );
    } else {
        let text = format!(
            "everything behind {}: the archive's newest WAL is `{}`{stored}",
            reached.end, left.up_to
        );
        page.toned_field("Missing", &text, Tone::Bad);
    }
}

fn rto(page: &mut Page, report: &RescueReport) {
    let Some(rto) = &report.rto else { return };
    let objective = rto
        .objective_seconds
        .map_or_else(String::new, |objective| format!(", objective {}", duration(objective)));
    page.field("RTO", &format!("{}{objective}", duration(rto.seconds)));
}

fn findings(page: &mut Page, report: &RescueReport) {
    if report.findings.is_empty() {
        return;
    }
    page.title(&format!("Findings ({})", count(report.findings.len() as u64)));
    for finding in &report.findings {
        let at = finding.lsn.map_or_else(String::new, |lsn| format!(" at {lsn}"));
        let head = format!("{}  {}{at}", finding.class, finding.subject);
        page.item(&head, Tone::Bad, &[&finding.detail, &format!("hint: {}", finding.hint)]);
    }
}

fn next(page: &mut Page, report: &RescueReport) {
    if report.next.is_empty() {
        return;
    }
    page.title("What to do next");
    for (index, step) in report.next.iter().enumerate() {
        page.numbered(index + 1, &step.what);
        if let Some(command) = &step.command {
            page.verbatim(6, command);
        }
    }
}

#[cfg(test)]
#[path = "rescue/tests.rs"]
mod tests;
