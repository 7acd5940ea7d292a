use super::*;

fn expected(verdict: Verdict) -> Expected {
    Expected {
        classes: vec![FailureClass::WalGap, FailureClass::WalMissingForConsistency],
        verdict,
        tier: Tier::Read,
        subjects: vec!["00000001000000000000000A".into()],
    }
}

fn seen(tier: Tier, verdict: Verdict, class: FailureClass, subject: &str) -> Seen {
    let findings = vec![Finding::new(class, subject, "d", "h")];
    Seen { tier, verdict, findings, errors: Vec::new(), seconds: 0.0 }
}

fn silent(tier: Tier) -> Seen {
    let verdict = Verdict::Pass;
    Seen { tier, verdict, findings: Vec::new(), errors: Vec::new(), seconds: 0.0 }
}

const KEY: &str = "wals/0000000100000000/00000001000000000000000A.gz";

#[test]
fn caught_is_the_class_the_object_and_the_verdict_at_the_tier_that_can_tell() {
    let fail = expected(Verdict::Fail);
    let good = seen(Tier::Read, Verdict::Fail, FailureClass::WalGap, KEY);
    assert_eq!(judge(&fail, &[silent(Tier::Catalog), good.clone()]), Outcome::Caught);
    let deeper = seen(Tier::Restore, Verdict::Fail, FailureClass::RecoveredShort, "x");
    assert_eq!(judge(&fail, &[good.clone(), deeper]), Outcome::Caught);
    let wrong = [
        seen(Tier::Read, Verdict::Fail, FailureClass::WalCorrupt, KEY),
        seen(Tier::Read, Verdict::Fail, FailureClass::WalGap, "another object"),
        seen(Tier::Read, Verdict::Inconclusive, FailureClass::WalGap, KEY),
        seen(Tier::Read, Verdict::Pass, FailureClass::WalGap, KEY),
        silent(Tier::Read),
    ];
    for seen in wrong {
        assert!(
            matches!(judge(&fail, std::slice::from_ref(&seen)), Outcome::Missed(_)),
            "{seen:?}"
        );
        // Later is too late.
        let later = Seen { tier: Tier::Restore, ..good.clone() };
        assert!(matches!(judge(&fail, &[seen, later]), Outcome::Missed(_)));
    }
    assert!(matches!(judge(&fail, &[good, silent(Tier::Restore)]), Outcome::Missed(_)));
    assert!(matches!(judge(&fail, &[silent(Tier::Catalog)]), Outcome::Skipped(_)));
}

#[test]
fn trouble_with_the_store_is_never_a_failure() {
    let expected = expected(Verdict::Inconclusive);
    let good = seen(Tier::Read, Verdict::Inconclusive, FailureClass::WalGap, KEY);
    assert_eq!(judge(&expected, std::slice::from_ref(&good)), Outcome::Caught);
    let early = seen(Tier::Catalog, Verdict::Fail, FailureClass::WalGap, KEY);
    assert!(matches!(judge(&expected, &[early, good]), Outcome::Missed(_)));
    let fail = seen(Tier::Read, Verdict::Fail, FailureClass::WalGap, KEY);
    assert!(matches!(judge(&expected, &[fail]), Outcome::Missed(_)));
}

#[test]
fn errors_count_as_findings_do() {
    let error = ErrorReport {
        code: "S003".into(),
        message: format!("cannot read the object `{KEY}`"),
        hint: None,
        class: Some(FailureClass::WalGap),
    };
    let verdict = Verdict::Inconclusive;
    let seen = Seen { errors: vec![error], verdict, ..silent(Tier::Read) };
    assert_eq!(judge(&expected(verdict), &[seen]), Outcome::Caught);
}

#[test]
fn a_control_passes_or_is_a_false_alarm() {
    assert_eq!(judge_control(&[silent(Tier::Catalog), silent(Tier::Read)]), Outcome::Caught);
    let breach = Seen { verdict: Verdict::Breach, ..silent(Tier::Read) };
    assert_eq!(judge_control(&[breach]), Outcome::Caught);
    let alarm = seen(Tier::Read, Verdict::Inconclusive, FailureClass::WalGap, KEY);
    let Outcome::Missed(why) = judge_control(&[silent(Tier::Catalog), alarm]) else { panic!() };
    assert!(why.contains("false alarm") && why.contains(KEY), "{why}");
}

#[test]
fn good_is_all_caught_something_tried_and_no_false_alarm() {
    let damage = |outcome| DamageReport {
        name: "d".into(),
        what: String::new(),
        expected: None,
        outcome,
        seen: Vec::new(),
    };
    let control = |outcome| ControlReport {
        name: "c".into(),
        what: String::new(),
        outcome,
        seen: Vec::new(),
    };
    let report = |damages, controls| SelftestReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: String::new(),
        job: String::new(),
        server: String::new(),
        seed: 1,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        archive: String::new(),
        tiers: Tier::ALL.to_vec(),
        controls,
        damages,
    };
    let (caught, missed) = (Outcome::Caught, Outcome::Missed(String::new()));
    let (skipped, none) = (Outcome::Skipped(String::new()), Outcome::NotApplicable(String::new()));
    let all = report(
        vec![damage(caught.clone()), damage(none.clone()), damage(skipped)],
        vec![control(caught.clone())],
    );
    assert!(all.is_good());
    assert_eq!((all.caught(), all.tried()), (1, 1));
    assert!(!report(vec![damage(none)], vec![]).is_good());
    assert!(!report(vec![damage(caught.clone()), damage(missed.clone())], vec![]).is_good());
    assert!(!report(vec![damage(caught)], vec![control(missed)]).is_good());
}
