//! The check `amcheck`.

use async_trait::async_trait;

use super::{Check, CheckContext, Phase};
use crate::drill::CheckOutcome;

#[derive(Clone, Copy, Debug)]
pub struct Amcheck;

#[async_trait]
impl Check for Amcheck {
    fn name(&self) -> String {
        "amcheck".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, _: &CheckContext) -> CheckOutcome {
        CheckOutcome::Skipped("not built yet".into())
    }
}
