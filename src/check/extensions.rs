//! The check `extensions`: what the cluster needs of the server's installation: extensions, the
//! libraries of functions written in C, and those that its configuration loads. Nothing is loaded;
//! only the catalogs, the backup's configuration and the installation's files are looked at. What is
//! missing here says nothing of the backup, so the answer stays open, by name; a job may say which
//! extensions do not matter to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{
    Check, CheckContext, Phase,
    connection::{Connection, quote_literal},
    databases::{Sessions, outcome, text, to_look_into},
    failure::SqlFailure,
};
use crate::{
    drill::{CheckOutcome, Error, FailureClass, Finding},
    pg::conf::{self, Preload, Preloads},
};

/// What is installed in a database, whether it is available here, and the version that is.
const EXTENSIONS: &str = "\
    SELECT e.extname, e.extversion, a.name IS NOT NULL, a.default_version, \
           EXISTS (SELECT 1 FROM pg_catalog.pg_available_extension_versions v \
                   WHERE v.name = e.extname AND v.version = e.extversion) \
    FROM pg_catalog.pg_extension e \
    LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname \
    ORDER BY e.extname";

/// Every library that functions are in, and the extension that they belong to, if one. 13 is the
/// language `c`.
const LIBRARIES: &str = "\
    SELECT DISTINCT p.probin, e.extname FROM pg_catalog.pg_proc p \
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
      AND d.objid = p.oid AND d.deptype = 'e' \
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
    LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
    WHERE p.prolang = 13 AND p.probin IS NOT NULL ORDER BY 1, 2";

/// Libraries that single databases and roles load into their sessions.
const SESSION_LIBRARIES: &str = "\
    SELECT DISTINCT c FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c \
    WHERE c ~ '^(session|local)_preload_libraries=' ORDER BY 1";

/// Compares databases with the installation. The names are extensions that may be missing.
#[derive(Clone, Debug, Default)]
pub struct Extensions(pub Vec<String>);

/// Over all databases.
#[derive(Debug, Default)]
struct Tally {
    extensions: BTreeSet<String>,
    libraries: BTreeSet<String>,
    /// Extensions that the job lets be missing.
    ignored: BTreeSet<String>,
    /// In words: those whose version is not installed here.
    other_versions: BTreeSet<String>,
    /// Extensions with a finding.
    missing: BTreeSet<String>,
    /// Libraries that sessions of a database or role would load, and that are not here: the drill's
    /// own sessions load none.
    of_sessions: BTreeSet<String>,
    /// Where the server keeps its libraries, once a database was asked.
    folder: Option<PathBuf>,
    /// Whether the backup holds every file of production's configuration.
    configuration_known: bool,
}

#[async_trait]
impl Check for Extensions {
    fn name(&self) -> String {
        "extensions".into()
    }

    fn phase(&self) -> Phase {
        Phase::Running
    }

    async fn run(&self, context: &CheckContext) -> CheckOutcome {
        let (mut tally, mut findings) = (Tally::default(), Vec::new());
        let ended = self.look(context, &mut tally, &mut findings).await;
        outcome(ended, findings, || tally.words())
    }
}

impl Extensions {
    async fn look(
        &self,
        context: &CheckContext,
        tally: &mut Tally,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let mut sessions = Sessions::of(context, to_look_into(context, findings).await?);
        while let Some(session) = sessions.next(findings).await? {
            let looked = self.database(session.connection(), &session.database.name, tally).await;
            let found = session.answered(looked, findings)?;
            findings.extend(found.into_iter().flatten());
        }
        findings.extend(self.preloads(&context.preloads, tally));
        Ok(())
    }

    /// What the configuration loads into every server or session and is not here. Without a database
    /// that could be asked, nothing is known, which is a finding already.
    fn preloads(&self, preloads: &Preloads, tally: &mut Tally) -> Vec<Finding> {
        let Some(folder) = tally.folder.clone() else { return Vec::new() };
        tally.configuration_known = preloads.whole;
        let mut missing = BTreeMap::new();
        for preload in &preloads.libraries {
            let Preload { setting, file, library } = preload;
            tally.libraries.insert(library.clone());
            let name = library.strip_prefix("$libdir/").unwrap_or(library);
            // Named once: its extension has a finding.
            if exists(&folder, library) || tally.missing.contains(name) {
                continue;
            }
            if self.0.iter().any(|allowed| allowed == name) {
                tally.ignored.insert(name.to_owned());
                continue;
            }
            let detail = format!(
                "`{setting}` of the backup's `{file}` loads it, and it is not installed on this \
                 machine"
            );
            let subject = format!("library `{name}`");
            let class = FailureClass::LibraryMissing;
            missing.insert(name.to_owned(), Finding::new(class, subject, detail, hint(name)));
        }
        missing.into_values().collect()
    }

