//! Reports are kept where their job says so, and signed where it names a key.

use super::{Beginning, floor, warn};
use crate::{
    drill::{DrillReport, Error, Job, job::BackupChoice},
    report::{
        evidence::{key::SigningKey, record},
        json,
        kept::{self, KeptId, ReportStore},
    },
    store::secret,
};

/// Keeps the reports of a job.
#[derive(Debug)]
pub struct Keeper<'a> {
    job: &'a Job,
    key: Option<SigningKey>,
}

impl<'a> Keeper<'a> {
    /// With the key that the job names.
    ///
    /// # Errors
    /// `CredentialsMissing` and `KeyInvalid`.
    pub async fn of(job: &'a Job) -> Result<Self, Error> {
        let key = match &job.sign {
            Some(source) => {
                let pem = secret::read_text(source).await.map_err(|error| {
                    error.hint("Set the variable or file that `report.sign` names in the job.")
                })?;
                Some(SigningKey::from_pem(pem.expose())?)
            }
            None => None,
        };
        Ok(Self { job, key })
    }

    /// Without its key.
    pub fn without_key(job: &'a Job) -> Self {
        Self { job, key: None }
    }

    /// Whether the report of a drill is kept already. One that cannot be looked for is not.
    pub async fn has(&self, drill: &Beginning) -> bool {
        let Some(location) = &self.job.report_store else { return false };
        let id = KeptId::new(&self.job.name, drill.started_at, &drill.drill_id);
        let found = async { kept::open(location).await?.find(&id).await };
        matches!(found.await, Ok(Some(_)))
    }

    /// Keeps a report. Failing to is said, and changes no verdict. False where it could not be kept.
    pub async fn keep(&self, report: &mut DrillReport) -> bool {
        let Some(location) = &self.job.report_store else { return true };
        let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
        let bytes = json::render(report);
        let kept = async {
            let store = kept::open(location).await?;
            // In the stead of one that is not mounted no other one is made.
            let point = &self.job.recovery_point;
            let goes_by_reports = self.job.row_floor().is_some()
                || point.backup == BackupChoice::LeastRecentlyVerified;
            if goes_by_reports {
                floor::must_exist(&*store).await?;
            }
            store.put(&id, bytes.clone().into()).await?;
            Ok::<_, Error>(store)
        };
        match kept.await {
            Ok(store) => {
                self.sign(&*store, &id, &bytes, report).await;
                true
            }
            Err(error) => {
                fall_short(report, "kept", &error);
                false
            }
        }
    }

    async fn sign(
        &self,
        store: &dyn ReportStore,
        id: &KeptId,
        bytes: &str,
        report: &mut DrillReport,
    ) {
        let Some(key) = &self.key else { return };
        if let Err(error) = record::sign(store, id, bytes.as_bytes(), report, key).await {
            fall_short(report, "signed", &error);
        }
    }
}

fn fall_short(report: &mut DrillReport, done: &str, error: &Error) {
    let message = format!("the report is not {done}: {error}");
    warn(error, &message);
    report.notes.push(message);
}
