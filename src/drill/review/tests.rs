use super::{
    sample::{at, month},
    *,
};

fn of(span: &[Past], before: &[&Past]) -> JobReview {
    let span: Vec<&Past> = span.iter().collect();
    JobReview::of(&span, before, at("2026-12-01T00:00:00Z")).unwrap()
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
    assert_eq!(JobReview::of(&[], &[], at("2026-12-01T00:00:00Z")), None);
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
