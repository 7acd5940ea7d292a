//! The check `reached`: what recovery reached against what the archive promises.

use async_trait::async_trait;

use super::{Check, CheckContext, Phase};
use crate::drill::{CheckOutcome, reached};

/// Compares end position, timeline and last transaction.
#[derive(Clone, Copy, Debug)]
pub struct ReachedCheck;

#[async_trait]
impl Check for ReachedCheck {
    fn name(&self) -> String {
        "reached".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let Some(promise) = &context.promise else {
            return CheckOutcome::Skipped(
                "the archive's WAL was not read to its end, so there is no promise to compare with"
                    .into(),
            );
        };
        let findings = reached::compare(promise, &context.reached);
        if findings.is_empty() {
            CheckOutcome::Passed(reached::describe(&context.reached))
        } else {
            CheckOutcome::Failed(findings)
        }
    }
}
