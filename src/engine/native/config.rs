//! The configuration that the restored cluster runs with: ours alone. Nothing of what the backup
//! brings takes effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{log::LINE_PREFIX, place::Place};
use crate::{
    drill::{Error, job::Target},
    engine::postgres_install::{IN_PLACE_TABLESPACES, Installation},
    pg::{ControlFile, Major, SegmentSize, TimelineId, conf, wal::scan::ParameterFloor},
};

/// The server listens here, on a Unix socket only.
pub const PORT: u16 = 5432;

/// Libraries that act on their own or reach out; recovery never needs one.
const NEVER_PRELOADED: &[&str] = &[
    "pg_cron",
    "pg_net",
    "pg_partman_bgw",
    "pg_timetable",
    "pgagent",
    "pg_squeeze",
    "pglogical",
    "spock",
    "bdr",
    "pgaudit",
    "auto_explain",
    "pg_stat_statements",
    "auth_delay",
    "passwordcheck",
    "credcheck",
    "pg_failover_slots",
];

/// What recovery is to do.
#[derive(Clone, Debug)]
pub struct RecoverySettings {
    /// The number, never `latest`: the plan has followed every history file of the listing, while
    /// `latest` probes ids one by one and stops at the first hole.
    ///
    /// `None` is the backup's own where that came without a history file: PostgreSQL refuses such a
    /// number, but `current` needs no file.
    pub timeline: Option<TimelineId>,
    /// `None` replays to the end of what is served.
    pub target: Option<Target>,
    pub exclusive: bool,
    pub restore_command: String,
}

/// What the settings depend on.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub major: Major,
    /// `server_version_num` of the installation.
    pub version_num: u32,
    pub control: &'a ControlFile,
    /// From the records of the range.
    pub floor: ParameterFloor,
    pub segment_size: SegmentSize,
    /// Bytes that the job allows.
    pub memory: u64,
    pub fsync: bool,
    /// The restored files lie in the page cache.
    pub is_cached: bool,
    pub preload: &'a [String],
    pub recovery: &'a RecoverySettings,
}

