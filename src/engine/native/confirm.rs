//! A second reading of a base backup in which the first one has shown damage: stores and networks err
//! once, and neither a tar nor every compression has a checksum of what it holds. It writes nothing, so
//! that a drill whose first reading was wrong has restored what the archive does not hold.

use std::sync::Arc;

use super::{Run, flow, judge, spool::interrupted};
use crate::{
    drill::{Error, FailureClass, Finding},
    pg::{ControlFile, Lsn, wal::scan::WalSummary},
    restore::{
        FetchFailure,
        base::{BaseExamined, BaseRestored, examine_base, is_of_one_reading},
        pages::{Prints, WatchRules},
        seen_once, two_readings,
        unpack::is_of_layout,
    },
    telemetry::progress::ProgressEvent,
};

/// What the first reading has shown, and what it takes to show it again.
#[derive(Debug)]
pub struct FirstReading<'a> {
    pub found: Vec<Finding>,
    /// Its bad pages.
    pub prints: Prints,
    /// Where the backup says that replay begins.
    pub begin: Lsn,
    /// `None` where its own files were what was found.
    pub control: Option<&'a ControlFile>,
    pub wal: &'a WalSummary,
}

impl Run {
    /// Keeps the findings of the first reading that a second one shows as well, and those that need none.
    ///
    /// # Errors
    /// The second reading does not show one of them, or could not be had: then nothing is known of the
    /// backup but what stands. Or the drill was interrupted.
    pub async fn confirm(&mut self, first: FirstReading<'_>) -> Result<(), Error> {
        if first.found.iter().all(|finding| finding.class.is_environment()) {
            self.findings.extend(first.found);
            return Ok(());
        }
        let id = self.context.plan.backup.id.clone();
        let text = format!("backup `{id}` seems damaged: its tars are read once more");
        self.context.progress.emit(ProgressEvent::Note { text });
        let (mut second, missed) = self.read_again().await?;
        // Tars that do not decode were read twice for that alone. The rest is what the second reading
        // says, to be held against the first.
        let plan = Arc::clone(&self.context.plan);
        let of_one = |finding: &Finding| is_of_one_reading(&plan.backup, finding);
        let (once, twice): (Vec<Finding>, _) =
            std::mem::take(&mut second.findings).into_iter().partition(of_one);
        second.findings = once;
        self.findings.extend(twice);
        let (stand, gone) = self.compare(first, second);
        self.findings.extend(stand);
        let Some(finding) = gone.first() else { return Ok(()) };
        let what = format!("{} of backup {id}", finding.subject);
        Err(match missed {
            None => {
                self.forget_base();
                two_readings(&what, &finding.detail)
                    .context("the archive does not hold what was restored from it")
            }
            Some(missed) => seen_once(&what, &finding.detail, Some(&missed)),
        })
    }

    /// All tars, examined, and why not all of them could be.
    async fn read_again(&self) -> Result<(BaseRestored, Option<Error>), Error> {
        let (job, plan) = (&self.context.job, &self.context.plan);
        let rules = WatchRules::within(job.sandbox.memory, None);
        let moved = |_| self.activity.touch();
        let store = &self.context.store;
        let read = examine_base(store, &plan.backup, rules, &moved, &self.cancel).await;
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        Ok(match read {
            Ok(BaseExamined { restored, errors, .. }) => (restored, errors.into_iter().next()),
            Err(FetchFailure::Store(error) | FetchFailure::Local(error)) => {
                (BaseRestored::default(), Some(error))
            }
            Err(FetchFailure::Damaged(findings)) => {
                (BaseRestored { findings, ..BaseRestored::default() }, None)
            }
            Err(FetchFailure::Cancelled) => return Err(interrupted()),
        })
    }

    /// The findings that both readings show, and the others.
    fn compare(
        &self,
        first: FirstReading<'_>,
        second: BaseRestored,
    ) -> (Vec<Finding>, Vec<Finding>) {
        let FirstReading { found, prints, begin, control, wal } = first;
        let plan = &self.context.plan;
        let mut again = judge::base(plan, &second, begin).err().unwrap_or_default();
        again.extend(second.findings.iter().cloned());
        again
            .extend(flow::moved_databases(&plan.backup.id, &second, wal, self.context.job.depth).0);
        let suspects = control.and_then(|control| second.pages.judged_by(control).ok());
        let second = suspects.map(|suspects| suspects.prints()).unwrap_or_default();
        found.into_iter().partition(|finding| match finding.class {
            FailureClass::PageChecksum => prints.agree(&second, &finding.subject),
            // A member that is there twice may be found in the one or the other tar.
            class @ (FailureClass::ArchiveCorrupt | FailureClass::PgdataLayout)
                if is_of_layout(finding) =>
            {
                again.iter().any(|other| {
                    let same = other.subject == finding.subject || other.detail == finding.detail;
                    other.class == class && is_of_layout(other) && same
                })
            }
            class => class.is_environment() || again.contains(finding),
        })
    }
}
