//! The check `rowFloor`: the rows that `readAll` counted against those of the last passed drill of the
//! same job. Whoever runs the checks looks that one up.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Check, CheckContext, Observed, Phase, failure::capped};
use crate::drill::{
    CheckOutcome, Code, Error,
    job::RowFloor,
    row_floor::{KnownFloor, TableRows},
};

/// One job's floor.
#[derive(Clone, Debug)]
pub struct RowFloorCheck(pub RowFloor);

#[async_trait]
impl Check for RowFloorCheck {
    fn name(&self) -> String {
        "rowFloor".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let seen = context.observations.snapshot();
        if !seen.all_read {
            return CheckOutcome::Skipped(
                "not every table could be read, so their rows are not known".into(),
            );
        }
        let now = row_counts(&seen);
        let floor = match &context.floor {
            KnownFloor::Found(floor) => Some(floor),
            KnownFloor::Absent(_) => None,
            KnownFloor::NotAsked => {
                return CheckOutcome::Skipped("no earlier report was looked for".into());
            }
            KnownFloor::Unreadable { why, hint } => {
                let message = format!("the kept reports cannot be read: {why}");
                let hint = hint.clone();
                let error = Error { hint, ..Error::new(Code::ReportStore, message) };
                return CheckOutcome::Errored(error);
            }
        };
        if let [idle, ..] = self.0.idle_patterns(&now, floor).as_slice() {
            let message = format!("`{idle}` under `rowFloor.tables` fits no table");
            let hint = "Write `database.schema.table`; `*` stands for any text.";
            return CheckOutcome::Errored(Error::new(Code::JobInvalid, message).hint(hint));
        }
        match (&context.floor, floor) {
            (_, Some(floor)) => {
                let (findings, compared) = self.0.compare(&now, floor);
                if findings.is_empty() {
                    CheckOutcome::Passed(format!(
                        "{compared} tables have the rows of drill {}, which recovered to {}",
                        floor.drill_id, floor.recovered_to
                    ))
                } else {
                    CheckOutcome::Failed(capped(findings))
                }
            }
            (KnownFloor::Absent(why), None) => CheckOutcome::Passed(format!("no floor yet: {why}")),
            _ => CheckOutcome::Skipped("no earlier report was looked for".into()),
        }
    }
}

/// Rows of every table whose count means something to the next drill, partitions under the table at
/// the top.
#[must_use]
pub fn row_counts(seen: &Observed) -> Vec<TableRows> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for read in seen.tables.iter().filter(|t| t.lasting && t.database != "template0") {
        let name = match &read.part_of {
            Some(whole) => format!("{}.{whole}", read.database),
            None => format!("{}.{}.{}", read.database, read.schema, read.table),
        };
        *counts.entry(name).or_default() += read.rows;
    }
    counts.into_iter().map(|(table, rows)| TableRows { table, rows }).collect()
}
