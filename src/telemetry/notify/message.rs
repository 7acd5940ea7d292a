//! What a webhook is told: no more of a database than a report holds.

use serde_json::{Value, json};

use crate::drill::{
    DrillReport, Finding, Verdict,
    format::{counted, duration},
};

/// Version of the JSON. Adding a field does not raise it; changing or removing one does.
const SCHEMA_VERSION: u32 = 1;

/// So many findings are listed; their true number is beside them.
const FINDINGS_LISTED: usize = 10;

fn findings(report: &DrillReport) -> Vec<&Finding> {
    report.checks.iter().flat_map(|check| &check.findings).collect()
}

/// Plain JSON.
pub(super) fn json(report: &DrillReport, previous: Option<Verdict>) -> Value {
    let all = findings(report);
    let listed: Vec<Value> = all
        .iter()
        .take(FINDINGS_LISTED)
        .map(|finding| {
            json!({ "class": finding.class, "subject": finding.subject, "detail": finding.detail })
        })
        .collect();
    let codes: Vec<&str> = report.errors.iter().map(|error| error.code.as_str()).collect();
    let rpo = report.rpo.as_ref();
    json!({
        "schema_version": SCHEMA_VERSION,
        "event": "drill_ended",
        "job": report.job,
        "labels": report.labels,
        "archive_url": report.archive_url,
        "server": report.server,
        "drill_id": report.drill_id,
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "verdict": report.verdict,
        "previous_verdict": previous,
        "reason": report.reason,
        "backup": report.backup.as_ref().map(|backup| &backup.id),
        "rto_seconds": report.rto.as_ref().map(|rto| rto.seconds),
        "rpo_seconds": rpo.and_then(|rpo| rpo.seconds(rpo.judged?)),
        "findings": listed,
        "finding_count": all.len(),
        "errors": codes,
    })
}

/// As Slack's incoming webhooks take it, and what speaks like them
/// (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).
pub(super) fn slack(report: &DrillReport, previous: Option<Verdict>) -> Value {
    let changed = match previous {
        Some(before) if before != report.verdict => format!(" (was {})", before.name()),
        _ => String::new(),
    };
    let verdict = report.verdict.name().to_uppercase();
    let mut lines = vec![format!(
        "*{verdict}*{changed}  {}: {}",
        escaped(&report.job),
        escaped(&report.reason)
    )];
    let mut measured = Vec::new();
    if let Some(rto) = &report.rto {
        measured.push(format!("RTO {}", duration(rto.seconds)));
    }
    if let Some(rpo) = &report.rpo
        && let Some(seconds) = rpo.judged.and_then(|judged| rpo.seconds(judged))
    {
        measured.push(format!("RPO {}", duration(seconds)));
    }
    if let Some(backup) = &report.backup {
        measured.push(format!("backup {} of {}", escaped(&backup.id), escaped(&report.server)));
    }
    lines.extend((!measured.is_empty()).then(|| measured.join(", ")));
    let all = findings(report);
    let listed = all.iter().take(FINDINGS_LISTED);
    lines.extend(listed.map(|finding| format!("• {}", escaped(&finding.summary()))));
    if all.len() > FINDINGS_LISTED {
        let more = (all.len() - FINDINGS_LISTED) as u64;
        lines.push(format!("and {}", counted(more, "more finding")));
    }
    lines.push(format!("drill {}", escaped(&report.drill_id)));
    json!({ "text": lines.join("\n") })
}

/// The three characters that Slack reads as markup of its own
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::report::sample;

    #[test]
    fn a_failed_drill() {
        let report = sample::fail();
        insta::assert_snapshot!(format!("{:#}", json(&report, Some(Verdict::Pass))));
        insta::assert_snapshot!(slack(&report, Some(Verdict::Pass))["text"].as_str().unwrap());
    }

    #[test]
    fn many_findings_are_counted() {
        let mut report = sample::fail();
        let finding = findings(&report)[0].clone();
        report.checks[0].findings = vec![finding; 25];
        let all = findings(&report).len();
        let told = json(&report, None);
        assert_eq!(told["findings"].as_array().unwrap().len(), 10);
        assert_eq!(told["finding_count"], all);
        let text = slack(&report, None)["text"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("and {} more findings", all - 10)), "{text}");
    }

    #[test]
    fn names_cannot_mention_everybody() {
        let mut report = sample::pass();
        report.reason = "<!channel> & co".to_owned();
        let text = slack(&report, None)["text"].as_str().unwrap().to_owned();
        assert!(text.contains("&lt;!channel&gt; &amp; co"), "{text}");
    }
}
