//! The check `rowFloor`: the rows that `readAll` counted against those of the last passed drill of the
//! same job. Whoever runs the checks looks that one up.
//!
//! Where no passed drill is kept, nothing tells a first drill from reports that are lost or not mounted:
//! the check is skipped, unless the operator says that it is the first.

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
        // A floor may name a chunk: it was a table of its own then, or the job named it.
        let now = counts(&seen, |_, _| true);
        let floor = match &context.floor {
            KnownFloor::Found(floor) => Some(floor),
            KnownFloor::Absent { .. } | KnownFloor::NoneCounts(_) => None,
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
            (KnownFloor::NoneCounts(why), None) => {
                CheckOutcome::Passed(format!("nothing was compared: {why}"))
            }
            (KnownFloor::Absent { why, place }, None) => {
                let none = "there is no earlier passed drill to compare with";
                if self.0.first {
                    CheckOutcome::Passed(format!("{none}, as `--first` says: {why} in {place}"))
                } else {
                    CheckOutcome::Skipped(format!(
                        "{none}: {why} in {place}, the `report.store` of the job; if that is so because \
                         it is the first, say `--first`"
                    ))
                }
            }
            _ => CheckOutcome::Skipped("no earlier report was looked for".into()),
        }
    }
}

/// Rows of every table whose count means something to the next drill: partitions, and tables that
/// inherit, under the table at the top. Chunks come and go; what they hold together does not. One that
/// inherits and that the job names, but not the table at the top, counts by itself as well.
#[must_use]
pub fn row_counts(seen: &Observed, spec: Option<&RowFloor>) -> Vec<TableRows> {
    let named = |own: &str, top: &str| {
        let exact = |spec: &RowFloor| spec.tables.iter().any(|pattern| pattern == own);
        spec.is_some_and(|spec| exact(spec) || spec.names(own) && !spec.names(top))
    };
    counts(seen, named)
}

fn counts(seen: &Observed, by_itself: impl Fn(&str, &str) -> bool) -> Vec<TableRows> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for read in seen.tables.iter().filter(|t| t.lasting && t.database != "template0") {
        let own = format!("{}.{}.{}", read.database, read.schema, read.table);
        let mut add = |name: String| *counts.entry(name).or_default() += read.rows;
        match (&read.part_of, &read.child_of) {
            (Some(whole), _) => add(format!("{}.{whole}", read.database)),
            (None, Some(top)) => {
                let top = format!("{}.{top}", read.database);
                let alone = by_itself(&own, &top);
                add(top);
                if alone {
                    add(own);
                }
            }
            (None, None) => add(own),
        }
    }
    counts.into_iter().map(|(table, rows)| TableRows { table, rows }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::TableRead;

    fn read(table: &str, rows: u64, child_of: Option<&str>) -> TableRead {
        TableRead {
            database: "s".into(),
            schema: "p".into(),
            table: table.into(),
            rows,
            bytes: 0,
            lasting: true,
            part_of: None,
            child_of: child_of.map(str::to_owned),
        }
    }

    #[test]
    fn chunks_count_for_the_table_at_the_top() {
        let tables = vec![
            read("events", 1, None),
            read("events_1", 10, Some("p.events")),
            read("events_2", 100, Some("p.events")),
            read("plain", 7, None),
        ];
        let seen = Observed { tables, ..Observed::default() };
        let list = |tables: &[&str]| {
            let tables = tables.iter().map(|&t| t.to_owned()).collect();
            let spec = RowFloor { tolerance: 0, tables, since: None, first: false };
            let counts = row_counts(&seen, Some(&spec));
            counts.into_iter().map(|t| (t.table, t.rows)).collect::<Vec<_>>()
        };
        let owned = |list: &[(&str, u64)]| {
            list.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect::<Vec<_>>()
        };
        let whole = owned(&[("s.p.events", 111), ("s.p.plain", 7)]);
        assert_eq!(list(&[]), whole);
        assert_eq!(list(&["s.p.*"]), whole);
        let named = [("s.p.events", 111), ("s.p.events_2", 100), ("s.p.plain", 7)];
        assert_eq!(list(&["s.p.events_2"]), owned(&named));
        assert_eq!(list(&["s.p.*", "s.p.events_2"]), owned(&named));
        assert_eq!(list(&["s.p.events_*"]).len(), 4, "the job asks for the chunks");
    }
}
