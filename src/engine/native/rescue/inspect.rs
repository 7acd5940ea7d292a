//! What the operator of the restored cluster has to know: where its configuration leads, and what of it
//! this machine does not have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{Texts, hand_over, read_some};
use crate::{
    archive::BackupInfo,
    drill::{
        reached::Reached,
        report::SandboxReport,
        rescue::{
            AbsentLibrary, AbsentPath, Archiving, Overrides, RescuedCluster, RescuedTablespace,
        },
    },
    engine::native::{exec, flow::Machine},
    pg::conf::{self, Effective, Setting},
};

/// How much of a configuration file is read.
const MAX_TEXT: u64 = 256 * 1024;
/// How many of them.
const MAX_FILES: usize = 200;

/// Files that the server reads as it starts, where `ssl` is on.
const SSL_FILES: [&str; 5] =
    ["ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "ssl_dh_params_file"];

/// What is looked at.
#[derive(Debug)]
pub struct Look<'a> {
    pub dir: &'a Path,
    pub machine: &'a Machine,
    pub info: Option<&'a BackupInfo>,
    /// By the WAL.
    pub made_tablespaces: &'a [(u32, String)],
    pub reached: &'a Reached,
    pub report: SandboxReport,
}

/// The cluster, and what could not be looked at.
#[must_use]
pub fn cluster(look: &Look<'_>) -> (RescuedCluster, Vec<String>) {
    let (dir, machine) = (look.dir, look.machine);
    let mut texts = config_texts(dir, String::new());
    let auto_conf = read_some(&dir.join(super::AUTO_CONF), MAX_TEXT).ok();
    let auto_conf = auto_conf.map(|text| String::from_utf8_lossy(&text).into_owned());
    texts.extend(auto_conf.map(|text| (super::AUTO_CONF.to_owned(), text)));
    let (found, notes) = effective(dir, texts);
    let has = |name: &str| dir.join(name).exists();
    let elsewhere = look.info.and_then(|info| info.config_file.clone());
    let elsewhere = elsewhere.unwrap_or_else(|| "not named in `backup.info`".to_owned());
    let on = |name: &str| found.get(name).is_some_and(|setting| is_on(&setting.value));
    let archives = found
        .get("archive_mode")
        .is_some_and(|mode| is_on(&mode.value) || mode.value.eq_ignore_ascii_case("always"));
    let archiving = ["archive_library", "archive_command"].into_iter().find_map(|name| {
        let setting = found.get(name).filter(|_| archives)?;
        Some(Archiving { setting: name.to_owned(), file: setting.file.clone() })
    });
    let (absent_libraries, shared_libraries) = libraries(&found, machine);
    let cluster = RescuedCluster {
        directory: dir.display().to_string(),
        postgres: machine.server.version.clone(),
        bin_dir: machine.server.bin_dir.display().to_string(),
        user: machine.identity.name.clone(),
        switch: machine.identity.switch,
        network_isolated: look.report.network_isolated,
        timeline: Some(look.reached.new_timeline),
        tablespaces: tablespaces(look),
        archiving,
        config_elsewhere: (!has("postgresql.conf")).then_some(elsewhere),
        no_access_rules: !has("pg_hba.conf") && found.get("hba_file").is_none(),
        absent_paths: absent_paths(dir, &found, on),
        absent_libraries,
        shared_libraries,
        synchronous: found.get("synchronous_standby_names").is_some(),
        refused_configuration: None,
        recovery_settings: look.report.settings.clone(),
    };
    (cluster, notes)
}

