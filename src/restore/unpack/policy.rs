//! What becomes of a member: by its name, its kind and the tar it is in. Pure.

use super::OWN_FOLDERS;
use crate::{
    drill::FailureClass,
    restore::tar::{Entry, EntryKind},
};

/// For findings about names and links.
pub(super) const LAYOUT_HINT: &str = "Take a new base backup with `barman-cloud-backup`, and list the \
    member with `tar -t` to see what wrote it.";

/// Left out: PostgreSQL reads or obeys these also with a configuration of our own.
const NEVER: [(&str, Option<&str>); 8] = [
    ("postmaster.pid", None),
    ("postmaster.opts", None),
    ("postgresql.auto.conf", None),
    ("postgresql.auto.conf.tmp", None),
    ("tablespace_map", Some("tablespaces are restored in place")),
    ("standby.signal", Some("the restored cluster must not follow another one")),
    ("recovery.signal", Some("recovery is set up by pgassay")),
    ("recovery.conf", Some("PostgreSQL refuses to start with it")),
];

/// Without these a restored cluster is not one; a link there means that the data lies elsewhere.
const NEEDED: [&str; 11] = [
    "PG_VERSION",
    "backup_label",
    "base",
    "global",
    "pg_commit_ts",
    "pg_logical",
    "pg_multixact",
    "pg_stat",
    "pg_tblspc",
    "pg_twophase",
    "pg_xact",
];

/// Folders deeper than this are refused; PostgreSQL goes five deep.
const MAX_DEPTH: usize = 32;

/// Where a tar belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The data directory.
    Data,
    /// A tablespace, by its OID: goes to `pg_tblspc/<oid>`.
    Tablespace(u32),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Folder(Vec<u8>),
    File {
        path: Vec<u8>,
        keep: Option<Keep>,
    },
    /// A folder in its place.
    TablespaceLink {
        oid: u32,
        path: Vec<u8>,
        target: String,
    },
    /// Not written; its text may be wanted.
    Omit {
        keep: Option<Keep>,
        note: Option<String>,
    },
    /// A file that only the source's running server needed.
    OwnContent,
    Nothing,
    Refuse(FailureClass, String),
}

/// What is kept of a file for the result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Control,
    Label,
    Version,
    Config(String),
}

pub(super) fn decide(place: Place, entry: &Entry) -> Action {
    let path = match normal(&entry.path) {
        Ok(path) => path,
        Err(what) => return Action::Refuse(FailureClass::ArchiveCorrupt, what.into()),
    };
    if path.is_empty() && entry.kind != EntryKind::Directory {
        return Action::Refuse(FailureClass::ArchiveCorrupt, "has no name".into());
    }
    match place {
        Place::Data => in_data(path, entry),
        Place::Tablespace(oid) => in_tablespace(oid, &path, entry),
    }
}

/// Relative, without empty and `.` components.
fn normal(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    if path.contains(&0) {
        return Err("its name contains a NUL");
    }
    if path.is_empty() {
        return Err("has no name");
    }
    if path[0] == b'/' {
        return Err("its name is absolute");
    }
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err("its name leads out of the folder");
    }
    if parts.len() > MAX_DEPTH {
        return Err("its name is too deep");
    }
    Ok(parts.join(&b'/'))
}

fn in_data(path: Vec<u8>, entry: &Entry) -> Action {
    let (top, below) = match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (&path[..], None),
    };
    let own = OWN_FOLDERS.iter().any(|folder| folder.as_bytes() == top);
    if own && (below.is_some() || entry.kind != EntryKind::File) {
        return match (below, entry.kind) {
            (Some(_), EntryKind::Directory) => Action::Nothing,
            (Some(_), _) => Action::OwnContent,
            // Also where the source has a link: WAL on another disk.
            (None, _) => Action::Folder(path),
        };
    }
    match entry.kind {
        EntryKind::Directory => Action::Folder(path),
        EntryKind::File => {
            let at_top = below.is_none();
            file(path, at_top)
        }
        EntryKind::Symlink | EntryKind::Hardlink => {
            if let (b"pg_tblspc", Some(oid)) = (top, below.and_then(oid)) {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                return Action::TablespaceLink { oid, path, target };
            }
            if NEEDED.iter().any(|needed| needed.as_bytes() == top) {
                return link_to_data();
            }
            left_out(&path, "is a link out of the backup")
        }
        EntryKind::CharacterDevice | EntryKind::BlockDevice => left_out(&path, "is a device"),
        EntryKind::Fifo => left_out(&path, "is a pipe"),
    }
}

fn in_tablespace(oid: u32, path: &[u8], entry: &Entry) -> Action {
    let path = [format!("pg_tblspc/{oid}/").as_bytes(), path].concat();
    match entry.kind {
        EntryKind::Directory => Action::Folder(path),
        EntryKind::File => Action::File { path, keep: None },
        EntryKind::Symlink | EntryKind::Hardlink => link_to_data(),
        EntryKind::CharacterDevice | EntryKind::BlockDevice => left_out(&path, "is a device"),
        EntryKind::Fifo => left_out(&path, "is a pipe"),
    }
}

fn file(path: Vec<u8>, at_top: bool) -> Action {
    let name = String::from_utf8_lossy(&path).into_owned();
    if path == b"backup_label" {
        return Action::Omit { keep: Some(Keep::Label), note: None };
    }
    let config = at_top && name.strip_suffix(".conf").is_some_and(|stem| !is_access_rules(stem));
    let keep = match &path[..] {
        b"global/pg_control" => Some(Keep::Control),
        b"PG_VERSION" => Some(Keep::Version),
        _ if config => Some(Keep::Config(name.clone())),
        _ => None,
    };
    match NEVER.iter().find(|(never, _)| *never == name) {
        Some((_, why)) => {
            Action::Omit { keep, note: why.map(|why| format!("left out `{name}`: {why}")) }
        }
        None => Action::File { path, keep },
    }
}

/// `pg_hba.conf` and `pg_ident.conf` set no parameters.
fn is_access_rules(stem: &str) -> bool {
    matches!(stem, "pg_hba" | "pg_ident")
}

fn link_to_data() -> Action {
    let what = "is a link where data should be, so the data is not in the backup";
    Action::Refuse(FailureClass::PgdataLayout, what.into())
}

fn left_out(path: &[u8], what: &str) -> Action {
    let name: String = String::from_utf8_lossy(path).chars().take(300).collect();
    Action::Omit {
        keep: None,
        note: Some(format!("left out `{}`: it {what}", name.escape_debug())),
    }
}

/// An OID as PostgreSQL writes it into a name.
fn oid(name: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(name).ok()?;
    let oid: u32 = text.parse().ok()?;
    (oid > 0 && oid.to_string() == text).then_some(oid)
}