/// One line of `postgresql.conf`.
pub type Setting = (&'static str, String);

/// The settings, in the order of the file.
#[must_use]
pub fn settings(inputs: &Inputs<'_>) -> Vec<Setting> {
    let Inputs {
        major,
        version_num,
        control,
        floor,
        segment_size,
        memory,
        fsync,
        is_cached,
        preload,
        recovery,
    } = inputs;
    let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
    let granted = granted(control, *floor);
    let megabytes = |bytes: u64| format!("{}MB", bytes >> 20);
    let segment = segment_size.bytes();
    let mut list: Vec<Setting> = vec![
        // Reachable through the sandbox's folder alone.
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", "../run".to_owned()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("ssl", "off".to_owned()),
        ("password_encryption", "scram-sha-256".to_owned()),
        // Nothing leads out.
        ("archive_mode", "off".to_owned()),
        ("max_logical_replication_workers", "0".to_owned()),
        ("session_preload_libraries", String::new()),
        ("local_preload_libraries", String::new()),
        ("shared_preload_libraries", preload.join(",")),
        // What recovery needs: at least what the source had at any time in the range.
        ("hot_standby", "off".to_owned()),
        ("wal_level", "replica".to_owned()),
        ("max_connections", granted.max_connections.to_string()),
        ("max_worker_processes", granted.max_worker_processes.to_string()),
        ("max_wal_senders", granted.max_wal_senders.to_string()),
        ("max_prepared_transactions", granted.max_prepared_transactions.to_string()),
        ("max_locks_per_transaction", granted.max_locks_per_transaction.to_string()),
        // Neither pg_control nor the WAL names how many origins there were.
        ("max_replication_slots", "1000".to_owned()),
        ("track_commit_timestamp", on(control.track_commit_timestamp)),
        // Speed and room. While PostgreSQL runs, our own buffers are what is left of the memory; the more
        // it has, the less it writes and reads again in replay.
        ("shared_buffers", megabytes((memory / 2).clamp(16 << 20, 8 << 30))),
        ("maintenance_work_mem", megabytes((memory / 16).clamp(16 << 20, 1 << 30))),
        ("huge_pages", "off".to_owned()),
        ("dynamic_shared_memory_type", "mmap".to_owned()),
        ("fsync", on(*fsync)),
        // The restored files are durable already; file by file takes as long as the restore.
        ("recovery_init_sync_method", "syncfs".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        ("max_wal_size", megabytes((segment * 64).max(64 << 30))),
        ("min_wal_size", megabytes((segment * 2).max(80 << 20))),
        // A segment that was linked from our spool must not be written over.
        ("wal_recycle", "off".to_owned()),
        // What is examined stays as recovery left it.
        ("autovacuum", "off".to_owned()),
        // That alone does not stop the one against wraparound (`SetTransactionIdLimit`, `varsup.c`).
        ("autovacuum_freeze_max_age", "2000000000".to_owned()),
        ("autovacuum_multixact_freeze_max_age", "2000000000".to_owned()),
        ("restart_after_crash", "off".to_owned()),
        ("jit", "off".to_owned()),
        // Messages that we can read; statements never, they may hold secrets.
        ("lc_messages", "C".to_owned()),
        ("lc_monetary", "C".to_owned()),
        ("lc_numeric", "C".to_owned()),
        ("lc_time", "C".to_owned()),
        ("datestyle", "ISO".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", LINE_PREFIX.to_owned()),
        ("log_min_messages", "warning".to_owned()),
        ("log_min_error_statement", "panic".to_owned()),
        ("log_statement", "none".to_owned()),
        ("log_checkpoints", "on".to_owned()),
        (
            "recovery_target_timeline",
            recovery.timeline.map_or_else(|| "current".to_owned(), |id| id.to_string()),
        ),
        ("recovery_target_action", "promote".to_owned()),
        ("restore_command", recovery.restore_command.clone()),
    ];
    // Servers before know no such setting; they are given no backup with tablespaces.
    if *version_num >= IN_PLACE_TABLESPACES {
        list.push(("allow_in_place_tablespaces", "on".to_owned()));
    }
    // It asks the system ahead for every page: a help with disks, but not with what lies in memory.
    if *major >= Major::V15 {
        list.push(("recovery_prefetch", if *is_cached { "off" } else { "try" }.to_owned()));
    }
    match major {
        Major::V14 | Major::V15 | Major::V16 => {}
        Major::V17 => list.push(("event_triggers", "off".to_owned())),
        Major::V18 => {
            list.push(("event_triggers", "off".to_owned()));
            list.push(("max_active_replication_origins", "1000".to_owned()));
        }
    }
    if let Some(target) = &recovery.target {
        list.extend(target_setting(target));
        list.push(("recovery_target_inclusive", on(!recovery.exclusive)));
    }
    list
}

/// Prepared transactions that there is always room for: some 5 MB.
const PREPARED: u32 = 256;

/// What the server has of what recovery needs: as much as the source had by `pg_control` and by the WAL's
/// records, and what we need ourselves.
#[must_use]
pub fn granted(control: &ControlFile, floor: ParameterFloor) -> ParameterFloor {
    ParameterFloor {
        max_connections: control.max_connections.max(floor.max_connections).max(30),
        max_worker_processes: control.max_worker_processes.max(floor.max_worker_processes).max(8),
        max_wal_senders: control.max_wal_senders.max(floor.max_wal_senders),
        // More than nearly anybody has: a record that raises it while the server replays needs no other one.
        max_prepared_transactions: control
            .max_prepared_transactions
            .max(floor.max_prepared_transactions)
            .max(PREPARED),
        max_locks_per_transaction: control
            .max_locks_per_transaction
            .max(floor.max_locks_per_transaction)
            .max(64),
    }
}

fn target_setting(target: &Target) -> Option<Setting> {
    match target {
        Target::Latest => None,
        Target::Immediate => Some(("recovery_target", "immediate".to_owned())),
        Target::Time(at) => Some(("recovery_target_time", time(*at))),
        Target::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
        Target::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
        Target::Name(name) => Some(("recovery_target_name", name.clone())),
    }
}

/// With a numeric offset: PostgreSQL refuses `Z` here.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

/// A value as `postgresql.conf` wants it (`guc-file.l`): quotes doubled, backslashes escaped.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// The text of `postgresql.conf`.
#[must_use]
pub fn render(settings: &[Setting], place: &Place) -> String {
    let path = |file: &str| quoted(&place.conf.join(file).to_string_lossy());
    let mut text =
        format!("hba_file = {}\nident_file = {}\n", path("pg_hba.conf"), path("pg_ident.conf"));
    for (name, value) in settings {
        text.extend([name, " = ", &quoted(value), "\n"]);
    }
    text
}

/// Who may connect: nobody until a role for it was made, then that one and those of production whose
/// login the job wants to see, with a password of either kind (`md5` takes SCRAM ones too). Their
/// names come from `config`, which takes none that would mean something else here.
#[must_use]
pub fn hba<'a>(role: Option<&str>, logins: impl Iterator<Item = &'a str>) -> String {
    let Some(role) = role else { return "local all all reject\n".to_owned() };
    let mut text = format!("local all \"{role}\" scram-sha-256\n");
    for login in logins {
        text.extend(["local all \"", login, "\" md5\n"]);
    }
    text
}

/// Writes one file of the configuration, ours and readable by all.
///
/// # Errors
/// `Io` where it cannot be written.
pub fn write(place: &Place, name: &str, text: &str) -> Result<(), Error> {
    let path = place.conf.join(name);
    let made = || {
        let _ = fs::remove_file(&path);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(&path)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.write_all(text.as_bytes())
    };
    made().map_err(|error| Error::io(format!("write `{}`", path.display()), &error))
}

/// The libraries to preload: only where the WAL holds records of resource managers that are not
/// built in, those of production's list that are installed here and keep to themselves.
#[must_use]
pub fn preload(
    custom_resource_managers: &[u8],
    config_texts: &BTreeMap<String, String>,
    server: &Installation,
) -> Vec<String> {
    if custom_resource_managers.is_empty() {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    production_preloads(config_texts)
        .into_iter()
        .filter(|name| !NEVER_PRELOADED.contains(&name.trim_start_matches("$libdir/")))
        .filter(|name| server.has_library(name))
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

/// Every library that any configuration file of the backup preloads. Which file wins is not looked
/// at: one library too many does no harm, one too few ends recovery.
fn production_preloads(config_texts: &BTreeMap<String, String>) -> Vec<String> {
    let all = config_texts.values().flat_map(|text| conf::entries(text));
    let lists = all.filter(|(name, _)| name == "shared_preload_libraries");
    lists.flat_map(|(_, value)| conf::list(&value).collect::<Vec<_>>()).collect()
}

/// Files that PostgreSQL would follow out of the sandbox; the restore leaves most of them out
/// already. Removes them from the data directory, and the content of `pg_replslot`.
///
/// # Errors
/// `Io` where one cannot be removed.
pub fn disarm(data: &Path, owner: Option<(u32, u32)>) -> Result<(), Error> {
    const FILES: &[&str] = &[
        "postgresql.auto.conf",
        "tablespace_map",
        "standby.signal",
        "recovery.conf",
        "recovery.done",
        "postmaster.pid",
        "postmaster.opts",
        "backup_label.old",
    ];
    let failed = |path: PathBuf| {
        move |error: std::io::Error| Error::io(format!("remove `{}`", path.display()), &error)
    };
    for name in FILES {
        let path = data.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(path)(error));
            }
            _ => {}
        }
    }
    let slots = data.join("pg_replslot");
    match fs::symlink_metadata(&slots) {
        Ok(meta) if meta.is_dir() => {}
        // A link there would lead outside.
        Ok(_) => {
            fs::remove_file(&slots).map_err(failed(slots.clone()))?;
            return make_folder(&slots, owner);
        }
        Err(_) => return make_folder(&slots, owner),
    }
    for entry in fs::read_dir(&slots).into_iter().flatten().flatten() {
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed(path))?;
    }
    Ok(())
}

fn make_folder(path: &Path, owner: Option<(u32, u32)>) -> Result<(), Error> {
    let made = || {
        fs::DirBuilder::new().mode(0o700).create(path)?;
        owner.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)))
    };
    made().map_err(|error| Error::io(format!("make `{}`", path.display()), &error))
}

#[cfg(test)]
mod tests;
