//! New base backups, for jobs that drill after each one.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use super::{ASK, warn};
use crate::{
    archive::BackupInfo,
    drill::{Code, Error, Job},
    store::{self, GetRange, ObjectStore, read_all},
};

/// `backup.info` is some kilobytes; a base with many tablespaces has more.
const MAX_INFO: usize = 4 << 20;

/// A backup of a job's archive ended then, and is new.
#[derive(Debug)]
pub struct Appeared {
    pub job: String,
    pub ended_at: Timestamp,
}

/// Asks the archives of `jobs` again and again, beside everything else: a store that does not answer keeps no
/// other job from its drill. Ends with the receiver of what has appeared.
pub async fn ask(jobs: watch::Receiver<Vec<Arc<Job>>>, appeared: mpsc::Sender<Appeared>) {
    let mut seen = BackupWatch::default();
    let mut ticks = interval(ASK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = appeared.closed() => return,
            _ = ticks.tick() => {}
        }
        let jobs = jobs.borrow().clone();
        seen.newest.retain(|name, _| jobs.iter().any(|job| job.name == *name));
        for job in jobs {
            let looked = tokio::select! {
                () = appeared.closed() => return,
                looked = seen.look(&job) => looked,
            };
            let name = job.name.clone();
            match looked {
                Ok(Some(ended_at)) => {
                    if appeared.send(Appeared { job: name, ended_at }).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => warn(&error.context(format!("job `{name}`"))),
            }
        }
    }
}

/// The newest finished backup of each job that was seen.
#[derive(Debug, Default)]
struct BackupWatch {
    newest: BTreeMap<String, Timestamp>,
}

impl BackupWatch {
    /// When a backup of the job's archive ended that was not there the time before. The first look only
    /// learns what there is.
    ///
    /// # Errors
    /// What the store gives: the next look finds it all the same.
    async fn look(&mut self, job: &Job) -> Result<Option<Timestamp>, Error> {
        self.look_in(&*store::open(job).await?, job).await
    }

    async fn look_in(
        &mut self,
        store: &dyn ObjectStore,
        job: &Job,
    ) -> Result<Option<Timestamp>, Error> {
        let newest = newest(store, job).await?;
        let first = !self.newest.contains_key(&job.name);
        let known = self.newest.entry(job.name.clone()).or_insert(Timestamp::MIN);
        let appeared = newest.filter(|at| at > known);
        if let Some(at) = appeared {
            *known = at;
        }
        Ok(appeared.filter(|_| !first))
    }
}

/// When the newest backup ended that says that it is done. From the newest one back, since ids are times.
async fn newest(store: &dyn ObjectStore, job: &Job) -> Result<Option<Timestamp>, Error> {
    let place = [job.archive.store.prefix.as_str(), &job.archive.server, "base"];
    let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
    let base = format!("{}/", place.join("/"));
    let mut ids = store.list_folders(&base).await?;
    ids.sort_unstable_by(|a, b| b.cmp(a));
    for id in ids {
        let key = format!("{base}{id}/backup.info");
        let text = match read_all(store, GetRange::whole(&key), MAX_INFO).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // It is being taken: the file comes last.
            Err(error) if error.code == Code::ObjectMissing => continue,
            Err(error) => return Err(error),
        };
        let Ok(info) = BackupInfo::parse(&text) else { continue };
        if info.status.is_done() {
            return Ok(info.end_time);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, store::memory::MemoryStore};

    fn info(end: &str, status: &str) -> String {
        format!("begin_xlog=0/2000028\nend_xlog=0/2000100\nend_time={end}\nstatus={status}\n")
    }

    #[tokio::test]
    async fn a_backup_appears_once_and_when_it_is_done() {
        let job = config::parse(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: j}\nspec:\n  archive: {url: \
             s3://bucket/path, server: orders}\n  after: backup\n",
            "job.yaml",
        )
        .unwrap();
        let store = MemoryStore::default();
        let put = |id: &str, end: &str, status: &str| {
            let key = format!("path/orders/base/{id}/backup.info");
            store.put(&key, info(end, status));
        };
        let mut watch = BackupWatch::default();
        // What is there at first is not new, also where nothing is.
        assert_eq!(watch.look_in(&store, &job).await.unwrap(), None);
        put("20261122T040000", "2026-11-22T04:10:00Z", "DONE");
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let first = watch.look_in(&store, &job).await.unwrap();
        assert_eq!(first, at("2026-11-22T04:10:00Z"));
        assert_eq!(watch.look_in(&store, &job).await.unwrap(), None);
        put("20261123T040000", "2026-11-23T04:10:00Z", "STARTED");
        store.put("path/orders/base/20261124T040000/data.tar", "no info yet".to_owned());
        store.put(
            "path/other/base/20261125T040000/backup.info",
            info("2026-11-25T04:10:00Z", "DONE"),
        );
        assert_eq!(watch.look_in(&store, &job).await.unwrap(), None);
        put("20261123T040000", "2026-11-23T04:10:00Z", "DONE");
        let second = watch.look_in(&store, &job).await.unwrap();
        assert_eq!(second, at("2026-11-23T04:10:00Z"));
        // A job that was away learns anew what is there.
        watch.newest.clear();
        assert_eq!(watch.look_in(&store, &job).await.unwrap(), None);
    }
}
