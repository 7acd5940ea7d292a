//! Past drills as a table and as JSON.

use serde_json::{Value, json};

use super::{
    past::Told,
    prune::JobPlan,
    terminal::{
        Style,
        layout::{Align, Page, Tone},
        time,
    },
};
use crate::drill::{
    Verdict,
    format::{bytes, count, counted, duration},
    history::{Measure, Past},
};

/// Version of the JSON of both documents.
const SCHEMA_VERSION: u32 = 1;

/// One line for each drill, in the order in which they are given.
#[must_use]
pub fn render(told: &[Told], style: Style) -> String {
    let mut page = Page::new(style);
    let rows = told.iter().map(|told| match &told.past {
        Ok(past) => (cells(past), tone(past.verdict)),
        Err(why) => {
            let none = || "-".to_owned();
            let (at, job) = (time(told.id.at()), told.id.job().to_owned());
            let cells = vec![
                at,
                job,
                "unreadable".to_owned(),
                none(),
                none(),
                none(),
                none(),
                why.to_string(),
            ];
            (cells, Tone::Doubt)
        }
    });
    let (left, right) = (Align::Left, Align::Right);
    let head = ["time", "job", "verdict", "RTO", "RPO", "size", "backup", "reason"];
    page.table(&head, &[left, left, left, right, right, right, left, left], rows);
    page.finish()
}

/// How a verdict looks.
#[must_use]
pub(in crate::report) const fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Breach | Verdict::Inconclusive => Tone::Doubt,
        Verdict::Fail => Tone::Bad,
    }
}

fn cells(past: &Past) -> Vec<String> {
    let measure = |measure: Option<Measure>| {
        measure.map_or_else(
            || "-".to_owned(),
            |measure| {
                let over = if measure.exceeded { " OVER" } else { "" };
                format!("{}{over}", duration(measure.seconds))
            },
        )
    };
    let backup = past.backup.as_ref();
    vec![
        time(past.started_at),
        past.job.clone(),
        past.verdict.name().to_owned(),
        measure(past.rto),
        measure(past.rpo),
        backup.map_or_else(|| "-".to_owned(), |backup| bytes(backup.compressed_bytes)),
        backup.map_or_else(|| "-".to_owned(), |backup| backup.id.clone()),
        past.reason.clone(),
    ]
}

/// `{"schema_version", "drills": […], "unreadable": […]}`.
#[must_use]
pub fn json(told: &[Told]) -> Value {
    let drills: Vec<&Past> = told.iter().filter_map(|told| told.past.as_ref().ok()).collect();
    let unreadable = told.iter().filter_map(|told| {
        let why = told.past.as_ref().err()?.to_string();
        let (job, drill_id, at) = (told.id.job(), told.id.drill_id(), told.id.at());
        Some(json!({ "job": job, "drill_id": drill_id, "started_at": at, "why": why }))
    });
    let unreadable: Vec<Value> = unreadable.collect();
    json!({ "schema_version": SCHEMA_VERSION, "drills": drills, "unreadable": unreadable })
}

/// What was removed, or would be.
#[must_use]
pub fn pruned(plans: &[JobPlan], dry_run: bool, style: Style) -> String {
    let mut page = Page::new(style);
    let gone: usize = plans.iter().map(|plan| plan.remove.len()).sum();
    let left: usize = plans.iter().map(|plan| plan.left).sum();
    let done = if dry_run { "would be removed" } else { "removed" };
    page.line(&format!("{} {done}, {} left", counted(gone as u64, "report"), count(left as u64)));
    let rows = plans.iter().filter(|plan| !plan.remove.is_empty() || !plan.spared.is_empty());
    let rows = rows.map(|plan| {
        let oldest = plan.remove.last().map_or_else(|| "-".to_owned(), |id| time(id.at()));
        let newest = plan.remove.first().map_or_else(|| "-".to_owned(), |id| time(id.at()));
        let spared: Vec<String> =
            plan.spared.iter().map(|(id, why)| format!("{} ({why})", time(id.at()))).collect();
        let numbers = [plan.remove.len(), plan.left].map(|number| count(number as u64));
        let [gone, left] = numbers;
        (vec![plan.job.clone(), gone, left, oldest, newest, spared.join(", ")], Tone::Plain)
    });
    let (left, right) = (Align::Left, Align::Right);
    let head = ["job", done, "left", "from", "to", "spared"];
    page.table(&head, &[left, right, right, left, left, left], rows);
    page.finish()
}

/// The same as JSON, with the id of every drill.
#[must_use]
pub fn pruned_json(plans: &[JobPlan], dry_run: bool) -> Value {
    let jobs = plans.iter().map(|plan| {
        let removed: Vec<&str> = plan.remove.iter().map(super::kept::KeptId::drill_id).collect();
        let spared =
            plan.spared.iter().map(|(id, why)| json!({ "drill_id": id.drill_id(), "why": why }));
        let spared: Vec<Value> = spared.collect();
        json!({ "job": plan.job, "removed": removed, "spared": spared, "left": plan.left })
    });
    let jobs: Vec<Value> = jobs.collect();
    json!({ "schema_version": SCHEMA_VERSION, "dry_run": dry_run, "jobs": jobs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::{history::Unreadable, report::sample},
        report::kept::KeptId,
    };

    fn told() -> Vec<Told> {
        let mut told: Vec<Told> = sample::all()
            .into_iter()
            .map(|report| Told {
                id: KeptId::new(&report.job, report.started_at, &report.drill_id),
                past: Past::read(crate::report::json::render(&report).as_bytes()),
            })
            .collect();
        let id = KeptId::new("payments", told[0].id.at(), "01933d2e");
        told.push(Told { id, past: Err(Unreadable::Future(2)) });
        told
    }

    #[test]
    fn a_table() {
        insta::assert_snapshot!(render(&told(), Style { color: false, width: 140 }));
    }

    #[test]
    fn a_narrow_table() {
        insta::assert_snapshot!(render(&told(), Style { color: false, width: 80 }));
    }

    #[test]
    fn as_json() {
        let json = json(&told());
        assert_eq!(json["drills"].as_array().map(Vec::len), Some(4));
        assert_eq!(json["drills"][1]["rto"]["exceeded"], true);
        insta::assert_snapshot!(format!("{:#}", json["unreadable"]));
    }

    #[test]
    fn what_was_removed() {
        let id = |n: i64| {
            KeptId::new(
                "a",
                jiff::Timestamp::from_second(1_790_000_000 + n).unwrap(),
                format!("d{n}"),
            )
        };
        let plans = [
            JobPlan {
                job: "a".into(),
                remove: vec![id(3), id(1)],
                spared: vec![(id(2), "the newest pass of its job")],
                left: 1_001,
            },
            JobPlan { job: "b".into(), remove: vec![], spared: vec![], left: 3 },
        ];
        insta::assert_snapshot!(pruned(&plans, true, Style::PLAIN));
        insta::assert_snapshot!(format!("{:#}", pruned_json(&plans, false)));
    }
}
