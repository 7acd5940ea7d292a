//! The page of a review.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    chart::{Chart, sparkline},
    page::{badge, page, table, text},
};
use crate::{
    drill::{
        format::{bytes, counted, duration},
        review::{JobReview, Review, against},
        trend::{Series, Trend},
    },
    report::{
        review::{amount, basis, forecast},
        terminal::time,
    },
};

/// A whole page.
#[must_use]
pub fn review(review: &Review) -> String {
    let attention = review.attention_count();
    let all = review.jobs.len() + review.never_drilled.len();
    let lead = html! {
        p {
            (day(review.since)) " to " (day(review.until)) ": " (counted(all as u64, "archive")) ", "
            @if attention == 0 { span class="good" { "none needs attention" } }
            @else { strong class="bad" { (attention) @if attention == 1 { " needs" } @else { " need" } " attention" } }
        }
        @if let Some(basis) = basis(review) { p class="soft" { (basis) } }
    };
    let content = html! {
        section aria-labelledby="overview" {
            h2 id="overview" { "At a glance" }
            (overview(&review.jobs))
        }
        @if !review.never_drilled.is_empty() {
            section aria-labelledby="never" {
                h2 id="never" { "Never drilled" }
                ul {
                    @for job in &review.never_drilled {
                        li {
                            strong class="bad" { (text(&job.job)) } ": archive " code { (text(&job.server)) } " in "
                            code { (text(&job.archive_url)) }
                        }
                    }
                }
            }
        }
        @for (index, job) in review.jobs.iter().enumerate() { (one(index, job)) }
        @if !review.unreadable.is_empty() {
            section aria-labelledby="unreadable" {
                h2 id="unreadable" { "Reports that could not be read" }
                ul {
                    @for report in &review.unreadable {
                        li { (text(&report.job)) ", " (time(report.at)) ", " code { (text(&report.drill_id)) } ": " (text(&report.why)) }
                    }
                }
            }
        }
    };
    page("Recovery readiness", &lead, &content).into_string()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn overview(jobs: &[JobReview]) -> Markup {
    let rows = html! {
        @for (index, job) in jobs.iter().enumerate() {
            @let verdicts = job.trend.verdicts;
            tr {
                th scope="row" { a href={ "#job-" (index) } { (text(&job.job)) } }
                td { (badge(job.last.verdict)) }
                td class="whole" { (job.last_pass_at.map_or_else(|| "never".to_owned(), day)) }
                td class="number" { (verdicts.pass) " of " (verdicts.all()) }
                td class="number" { (rto(&job.trend)) }
                td {
                    @if let Some(rto) = &job.trend.rto {
                        (sparkline(&rto.points, &format!("RTO over time, last {}", duration(rto.last))))
                    }
                }
                td { (against(job.trend.rto_objective)) }
                td { (against(job.trend.rpo_objective)) }
            }
        }
    };
    let head = [
        ("job", false),
        ("last drill", false),
        ("last pass", false),
        ("passed", true),
        ("RTO", true),
        ("over time", false),
        ("RTO objective", false),
        ("RPO objective", false),
    ];
    table("Every job that has reports", &head, &rows)
}

fn rto(trend: &Trend) -> String {
    trend.rto.as_ref().map_or_else(|| "–".to_owned(), |rto| duration(rto.last))
}

fn one(index: usize, job: &JobReview) -> Markup {
    let id = format!("job-{index}");
    let trend = &job.trend;
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (text(&job.job)) }
            p {
                (badge(job.last.verdict)) " " (time(job.last.at)) ": " (text(&job.last.reason))
            }
            p class="soft" { "archive " code { (text(&job.server)) } " in " code { (text(&job.archive_url)) } }
            @if !job.attention.is_empty() {
                div class="card" {
                    h3 { "Needs attention" }
                    ul { @for sentence in &job.attention { li { (text(sentence)) } } }
                }
            }
            p { strong { "Worst case: " } (forecast(trend)) }
            (detections(trend))
            div class="charts" { (charts(&id, trend)) }
        }
    }
}

/// Damages that were found.
#[must_use]
pub fn detections(trend: &Trend) -> Markup {
    html! {
        @for detection in &trend.detections {
            p {
                strong { "Damage: " } "found " (time(detection.found_at)) ", at most "
                (duration(detection.seconds)) " after it was there"
            }
        }
    }
}

/// What a trend looks like; `id` tells its pictures from others of the page.
#[must_use]
pub fn charts(id: &str, trend: &Trend) -> Markup {
    let figure = |name: &str, title: &str, series: &Series, say: fn(f64) -> String, limit| {
        let id = format!("{id}-{name}");
        Chart { title, series, say, limit, id: &id }.figure()
    };
    let say_bytes: fn(f64) -> String = |value| bytes(amount(value));
    let say_rate: fn(f64) -> String = |value| format!("{}/h", bytes(amount(value)));
    html! {
        @if let Some(rto) = &trend.rto {
            (figure("rto", "Restore time", rto, duration, trend.rto_objective.objective_seconds))
        }
        @for stage in trend.stages.iter().filter(|stage| stage.series.median >= 1.0) {
            (figure(stage.stage.name(), &format!("Stage {}", stage.stage.name()), &stage.series, duration, None))
        }
        @if let Some(size) = &trend.size {
            (figure("size", "Base backup as stored", &size.series, say_bytes, None))
        }
        @if let Some(wal) = &trend.wal {
            (figure("wal", "WAL written", &wal.series, say_rate, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::drill::review::sample;

    #[test]
    fn a_month() {
        let page = super::review(&sample::review());
        super::super::tests::stands_by_itself(&page);
        let (_, body) = page.split_once("</head>").unwrap();
        insta::assert_snapshot!(body.replace("><", ">\n<"));
    }
}
