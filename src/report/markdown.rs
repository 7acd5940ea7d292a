//! Summaries as Markdown, for a chat, a merge request or the summary of a CI job. Everything from outside
//! is escaped (CommonMark 0.31, 2.4).

use std::fmt::Write as _;

use super::{
    review::{basis, lines},
    said::{self, Fact},
    terminal::time,
};
use crate::drill::{
    DrillReport,
    format::{bytes, duration, printable},
    review::{Review, against},
};

/// One drill.
#[must_use]
pub fn drill(report: &DrillReport) -> String {
    let verdict = report.verdict.name().to_uppercase();
    let mut text = format!("## {verdict}: {}\n\n{}\n", plain(&report.job), plain(&report.reason));
    facts(&mut text, &said::result(report));
    let findings: Vec<_> = report.checks.iter().flat_map(|check| &check.findings).collect();
    if !findings.is_empty() {
        text.push_str("\n### Findings\n\n");
        for finding in findings {
            let (subject, detail) = (plain(&finding.subject), plain(&finding.detail));
            let _ = writeln!(text, "- **{}** {subject}: {detail}", plain(finding.class.name()));
            let _ = writeln!(text, "  {}", plain(&finding.hint));
        }
    }
    if !report.errors.is_empty() {
        text.push_str("\n### Errors\n\n");
        for error in &report.errors {
            let _ = writeln!(text, "- **{}** {}", plain(&error.code), plain(&error.message));
        }
    }
    text.push_str("\n### Stages\n\n| stage | time | fetched |\n|---|---:|---:|\n");
    for record in &report.stages.0 {
        let (seconds, name) = (record.duration.as_secs_f64(), plain(record.stage.name()));
        let fetched = bytes(record.fetched_bytes);
        let _ = writeln!(text, "| {name} | {} | {fetched} |", duration(seconds));
    }
    text.push_str("\n### Checks\n\n| check | status | detail |\n|---|---|---|\n");
    for check in &report.checks {
        let (name, detail) = (plain(&check.name), plain(&check.detail));
        let _ = writeln!(text, "| {name} | {} | {detail} |", check.status.name());
    }
    facts(&mut text, &said::circumstances(report));
    text
}

/// A span of time.
#[must_use]
pub fn review(review: &Review) -> String {
    let days = [review.since, review.until].map(|at| at.strftime("%Y-%m-%d").to_string());
    let mut text = format!("## Recovery readiness, {} to {}\n\n", days[0], days[1]);
    if let Some(basis) = basis(review) {
        let _ = writeln!(text, "{basis}\n");
    }
    text.push_str(
        "| job | last drill | last pass | passed | RTO | RTO objective | RPO objective |\n",
    );
    text.push_str("|---|---|---|---:|---:|---|---|\n");
    for job in &review.jobs {
        let verdicts = job.trend.verdicts;
        let last_pass = job.last_pass_at.map(|at| at.strftime("%Y-%m-%d").to_string());
        let rto = job.trend.rto.as_ref().map_or_else(|| "–".to_owned(), |rto| duration(rto.last));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} of {} | {rto} | {} | {} |",
            plain(&job.job),
            job.last.verdict,
            last_pass.unwrap_or_else(|| "never".to_owned()),
            verdicts.pass,
            verdicts.all(),
            against(job.trend.rto_objective),
            against(job.trend.rpo_objective),
        );
    }
    for job in &review.jobs {
        let _ = writeln!(text, "\n### {}\n", plain(&job.job));
        for sentence in &job.attention {
            let _ = writeln!(text, "- **{}**", plain(sentence));
        }
        for line in lines(&job.trend) {
            let _ = writeln!(text, "- {}", plain(&line));
        }
    }
    if !review.never_drilled.is_empty() {
        text.push_str("\n### Never drilled\n\n");
        for job in &review.never_drilled {
            let _ = writeln!(text, "- **{}**", plain(&job.job));
        }
    }
    if !review.unreadable.is_empty() {
        text.push_str("\n### Reports that could not be read\n\n");
        for report in &review.unreadable {
            let (job, why) = (plain(&report.job), plain(&report.why));
            let _ = writeln!(text, "- {job}, {}: {why}", time(report.at));
        }
    }
    text
}

fn facts(text: &mut String, facts: &[Fact]) {
    text.push('\n');
    for fact in facts {
        let lines: Vec<String> = fact.lines.iter().map(|(line, _)| plain(line)).collect();
        let _ = writeln!(text, "- **{}**: {}", fact.name, lines.join("; "));
    }
}

/// A text that is nothing but itself.
fn plain(from_outside: &str) -> String {
    let mut escaped = String::with_capacity(from_outside.len());
    for sign in printable(from_outside).chars() {
        match sign {
            // An entity, since a backslash does not keep a sign from becoming HTML everywhere.
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // Chats make people out of it.
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => {
                escaped.extend(['\\', sign]);
            }
            _ => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{report::sample, review};

    #[test]
    fn a_failed_drill() {
        insta::assert_snapshot!(drill(&sample::fail()));
    }

    #[test]
    fn a_month() {
        insta::assert_snapshot!(super::review(&review::sample::review()));
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let evil = "a\n# b | <img src=x> [x](http://e) `c` *d* @all \u{1b}[2J";
        let text = plain(evil);
        assert_eq!(
            text,
            r"a \# b \| &lt;img src=x&gt; \[x\](http://e) \`c\` \*d\* &#64;all \\u{1b}\[2J"
        );
    }
}
