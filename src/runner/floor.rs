//! The floor for the check `rowFloor`: the newest kept report of the job whose drill passed and did
//! not recover further than this one.

use jiff::Timestamp;
use serde::Deserialize;

use super::course::Course;
use crate::{
    drill::{
        Error, Job, Verdict,
        row_floor::{Floor, KnownFloor, RowCounts},
    },
    report::kept,
};

/// Most reports that are read back.
const MOST_READ: usize = 200;

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
        Ok(Ok(floor)) => KnownFloor::Found(floor),
        Ok(Err(why)) => KnownFloor::Absent(why.to_owned()),
        Err(error) => KnownFloor::Unreadable(error.message),
    }
}

async fn find(
    job: &Job,
    since: Option<Timestamp>,
    course: &Course,
) -> Result<Result<Floor, &'static str>, Error> {
    let Some(location) = &job.report_store else {
        return Ok(Err("the job keeps no reports"));
    };
    let Some(backup) = &course.backup else { return Ok(Err("it is not known what was restored")) };
    let reached = course.reached.as_ref().and_then(|reached| reached.last_transaction_at);
    let Some(recovered_to) = reached.or(backup.end_at) else {
        return Ok(Err("the time that was recovered to is not known"));
    };
    let system_id = backup.system_id.to_string();
    let store = kept::open(location).await?;
    let mut later = false;
    for id in store.list(Some(&job.name), MOST_READ).await? {
        if since.is_some_and(|since| id.at() < since) {
            break;
        }
        // What another version wrote, or a drill of another archive, is no floor.
        let bytes = store.get(&id).await?;
        let Ok(past) = serde_json::from_slice::<Past>(&bytes) else { continue };
        let Some(floor) = past.floor(&job.archive.server, &system_id) else { continue };
        if floor.recovered_to <= recovered_to {
            return Ok(Ok(floor));
        }
        later = true;
    }
    Ok(Err(if later {
        "every passed drill that is kept recovered further than this one"
    } else {
        "no passed drill of this job is kept that counted rows"
    }))
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
        drill::{report::sample, row_floor::TableRows},
        report::json,
    };

    #[test]
    fn a_report_comes_back_as_a_floor() {
        let mut report = sample::pass();
        let tables = vec![TableRows { table: "shop.public.orders".into(), rows: 7 }];
        let counts = RowCounts { tables, other_tables: 2, other_rows: 3 };
        report.row_counts = Some(counts.clone());
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
