//! The review of a span of time, for people and as JSON.

pub mod gather;

use super::{
    history::tone,
    terminal::{
        Style,
        layout::{Align, Page, Tone},
        time,
    },
};
use crate::drill::{
    format::{bytes, counted, duration},
    review::{JobReview, Review, against},
    trend::{Series, Trend},
};

/// Pretty JSON and a newline; `schema_version` comes first.
#[must_use]
pub fn json(review: &Review) -> String {
    super::json::document(review, review.schema_version)
}

/// As text, with a newline at its end.
#[must_use]
pub fn render(review: &Review, style: Style) -> String {
    let mut page = Page::new(style);
    let attention = review.attention_count();
    let all = (review.jobs.len() + review.never_drilled.len()) as u64;
    let (word, tone) = match attention {
        0 => ("GOOD", Tone::Good),
        _ => ("ATTENTION", Tone::Bad),
    };
    let days = [review.since, review.until].map(|at| at.strftime("%Y-%m-%d").to_string());
    let text = format!(
        "{} to {}: {}, {}",
        days[0],
        days[1],
        counted(all, "archive"),
        match attention {
            0 => "none needs attention".to_owned(),
            1 => "1 needs attention".to_owned(),
            more => format!("{more} need attention"),
        }
    );
    page.headline(word, tone, &text);
    if let Some(basis) = basis(review) {
        page.gap();
        page.line(&basis);
    }
    if !review.jobs.is_empty() {
        page.gap();
        overview(&mut page, &review.jobs);
    }
    for job in &review.jobs {
        of_job(&mut page, job);
    }
    if !review.never_drilled.is_empty() {
        page.title("Never drilled");
        for job in &review.never_drilled {
            page.item(&job.job, Tone::Bad, &[&format!("`{}` in {}", job.server, job.archive_url)]);
        }
    }
    if !review.unreadable.is_empty() {
        page.title("Reports that could not be read");
        for report in &review.unreadable {
            let head = format!("{} of {}, drill {}", report.job, time(report.at), report.drill_id);
            page.item(&head, Tone::Doubt, &[&report.why]);
        }
    }
    page.finish()
}

/// What rests on which drills, where they are not the same.
pub(super) fn basis(review: &Review) -> Option<String> {
    (review.trends_since < review.since).then(|| {
        format!(
            "Verdicts, objectives and damage that was found are of this time; restore times, growth and the \
             worst case rest on the drills since {}.",
            review.trends_since.strftime("%Y-%m-%d")
        )
    })
}

fn overview(page: &mut Page, jobs: &[JobReview]) {
    let rows = jobs.iter().map(|job| {
        let verdicts = job.trend.verdicts;
        let last_pass = job.last_pass_at.map(|at| at.strftime("%Y-%m-%d").to_string());
        let cells = vec![
            job.last.verdict.name().to_owned(),
            job.job.clone(),
            last_pass.unwrap_or_else(|| "never".to_owned()),
            format!("{} of {}", verdicts.pass, verdicts.all()),
            job.trend.rto.as_ref().map_or_else(|| "-".to_owned(), |rto| duration(rto.last)),
            against(job.trend.rto_objective),
            against(job.trend.rpo_objective),
        ];
        (cells, tone(job.last.verdict))
    });
    let (left, right) = (Align::Left, Align::Right);
    let head = ["last", "job", "last pass", "passed", "RTO", "RTO objective", "RPO objective"];
    page.table(&head, &[left, left, left, right, right, left, left], rows);
}

fn of_job(page: &mut Page, job: &JobReview) {
    page.title(&job.job);
    for sentence in &job.attention {
        page.item(sentence, Tone::Doubt, &[]);
    }
    for line in lines(&job.trend) {
        page.line(&line);
    }
}

/// What the trend of a job says, a sentence each.
pub(super) fn lines(trend: &Trend) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(rto) = &trend.rto {
        said.push(format!("restore time: {}", series(rto, duration)));
        let stages: Vec<String> = trend
            .stages
            .iter()
            .map(|stage| format!("{} {}", stage.stage.name(), duration(stage.series.median)))
            .collect();
        said.push(format!("stages, median: {}", stages.join(", ")));
    }
    if let Some(size) = &trend.size {
        said.push(format!("base backup: {}", series(&size.series, |value| bytes(amount(value)))));
    }
    if let Some(wal) = &trend.wal {
        said.push(format!("WAL: {} an hour", bytes(amount(wal.bytes_per_hour))));
    }
    said.push(format!("worst case: {}", forecast(trend)));
    for detection in &trend.detections {
        said.push(format!(
            "damage found {}, at most {} after it was there (drill {})",
            time(detection.found_at),
            duration(detection.seconds),
            detection.drill_id
        ));
    }
    said
}

fn series(series: &Series, say: fn(f64) -> String) -> String {
    let change = series.line.map_or_else(String::new, |line| {
        let sign = if line.slope_per_day < 0.0 { "-" } else { "+" };
        format!(", {sign}{} a day", say(line.slope_per_day.abs()))
    });
    format!("last {}, median {}{change}", say(series.last), say(series.median))
}

/// The restore time just before the next base backup, and when it goes over the objective.
#[must_use]
pub fn forecast(trend: &Trend) -> String {
    match &trend.forecast {
        Err(why) => format!("cannot be told: {}", why.words()),
        Ok(forecast) => {
            let crosses = match (forecast.objective_seconds, forecast.crosses_at) {
                (None, _) => String::new(),
                (Some(objective), None) => {
                    format!("; it stays below the objective of {}", duration(objective))
                }
                (Some(objective), Some(at)) => format!(
                    "; over the objective of {} from {}",
                    duration(objective),
                    at.strftime("%Y-%m-%d")
                ),
            };
            format!(
                "{} just before the next base backup, with {} between backups and {} of WAL an hour\
                 {crosses}",
                duration(forecast.worst_case_seconds),
                duration(forecast.backup_interval_seconds),
                bytes(amount(forecast.wal_bytes_per_hour)),
            )
        }
    }
}

/// Whole bytes of a value.
pub(super) fn amount(value: f64) -> u64 {
    #[expect(clippy::cast_sign_loss, reason = "`as` saturates, and a loss shows as zero")]
    let amount = value.max(0.0) as u64;
    amount
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::review::sample;

    #[test]
    fn a_month() {
        insta::assert_snapshot!(render(&sample::review(), Style::PLAIN));
    }

    #[test]
    fn a_span_that_is_long_enough_needs_no_word_on_its_basis() {
        let mut review = sample::review();
        assert!(basis(&review).unwrap().ends_with("since 2026-09-02."));
        review.trends_since = review.since;
        assert_eq!(basis(&review), None);
    }

    #[test]
    fn a_month_as_json() {
        let json: serde_json::Value = serde_json::from_str(&json(&sample::review())).unwrap();
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["trends_since"], "2026-09-02T00:00:00Z");
        assert_eq!(json["jobs"][0]["trend"]["verdicts"]["pass"], 30);
        assert!(json["jobs"][0]["trend"]["forecast"]["crosses_at"].is_string(), "{json:#}");
        assert_eq!(json["jobs"][2]["trend"]["forecast"]["unknown"], "no_restore_time");
    }
}
