use super::{
    sample::{at, month},
    *,
};

fn of(drills: &[Past], before: &[&Past]) -> JobReview {
    since("2026-11-01T00:00:00Z", drills, before)
}

/// Reviewed from then on.
fn since(since: &str, drills: &[Past], before: &[&Past]) -> JobReview {
    let drills: Vec<&Past> = drills.iter().collect();
    JobReview::of(&drills, before, at(since), at("2026-12-01T00:00:00Z")).unwrap()
}

#[test]
fn what_needs_attention() {
    let review = sample::review();
    assert_eq!(review.attention_count(), 4);
    let said: Vec<String> =
        review.jobs.iter().map(|job| format!("{}: {:#?}", job.job, job.attention)).collect();
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(sample::verdicts().pass, 30);
}

#[test]
fn a_quiet_month_needs_none() {
    let mut quiet = month("quiet");
    for past in &mut quiet {
        past.rpo.as_mut().unwrap().exceeded = false;
        past.rto.as_mut().unwrap().objective_seconds = Some(36_000.0);
    }
    assert_eq!(of(&quiet, &[]).attention, Vec::<String>::new());
    assert_eq!(JobReview::of(&[], &[], Timestamp::MIN, at("2026-12-01T00:00:00Z")), None);
}

#[test]
fn what_was_before_the_span_counts_as_last() {
    let all = month("j");
    let mut failed = all[20..].to_vec();
    for past in &mut failed {
        past.verdict = Verdict::Fail;
    }
    let review = of(&failed, &[&all[19]]);
    assert_eq!(review.last_pass_at, Some(all[19].started_at));
    assert_eq!(review.last.at, all[29].started_at);
    assert_eq!((review.trend.verdicts.fail, review.trend.verdicts.pass), (10, 0));
    assert!(
        review.attention.iter().any(|said| said.contains("the last pass is 10 d 20 h ago")),
        "{:?}",
        review.attention
    );
    let never = of(&failed, &[]);
    assert!(never.attention.contains(&"no drill has ever passed".to_owned()));
    let idle = of(&[], &[&all[0]]);
    assert_eq!(idle.attention, ["there was no drill in this time"]);
}

#[test]
fn a_short_span_counts_its_own_drills_and_knows_the_trend_of_more() {
    let all = month("j");
    let whole = of(&all, &[]).trend;
    // One drill is in it, and none that missed an objective.
    let day = since("2026-11-30T00:00:00Z", &all, &[]);
    assert_eq!((day.trend.verdicts.pass, day.trend.verdicts.all()), (1, 1));
    assert_eq!((day.trend.rpo_objective.held, day.trend.rpo_objective.missed), (1, 0));
    assert_eq!((whole.rpo_objective.held, whole.rpo_objective.missed), (29, 1));
    assert_eq!(day.trend.forecast, whole.forecast);
    assert_eq!((&day.trend.rto, &day.trend.stages), (&whole.rto, &whole.stages));
    assert_eq!((&day.trend.size, &day.trend.wal), (&whole.size, &whole.wal));
    assert!(
        !day.attention.iter().any(|said| said.contains("objective was")),
        "{:?}",
        day.attention
    );
}

#[test]
fn no_drill_in_the_span_is_said_although_there_is_a_trend() {
    let all = month("j");
    let idle = since("2026-11-30T12:00:00Z", &all, &[]);
    assert_eq!(idle.trend.verdicts.all(), 0);
    assert_eq!(idle.attention[0], "there was no drill in this time");
    assert_eq!(idle.last.at, all[29].started_at);
    assert!(idle.trend.forecast.is_ok() && idle.trend.rto.is_some());
    // An objective is stated, but nothing was held against it.
    assert_eq!(against(idle.trend.rto_objective), "not measured");
    assert_eq!(idle.trend.rto_objective.objective_seconds, Some(600.0));
    assert_eq!(against(Held::default()), "not stated");
}

#[test]
fn damage_that_was_found_before_the_span_is_not_found_in_it() {
    let mut all = month("j");
    for past in &mut all[20..] {
        past.verdict = Verdict::Fail;
        past.damaged_object_at = Some(at("2026-11-20T13:00:00Z"));
    }
    all[29].damaged_object_at = Some(at("2026-11-29T13:00:00Z"));
    let found = |from: &str| {
        let review = since(from, &all, &[]);
        review.trend.detections.iter().map(|d| d.drill_id.clone()).collect::<Vec<_>>()
    };
    let first = all[20].drill_id.clone();
    let second = all[29].drill_id.clone();
    assert_eq!(found("2026-11-01T00:00:00Z"), [first, second.clone()]);
    assert_eq!(found("2026-11-22T00:00:00Z"), [second]);
    let passes = since("2026-11-22T00:00:00Z", &all, &[]);
    assert!(passes.attention.iter().any(|said| said.starts_with("no drill of this time passed")));
}
