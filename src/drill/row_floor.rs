//! Row floors: what a drill counted, against the last one that passed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailureClass, Finding, job::RowFloor, pattern::matches};

/// Most tables that a report lists with their rows.
const MOST_LISTED: usize = 1_000;

/// Rows of the tables of a drill, as its report keeps them. Partitions count for the table at the top.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// The largest, by rows.
    pub tables: Vec<TableRows>,
    /// How many further tables there are, and their rows.
    pub other_tables: u64,
    pub other_rows: u64,
}

/// One table: `database.schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRows {
    pub table: String,
    pub rows: u64,
}

impl RowCounts {
    /// The largest tables, those that `spec` names before all others.
    #[must_use]
    pub fn bounded(mut all: Vec<TableRows>, spec: Option<&RowFloor>) -> Self {
        let named = |table: &TableRows| spec.is_some_and(|spec| spec.names(&table.table));
        all.sort_by(|a, b| {
            named(b).cmp(&named(a)).then(b.rows.cmp(&a.rows)).then_with(|| a.table.cmp(&b.table))
        });
        let others = all.split_off(all.len().min(MOST_LISTED));
        Self {
            tables: all,
            other_tables: others.len() as u64,
            other_rows: others.iter().map(|t| t.rows).sum(),
        }
    }
}

/// What an earlier drill counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    pub drill_id: String,
    /// The time that it recovered to.
    pub recovered_to: Timestamp,
    pub counts: RowCounts,
}

/// What the kept reports say.
#[derive(Clone, Debug, Default)]
pub enum KnownFloor {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// No drill of the job that passed is kept: why, and where that was looked for. A job's first drill
    /// looks like this, and a folder that is not mounted.
    Absent {
        why: &'static str,
        place: String,
    },
    /// Some are kept, and none of them counts for this drill, and why.
    NoneCounts(String),
    Found(Floor),
    /// Not all that matter could be read: why, and what to do.
    Unreadable {
        why: String,
        hint: Option<String>,
    },
}

