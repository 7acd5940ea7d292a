//! What the checks that look into every database share: which ones, how a session begins, how what
//! was found becomes an outcome.

use super::{
    CheckContext,
    connection::{Connection, Database, TextRow, connect, databases, end_prepared_transactions},
    failure::{SqlFailure, capped},
};
use crate::drill::{CheckOutcome, Error, FailureClass, Finding};

/// The databases to look into. One that takes no connection is a finding, one that an interrupted
/// `DROP DATABASE` left is nothing.
///
/// # Errors
/// Why they could not be listed.
pub(super) async fn to_look_into(
    context: &CheckContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Database>, Error> {
    let list = databases(&context.cluster, &context.cancel)
        .await
        .map_err(|failure| failure.into_error("listing the databases"))?;
    let (open, closed): (Vec<_>, Vec<_>) =
        list.into_iter().filter(|d| !d.invalid).partition(Database::connectable);
    findings.extend(closed.iter().map(|database| {
        Finding::new(
            FailureClass::InfraError,
            subject(database),
            "it allows no connections, so nothing in it was looked at",
            "Report this: the sandbox should have allowed them.",
        )
    }));
    Ok(open)
}

/// Sessions in one database after the other.
#[derive(Debug)]
pub(super) struct Sessions<'a> {
    context: &'a CheckContext,
    left: std::vec::IntoIter<Database>,
}

/// A session in one database.
#[derive(Debug)]
pub(super) struct Session<'a> {
    context: &'a CheckContext,
    pub database: Database,
    connection: Connection,
}

impl<'a> Sessions<'a> {
    /// In these databases.
    pub(super) fn of(context: &'a CheckContext, databases: Vec<Database>) -> Self {
        Self { context, left: databases.into_iter() }
    }

    /// In the next one that takes a session. A refusal of the server is a finding.
    ///
    /// # Errors
    /// Where there was no answer.
    pub(super) async fn next(
        &mut self,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Session<'a>>, Error> {
        let context = self.context;
        for database in self.left.by_ref() {
            if let Some(connection) = open(context, &database, findings).await? {
                return Ok(Some(Session { context, database, connection }));
            }
        }
        Ok(None)
    }
}

impl Session<'_> {
    /// For what is asked of the database as a whole.
    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What it answered; see [`answered`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn answered<T>(
        &self,
        result: Result<T, SqlFailure>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<T>, Error> {
        answered(result, || subject(&self.database), findings)
    }

    /// For one thing after the other. What has made the server end the session was told with its own
    /// subject, and the others are still to be looked at: over a new one. `None` where the server
    /// refuses that, which is a finding.
    ///
    /// # Errors
    /// Where there was no answer.
    pub(super) async fn still(
        &mut self,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<&Connection>, Error> {
        if self.connection.ended() {
            match open(self.context, &self.database, findings).await? {
                Some(connection) => self.connection = connection,
                None => return Ok(None),
            }
        }
        Ok(Some(&self.connection))
    }
}

async fn open(
    context: &CheckContext,
    database: &Database,
    findings: &mut Vec<Finding>,
) -> Result<Option<Connection>, Error> {
    let opened = async {
        let connection = connect(&context.cluster, &database.name, &context.cancel).await?;
        end_prepared_transactions(&connection).await?;
        Ok(connection)
    };
    answered(opened.await, || subject(database), findings)
}

fn subject(database: &Database) -> String {
    format!("database `{}`", database.name)
}

/// A result, or `None` where the server answered with an error, which is a finding for `subject`.
///
/// # Errors
/// Where there was no answer.
pub(super) fn answered<T>(
    result: Result<T, SqlFailure>,
    subject: impl FnOnce() -> String,
    findings: &mut Vec<Finding>,
) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SqlFailure::Server(error)) => {
            findings.push(error.finding(subject()));
            Ok(None)
        }
        Err(SqlFailure::Broken(error)) => Err(error.context(subject())),
    }
}

/// The outcome of a look at all databases. Damage that was seen stays seen, whatever broke afterwards.
pub(super) fn outcome(
    ended: Result<(), Error>,
    mut findings: Vec<Finding>,
    passed: impl FnOnce() -> String,
) -> CheckOutcome {
    match ended {
        Ok(()) if findings.is_empty() => return CheckOutcome::Passed(passed()),
        Ok(()) => {}
        Err(error) if findings.iter().all(|f| f.class.is_environment()) => {
            return CheckOutcome::Errored(error);
        }
        Err(error) => findings.push(Finding::new(
            FailureClass::InfraError,
            "the rest of the cluster",
            error.message,
            "What was not looked at may be damaged too.",
        )),
    }
    CheckOutcome::Failed(capped(findings))
}

/// A column as text; NULL is empty.
pub(super) fn text(row: &TextRow, column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

/// A column as a number; what is none is 0.
pub(super) fn number<N: std::str::FromStr + Default>(row: &TextRow, column: usize) -> N {
    text(row, column).parse().unwrap_or_default()
}
