//! Whether a job's archive can be reached and read.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Probe, Status, machine};
use crate::{
    archive::BackupInfo,
    drill::{Code, Error, Job, format, job::ArchiveLocation},
    pg::Major,
    store::{
        self, GetRange, S3Store, SharedStore,
        retry::RetryPolicy,
        s3::{S3Options, Timeouts},
    },
    survey::{ServerSummary, server_root, servers},
};

/// S3 refuses requests whose time is further off than this (`RequestTimeTooSkewed`).
const MAX_SKEW_SECONDS: f64 = 900.0;
/// A skew that would falsify an age of some minutes.
const ODD_SKEW_SECONDS: f64 = 30.0;

/// Real ones take some kilobytes.
const MAX_INFO_BYTES: usize = 1 << 20;

/// A person waits: one quick attempt says as much as ten.
fn options() -> S3Options {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        response: Duration::from_secs(15),
        ..Timeouts::default()
    };
    S3Options { retry: RetryPolicy::never(), timeouts }
}

/// Endpoint, credentials, listing, clock. A probe that needs a failed one before it is left out.
pub(super) async fn probe(job: &Job) -> Vec<Probe> {
    let location = &job.archive;
    let store = match S3Store::connect_with(&location.store, options()).await {
        Ok(store) => store,
        Err(error) => return vec![Probe::failed("store", &error)],
    };
    let mut probes = Vec::new();
    let now = Timestamp::now();
    match store.server_time().await {
        Ok(theirs) => probes.push(clock(theirs.duration_since(now).as_secs_f64())),
        Err(error) if error.code == Code::StoreProtocol => {
            probes.push(Probe::new("clock", Status::Warn, error.message));
        }
        Err(error) => return vec![Probe::failed(name_of(&error), &error)],
    }
    let shared: SharedStore = Arc::new(store);
    probes.insert(0, Probe::ok("store", format!("{} answers", shared.describe())));
    let root = server_root(location);
    match shared.list_folders(&root).await {
        Err(error) => probes.push(Probe::failed(name_of(&error), &error)),
        Ok(folders) => {
            probes.push(Probe::ok("access", "the credentials may list the bucket"));
            probes.push(contents(&shared, location, &root, &folders).await);
            if let Some(major) = newest_major(&shared, &root).await {
                probes.push(machine::major(major, &job.sandbox));
            }
        }
    }
    probes
}

/// Under which name an error of the store is told.
fn name_of(error: &Error) -> &'static str {
    match error.code {
        Code::AccessDenied | Code::CredentialsMissing => "access",
        Code::BucketMissing | Code::ArchiveEmpty => "archive",
        _ => "store",
    }
}

fn clock(skew: f64) -> Probe {
    let side = if skew >= 0.0 { "behind" } else { "ahead of" };
    let off = format::duration(skew.abs());
    let hint = "Set this machine's clock, with chrony or systemd-timesyncd.";
    if skew.abs() > MAX_SKEW_SECONDS {
        let detail =
            format!("this machine is {off} {side} the store, which refuses 15 min and more");
        Probe::new("clock", Status::Missing, detail).hint(hint)
    } else if skew.abs() > ODD_SKEW_SECONDS {
        let detail =
            format!("this machine is {off} {side} the store: measured ages are off by that");
        Probe::new("clock", Status::Warn, detail).hint(hint)
    } else {
        Probe::ok("clock", "agrees with the store's")
    }
}

/// What lies below the server's prefix.
async fn contents(
    store: &SharedStore,
    location: &ArchiveLocation,
    root: &str,
    folders: &[String],
) -> Probe {
    let has = |name: &str| folders.iter().any(|folder| folder == name);
    match (has("base"), has("wals")) {
        (true, true) => Probe::ok("archive", format!("`{root}` holds base backups and WAL")),
        (true, false) => {
            Probe::new("archive", Status::Warn, format!("`{root}` holds base backups but no WAL"))
                .hint("No backup can be restored without WAL: check WAL archiving on the server.")
        }
        (false, true) => {
            Probe::new("archive", Status::Warn, format!("`{root}` holds WAL but no base backup"))
                .hint("Take a base backup first.")
        }
        (false, false) => {
            let found = servers(store, &location.store.prefix).await.unwrap_or_default();
            let names: Vec<String> = found.iter().map(ServerSummary::describe).collect();
            let hint = if names.is_empty() {
                "Check `archive.url` and `archive.server`; `pgassay init` looks for archives."
                    .to_owned()
            } else {
                format!("There are: {}.", names.join(", "))
            };
            let message = format!("there is no archive at `{root}`");
            Probe::failed("archive", &Error::new(Code::ArchiveEmpty, message).hint(hint))
        }
    }
}

/// The major of the newest backup, where its `backup.info` can be read.
async fn newest_major(store: &SharedStore, root: &str) -> Option<Major> {
    // Ids are times, so the greatest is the newest.
    let newest = store.list_folders(&format!("{root}base/")).await.ok()?.into_iter().max()?;
    let key = format!("{root}base/{newest}/backup.info");
    let bytes =
        store::read_all(store.as_ref(), GetRange::whole(&key), MAX_INFO_BYTES).await.ok()?;
    let info = BackupInfo::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
    Major::from_version_num(info.version?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        assert_eq!(clock(2.0).status, Status::Ok);
        assert_eq!(clock(-60.0).status, Status::Warn);
        assert!(clock(-60.0).detail.contains("ahead of"));
        assert!(clock(60.0).detail.contains("behind"));
        assert_eq!(clock(1000.0).status, Status::Missing);
    }
}
