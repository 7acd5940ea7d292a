//! The PostgreSQL servers that are installed here.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::native::identity::Identity;
use crate::{
    drill::{Code, Error, FailureClass},
    pg::Major,
};

/// One installed server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    pub major: Major,
    /// As the program prints it, such as `15.18`.
    pub version: String,
    /// `PG_VERSION_NUM`, such as 150018.
    pub version_num: u32,
    /// Folder with the program `postgres`.
    pub bin_dir: PathBuf,
    /// Folder with the loadable libraries (`$libdir`), where it was found.
    pub library_dir: Option<PathBuf>,
    /// Folder with `extension/*.control`, where it was found.
    pub share_dir: Option<PathBuf>,
}

impl Installation {
    /// The server program.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.bin_dir.join("postgres")
    }

    /// Whether the library `name` (as in `shared_preload_libraries`) is installed.
    #[must_use]
    pub fn has_library(&self, name: &str) -> bool {
        let bare = name.strip_prefix("$libdir/").unwrap_or(name);
        let stem = bare.strip_suffix(".so").unwrap_or(bare);
        !stem.contains('/')
            && self.library_dir.as_ref().is_some_and(|dir| dir.join(format!("{stem}.so")).is_file())
    }

    /// Names of the extensions that have a control file here, sorted.
    #[must_use]
    pub fn extensions(&self) -> Vec<String> {
        let Some(share) = &self.share_dir else { return Vec::new() };
        let Ok(entries) = fs::read_dir(share.join("extension")) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| {
            Some(entry.file_name().to_str()?.strip_suffix(".control")?.to_owned())
        });
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Looks at the program in `bin_dir`. It is asked for its version, never run as a server.
    fn probe(bin_dir: &Path) -> Option<Self> {
        let bin_dir = fs::canonicalize(bin_dir).ok()?;
        let program = bin_dir.join("postgres");
        if !program.is_file() {
            return None;
        }
        let output = Command::new(&program)
            .arg("-V")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let (version, version_num) = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        let major = Major::from_version_num(version_num)?;
        let library_dir = library_dir(&bin_dir);
        let share_dir = share_dir(&bin_dir, major);
        Some(Self { major, version, version_num, bin_dir, library_dir, share_dir })
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` to `15.18` and 150018.
fn parse_version(output: &str) -> Option<(String, u32)> {
    let version = output.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u32>().ok()
    };
    let (major, minor) = match version.split_once('.') {
        Some((major, minor)) => (digits(major)?, digits(minor)?),
        // `18beta1`, `18devel`
        None => (digits(version)?, 0),
    };
    Some((version.to_owned(), major.checked_mul(10_000)?.checked_add(minor)?))
}

fn library_dir(bin_dir: &Path) -> Option<PathBuf> {
    ["../lib", "../lib/postgresql", "../lib64/pgsql", "../lib64/postgresql"]
        .into_iter()
        .filter_map(|relative| fs::canonicalize(bin_dir.join(relative)).ok())
        .find(|dir| dir.join("plpgsql.so").is_file())
}

fn share_dir(bin_dir: &Path, major: Major) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/share/postgresql/{major}"));
    let relative =
        ["../share", "../share/postgresql", "../share/pgsql"].map(|dir| bin_dir.join(dir));
    // Debian keeps what does not depend on the machine elsewhere.
    let at_debian = bin_dir.starts_with(format!("/usr/lib/postgresql/{major}"));
    at_debian
        .then_some(debian)
        .into_iter()
        .chain(relative)
        .filter_map(|dir| fs::canonicalize(dir).ok())
        .find(|dir| dir.join("extension").is_dir())
}

fn numbered(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(below))
        .collect();
    found.sort();
    found
}

fn listed(variable: &str) -> Vec<PathBuf> {
    let value = env::var_os(variable).unwrap_or_default();
    env::split_paths(&value).filter(|path| path.is_absolute()).collect()
}

/// The folders that may hold a server, in order of preference.
fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for major in Major::ALL {
        folders.extend(listed(&format!("PGASSAY_PG_BIN_{major}")));
    }
    folders.extend(listed("PGASSAY_PG_BIN"));
    folders.extend(numbered("/usr/lib/postgresql", "", "bin"));
    folders.extend(numbered("/usr", "pgsql-", "bin"));
    folders.extend(numbered("/usr/local", "pgsql", "bin"));
    folders.extend(listed("PATH"));
    folders
}

fn probe_all(folders: impl IntoIterator<Item = PathBuf>) -> Vec<Installation> {
    let mut seen = BTreeSet::new();
    folders
        .into_iter()
        .filter_map(|folder| fs::canonicalize(folder).ok())
        .filter(|folder| seen.insert(folder.clone()))
        .filter_map(|folder| Installation::probe(&folder))
        .collect()
}

/// Every server of a supported major that is installed here: `PGASSAY_PG_BIN_<major>`,
/// `PGASSAY_PG_BIN` (both with colons between), the usual folders of Debian, Red Hat and a build
/// from source, and `PATH`.
#[must_use]
pub fn discover() -> Vec<Installation> {
    probe_all(candidates())
}

/// The server to recover a backup of `major` with: the one in `postgres_bin` if a job names it, else
/// the newest minor version of that major that `identity` may run.
///
/// # Errors
/// `PostgresMissing` names the majors that are here and the package to install.
pub fn choose(
    major: Major,
    postgres_bin: Option<&Path>,
    identity: &Identity,
) -> Result<Installation, Error> {
    let found = match postgres_bin {
        Some(folder) => probe_all([folder.to_path_buf()]),
        None => discover(),
    };
    pick(found, major, postgres_bin, identity)
}

fn pick(
    found: Vec<Installation>,
    major: Major,
    postgres_bin: Option<&Path>,
    identity: &Identity,
) -> Result<Installation, Error> {
    let missing = |message: String| {
        Error::new(Code::PostgresMissing, message).class(FailureClass::InfraError).hint(format!(
            "Install PostgreSQL {major} (Debian and Ubuntu: `postgresql-{major}`, Red Hat: \
             `postgresql{major}-server`) or name its folder in `PGASSAY_PG_BIN_{major}`."
        ))
    };
    let here: BTreeSet<Major> = found.iter().map(|i| i.major).collect();
    let mut fit: Vec<Installation> = found.into_iter().filter(|i| i.major == major).collect();
    // The first of equal versions wins: `max_by_key` would take the last.
    fit.reverse();
    let mut closed = None;
    while let Some(best) = fit.iter().max_by_key(|i| i.version_num).cloned() {
        match identity.may_execute(&best.postgres()) {
            Ok(()) => return Ok(best),
            Err(stop) => {
                closed.get_or_insert((best.bin_dir.clone(), stop));
                fit.retain(|i| i.bin_dir != best.bin_dir);
            }
        }
    }
    if let Some((bin, stop)) = closed {
        return Err(missing(format!(
            "user `{}` cannot run PostgreSQL {major} in `{}`: `{}` is closed to it",
            identity.name,
            bin.display(),
            stop.display()
        )));
    }
    let list = here.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(missing(match (postgres_bin, here.is_empty()) {
        (Some(folder), true) => format!("there is no PostgreSQL in `{}`", folder.display()),
        (Some(folder), false) => {
            format!("the backup is of PostgreSQL {major}, and `{}` holds {list}", folder.display())
        }
        (None, true) => format!("the backup is of PostgreSQL {major}, and none is installed here"),
        (None, false) => {
            format!("the backup is of PostgreSQL {major}, and only {list} is installed here")
        }
    }))
}

/// The first server that knows `allow_in_place_tablespaces`.
pub const IN_PLACE_TABLESPACES: u32 = 140_005;

/// Refuses a server that cannot keep tablespaces inside the sandbox: 14.0 to 14.4 lack
/// `allow_in_place_tablespaces`.
///
/// # Errors
/// `PostgresMissing` with the version that is needed.
pub fn check_tablespaces(server: &Installation, tablespaces: bool) -> Result<(), Error> {
    if !tablespaces || server.version_num >= IN_PLACE_TABLESPACES {
        return Ok(());
    }
    Err(Error::new(
        Code::PostgresMissing,
        format!(
            "PostgreSQL {} cannot keep the backup's tablespaces inside the sandbox",
            server.version
        ),
    )
    .class(FailureClass::InfraError)
    .hint("Install PostgreSQL 14.5 or later of that major."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(version_num: u32, bin_dir: &str) -> Installation {
        Installation {
            major: Major::from_version_num(version_num).unwrap(),
            version: format!("{}.{}", version_num / 10_000, version_num % 10_000),
            version_num,
            bin_dir: bin_dir.into(),
            library_dir: None,
            share_dir: None,
        }
    }

    fn somebody() -> Identity {
        Identity { uid: 4711, gid: 4711, name: "somebody".to_owned(), switch: true }
    }

    #[test]
    fn versions_as_the_program_prints_them() {
        let version = |text| parse_version(text).map(|(_, number)| number);
        assert_eq!(
            version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(150_018)
        );
        assert_eq!(version("postgres (PostgreSQL) 18beta1\n"), Some(180_000));
        assert_eq!(version("postgres (PostgreSQL) 9.6.24\n"), Some(90_006));
        assert_eq!(version("mysqld 8\n"), None);
    }

    #[test]
    fn the_newest_minor_that_the_user_may_run() {
        let top = tempfile::tempdir().unwrap();
        let open = fs::canonicalize("/bin").unwrap();
        // `/bin/postgres` does not exist, so nothing here can be run; the messages say which.
        let found = vec![
            installation(150_001, top.path().to_str().unwrap()),
            installation(150_018, open.to_str().unwrap()),
            installation(170_002, "/x"),
        ];
        let error = pick(found.clone(), Major::V15, None, &somebody()).unwrap_err();
        assert!(error.message.contains("cannot run PostgreSQL 15"), "{}", error.message);
        let error = pick(found, Major::V16, None, &somebody()).unwrap_err();
        assert_eq!(
            error.message,
            "the backup is of PostgreSQL 16, and only 15, 17 is installed here"
        );
        assert!(error.hint.unwrap().contains("postgresql-16"));
    }

    #[test]
    fn early_14_is_refused_where_there_are_tablespaces() {
        assert!(check_tablespaces(&installation(140_004, "/x"), true).is_err());
        assert!(check_tablespaces(&installation(140_004, "/x"), false).is_ok());
        assert!(check_tablespaces(&installation(140_005, "/x"), true).is_ok());
    }
}
