//! What an operator does with a rescued cluster, in order: nothing may reach the old archive, the server
//! must start on this machine, and then it needs a backup of its own.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Overrides, RescuedCluster};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Sentences for a person.
    pub what: String,
    /// What to type, where it can be said.
    pub command: Option<String>,
}

impl Step {
    fn say(what: impl Into<String>) -> Self {
        Self { what: what.into(), command: None }
    }

    fn run(what: impl Into<String>, command: impl Into<String>) -> Self {
        Self { what: what.into(), command: Some(command.into()) }
    }
}

/// The steps, in order. `server` is the name of the archive that the cluster came from.
#[must_use]
pub fn next_steps(cluster: &RescuedCluster, server: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(archiving(cluster, server));
    steps.extend(configuration(cluster));
    steps.push(start(cluster));
    steps.push(Step::say(
        "Look at the data before you let applications in. Roles and passwords are production's, as \
         of the last transaction; nothing was added. Subscriptions and what runs on a \
         schedule inside the database (pg_cron and its like) begin to work with the start.",
    ));
    if cluster.synchronous {
        steps.push(Step::say(
            "`synchronous_standby_names` is set: commits wait for standbys that are not there. Empty \
             it until they are.",
        ));
    }
    steps.extend(tablespaces(cluster));
    steps.extend(new_archive(cluster, server));
    steps.push(Step::say(
        "Replication slots were not restored, and standbys of the lost server cannot follow this one: \
         make them anew.",
    ));
    steps
}

/// What the server is started with for the first time, by name.
#[must_use]
pub fn first_overrides(cluster: &RescuedCluster) -> Overrides {
    let mut overrides = Overrides::new();
    if cluster.archiving.is_some() {
        overrides.insert("archive_mode".to_owned(), "off".to_owned());
    }
    for path in &cluster.absent_paths {
        overrides.extend(path.instead.clone());
    }
    if cluster.absent_libraries.iter().any(|l| l.setting == "shared_preload_libraries") {
        let there = cluster.shared_libraries.join(",");
        overrides.insert("shared_preload_libraries".to_owned(), there);
    }
    overrides
}

/// The command that starts the server for the first time.
#[must_use]
pub fn start_command(cluster: &RescuedCluster) -> String {
    let mut options = String::new();
    for (name, value) in first_overrides(cluster) {
        let space = if options.is_empty() { "" } else { " " };
        let _ = write!(options, "{space}-c {}", quoted(&format!("{name}={value}")));
    }
    let options =
        if options.is_empty() { String::new() } else { format!(" -o {}", quoted(&options)) };
    let folder = &cluster.directory;
    format!(
        "{}{} -D {} -l {}{options} start",
        become_user(cluster),
        quoted(&format!("{}/pg_ctl", cluster.bin_dir)),
        quoted(folder),
        quoted(&format!("{folder}/startup.log")),
    )
}

fn become_user(cluster: &RescuedCluster) -> String {
    if cluster.switch { format!("runuser -u {} -- ", quoted(&cluster.user)) } else { String::new() }
}

/// A word for `sh`.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn archiving(cluster: &RescuedCluster, server: &str) -> Option<Step> {
    let archiving = cluster.archiving.as_ref()?;
    Some(Step::say(format!(
        "Keep this cluster out of the old archive: `{}` in `{}` is production's and still means the \
         archive of `{server}`. What this cluster writes there, on a new timeline, misleads every later \
         restore from it. Give it a new server name before the server runs with archiving on; the \
         command below starts it with archiving off.",
        archiving.setting, archiving.file,
    )))
}

fn configuration(cluster: &RescuedCluster) -> Vec<Step> {
    let mut steps = Vec::new();
    let folder = &cluster.directory;
    if let Some(path) = &cluster.config_elsewhere {
        steps.push(Step::say(format!(
            "The backup holds no `postgresql.conf` (production's was `{path}`): put one into \
             `{folder}` before you start the server. Without it the server does not start."
        )));
    }
    if cluster.no_access_rules {
        steps.push(Step::say(format!(
            "The backup holds no `pg_hba.conf`: put one into `{folder}`, which says who may connect."
        )));
    }
    if !cluster.absent_paths.is_empty() {
        let list: Vec<String> = cluster
            .absent_paths
            .iter()
            .map(|absent| {
                let how = if absent.instead.is_some() { "" } else { ", which the start needs" };
                format!("`{}` in `{}` (`{}`{how})", absent.setting, absent.file, absent.path)
            })
            .collect();
        steps.push(Step::say(format!(
            "The configuration names what this machine does not have: {}. Make them, or change the \
             settings; where it can, the command below starts the server without them.",
            list.join(", ")
        )));
    }
    if !cluster.absent_libraries.is_empty() {
        let list: Vec<String> = cluster
            .absent_libraries
            .iter()
            .map(|absent| format!("`{}` of `{}`", absent.library, absent.setting))
            .collect();
        steps.push(Step::say(format!(
            "Install the libraries that the configuration loads and this machine lacks: {}.",
            list.join(", ")
        )));
    }
    if let Some(said) = &cluster.refused_configuration {
        steps.push(Step::say(format!(
            "PostgreSQL refuses the restored configuration on this machine: {said}. Mend it before you \
             start the server."
        )));
    }
    steps
}

fn start(cluster: &RescuedCluster) -> Step {
    Step::run(format!("Start the server, as user `{}`:", cluster.user), start_command(cluster))
}

fn tablespaces(cluster: &RescuedCluster) -> Option<Step> {
    let inside: Vec<&str> =
        cluster.tablespaces.iter().filter(|t| t.in_place).map(|t| t.path.as_str()).collect();
    if inside.is_empty() {
        return None;
    }
    Some(Step::run(
        format!(
            "These tablespaces lie inside the data directory and are no links: {}. Base backups need \
             links: with the server stopped, move each one out and link to it, such as",
            inside.join(", ")
        ),
        format!("mv {0} /NEW/PLACE && ln -s /NEW/PLACE {0}", quoted(inside[0])),
    ))
}

fn new_archive(cluster: &RescuedCluster, server: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if let (Some(_), Some(timeline)) = (&cluster.archiving, cluster.timeline) {
        let history = timeline.history_file_name();
        let ready = format!("{}/pg_wal/archive_status/{history}.ready", cluster.directory);
        steps.push(Step::run(
            "Once archiving goes to the new name, let it have the timeline's history too, and restart \
             the server without `archive_mode=off`:",
            format!("{}touch {}", become_user(cluster), quoted(&ready)),
        ));
    }
    steps.push(Step::say(format!(
        "Take a base backup into a new archive at once: no backup in the archive of `{server}` leads \
         to this timeline, so until then nothing protects what is written from now on."
    )));
    steps
}
