//! The check `loginRoles`: roles that must be able to log in after a restore, as the restored catalog
//! has them (`pg_authid`), and a real login where the job knows the password.

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
        let mut logins = 0;
        let ended = look(context, &self.0, &mut findings, &mut logins).await;
        let passed = || match logins {
            0 => format!("{} roles may log in", self.0.len()),
            n => {
                format!("{} roles may log in, {n} of them did, with their passwords", self.0.len())
            }
        };
        outcome(ended, capped(findings), passed)
    }
}

async fn look(
    context: &CheckContext,
    roles: &[LoginRole],
    findings: &mut Vec<Finding>,
    logins: &mut usize,
) -> Result<(), Error> {
    let connection = connect_any(&context.cluster, &context.cancel)
        .await
        .map_err(|failure| failure.into_error("looking up roles"))?;
    for role in roles {
        let subject = || format!("role `{}`", role.name);
        let judged = judge(context, &connection, role).await;
        let Some(wrong) = answered(judged, subject, findings)? else { continue };
        let sound = wrong.is_empty();
        findings.extend(
            wrong
                .into_iter()
                .map(|detail| Finding::new(FailureClass::AuthCheck, subject(), detail, HINT)),
        );
        if let Some(password) = context.passwords.get(&role.name).filter(|_| sound) {
            findings.extend(try_login(context, role, password).await?);
            *logins += 1;
        }
    }
    Ok(())
}

const HINT: &str = "Applications could not log in after a restore: compare with production, and keep \
    roles and their passwords where a restore finds them.";

/// Everything that keeps a role from logging in, in words.
async fn judge(
    context: &CheckContext,
    connection: &Connection,
    role: &LoginRole,
) -> Result<Vec<String>, SqlFailure> {
    let name = quote_literal(&role.name);
    let at = match context.reached.last_transaction_at {
        Some(at) => format!("{}::pg_catalog.timestamptz", quote_literal(&at.to_string())),
        None => "pg_catalog.now()".to_owned(),
    };
    let database = role.database.as_deref().map(quote_literal);
    let connects = match &database {
        Some(database) => format!(
            "(SELECT pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') \
              FROM pg_catalog.pg_database d WHERE d.datname = {database})"
        ),
        None => "(SELECT pg_catalog.bool_or( \
                    pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')) \
                  FROM pg_catalog.pg_database d WHERE NOT d.datistemplate)"
            .to_owned(),
    };
    let sql = format!(
        "SELECT r.rolcanlogin, r.rolconnlimit = 0, \
                r.rolpassword ~ '^(SCRAM-SHA-256[$]|md5[0-9a-f]{{32}}$)', r.rolpassword IS NULL, \
                r.rolvaliduntil <= {at}, r.rolvaliduntil, {connects} \
         FROM pg_catalog.pg_authid r WHERE r.rolname = {name}"
    );
    let rows = connection.rows(&sql).await?;
    let Some(row) = rows.first() else { return Ok(vec!["it does not exist".to_owned()]) };
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
    Ok(wrong)
}

/// Logs in as the role. Only what the server says of role, password or database is a finding of the
/// backup's.
async fn try_login(
    context: &CheckContext,
    role: &LoginRole,
    password: &Redacted,
) -> Result<Option<Finding>, Error> {
    let database = role.database.as_deref().unwrap_or("postgres");
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
