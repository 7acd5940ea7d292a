//! The check `loginRoles`: roles that must be able to log in after a restore, as the restored catalog
//! has them (`pg_authid`), and a real login where the job knows the password.

use std::fmt::Write;

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{Connection, connect_any, log_in, quote_literal},
    databases::{answered, outcome, text},
    failure::{Meaning, SqlFailure, capped},
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding, job::LoginRole},
    engine::Redacted,
};

/// The roles of one job.
#[derive(Clone, Debug)]
pub struct LoginRoles(pub Vec<LoginRole>);

#[async_trait]
impl Check for LoginRoles {
    fn name(&self) -> String {
        "loginRoles".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let mut findings = Vec::new();
        let mut logins = Logins::default();
        let ended = look(context, &self.0, &mut findings, &mut logins).await;
        outcome(ended, capped(findings), || logins.words(self.0.len()))
    }
}

#[derive(Debug, Default)]
struct Logins {
    done: usize,
    /// Roles whose password was valid then and is not any more.
    expired: Vec<String>,
}

impl Logins {
    fn words(&self, roles: usize) -> String {
        let mut text = format!("{roles} roles may log in");
        if self.done > 0 {
            let _ = write!(text, ", {} of them did, with their passwords", self.done);
        }
        if !self.expired.is_empty() {
            let _ = write!(
                text,
                "; no login was tried as {}: the password was valid then and is not today",
                self.expired.join(", ")
            );
        }
        text
    }
}

/// What the catalog says of a role.
#[derive(Debug, Default)]
struct Judged {
    /// Everything that keeps it from logging in, in words.
    wrong: Vec<String>,
    /// Where it may log in.
    database: String,
    /// Its password's time is over by the clock of this machine.
    expired: bool,
}

async fn look(
    context: &CheckContext,
    roles: &[LoginRole],
    findings: &mut Vec<Finding>,
    logins: &mut Logins,
) -> Result<(), Error> {
    let connection = connect_any(&context.cluster, &context.cancel)
        .await
        .map_err(|failure| failure.into_error("looking up roles"))?;
    for role in roles {
        let subject = || format!("role `{}`", role.name);
        let judged = judge(context, &connection, role).await;
        let Some(judged) = answered(judged, subject, findings)? else { continue };
        let sound = judged.wrong.is_empty();
        findings.extend(
            judged
                .wrong
                .into_iter()
                .map(|detail| Finding::new(FailureClass::AuthCheck, subject(), detail, HINT)),
        );
        if let Some(password) = context.passwords.get(&role.name).filter(|_| sound) {
            if judged.expired {
                logins.expired.push(format!("`{}`", role.name));
                continue;
            }
            findings.extend(try_login(context, role, password, &judged.database).await?);
            logins.done += 1;
        }
    }
    Ok(())
}

const HINT: &str = "Applications could not log in after a restore: compare with production, and keep \
    roles and their passwords where a restore finds them.";

/// Looks a role up, as it was at the time that was recovered to.
async fn judge(
    context: &CheckContext,
    connection: &Connection,
    role: &LoginRole,
) -> Result<Judged, SqlFailure> {
    let name = quote_literal(&role.name);
    let at = match context.reached.last_transaction_at {
        Some(at) => format!("{}::pg_catalog.timestamptz", quote_literal(&at.to_string())),
        None => "pg_catalog.now()".to_owned(),
    };
    let database = role.database.as_deref().map(quote_literal);
    let connects = match &database {
        Some(database) => format!("d.datname = {database}"),
        // Limits: -2 is what an interrupted `DROP DATABASE` leaves.
        None => {
            "NOT d.datistemplate AND d.datallowconn AND d.datconnlimit NOT IN (-2, 0)".to_owned()
        }
    };
    let sql = format!(
        "SELECT r.rolcanlogin, r.rolconnlimit = 0, \
                r.rolpassword ~ '^(SCRAM-SHA-256[$]|md5[0-9a-f]{{32}}$)', r.rolpassword IS NULL, \
                r.rolvaliduntil <= {at}, r.rolvaliduntil, c.may, c.datname, \
                r.rolvaliduntil <= pg_catalog.now() \
         FROM pg_catalog.pg_authid r LEFT JOIN LATERAL ( \
           SELECT d.datname, \
                  pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') AS may \
           FROM pg_catalog.pg_database d WHERE {connects} \
           ORDER BY may DESC, d.datname <> 'postgres', d.oid LIMIT 1) c ON true \
         WHERE r.rolname = {name}"
    );
    let rows = connection.rows(&sql).await?;
    let Some(row) = rows.first() else {
        let wrong = vec!["it does not exist".to_owned()];
        return Ok(Judged { wrong, ..Judged::default() });
    };
    let mut wrong = Vec::new();
    if text(row, 0) != "t" {
        wrong.push("it is not allowed to log in (NOLOGIN)".to_owned());
    }
    if text(row, 1) == "t" {
        wrong.push("its connection limit is 0".to_owned());
    }
    if !role.without_password {
        if text(row, 3) == "t" {
            wrong.push("it has no password".to_owned());
        } else if text(row, 2) != "t" {
            wrong.push("its password is neither a SCRAM nor an MD5 one".to_owned());
        }
    }
    if text(row, 4) == "t" {
        wrong.push(format!("its password is valid until {} only", text(row, 5)));
    }
    match (text(row, 6), &role.database) {
        ("t", _) => {}
        ("f", Some(database)) => wrong.push(format!("it may not connect to database `{database}`")),
        (_, Some(database)) => wrong.push(format!("its database `{database}` does not exist")),
        (_, None) => wrong.push("it may not connect to any database".to_owned()),
    }
    Ok(Judged { wrong, database: text(row, 7).to_owned(), expired: text(row, 8) == "t" })
}

/// Logs in as the role. Only what the server says of role, password or database is a finding of the
/// backup's.
async fn try_login(
    context: &CheckContext,
    role: &LoginRole,
    password: &Redacted,
    database: &str,
) -> Result<Option<Finding>, Error> {
    let subject = format!("role `{}`", role.name);
    match log_in(&context.cluster, &role.name, password, database, &context.cancel).await {
        Ok(()) => Ok(None),
        Err(SqlFailure::Broken(error)) => Err(error.context(subject)),
        Err(SqlFailure::Server(error)) => {
            let refused = ["28P01", "28000", "42501", "53300", "3D000"];
            let ours =
                error.meaning() == Meaning::Unknown && refused.contains(&error.sqlstate.as_str());
            Ok(Some(if ours {
                let detail = format!("a login with the job's password ended in: {}", error.message);
                Finding::new(FailureClass::AuthCheck, subject, detail, HINT)
            } else {
                error.finding(subject)
            }))
        }
    }
}