    async fn database(
        &self,
        connection: &Connection,
        database: &str,
        tally: &mut Tally,
    ) -> Result<Vec<Finding>, SqlFailure> {
        let mut missing: BTreeMap<String, Finding> = BTreeMap::new();
        for row in connection.rows(EXTENSIONS).await? {
            let (name, version) = (text(&row, 0), text(&row, 1));
            tally.extensions.insert(name.to_owned());
            if text(&row, 2) == "t" {
                if text(&row, 4) != "t" {
                    let here = text(&row, 3);
                    tally.other_versions.insert(format!("`{name}` {version} (here {here})"));
                }
                continue;
            }
            let finding = Finding::new(
                FailureClass::ExtensionMissing,
                format!("extension `{name}` of database `{database}`"),
                format!("version {version} is in use, none is installed on this machine"),
                hint(name),
            );
            missing.insert(name.to_owned(), finding);
        }
        let folder = library_folder(connection).await?;
        if tally.folder.is_none() {
            for row in connection.rows(SESSION_LIBRARIES).await? {
                let (setting, value) = text(&row, 0).split_once('=').unwrap_or_default();
                let absent = conf::preloaded(setting, value).filter(|l| !exists(&folder, l));
                tally.of_sessions.extend(absent);
            }
            tally.folder = Some(folder.clone());
        }
        let mut without_file: BTreeSet<(String, String)> = BTreeSet::new();
        for row in connection.rows(LIBRARIES).await? {
            let library = text(&row, 0).to_owned();
            tally.libraries.insert(library.clone());
            if !exists(&folder, &library) {
                without_file.insert((library, text(&row, 1).to_owned()));
            }
        }
        for (library, extension) in without_file {
            if self.0.contains(&extension) {
                tally.ignored.insert(extension);
                continue;
            }
            // Named once: a missing extension takes its libraries along.
            if let Some(finding) = missing.get_mut(&extension) {
                if !finding.detail.contains("its functions need") {
                    finding.detail =
                        format!("{}, and its functions need `{library}`", finding.detail);
                }
                continue;
            }
            let (subject, hint) = if extension.is_empty() {
                (
                    format!("functions of database `{database}`"),
                    "Install the library on this machine, in the version of production.".to_owned(),
                )
            } else {
                (format!("extension `{extension}` of database `{database}`"), hint(&extension))
            };
            let detail = format!("its library `{library}` is not installed on this machine");
            let finding = Finding::new(FailureClass::LibraryMissing, subject, detail, hint);
            // A slash is in no extension's name.
            missing.insert(format!("/{library}"), finding);
        }
        for name in &self.0 {
            if missing.remove(name).is_some() {
                tally.ignored.insert(name.clone());
            }
        }
        tally.missing.extend(missing.keys().cloned());
        Ok(missing.into_values().collect())
    }
}

fn hint(extension: &str) -> String {
    format!(
        "Install it here in the version of production, or, if no data depends on it, write \
         `- extensions: {{mayBeMissing: [{extension}]}}` under `checks` of the job."
    )
}

/// `$libdir` of the server (`PKGLIBDIR`).
async fn library_folder(connection: &Connection) -> Result<PathBuf, SqlFailure> {
    let name = quote_literal("PKGLIBDIR");
    let sql = format!("SELECT setting FROM pg_catalog.pg_config WHERE name = {name}");
    let rows = connection.rows(&sql).await?;
    Ok(rows.first().map(|row| PathBuf::from(text(row, 0))).unwrap_or_default())
}

/// Where the server would look (`expand_dynamic_library_name`, `dfmgr.c`), without production's own
/// `dynamic_library_path`.
fn exists(folder: &Path, library: &str) -> bool {
    let path = match library.strip_prefix("$libdir/") {
        Some(rest) => folder.join(rest),
        None if library.contains('/') => PathBuf::from(library),
        None => folder.join(library),
    };
    let mut with_suffix = path.clone().into_os_string();
    with_suffix.push(".so");
    path.is_file() || Path::new(&with_suffix).is_file()
}

impl Tally {
    fn words(&self) -> String {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut text = vec![format!(
            "{} extensions and {} libraries",
            self.extensions.len(),
            self.libraries.len()
        )];
        if !self.other_versions.is_empty() {
            text.push(format!("other versions are installed here: {}", list(&self.other_versions)));
        }
        if !self.ignored.is_empty() {
            text.push(format!("missing here, which the job allows: {}", list(&self.ignored)));
        }
        if !self.of_sessions.is_empty() {
            text.push(format!(
                "missing here, which sessions of some databases or roles would load: {}",
                list(&self.of_sessions)
            ));
        }
        if !self.configuration_known {
            text.push(
                "libraries that the server preloads are not all known, as the backup lacks files of its \
                 configuration"
                    .to_owned(),
            );
        }
        text.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_as_the_server_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain.so"), "").unwrap();
        let absolute = folder.path().join("plain").display().to_string();
        for (library, answer) in [
            ("$libdir/plain", true),
            ("$libdir/plain.so", true),
            ("plain", true),
            (absolute.as_str(), true),
            ("$libdir/other", false),
            ("/nowhere/plain", false),
            ("other", false),
        ] {
            assert_eq!(exists(folder.path(), library), answer, "{library}");
        }
    }
}