impl RowFloor {
    /// Whether a table is to be compared.
    #[must_use]
    pub fn names(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| matches(pattern, table))
    }

    /// Patterns that are no table's name, neither now nor in the floor: most likely a slip.
    #[must_use]
    pub fn idle_patterns(&self, now: &[TableRows], floor: Option<&Floor>) -> Vec<&str> {
        let before = floor.into_iter().flat_map(|floor| &floor.counts.tables);
        let all: Vec<&TableRows> = now.iter().chain(before).collect();
        let idle = |pattern: &&String| !all.iter().any(|t| matches(pattern, &t.table));
        self.tables.iter().filter(idle).map(String::as_str).collect()
    }

    /// Every table that has fewer rows than the floor allows or is gone, and how many were compared.
    #[must_use]
    pub fn compare(&self, now: &[TableRows], floor: &Floor) -> (Vec<Finding>, usize) {
        let now: BTreeMap<&str, u64> = now.iter().map(|t| (t.table.as_str(), t.rows)).collect();
        let mut findings = Vec::new();
        let mut compared = 0;
        for before in floor.counts.tables.iter().filter(|t| self.names(&t.table)) {
            compared += 1;
            let rows = now.get(before.table.as_str()).copied();
            let least = u128::from(before.rows) * u128::from(10_000 - self.tolerance);
            if rows.is_some_and(|rows| u128::from(rows) * 10_000 >= least) {
                continue;
            }
            let is = rows.map_or_else(
                || "the table is not there any more".to_owned(),
                |rows| format!("it has {rows} rows"),
            );
            let at = floor.recovered_to.strftime("%Y-%m-%dT%H:%M:%SZ");
            let percent = f64::from(self.tolerance) / 100.0;
            findings.push(Finding::new(
                FailureClass::AssertionFailed,
                &before.table,
                format!(
                    "{is}, there were {} at {at} (drill {}), of which {percent} % may be missing",
                    before.rows, floor.drill_id
                ),
                "Count them on production: if the rows are there, the backup has lost them. If they \
                 were removed on purpose, set `since` of this check to a time after that drill.",
            ));
        }
        (findings, compared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(list: &[(&str, u64)]) -> Vec<TableRows> {
        list.iter().map(|(table, rows)| TableRows { table: (*table).into(), rows: *rows }).collect()
    }

    fn floor(list: &[(&str, u64)]) -> Floor {
        Floor {
            drill_id: "d".into(),
            recovered_to: "2026-11-22T04:00:00Z".parse().unwrap(),
            counts: RowCounts { tables: tables(list), ..RowCounts::default() },
        }
    }

    fn spec(tolerance: u32, tables: &[&str]) -> RowFloor {
        let tables = tables.iter().map(|&t| t.to_owned()).collect();
        RowFloor { tolerance, tables, since: None, first: false }
    }

    #[test]
    fn the_tolerance_is_exact() {
        let floor = floor(&[("s.p.t", 1000)]);
        let below = |tolerance: u32, rows: u64| {
            !spec(tolerance, &[]).compare(&tables(&[("s.p.t", rows)]), &floor).0.is_empty()
        };
        assert!(!below(0, 1000) && below(0, 999) && !below(0, 5000));
        assert!(!below(500, 950) && below(500, 949));
        assert!(!below(10_000, 0));
        assert!(!below(1, 1000) && below(1, 999), "a hundredth of a percent");
        let most = [("s.p.t", u64::MAX)];
        assert_eq!(spec(0, &[]).compare(&tables(&most), &self::floor(&most)).0, []);
    }

    #[test]
    fn a_finding_names_the_table_and_both_counts() {
        let floor = floor(&[("s.p.t", 1000), ("s.p.gone", 7), ("s.q.u", 9)]);
        let now = tables(&[("s.p.t", 10), ("s.p.new", 0), ("s.q.u", 0)]);
        let (findings, compared) = spec(500, &["s.p.*"]).compare(&now, &floor);
        assert_eq!(compared, 2);
        let said: Vec<_> =
            findings.iter().map(|f| (f.subject.as_str(), f.detail.as_str())).collect();
        assert_eq!(
            said,
            [
                (
                    "s.p.t",
                    "it has 10 rows, there were 1000 at 2026-11-22T04:00:00Z (drill d), of which 5 \
                     % may be missing"
                ),
                (
                    "s.p.gone",
                    "the table is not there any more, there were 7 at 2026-11-22T04:00:00Z (drill \
                     d), of which 5 % may be missing"
                ),
            ]
        );
    }

    #[test]
    fn a_report_lists_the_largest_and_what_a_job_names() {
        let mut all: Vec<TableRows> =
            (0..1500).map(|i| TableRows { table: format!("s.p.t{i}"), rows: 10_000 + i }).collect();
        all.push(TableRows { table: "s.p.small".into(), rows: 1 });
        let counts = RowCounts::bounded(all.clone(), None);
        assert_eq!((counts.tables.len(), counts.other_tables), (1000, 501));
        assert_eq!(counts.tables[0].table, "s.p.t1499");
        let listed: u64 = counts.tables.iter().map(|t| t.rows).sum();
        assert_eq!(listed + counts.other_rows, all.iter().map(|t| t.rows).sum::<u64>());
        let named = RowCounts::bounded(all, Some(&spec(0, &["s.p.small"])));
        assert_eq!(named.tables[0].table, "s.p.small");
    }

    #[test]
    fn a_pattern_without_a_table_is_seen() {
        let spec = spec(0, &["s.p.t", "s.p.x*", "s.p.gone"]);
        let now = tables(&[("s.p.t", 1)]);
        assert_eq!(spec.idle_patterns(&now, None), ["s.p.x*", "s.p.gone"]);
        assert_eq!(spec.idle_patterns(&now, Some(&floor(&[("s.p.gone", 3)]))), ["s.p.x*"]);
    }
}
