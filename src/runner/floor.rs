//! The floor for the check `rowFloor`: the newest kept report of the job whose drill passed and did
//! not recover further than this one.

use jiff::Timestamp;
use serde::Deserialize;

use super::course::Course;
use crate::{
    drill::{
        Code, Error, FailureClass, Job, Verdict,
        row_floor::{Floor, KnownFloor, RowCounts},
    },
    report::kept::{self, ReportStore},
};

/// Most reports that are read back, each of some kilobytes: six weeks of a job that fails every hour.
const MOST_READ: usize = 1_000;

/// What of a kept report matters here.
#[derive(Debug, Deserialize)]
struct Past {
    drill_id: String,
    server: String,
    verdict: Verdict,
    backup: Option<PastBackup>,
    reached: Option<PastReached>,
    row_counts: Option<RowCounts>,
}

#[derive(Debug, Deserialize)]
struct PastBackup {
    system_id: String,
    end_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct PastReached {
    last_transaction_at: Option<Timestamp>,
}

/// The floor of this drill, where its job asks for one.
pub async fn known(job: &Job, course: &Course) -> KnownFloor {
    let Some(spec) = job.row_floor() else { return KnownFloor::NotAsked };
    match find(job, spec.since, course).await {
        Ok(known) => known,
        Err(error) => KnownFloor::Unreadable { why: error.message, hint: error.hint },
    }
}

async fn find(job: &Job, since: Option<Timestamp>, course: &Course) -> Result<KnownFloor, Error> {
    let unknown = |message: &str| Err(Error::new(Code::ReportStore, message));
    let Some(location) = &job.report_store else {
        return unknown("the job names no `report.store`");
    };
    let Some(backup) = &course.backup else { return unknown("it is not known what was restored") };
    let reached = course.reached.as_ref().and_then(|reached| reached.last_transaction_at);
    let Some(recovered_to) = reached.or(backup.end_at) else {
        return unknown("the time that was recovered to is not known");
    };
    let wanted = Wanted {
        job: &job.name,
        server: &job.archive.server,
        system_id: &backup.system_id.to_string(),
        since,
        recovered_to,
    };
    let store = kept::open(location).await?;
    must_exist(&*store).await?;
    wanted.seek(&*store, MOST_READ).await
}

/// A place for reports that is not there has most likely not been mounted. What is made in its stead
/// would look like a job without a past.
///
/// # Errors
/// `ReportStore` where it is not there.
pub async fn must_exist(store: &dyn ReportStore) -> Result<(), Error> {
    if store.exists().await? {
        return Ok(());
    }
    let place = store.describe();
    let message = format!("the folder {place} that `report.store` names does not exist");
    Err(Error::new(Code::ReportStore, message)
        .class(FailureClass::InfraError)
        .hint("Mount it. If no drill of the job has kept a report yet, make the folder."))
}

/// What a floor has to be of.
struct Wanted<'a> {
    job: &'a str,
    server: &'a str,
    system_id: &'a str,
    since: Option<Timestamp>,
    recovered_to: Timestamp,
}

impl Wanted<'_> {
    /// The newest floor among the `most` newest reports. That there is none is said only where no
    /// report is left: a job that fails for long must not lose its floor.
    async fn seek(&self, store: &dyn ReportStore, most: usize) -> Result<KnownFloor, Error> {
        let mut later = false;
        let place = store.describe();
        let kept = store.list(&kept::Wanted::job(self.job).limit(most + 1)).await?;
        if kept.is_empty() {
            return Ok(KnownFloor::Absent { why: "no report of this job is kept", place });
        }
        for (read, id) in kept.iter().enumerate() {
            let too_old = self.since.is_some_and(|since| id.at() < since);
            if too_old && later {
                break;
            }
            if read == most {
                let message = format!(
                    "none of the newest {most} reports of the job is a floor, and older ones are not read"
                );
                return Err(Error::new(Code::ReportStore, message).hint(
                    "Mend what keeps its drills from passing, or set `since` of `rowFloor` to the time from \
                     which on reports count.",
                ));
            }
            // What another version wrote, or a drill of another archive, is no floor.
            // It may have been pruned meanwhile; what is needed as a floor is not.
            let Some(bytes) = store.find(id).await? else { continue };
            let Ok(past) = serde_json::from_slice::<Past>(&bytes) else { continue };
            let Some(floor) = past.floor(self.server, self.system_id) else { continue };
            if too_old {
                return Ok(KnownFloor::NoneCounts(format!(
                    "all passed drills that are kept in {place} began before `since`"
                )));
            }
            if floor.recovered_to <= self.recovered_to {
                return Ok(KnownFloor::Found(floor));
            }
            later = true;
        }
        Ok(if later {
            KnownFloor::NoneCounts(format!(
                "all passed drills that are kept in {place}, and that count, recovered further than \
                 this one"
            ))
        } else {
            KnownFloor::Absent {
                why: "no passed drill of this job and archive is kept that counted rows",
                place,
            }
        })
    }
}

