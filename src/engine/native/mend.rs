//! Makes the recovered cluster fit to be looked at: production's habits lock a stranger out.
//!
//! Nobody outside knows a role that may log in, so one is made by the single-user server, which acts
//! as the bootstrap superuser whatever it is called, whether or not it may log in, and without any
//! setting of a role or database. None of this is part of the restore time.

use super::{
    classify::{self, Cause},
    log::Severity,
    server::{Launch, Server},
};
use crate::{
    drill::{Code, Error, FailureClass, Finding},
    engine::Redacted,
};

/// Databases to work in, in this order: either may have been dropped.
const DATABASES: [&str; 2] = ["template1", "postgres"];

/// The role that the checks use.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub password: Redacted,
}

/// How mending went.
#[derive(Debug)]
pub enum Mended {
    Done,
    /// The cluster's own files keep it from working.
    Damaged(Finding),
}

impl Role {
    /// A new role with a random name and password.
    ///
    /// # Errors
    /// `Bug` where the system gives no random bytes.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0_u8; 30];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::new(Code::Bug, format!("no random bytes: {error}")))?;
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
        let hex = |bytes: &[u8]| -> String {
            bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
        };
        Ok(Self {
            name: format!("pgassay_{}", hex(&bytes[..6])),
            password: Redacted(hex(&bytes[6..])),
        })
    }

    /// One statement a line, as the single-user server reads them. Name and password are
    /// hexadecimal digits.
    fn statements(&self) -> String {
        let Self { name, password } = self;
        format!(
            "CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{}'\n\
             UPDATE pg_catalog.pg_database SET datallowconn = true, datconnlimit = -1 \
             WHERE datconnlimit <> -2 AND (NOT datallowconn OR datconnlimit <> -1)\n",
            password.0
        )
    }
}

/// Makes the role and opens every database, with the server stopped.
///
/// # Errors
/// Causes of the environment, such as a locale that is not installed here.
pub async fn mend(launch: &Launch<'_>, role: &Role) -> Result<Mended, Error> {
    let mut first = None;
    for database in DATABASES {
        let mut once = launch.clone();
        once.args.insert(0, "--single".into());
        once.args.push(database.into());
        once.input = Some(role.statements());
        let server = Server::start(once).await?;
        let status = server.exited().await;
        let done = status.success()
            && server.log.with(|facts| facts.errors.is_empty() && facts.fatal.is_empty());
        if done {
            return Ok(Mended::Done);
        }
        let cause = server.log.with(|facts| {
            let worst = facts.fatal.first().or(facts.errors.first());
            debug_assert!(worst.is_none_or(|line| line.severity != Severity::Talk));
            worst.map_or_else(
                || classify::judge(facts, "single-user mode", &status.to_string()),
                |line| classify::judge_line(line, "single-user mode"),
            )
        });
        // The second database tells more only where the first does not exist.
        first.get_or_insert(cause);
    }
    match first {
        Some(Cause::Backup(finding)) => Ok(Mended::Damaged(finding)),
        Some(Cause::Environment(error)) => Err(error),
        None => Err(Error::new(Code::Bug, "no database was tried").class(FailureClass::InfraError)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_new_each_time_and_its_password_stays_hidden() {
        let (one, two) = (Role::random().unwrap(), Role::random().unwrap());
        assert_ne!(one.name, two.name);
        assert_eq!(one.password.0.len(), 48);
        assert!(!format!("{one:?}").contains(&one.password.0));
        assert_eq!(one.statements().lines().count(), 2);
    }
}