/// Why PostgreSQL refuses the configuration in `dir` on this machine; `None` where it takes it. It only reads
/// the files and says what a setting is (`postgres -C`). Blocks.
#[must_use]
pub fn refusal(
    shim: &Path,
    machine: &Machine,
    dir: &Path,
    overrides: &Overrides,
) -> Option<String> {
    let mut command = exec::command(shim, &machine.identity, &machine.server.postgres());
    command.arg("-D").arg(dir);
    for (name, value) in overrides {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.args(["-C", "data_directory"]).env_clear().env("PATH", "/usr/bin:/bin");
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    let output = command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).output().ok()?;
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("it gives no reason");
    // `2026-11-23 03:32:26.123 UTC [4711] LOG:  …`
    let text = ["LOG:  ", "FATAL:  ", "ERROR:  "].iter().find_map(|word| first.split_once(word));
    Some(text.map_or(first, |(_, text)| text).chars().take(300).collect())
}

/// The configuration files in the top of a data directory but those of access rules, and
/// `postgresql.auto.conf` as it is given.
#[must_use]
pub fn config_texts(dir: &Path, auto_conf: String) -> Texts {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rules = matches!(name.as_str(), "pg_hba.conf" | "pg_ident.conf" | super::AUTO_CONF);
        if rules
            || Path::new(&name).extension().is_none_or(|kind| kind != "conf")
            || texts.len() >= MAX_FILES
        {
            continue;
        }
        if let Ok(text) = read_some(&entry.path(), MAX_TEXT) {
            texts.insert(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
    if !auto_conf.is_empty() {
        texts.insert(super::AUTO_CONF.to_owned(), auto_conf);
    }
    texts
}

/// What a server would take from the files, with those that they include from folders below.
fn effective(dir: &Path, mut texts: Texts) -> (Effective, Vec<String>) {
    loop {
        let found = conf::effective(&texts);
        let below: Vec<(String, PathBuf)> = found
            .absent
            .iter()
            .filter(|(name, _)| !name.starts_with('/') && !texts.contains_key(name))
            .map(|(name, _)| (name.clone(), dir.join(name)))
            .filter(|(_, path)| path.is_file())
            .collect();
        if below.is_empty() || texts.len() >= MAX_FILES {
            let folders = found.absent.iter().filter(|(name, _)| dir.join(name).is_dir());
            let notes = folders.map(|(name, by)| {
                format!("`{by}` includes the folder `{name}`, which was not looked into")
            });
            let notes = notes.collect();
            return (found, notes);
        }
        for (name, path) in below {
            let text = read_some(&path, MAX_TEXT).unwrap_or_default();
            texts.insert(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// A Boolean as `parse_bool` reads it.
fn is_on(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let starts = |word: &str| !value.is_empty() && word.starts_with(&value);
    starts("true") || starts("yes") || value == "on" || value == "1"
}

fn absent_paths(dir: &Path, found: &Effective, on: impl Fn(&str) -> bool) -> Vec<AbsentPath> {
    let mut absent = Vec::new();
    let mut add = |name: &str, setting: &Setting, path: &str, instead: Option<(&str, String)>| {
        absent.push(AbsentPath {
            setting: name.to_owned(),
            file: setting.file.clone(),
            path: path.to_owned(),
            instead: instead.map(|(name, value)| (name.to_owned(), value)),
        });
    };
    // A relative path is one below the data directory.
    let is_there = |path: &str| dir.join(path).exists();
    if let Some(setting) = found.get("data_directory") {
        let same = fs::canonicalize(&setting.value).is_ok_and(|path| path == dir);
        if !same {
            // There may be another cluster, which would be started instead.
            let here = dir.display().to_string();
            add("data_directory", setting, &setting.value, Some(("data_directory", here)));
        }
    }
    for (name, file) in [("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")] {
        if let Some(setting) = found.get(name).filter(|setting| !is_there(&setting.value)) {
            let own = dir.join(file);
            let instead = own.exists().then(|| (name, own.display().to_string()));
            add(name, setting, &setting.value, instead);
        }
    }
    if on("ssl") {
        for name in SSL_FILES {
            if let Some(setting) = found.get(name).filter(|setting| !is_there(&setting.value)) {
                add(name, setting, &setting.value, Some(("ssl", "off".to_owned())));
            }
        }
    }
    if let Some(setting) = found.get("unix_socket_directories") {
        let folders: Vec<&str> =
            setting.value.split(',').map(|path| path.trim().trim_matches('"')).collect();
        // One that begins with `@` is no path.
        let gone = |path: &&&str| !path.is_empty() && !path.starts_with('@') && !is_there(path);
        if let Some(first) = folders.iter().find(gone) {
            let instead = ("unix_socket_directories", "/tmp".to_owned());
            add("unix_socket_directories", setting, first, Some(instead));
        }
    }
    if on("logging_collector")
        && let Some(setting) = found.get("log_directory")
        // The server makes the last folder itself.
        && let Some(parent) = Path::new(&setting.value).parent()
        && !dir.join(parent).exists()
    {
        let instead = ("logging_collector", "off".to_owned());
        add("log_directory", setting, &setting.value, Some(instead));
    }
    if let Some(setting) =
        found.get("stats_temp_directory").filter(|setting| !is_there(&setting.value))
    {
        let instead = ("stats_temp_directory", "pg_stat_tmp".to_owned());
        add("stats_temp_directory", setting, &setting.value, Some(instead));
    }
    for (path, by) in found.absent.iter().filter(|(path, by)| !by.is_empty() && !is_there(path)) {
        let setting = Setting { file: by.clone(), value: path.clone() };
        add("include", &setting, path, None);
    }
    absent
}

/// Libraries that are not installed here, and the shared ones that are.
fn libraries(found: &Effective, machine: &Machine) -> (Vec<AbsentLibrary>, Vec<String>) {
    let (mut absent, mut there) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for name in ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"]
    {
        let Some(setting) = found.get(name) else { continue };
        for library in conf::preloaded(name, &setting.value) {
            let is_here = if library.starts_with('/') {
                Path::new(&library).exists() || Path::new(&format!("{library}.so")).exists()
            } else {
                machine.server.has_library(&library)
            };
            if is_here {
                if name == "shared_preload_libraries" {
                    there.push(library);
                }
            } else if seen.insert((name, library.clone())) {
                let (setting, file) = (name.to_owned(), setting.file.clone());
                absent.push(AbsentLibrary { setting, file, library });
            }
        }
    }
    (absent, there)
}

fn tablespaces(look: &Look<'_>) -> Vec<RescuedTablespace> {
    let known = look.info.map(|info| info.tablespaces.as_slice()).unwrap_or_default();
    let inside = hand_over::tablespaces_inside(look.dir).unwrap_or_default();
    let links = fs::read_dir(look.dir.join("pg_tblspc")).into_iter().flatten().flatten();
    let mut oids: BTreeSet<u32> =
        links.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    oids.extend(&inside);
    let one = |oid: u32| {
        let link = look.dir.join("pg_tblspc").join(oid.to_string());
        let known = known.iter().find(|tablespace| tablespace.oid == oid);
        let made = look.made_tablespaces.iter().find(|(made, _)| *made == oid);
        RescuedTablespace {
            oid,
            name: known.map(|known| known.name.clone()),
            path: fs::read_link(&link).unwrap_or(link).display().to_string(),
            was: known
                .map(|known| known.location.clone())
                .or_else(|| made.map(|(_, location)| location.clone())),
            in_place: inside.contains(&oid),
        }
    };
    oids.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            native::{identity::Identity, place::Place},
            postgres_install::Installation,
        },
        pg::{Lsn, Major, TimelineId},
    };

    fn look_at(files: &[(&str, &str)]) -> (RescuedCluster, Vec<String>) {
        let top = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(top.path()).unwrap();
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("@DIR@", dir.to_str().unwrap())).unwrap();
        }
        fs::create_dir_all(dir.join("pg_tblspc")).unwrap();
        fs::write(dir.join("lib.so"), "").unwrap();
        let machine = Machine {
            identity: Identity { uid: 1, gid: 1, name: "postgres".to_owned(), switch: true },
            server: Installation {
                major: Major::V15,
                version: "15.18".to_owned(),
                version_num: 150_018,
                bin_dir: "/bin".into(),
                library_dir: Some(dir.clone()),
                share_dir: None,
            },
            place: Place::at(dir.join("work")),
        };
        let reached = Reached {
            timeline: TimelineId(1),
            new_timeline: TimelineId(2),
            end: Lsn(0x500_0000),
            last_transaction_at: None,
        };
        let (info, made_tablespaces) = (None, &[][..]);
        let report = SandboxReport::default();
        let mut seen = cluster(&Look {
            dir: &dir,
            machine: &machine,
            info,
            made_tablespaces,
            reached: &reached,
            report,
        });
        let hide = |text: &mut String| *text = text.replace(dir.to_str().unwrap(), "DIR");
        for absent in &mut seen.0.absent_paths {
            hide(&mut absent.path);
            if let Some((_, value)) = &mut absent.instead {
                hide(value);
            }
        }
        seen
    }

    #[test]
    fn a_configuration_that_this_machine_has() {
        let (cluster, notes) = look_at(&[
            ("postgresql.conf", "ssl = on\ndata_directory = '@DIR@'\nlog_directory = 'log'\n"),
            ("pg_hba.conf", ""),
        ]);
        assert_eq!(cluster.absent_paths, []);
        assert_eq!(cluster.absent_libraries, []);
        assert_eq!((cluster.archiving, cluster.config_elsewhere), (None, None));
        assert_eq!((cluster.no_access_rules, cluster.synchronous), (false, false));
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn where_it_leads_away() {
        let (cluster, notes) = look_at(&[
            (
                "postgresql.conf",
                "ssl = on\nssl_cert_file = '/nonexistent/server.crt'\n\
                 ssl_key_file = 'own.key'\nhba_file = '/nonexistent/hba.conf'\n\
                 ident_file = '/nonexistent/ident.conf'\ndata_directory = '/nonexistent/data'\n\
                 unix_socket_directories = '/tmp, /nonexistent/run'\nlogging_collector = on\n\
                 log_directory = '/nonexistent/log/pg'\narchive_mode = on\n\
                 archive_command = 'secret %p'\ninclude 'conf.d/more.conf'\ninclude_dir 'conf.e'\n\
                 include '/nonexistent/extra.conf'\nsynchronous_standby_names = '*'\n",
            ),
            ("conf.d/more.conf", "shared_preload_libraries = 'lib, other'\n"),
            ("conf.e/x.conf", ""),
            ("own.key", ""),
            ("pg_hba.conf", ""),
            ("postgresql.auto.conf", "archive_command = 'another secret %p'\n"),
        ]);
        let absent: Vec<String> = cluster
            .absent_paths
            .iter()
            .map(|a| {
                let instead = a.instead.as_ref().map(|(name, value)| format!("{name}={value}"));
                format!("{} {} {} {}", a.setting, a.file, a.path, instead.unwrap_or_default())
            })
            .collect();
        insta::assert_snapshot!(absent.join("\n"));
        let archiving = cluster.archiving.unwrap();
        assert_eq!(
            (archiving.setting.as_str(), archiving.file.as_str()),
            ("archive_command", "postgresql.auto.conf")
        );
        assert_eq!(cluster.absent_libraries[0].library, "other");
        assert_eq!(cluster.shared_libraries, ["lib"]);
        assert!(cluster.synchronous);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn a_backup_without_its_configuration() {
        let (cluster, _) = look_at(&[("postgresql.auto.conf", "archive_mode = off\n")]);
        assert!(cluster.config_elsewhere.is_some());
        assert!(cluster.no_access_rules);
        assert_eq!(cluster.archiving, None);
        // What is said is known; that the file is not there is one thing, not two.
        assert_eq!(cluster.absent_paths, []);
    }

    #[test]
    fn switches_as_the_server_reads_them() {
        for (value, yes) in [
            ("on", true),
            ("TRUE", true),
            ("t", true),
            ("y", true),
            ("1", true),
            ("o", false),
            ("off", false),
            ("", false),
        ] {
            assert_eq!(is_on(value), yes, "{value}");
        }
    }
}
