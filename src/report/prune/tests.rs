use std::sync::Arc;

use super::*;
use crate::{
    drill::{job::StoreLocation, report::sample},
    report::{
        json,
        kept::{self, ReportStore},
    },
};

const DAY: Duration = Duration::from_hours(24);

fn day(n: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + n * 86_400).unwrap()
}

/// A job whose drill of day n ended as the n-th letter says: `c` is a pass that counted rows, `?` a report
/// of another version.
async fn kept(folder: &std::path::Path, jobs: &[(&str, &str)]) -> PastReader {
    let location = StoreLocation::folder(folder.to_str().unwrap());
    let store: Arc<dyn ReportStore> = kept::open(&location).await.unwrap().into();
    for (job, drills) in jobs {
        for (n, letter) in drills.chars().enumerate() {
            let mut report = match letter {
                'b' => sample::breach(),
                'f' => sample::fail(),
                'i' => sample::inconclusive(),
                _ => sample::pass(),
            };
            if letter == 'c' {
                report.row_counts = Some(crate::drill::row_floor::RowCounts::default());
            }
            if letter == '?' {
                report.schema_version = 99;
            }
            let id = KeptId::new(*job, day(i64::try_from(n).unwrap()), format!("d{n}"));
            store.put(&id, json::render(&report).into()).await.unwrap();
        }
    }
    PastReader::new(store, &location, None)
}

fn days(ids: &[KeptId]) -> Vec<&str> {
    ids.iter().map(KeptId::drill_id).collect()
}

/// What a policy removes of one job on day 10, and what it spares.
async fn removed(
    drills: &str,
    older_than: Option<u32>,
    keep: Option<usize>,
) -> (Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let reader = kept(dir.path(), &[("a", drills)]).await;
    let policy = Policy { older_than: older_than.map(|days| DAY * days), keep };
    let plans = plan(&reader, &[], policy, day(10)).await.unwrap();
    carry_out(&reader, &plans).await.unwrap();
    let left = reader.store().list(&Wanted::default()).await.unwrap();
    assert_eq!(left.len(), plans[0].left);
    let spared: Vec<KeptId> = plans[0].spared.iter().map(|(id, _)| id.clone()).collect();
    assert!(spared.iter().all(|id| left.contains(id)));
    assert!(plans[0].remove.iter().all(|id| !left.contains(id)));
    let names = |ids: &[KeptId]| days(ids).into_iter().map(str::to_owned).collect();
    (names(&plans[0].remove), names(&spared))
}

#[tokio::test]
async fn every_rule_must_let_a_report_go() {
    let none: [&str; 0] = [];
    for (older_than, keep, gone) in [
        (Some(6), None, &["d3", "d2", "d1", "d0"][..]),
        (Some(11), None, &none),
        (None, Some(8), &["d1", "d0"]),
        (None, Some(10), &none),
        (Some(6), Some(8), &["d1", "d0"]),
        (Some(9), Some(1), &["d0"]),
    ] {
        let (removed, spared) = removed("pppppppppp", older_than, keep).await;
        assert_eq!(
            (removed.as_slice(), spared.len()),
            (gone.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice(), 0)
        );
    }
}

#[tokio::test]
async fn the_newest_pass_stays() {
    for (drills, gone, spared) in [
        ("ppff", vec!["d3", "d2", "d0"], vec!["d1"]),
        ("pbfi", vec!["d3", "d2"], vec!["d1", "d0"]),
        ("pbbf", vec!["d3", "d1"], vec!["d2", "d0"]),
        // A breach that is older than the newest pass proves nothing that the pass does not.
        ("bpf", vec!["d2", "d0"], vec!["d1"]),
        ("fff", vec!["d2", "d1", "d0"], vec![]),
        // What cannot be read may have counted rows, as long as nothing newer has.
        ("p?f?pf", vec!["d5", "d2", "d0"], vec!["d4", "d3", "d1"]),
        ("p?f?cf", vec!["d5", "d3", "d2", "d1", "d0"], vec!["d4"]),
        // `rowFloor` compares with it.
        ("ccpf", vec!["d3", "d0"], vec!["d2", "d1"]),
        ("cpbf", vec!["d3"], vec!["d2", "d1", "d0"]),
        ("pf?f", vec!["d3", "d1"], vec!["d2", "d0"]),
    ] {
        let (removed, stayed) = removed(drills, Some(1), None).await;
        assert_eq!(
            (removed, stayed),
            (
                gone.iter().map(|s| (*s).to_owned()).collect(),
                spared.iter().map(|s| (*s).to_owned()).collect()
            ),
            "{drills}"
        );
    }
}

#[tokio::test]
async fn the_search_for_a_pass_goes_as_far_as_it_takes() {
    let drills = format!("p{}", "f".repeat(100));
    let (removed, spared) = removed(&drills, None, Some(3)).await;
    assert_eq!((removed.len(), spared), (97, vec!["d0".to_owned()]));
}

#[tokio::test]
async fn jobs_are_pruned_each_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let reader = kept(dir.path(), &[("a", "ppp"), ("b", "pppppp"), ("c", "pp")]).await;
    let policy = Policy { older_than: None, keep: Some(2) };
    let planned = |plans: Vec<JobPlan>| -> Vec<(String, usize, usize)> {
        plans.into_iter().map(|plan| (plan.job, plan.remove.len(), plan.left)).collect()
    };
    let all = plan(&reader, &[], policy, day(10)).await.unwrap();
    assert_eq!(planned(all), [("a".into(), 1, 2), ("b".into(), 4, 2), ("c".into(), 0, 2)]);
    let one = plan(&reader, &["b".to_owned()], policy, day(10)).await.unwrap();
    carry_out(&reader, &one).await.unwrap();
    // Twice is as good as once.
    carry_out(&reader, &one).await.unwrap();
    let left = plan(&reader, &[], policy, day(10)).await.unwrap();
    assert_eq!(planned(left), [("a".into(), 1, 2), ("b".into(), 0, 2), ("c".into(), 0, 2)]);
}