impl Past {
    fn floor(self, server: &str, system_id: &str) -> Option<Floor> {
        let backup = self.backup.filter(|backup| backup.system_id == system_id)?;
        // A breach is sound: every check had passed.
        let sound = matches!(self.verdict, Verdict::Pass | Verdict::Breach);
        let reached = self.reached.and_then(|reached| reached.last_transaction_at);
        (sound && self.server == server).then_some(Floor {
            drill_id: self.drill_id,
            recovered_to: reached.or(backup.end_at)?,
            counts: self.row_counts?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::{DrillReport, job::StoreLocation, report::sample, row_floor::TableRows},
        report::{json, kept::KeptId},
    };

    fn counted() -> DrillReport {
        let mut report = sample::pass();
        let tables = vec![TableRows { table: "shop.public.orders".into(), rows: 7 }];
        report.row_counts = Some(RowCounts { tables, other_tables: 2, other_rows: 3 });
        report
    }

    #[tokio::test]
    async fn drills_that_fail_for_long_do_not_hide_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::folder(folder.path().to_str().unwrap());
        let store = kept::open(&location).await.unwrap();
        let report = counted();
        let past: Past = serde_json::from_str(&json::render(&report)).unwrap();
        let system_id = past.backup.unwrap().system_id;
        let at = |n: i64| Timestamp::from_second(1_800_000_000 + n * 3600).unwrap();
        let put = async |report: &DrillReport, n: i64| {
            let id = KeptId::new("j", at(n), format!("d{n}"));
            store.put(&id, json::render(report).into()).await.unwrap();
        };
        let seek = async |since: Option<Timestamp>, most: usize| {
            let wanted = Wanted {
                job: "j",
                server: &report.server.clone(),
                system_id: &system_id,
                since,
                recovered_to: Timestamp::MAX,
            };
            wanted.seek(&*store, most).await
        };
        let place = store.describe();
        let absent = |known: KnownFloor, words: &str| match known {
            KnownFloor::Absent { why, place: at } => {
                assert_eq!(why, words);
                assert_eq!(at, place);
            }
            other => panic!("{other:?}"),
        };
        absent(seek(None, 9).await.unwrap(), "no report of this job is kept");
        put(&report, 0).await;
        let mut failed = report.clone();
        failed.verdict = Verdict::Fail;
        for n in 1..=230 {
            put(&failed, n).await;
        }
        for most in [MOST_READ, 231] {
            let KnownFloor::Found(floor) = seek(None, most).await.unwrap() else {
                panic!("no floor among {most}")
            };
            assert_eq!(floor.counts, report.row_counts.clone().unwrap());
        }
        // What was not read says nothing.
        let error = seek(None, 230).await.unwrap_err();
        assert_eq!(error.code, Code::ReportStore, "{error}");
        assert!(error.message.contains("newest 230 reports"), "{error}");
        // One that passed is there, so that the place is the right one; it does not count.
        let KnownFloor::NoneCounts(why) = seek(Some(at(1)), MOST_READ).await.unwrap() else {
            panic!("the oldest counts no more")
        };
        assert!(why.ends_with("began before `since`") && why.contains(&place), "{why}");
        let none = "no passed drill of this job and archive is kept that counted rows";
        let other = Wanted {
            job: "j",
            server: "another",
            system_id: &system_id,
            since: None,
            recovered_to: Timestamp::MAX,
        };
        absent(other.seek(&*store, MOST_READ).await.unwrap(), none);
        let early = Wanted { server: &report.server, recovered_to: Timestamp::MIN, ..other };
        let KnownFloor::NoneCounts(why) = early.seek(&*store, MOST_READ).await.unwrap() else {
            panic!("nothing recovered less far")
        };
        assert!(why.contains("recovered further"), "{why}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &std::path::Path| StoreLocation::folder(path.to_str().unwrap());
        let there = kept::open(&at(folder.path())).await.unwrap();
        must_exist(&*there).await.unwrap();
        let lost = kept::open(&at(&folder.path().join("lost"))).await.unwrap();
        let error = must_exist(&*lost).await.unwrap_err();
        assert_eq!(error.code, Code::ReportStore);
        assert!(error.message.contains("`report.store`"), "{error}");
        assert!(error.hint.unwrap().contains("Mount it"));
    }

    #[test]
    fn a_report_comes_back_as_a_floor() {
        let mut report = counted();
        let counts = report.row_counts.clone().unwrap();
        let system_id = report.backup.as_ref().unwrap().system_id.to_string();
        let floor = |report: &crate::drill::DrillReport, server: &str, system_id: &str| {
            let past: Past = serde_json::from_str(&json::render(report)).unwrap();
            past.floor(server, system_id)
        };
        let server = report.server.clone();
        let found = floor(&report, &server, &system_id).unwrap();
        assert_eq!(found.counts, counts);
        assert_eq!(Some(found.recovered_to), report.reached.as_ref().unwrap().last_transaction_at);
        assert_eq!(floor(&report, "other", &system_id), None);
        assert_eq!(floor(&report, &server, "7"), None);
        report.verdict = Verdict::Inconclusive;
        assert_eq!(floor(&report, &server, &system_id), None);
        report.verdict = Verdict::Breach;
        report.row_counts = None;
        assert_eq!(floor(&report, &server, &system_id), None);
    }
}
