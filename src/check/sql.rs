//! The checks `sql:NAME`: a job's own statements about the data.

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{TextRow, connect, end_prepared_transactions, quote_literal},
    failure::{Meaning, SqlFailure},
};
use crate::drill::{
    CheckOutcome, Code, Error, FailureClass, Finding,
    job::{Comparison, Expectation, SqlCheck},
};

pub mod compare;

/// `search_path` of a job's SQL where the job does not say otherwise.
const SEARCH_PATH: &str = "pg_catalog, public";

/// One assertion of a job.
#[derive(Clone, Debug)]
pub struct SqlAssertion(pub SqlCheck);

#[async_trait]
impl Check for SqlAssertion {
    fn name(&self) -> String {
        format!("sql:{}", self.0.name)
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let check = &self.0;
        let path = check.search_path.as_deref().unwrap_or(SEARCH_PATH);
        let value = match one_value(context, &check.database, path, &check.query).await {
            Ok(value) => value,
            Err(outcome) => return outcome,
        };
        let wanted = words(&check.expect);
        let wrong = |what: String| {
            CheckOutcome::Failed(vec![Finding::new(
                FailureClass::AssertionFailed,
                self.name(),
                what,
                "Run the query on production: if it holds there, the restored data is not what it \
                 should be.",
            )])
        };
        let value = match value {
            Answer::NoRow => {
                return wrong(format!("the query returned no row; expected is `{wanted}`"));
            }
            Answer::Null => None,
            Answer::Value(text) => Some(text),
        };
        if compare::holds(&check.expect, value.as_deref()) {
            return CheckOutcome::Passed(format!("the value satisfies `{wanted}`"));
        }
        wrong(match value {
            None => format!("the value is NULL; expected is `{wanted}`"),
            Some(value) if check.show_value => {
                format!("the value `{value}` does not satisfy `{wanted}`")
            }
            Some(_) => format!("the value does not satisfy `{wanted}`"),
        })
    }
}

fn words(expect: &Expectation) -> String {
    let operator = match expect.operator {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    format!("{operator} {}", expect.literal)
}

/// What a query for one value returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    NoRow,
    Null,
    Value(String),
}

/// The one value of a job's query, run in a transaction that is rolled back. The error is an outcome: damage is a finding, anything else could not tell.
pub(super) async fn one_value(
    context: &CheckContext,
    database: &str,
    search_path: &str,
    query: &str,
) -> Result<Answer, CheckOutcome> {
    let judge = |failure: SqlFailure, doing: String| match failure {
        SqlFailure::Server(error) if error.meaning() != Meaning::Unknown => {
            CheckOutcome::Failed(vec![error.finding(format!("database `{database}`"))])
        }
        other => CheckOutcome::Errored(other.into_error(&doing)),
    };
    let connection = connect(&context.cluster, database, &context.cancel)
        .await
        .map_err(|failure| judge(failure, format!("connecting to database `{database}`")))?;
    end_prepared_transactions(&connection)
        .await
        .map_err(|failure| judge(failure, "ending prepared transactions".to_owned()))?;
    let prepare = format!(
        "BEGIN; SELECT pg_catalog.set_config('search_path', {}, true)",
        quote_literal(search_path)
    );
    let running = || format!("the query in database `{database}` failed");
    connection.execute(&prepare).await.map_err(|failure| judge(failure, running()))?;
    let (columns, rows) =
        connection.first_rows(query, 2).await.map_err(|failure| judge(failure, running()))?;
    single(columns, rows).map_err(CheckOutcome::Errored)
}

fn single(columns: usize, mut rows: Vec<TextRow>) -> Result<Answer, Error> {
    let wrong = |what: &str| {
        Error::new(Code::JobInvalid, format!("the query returns {what}, not one value"))
            .hint("Make the query in the job return exactly one row with one column.")
    };
    if columns != 1 {
        return Err(wrong(&format!("{columns} columns")));
    }
    if rows.len() > 1 {
        return Err(wrong("more than one row"));
    }
    Ok(match rows.pop().map(|mut row| row.pop().flatten()) {
        None => Answer::NoRow,
        Some(None) => Answer::Null,
        Some(Some(text)) => Answer::Value(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_value() {
        assert_eq!(single(1, vec![]).unwrap(), Answer::NoRow);
        assert_eq!(single(1, vec![vec![None]]).unwrap(), Answer::Null);
        assert_eq!(single(1, vec![vec![Some("7".into())]]).unwrap(), Answer::Value("7".into()));
        assert!(single(1, vec![vec![None], vec![None]]).is_err());
        assert!(single(0, vec![vec![]]).is_err());
        assert!(single(2, vec![]).is_err());
    }
}
