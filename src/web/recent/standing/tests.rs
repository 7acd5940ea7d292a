use super::*;
use crate::drill::{history::Unreadable, report::sample};

fn report(verdict: Verdict, hour: i64) -> DrillReport {
    let mut report = sample::pass();
    report.verdict = verdict;
    let hour = jiff::SignedDuration::from_hours(hour);
    report.started_at += hour;
    report.finished_at += hour;
    report.drill_id = format!("drill-{}", report.started_at);
    report
}

fn standing() -> Standing {
    Standing::new("orders", None)
}

fn ended(standing: Standing, verdict: Verdict, hour: i64) -> Standing {
    standing.with(News::of(&report(verdict, hour)))
}

fn told(report: &DrillReport) -> Told {
    let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
    Told { id, past: Past::read(json::render(report).as_bytes()) }
}

fn torn(hour: i64) -> Told {
    let Told { id, .. } = told(&report(Verdict::Pass, hour));
    Told { id, past: Err(Unreadable::NoReport("torn".to_owned())) }
}

#[test]
fn the_newest_drills_count_in_whatever_order_they_come() {
    let mut standing = standing();
    for (verdict, hour) in [
        (Verdict::Pass, 1),
        (Verdict::Fail, 3),
        (Verdict::Pass, 2),
        (Verdict::Fail, 3),
        (Verdict::Breach, 0),
    ] {
        standing = ended(standing, verdict, hour);
    }
    let verdicts: Vec<_> = standing.beats.iter().map(|beat| beat.verdict.unwrap()).collect();
    assert_eq!(verdicts, [Verdict::Breach, Verdict::Pass, Verdict::Pass, Verdict::Fail]);
    assert_eq!(standing.last.as_ref().unwrap().verdict, Verdict::Fail);
    assert_eq!(standing.to_export(), None);
    let verdict = standing.exported().iter().find(|f| f.name == "pgassay_drill_verdict");
    let failed = verdict.unwrap().samples.iter().find(|s| s.value > 0.5).unwrap();
    assert_eq!(failed.label.as_ref().unwrap().1, "fail");
    assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 2).started_at);
}

#[test]
fn behind_a_report_that_cannot_be_read_nothing_is_known() {
    let standing = ended(standing(), Verdict::Pass, 0)
        .with(News::Forecast(report(Verdict::Pass, 0).drill_id, Some(60.0)));
    assert!(!standing.is_unreadable() && !standing.exported().is_empty());
    assert_eq!(standing.forecast(), Some(60.0));
    let standing = standing.with(News::Told(vec![torn(1)]));
    assert!(standing.is_unreadable() && standing.exported().is_empty());
    assert_eq!(standing.forecast(), None);
    // The pass before it was one all the same.
    assert!(standing.last_pass.is_some());
    assert!(!ended(standing, Verdict::Fail, 2).is_unreadable());
}

#[test]
fn what_is_exported_is_of_the_newest_drill_alone() {
    let standing = ended(standing(), Verdict::Pass, 0);
    let standing = standing.with(News::Told(vec![told(&report(Verdict::Fail, 1))]));
    // Until its report has been read.
    assert!(standing.exported().is_empty());
    let failed = report(Verdict::Fail, 1);
    let standing = standing.with(News::Exported(failed.drill_id.clone(), exported(&failed)));
    assert!(!standing.exported().is_empty());
}

#[test]
fn memory_is_bounded_and_what_was_pruned_is_noticed() {
    let reports: Vec<Told> = (0..100).map(|n| told(&report(Verdict::Fail, n))).collect();
    let ids: Vec<KeptId> = reports[70..].iter().map(|told| told.id.clone()).collect();
    let standing = ended(standing().with(News::Told(reports)), Verdict::Pass, 100);
    assert_eq!(standing.beats.len(), MOST_BEATS);
    // The newest one has just ended, and no listing has it yet.
    assert!(!standing.is_stale(&ids));
    assert!(standing.is_stale(&ids[..29]));
}

#[test]
fn a_pass_that_was_found_by_searching_does_not_hide_a_newer_one() {
    let old = Past::read(json::render(&report(Verdict::Pass, -9)).as_bytes()).unwrap();
    let standing = ended(standing(), Verdict::Pass, 5);
    let standing = standing.with(News::Searched(Some(Box::new(old))));
    assert!(standing.searched);
    assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 5).started_at);
}

#[test]
fn drills_of_another_archive_and_shallow_ones_prove_nothing() {
    let like = report(Verdict::Pass, 0);
    let counts = Counts {
        endpoint: None,
        url: like.archive_url.clone(),
        server: like.server.clone(),
        depth: Depth::Restore,
        store: None,
    };
    let mut standing = Standing::new("orders", Some(counts));
    let mut elsewhere = report(Verdict::Pass, 0);
    elsewhere.archive_url = "s3://another/place".to_owned();
    standing = standing.with(News::of(&elsewhere));
    assert!(standing.last.is_none() && standing.last_pass.is_none());
    let mut shallow = report(Verdict::Pass, 1);
    shallow.depth = Depth::Catalog;
    standing = standing.with(News::of(&shallow));
    assert!(standing.last.is_some() && standing.last_pass.is_none());
    assert!(ended(standing, Verdict::Pass, 2).last_pass.is_some());
}
