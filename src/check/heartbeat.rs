//! The check `heartbeat`: the time of the newest heartbeat row. How old it may be is the RPO's to
//! judge.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Check, CheckContext, Phase,
    sql::{Answer, one_value},
};
use crate::drill::{CheckOutcome, Code, Error, FailureClass, Finding, job::Heartbeat};

/// Runs the heartbeat query of a job.
#[derive(Clone, Debug)]
pub struct HeartbeatCheck(pub Heartbeat);

#[async_trait]
impl Check for HeartbeatCheck {
    fn name(&self) -> String {
        "heartbeat".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let Heartbeat { sql, database } = &self.0;
        let text = match one_value(context, database, "pg_catalog, public", sql).await {
            Ok(Answer::Value(text)) => text,
            Ok(_) => {
                return CheckOutcome::Failed(vec![Finding::new(
                    FailureClass::AssertionFailed,
                    "heartbeat",
                    "the heartbeat query found no row",
                    "Run the query on production: if it finds a row there, data is missing here.",
                )]);
            }
            Err(outcome) => return outcome,
        };
        match instant(&text) {
            Some(at) => {
                context.observations.lock().heartbeat = Some(at);
                CheckOutcome::Passed(format!("the newest heartbeat is of {at}"))
            }
            None => CheckOutcome::Errored(
                Error::new(
                    Code::JobInvalid,
                    "the heartbeat query returns no point in time with a time zone",
                )
                .hint("Let `objectives.heartbeat.sql` return one `timestamptz`."),
            ),
        }
    }
}

/// The text of a `timestamptz` with `DateStyle=ISO`: `2026-11-22 19:19:00.5+00`.
fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_prints() {
        let expected: Timestamp = "2026-11-22T19:19:00.123456Z".parse().unwrap();
        assert_eq!(instant("2026-11-22 19:19:00.123456+00"), Some(expected));
        assert_eq!(instant("2026-11-22 20:49:00.123456+01:30"), Some(expected));
        for text in ["2026-11-22 19:19:00", "infinity", "2026-11-22", "7", ""] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
