//! Which backups earlier drills of the job have proved, for `leastRecentlyVerified`.

use jiff::Timestamp;

use super::floor;
use crate::{
    archive::Catalog,
    drill::{
        Error, Job,
        history::Past,
        job::{BackupChoice, Depth},
        plan::Verified,
    },
    report::kept::{self, ReportStore, Wanted},
};

/// Most reports that are read back. A backup whose proof is older than so many drills counts as one
/// without, and is drilled the sooner.
const MOST_READ: usize = 1_000;

/// When each backup was last proved by a sound drill that looked as deep as this one will. `None`
/// where the job does not choose by it.
///
/// # Errors
/// `ReportStore` where the reports cannot be read: a choice by a history that is not there would drill the
/// same backup over and over.
pub async fn known(job: &Job, catalog: &Catalog) -> Result<Option<Verified>, Error> {
    let by_history = job.recovery_point.backup == BackupChoice::LeastRecentlyVerified;
    let Some(location) = job.report_store.as_ref().filter(|_| by_history) else { return Ok(None) };
    let store = kept::open(location).await?;
    floor::must_exist(&*store).await?;
    seek(job, &Archived::of(catalog), &*store).await.map(Some)
}

/// A backup of the archive that can be told from others of its name.
#[derive(Debug)]
struct Archived<'a> {
    id: &'a str,
    system_id: u64,
    end_at: Option<Timestamp>,
}

impl<'a> Archived<'a> {
    fn of(catalog: &'a Catalog) -> Vec<Self> {
        let backups = catalog.backups.iter().filter_map(|backup| {
            let info = backup.info.as_ref().ok()?;
            Some(Self { id: &backup.id, system_id: info.system_id?, end_at: info.end_time })
        });
        backups.collect()
    }
}

async fn seek(
    job: &Job,
    archived: &[Archived<'_>],
    store: &dyn ReportStore,
) -> Result<Verified, Error> {
    // No drill is older than the backup that it proved.
    let oldest = archived.iter().filter_map(|backup| backup.end_at).min();
    let mut proved = Verified::new();
    for id in store.list(&Wanted::job(job.name.clone()).limit(MOST_READ)).await? {
        if oldest.is_some_and(|oldest| id.at() < oldest) || proved.len() == archived.len() {
            break;
        }
        // What another version wrote proves nothing that is known here.
        let Some(bytes) = store.find(&id).await? else { continue };
        let Ok(past) = Past::read(&bytes) else { continue };
        if let Some(backup) = proves(past, job, archived) {
            proved.entry(backup).or_insert(id.at());
        }
    }
    Ok(proved)
}

/// The backup of this archive that a drill has proved.
fn proves(past: Past, job: &Job, archived: &[Archived<'_>]) -> Option<String> {
    let deep = Depth::named(&past.depth).is_some_and(|depth| depth >= job.depth);
    let sound = past.is_sound() && deep && past.server == job.archive.server;
    let backup = past.backup?;
    let known = archived
        .iter()
        .any(|known| known.id == backup.id && known.system_id.to_string() == backup.system_id);
    (sound && known).then_some(backup.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::CatalogBuilder,
        config,
        drill::{Verdict, job::StoreLocation, report::sample},
        report::{json, kept::KeptId},
    };

    fn archived(id: &str, end_at: Timestamp) -> Archived<'_> {
        Archived { id, system_id: 7, end_at: Some(end_at) }
    }

    const OLD: &str = "20261122T120200";
    const NEW: &str = "20261122T120600";

    #[tokio::test]
    async fn only_a_sound_drill_as_deep_of_this_system_proves_a_backup() {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::folder(folder.path().to_str().unwrap());
        let store = kept::open(&location).await.unwrap();
        let mut job = config::parse(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: j}\nspec:\n  archive: {url: \
             s3://bucket/path, server: orders}\n",
            "job.yaml",
        )
        .unwrap();
        let at = |n: i64| Timestamp::from_second(1_800_000_000 + n * 60).unwrap();
        let mut report = sample::pass();
        report.server.clone_from(&job.archive.server);
        let backup = report.backup.as_mut().unwrap();
        backup.id = OLD.to_owned();
        backup.system_id = 7;
        let both = [archived(OLD, at(0)), archived(NEW, at(1))];
        let mut drilled = 0;
        let mut put = async |change: &dyn Fn(&mut crate::drill::DrillReport)| {
            let mut report = report.clone();
            change(&mut report);
            drilled += 1;
            let id = KeptId::new(job.name.clone(), at(drilled), format!("d{drilled}"));
            store.put(&id, json::render(&report).into()).await.unwrap();
        };
        put(&|report| report.verdict = Verdict::Fail).await;
        put(&|report| report.depth = Depth::Restore).await;
        put(&|report| report.server = "another".to_owned()).await;
        put(&|report| report.backup.as_mut().unwrap().system_id = 8).await;
        put(&|report| report.backup.as_mut().unwrap().id = "20261122T110000".to_owned()).await;
        assert_eq!(seek(&job, &both, &*store).await.unwrap(), Verified::new());
        put(&|_| ()).await;
        put(&|report| report.verdict = Verdict::Breach).await;
        put(&|report| report.verdict = Verdict::Inconclusive).await;
        let expected = Verified::from([(OLD.to_owned(), at(7))]);
        assert_eq!(seek(&job, &both, &*store).await.unwrap(), expected);

        // What was drilled before the oldest backup ended cannot have been it.
        let later = [archived(OLD, at(8)), archived(NEW, at(9))];
        assert_eq!(seek(&job, &later, &*store).await.unwrap(), Verified::new());

        let catalog = CatalogBuilder::new("").finish();
        assert_eq!(known(&job, &catalog).await.unwrap(), None);
        job.recovery_point.backup = BackupChoice::LeastRecentlyVerified;
        job.report_store = Some(location.clone());
        assert_eq!(known(&job, &catalog).await.unwrap(), Some(Verified::new()));
        let lost = StoreLocation { prefix: format!("{}/lost", location.prefix), ..location };
        job.report_store = Some(lost);
        let error = known(&job, &catalog).await.unwrap_err();
        assert!(error.message.contains("does not exist"), "{error}");
    }
}
