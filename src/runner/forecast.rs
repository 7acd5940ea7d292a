//! The worst case of the restore time, for the metrics of a drill: what it and the kept reports of its job
//! forecast. Nothing of the drill itself rests on it.

use std::{future::Future, time::Duration};

use crate::{
    drill::{DrillReport, Error, Job, history::Past, trend::Trend},
    report::{json, kept, past::PastReader},
};

/// For all of them. A store that hangs must not hold the metrics for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds that a restore just before the next base backup would take, as of the end of the drill. `None`
/// where the job keeps no reports, where they say too little, and where they cannot be read in time.
pub async fn worst_case(job: &Job, report: &DrillReport) -> Option<f64> {
    let location = job.report_store.as_ref()?;
    // To open a bucket is a large future.
    let reader = Box::pin(async {
        let store = kept::open(location).await?;
        Ok(PastReader::new(store.into(), location, None))
    });
    match known(reader, report, PATIENCE).await {
        Ok(seconds) => Some(seconds),
        Err(why) => {
            tracing::debug!("the worst case of the restore time is not known: {why}");
            None
        }
    }
}

/// The same, or why it is not known.
async fn known(
    reader: impl Future<Output = Result<PastReader, Error>>,
    report: &DrillReport,
    patience: Duration,
) -> Result<f64, String> {
    // It may have been kept already.
    let (job, as_of) = (&report.job, report.finished_at);
    let earlier = async { reader.await?.for_forecast(job, as_of, Some(&report.drill_id)).await };
    let earlier = tokio::time::timeout(patience, earlier).await;
    let mut drills = earlier
        .map_err(|_| format!("the kept reports could not be read in {} s", patience.as_secs()))?
        .map_err(|error: Error| error.to_string())?;
    // From its own words: it may not have been kept.
    drills.extend(Past::read(json::render(report).as_bytes()));
    let trend = Trend::of(&drills.iter().collect::<Vec<_>>(), report.finished_at);
    let seconds = trend.forecast.map_err(|why| why.words().to_owned())?.worst_case_seconds;
    if seconds.is_finite() { Ok(seconds) } else { Err("it is not a number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::{future, sync::Arc};

    use jiff::SignedDuration;

    use super::*;
    use crate::{
        drill::{Verdict, job::StoreLocation, report::sample, stage::Stage},
        pg::Lsn,
        report::{
            kept::{KeptId, ReportStore},
            past::MOST_FOR_FORECAST,
        },
    };

    const GIB: u64 = 1 << 30;

    /// A drill each day, of a base backup that ended twelve hours before; 1 GiB of WAL an hour. 116 s for
    /// the base backup, and 96 s for 12 GiB of WAL.
    fn drilled(day: u64) -> DrillReport {
        let mut report = sample::pass();
        let later = SignedDuration::from_hours(24 * i64::try_from(day).unwrap());
        report.drill_id = format!("d{day}");
        report.started_at += later;
        report.finished_at += later;
        let replay = report.stages.0.iter().find(|record| record.stage == Stage::Replay).unwrap();
        report.rto.as_mut().unwrap().seconds = 116.0 + replay.duration.as_secs_f64();
        let lsn = Lsn((1_000 + 24 * day) * GIB);
        let backup = report.backup.as_mut().unwrap();
        backup.end_at = Some(report.started_at - SignedDuration::from_hours(12));
        (backup.begin_lsn, backup.end_lsn) = (lsn, lsn);
        let reached = report.reached.as_mut().unwrap();
        reached.end = Lsn(lsn.0 + 12 * GIB);
        reached.last_transaction_at = Some(report.started_at);
        report
    }

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn location(&self) -> StoreLocation {
            StoreLocation::folder(self.dir.path().to_str().unwrap())
        }

        async fn store(&self) -> Arc<dyn ReportStore> {
            kept::open(&self.location()).await.unwrap().into()
        }

        async fn keep(&self, report: &DrillReport) {
            let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
            self.store().await.put(&id, json::render(report).into()).await.unwrap();
        }

        async fn known(&self, report: &DrillReport) -> Result<f64, String> {
            let reader = PastReader::new(self.store().await, &self.location(), None);
            known(future::ready(Ok(reader)), report, PATIENCE).await
        }
    }

    fn place() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn near(known: &Result<f64, String>, expected: f64) {
        let seconds = known.as_ref().unwrap();
        assert!((seconds - expected).abs() < 1e-6, "{seconds} is not {expected}");
    }

    #[tokio::test]
    async fn it_rests_on_this_drill_and_those_before() {
        let place = place();
        let alone = place.known(&drilled(1)).await;
        assert_eq!(alone.unwrap_err(), "the interval between base backups is not known");
        place.keep(&drilled(0)).await;
        // Backups a day apart, and so twice as much WAL as this drill has replayed.
        near(&place.known(&drilled(1)).await, 116.0 + 2.0 * 96.4);
        // Kept or not, it counts once.
        place.keep(&drilled(1)).await;
        near(&place.known(&drilled(1)).await, 116.0 + 2.0 * 96.4);
        // Drills of another job are none of its past, nor what is long ago.
        let mut other = drilled(1);
        other.job = "other".to_owned();
        assert!(place.known(&other).await.is_err());
        assert!(place.known(&drilled(120)).await.is_err());
    }

    #[tokio::test]
    async fn a_drill_that_failed_takes_nothing_from_it() {
        let place = place();
        place.keep(&drilled(0)).await;
        place.keep(&drilled(1)).await;
        let mut failed = drilled(2);
        failed.verdict = Verdict::Fail;
        failed.rto = None;
        near(&place.known(&failed).await, 116.0 + 2.0 * 96.4);
        let mut lost = drilled(3);
        lost.verdict = Verdict::Inconclusive;
        (lost.rto, lost.backup, lost.reached) = (None, None, None);
        near(&place.known(&lost).await, 116.0 + 2.0 * 96.4);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_passed_over() {
        let place = place();
        place.keep(&drilled(0)).await;
        let id = KeptId::new(sample::pass().job, drilled(0).finished_at, "tomorrow");
        place.store().await.put(&id, r#"{"schema_version": 2}"#.into()).await.unwrap();
        near(&place.known(&drilled(1)).await, 116.0 + 2.0 * 96.4);
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_newest() {
        let place = place();
        place.keep(&drilled(0)).await;
        // As many as are read, none of which knows anything.
        let mut inconclusive = sample::inconclusive();
        (inconclusive.backup, inconclusive.reached) = (None, None);
        for n in 0..i32::try_from(MOST_FOR_FORECAST).unwrap() {
            inconclusive.drill_id = format!("i{n}");
            inconclusive.started_at =
                drilled(0).started_at + SignedDuration::from_mins(1) * (n + 1);
            inconclusive.finished_at = inconclusive.started_at;
            place.keep(&inconclusive).await;
        }
        let why = place.known(&drilled(1)).await.unwrap_err();
        assert_eq!(why, "the interval between base backups is not known");
    }

    #[tokio::test]
    async fn a_store_that_hangs_or_fails_is_not_waited_for() {
        let soon = Duration::from_millis(1);
        let why = known(future::pending(), &drilled(1), soon).await.unwrap_err();
        assert_eq!(why, "the kept reports could not be read in 0 s");

        // One that knows by itself how far backups lie apart.
        let mut alone = drilled(1);
        alone.backup.as_mut().unwrap().interval_seconds = Some(86_400.0);
        let place = place();
        near(&place.known(&alone).await, 116.0 + 2.0 * 96.4);
        let file = place.dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut job = crate::config::parse(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: j}\nspec:\n  archive: {url: \
             s3://bucket/path, server: orders}\n",
            "job.yaml",
        )
        .unwrap();
        assert_eq!(worst_case(&job, &alone).await, None);
        job.report_store = Some(place.location());
        assert!(worst_case(&job, &alone).await.is_some());
        job.report_store = Some(StoreLocation::folder(file.to_str().unwrap()));
        assert_eq!(worst_case(&job, &alone).await, None);
    }
}
