//! What this machine has: a user, PostgreSQL, room, namespaces, leftovers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Probe, Status};
use crate::{
    drill::{Error, format, job::SandboxSpec},
    engine::{
        native::{
            exec,
            identity::Identity,
            place,
            sweep::{Fate, sweep},
        },
        postgres_install::{self, Installation},
    },
    pg::Major,
};

/// Below this a work directory is hardly of use.
const LITTLE_ROOM: u64 = 1 << 30;

/// Looks at this machine, as a drill with this sandbox would find it.
pub(super) async fn probe(sandbox: &SandboxSpec) -> Vec<Probe> {
    let mut probes = Vec::new();
    let identity = Identity::choose(sandbox.user.as_deref());
    match &identity {
        Ok(me) => probes.push(Probe::ok("user", format!("PostgreSQL runs as `{}`", me.name))),
        Err(error) => probes.push(Probe::failed("user", error)),
    }
    if let Ok(identity) = &identity {
        probes.extend(servers(sandbox.postgres_bin.as_deref(), identity));
        probes.push(room(sandbox, identity));
    }
    probes.push(network());
    probes.extend(leftovers(sandbox.work_dir.as_deref()).await);
    probes
}

/// For each major the server that a drill would take, or that there is none.
fn servers(postgres_bin: Option<&Path>, identity: &Identity) -> Vec<Probe> {
    let here = |major: &Major| match postgres_bin {
        Some(_) => postgres_install::choose(*major, postgres_bin, identity).is_ok(),
        None => postgres_install::discover().iter().any(|server| server.major == *major),
    };
    let probes: Vec<Probe> = Major::ALL
        .into_iter()
        .filter(here)
        .map(|major| match postgres_install::choose(major, postgres_bin, identity) {
            Ok(server) => installation(&server),
            Err(error) => {
                let hint =
                    "Let that user go through the folder, or name another in `sandbox.user`.";
                Probe::new("postgresql", Status::Warn, error.message).hint(hint)
            }
        })
        .collect();
    if !probes.is_empty() {
        return probes;
    }
    let place = postgres_bin
        .map_or_else(|| "here".to_owned(), |folder| format!("in `{}`", folder.display()));
    let detail = format!("no PostgreSQL of 14 to 18 that can be run {place}");
    vec![Probe::new("postgresql", Status::Missing, detail).hint(
        "Install the major of your backups (Debian and Ubuntu: `postgresql-17`) or name its folder \
         in `PGASSAY_PG_BIN`.",
    )]
}

fn installation(server: &Installation) -> Probe {
    let named = format!("PostgreSQL {} in `{}`", server.version, server.bin_dir.display());
    let extensions = server.extensions();
    if extensions.iter().any(|name| name == "amcheck") {
        let all = format::counted(extensions.len() as u64, "extension");
        return Probe::ok("postgresql", format!("{named}, with amcheck; {all} in all"));
    }
    Probe::new("postgresql", Status::Warn, format!("{named}, without amcheck"))
        .hint("Install its contrib package: without amcheck a deep drill is inconclusive.")
}

/// Whether a backup of `major` can be restored here.
pub(super) fn major(major: Major, sandbox: &SandboxSpec) -> Probe {
    let found = Identity::choose(sandbox.user.as_deref()).and_then(|identity| {
        postgres_install::choose(major, sandbox.postgres_bin.as_deref(), &identity)
    });
    match found {
        Ok(server) => Probe::ok(
            "major",
            format!("the newest backup is of PostgreSQL {major}; {} is here", server.version),
        ),
        Err(error) => Probe::failed("major", &error),
    }
}

/// The folder for sandboxes is made to see whether it can be; an empty one is removed again.
fn room(sandbox: &SandboxSpec, identity: &Identity) -> Probe {
    let before: Vec<PathBuf> = place::parents(sandbox.work_dir.as_deref())
        .iter()
        .map(|parent| place::base_below(parent))
        .filter(|base| base.exists())
        .collect();
    let base = match place::base(sandbox.work_dir.as_deref(), identity) {
        Ok(base) => base,
        Err(error) => return Probe::failed("disk", &error),
    };
    let free = free_bytes(&base);
    let same = |known: &PathBuf| fs::canonicalize(known).is_ok_and(|known| known == base);
    if !before.iter().any(same) {
        // Fails, as it should, where a drill has begun to use it.
        let _ = fs::remove_dir(&base);
    }
    let parent = base.parent().unwrap_or(&base).display().to_string();
    match free {
        Err(error) => Probe::failed("disk", &error),
        Ok(free) if free < LITTLE_ROOM => {
            let detail = format!("only {} free in `{parent}`", format::bytes(free));
            Probe::new("disk", Status::Warn, detail)
                .hint("Name a folder with more room with `--work-dir` or `sandbox.workDir`.")
        }
        Ok(free) => Probe::ok("disk", format!("{} free in `{parent}`", format::bytes(free))),
    }
}

fn network() -> Probe {
    if exec::network_isolation() {
        return Probe::ok("network", "PostgreSQL gets a network namespace of its own");
    }
    let detail =
        "no network namespace can be made: the restored PostgreSQL could reach the network";
    Probe::new("network", Status::Warn, detail).hint(
        "Allow unprivileged user namespaces (sysctl `user.max_user_namespaces`, on Ubuntu \
         `kernel.apparmor_restrict_unprivileged_userns`), or drill where nothing can be reached.",
    )
}

/// Sandboxes that a killed drill left.
async fn leftovers(work_dir: Option<&Path>) -> Option<Probe> {
    let mut leaked = Vec::new();
    for parent in place::parents(work_dir) {
        let found = sweep(&parent, Timestamp::now(), true).await;
        leaked.extend(found.into_iter().filter(|swept| swept.fate == Fate::Leaked));
    }
    let first = leaked.first()?;
    let detail = match leaked.len() {
        1 => format!("a sandbox was left behind: `{}`", first.path.display()),
        count => format!("{count} sandboxes were left behind, such as `{}`", first.path.display()),
    };
    Some(Probe::new("leftovers", Status::Warn, detail).hint("Remove them with `pgassay sweep`."))
}

/// Bytes free for an unprivileged user where sandboxes would be made, as far as can be told without
/// making anything.
pub(in crate::cmd) fn free_disk(work_dir: Option<&Path>) -> Option<u64> {
    free_bytes(place::parents(work_dir).first()?).ok()
}

fn free_bytes(place: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(place)
        .map_err(|error| Error::io(format_args!("look at `{}`", place.display()), &error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(work_dir: &Path) -> SandboxSpec {
        let mut sandbox = crate::config::flags::default_sandbox();
        sandbox.work_dir = Some(work_dir.to_path_buf());
        sandbox
    }

    #[test]
    fn looking_for_room_leaves_nothing_behind() {
        use std::os::unix::fs::PermissionsExt;

        let top = tempfile::Builder::new().prefix("pgassay-test-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let identity = Identity::choose(None).unwrap();
        let probe = room(&sandbox(top.path()), &identity);
        assert_ne!(probe.status, Status::Missing, "{probe:?}");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
        let nowhere = room(&sandbox(&top.path().join("nowhere")), &identity);
        assert_eq!(nowhere.status, Status::Missing);
        assert!(nowhere.usage);
    }

    #[test]
    fn a_folder_without_a_server_is_missing() {
        let probes = servers(Some(Path::new("/nonexistent")), &Identity::choose(None).unwrap());
        assert_eq!((probes.len(), probes[0].status), (1, Status::Missing));
    }
}
