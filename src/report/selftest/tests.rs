use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::drill::{
    FailureClass, Finding, Verdict,
    selftest::{ControlReport, DamageReport, Expected, SCHEMA_VERSION, Tier},
};

fn seen(tier: Tier, verdict: Verdict, class: Option<FailureClass>) -> Seen {
    let findings = class.map(|class| Finding::new(class, "wals/0A.gz", "it is bad", "Look."));
    Seen {
        tier,
        verdict,
        findings: findings.into_iter().collect(),
        errors: Vec::new(),
        seconds: 0.25,
    }
}

fn damage(name: &str, outcome: Outcome, seen: Vec<Seen>) -> DamageReport {
    let expected = (!seen.is_empty()).then(|| Expected {
        classes: vec![FailureClass::WalCorrupt],
        verdict: Verdict::Fail,
        tier: Tier::Read,
        subjects: vec!["0A".into()],
    });
    DamageReport { name: name.into(), what: format!("what {name} is"), expected, outcome, seen }
}

fn sample() -> SelftestReport {
    let pass = |tier| seen(tier, Verdict::Pass, None);
    SelftestReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: "0.1.0".into(),
        job: "orders".into(),
        server: "orders".into(),
        seed: u64::MAX,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100),
        archive:
            "backup 20261122T190000 of PostgreSQL 15, 20 WAL segments of 1.0 MiB on timeline 1"
                .into(),
        tiers: Tier::ALL.to_vec(),
        controls: vec![ControlReport {
            name: "sound".into(),
            what: "the archive as it is".into(),
            outcome: Outcome::Caught,
            seen: Tier::ALL.map(pass).to_vec(),
        }],
        damages: vec![
            damage(
                "wal_noise",
                Outcome::Caught,
                vec![
                    pass(Tier::Catalog),
                    seen(Tier::Read, Verdict::Fail, Some(FailureClass::WalCorrupt)),
                ],
            ),
            damage(
                "wal_twice",
                Outcome::Missed(
                    "the read tier should say wal_corrupt of 0A, it says nothing and pass".into(),
                ),
                vec![pass(Tier::Catalog), pass(Tier::Read)],
            ),
            damage(
                "history_missing",
                Outcome::NotApplicable("the archive has one timeline only".into()),
                vec![],
            ),
            damage(
                "page_zeros",
                Outcome::Skipped("the tars are too large to be rewritten".into()),
                vec![],
            ),
        ],
    }
}

#[test]
fn a_self_test() {
    insta::assert_snapshot!(render(&sample(), Style::PLAIN));
}

#[test]
fn a_good_one_says_so_and_ends_with_the_count() {
    let mut report = sample();
    report.damages.remove(1);
    let text = render(&report, Style::PLAIN);
    assert!(text.starts_with("GOOD") && text.ends_with("\n1 of 1 damages caught\n"), "{text}");
}

#[test]
fn as_json() {
    let value = json(&sample());
    assert_eq!(value["caught"], 1);
    assert_eq!(value["tried"], 2);
    assert_eq!(value["false_alarms"], 0);
    assert_eq!(value["seed"], "18446744073709551615");
    assert_eq!(value["damages"][1]["outcome"], "missed");
    assert!(value["damages"][1]["why"].as_str().is_some_and(|why| why.contains("wal_corrupt")));
    assert_eq!(value["damages"][0]["seen"][1]["findings"][0]["class"], "wal_corrupt");
}
