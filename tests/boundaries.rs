//! Reads the `use` lines and fails on an edge between rooms that the architecture does not allow, and
//! on a vendor crate outside its home.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom. `docs/architecture.md` explains it.
const EDGES: [(&str, &[&str]); 19] = [
    ("pg", &[]),
    ("calendar", &[]),
    ("archive", &["pg"]),
    ("drill", &["pg", "archive"]),
    ("config", &["drill", "calendar", "pg"]),
    ("schedule", &["calendar", "drill"]),
    (
        "service",
        &["schedule", "runner", "config", "store", "telemetry", "drill", "archive", "calendar"],
    ),
    (
        "web",
        &[
            "service",
            "schedule",
            "runner",
            "report",
            "store",
            "telemetry",
            "drill",
            "calendar",
            "pg",
            "archive",
        ],
    ),
    ("store", &["drill", "pg", "archive"]),
    ("restore", &["store", "drill", "pg", "archive"]),
    ("telemetry", &["drill", "pg", "archive"]),
    ("report", &["store", "drill", "calendar", "pg", "archive"]),
    ("survey", &["restore", "store", "telemetry", "drill", "pg", "archive"]),
    ("verify", &["survey", "restore", "store", "telemetry", "drill", "pg", "archive"]),
    ("engine", &["restore", "store", "telemetry", "drill", "pg", "archive"]),
    ("check", &["engine", "telemetry", "drill", "pg", "archive"]),
    (
        "runner",
        &[
            "engine",
            "check",
            "survey",
            "verify",
            "restore",
            "store",
            "report",
            "telemetry",
            "drill",
            "pg",
            "archive",
        ],
    ),
    (
        "selftest",
        &["runner", "verify", "survey", "restore", "store", "telemetry", "drill", "pg", "archive"],
    ),
    (
        "demo",
        &[
            "runner",
            "config",
            "engine",
            "check",
            "survey",
            "verify",
            "restore",
            "store",
            "telemetry",
            "drill",
            "pg",
            "archive",
        ],
    ),
];

/// Vendor crates and the only places where they may be named.
const HOMES: [(&str, &str); 24] = [
    ("aws_lc_rs", "report/evidence"),
    ("aws_config", "store/"),
    ("aws_sdk_s3", "store/"),
    ("aws_smithy", "store/"),
    ("aws_credential_types", "store/"),
    ("tokio_postgres", "check/connection"),
    ("flate2", "restore/codec"),
    ("bzip2", "restore/codec"),
    ("liblzma", "restore/codec"),
    ("snap::", "restore/codec"),
    ("zstd", "restore/codec"),
    ("lz4_flex", "restore/codec"),
    ("saphyr", "config/"),
    ("cron::", "calendar/"),
    ("reqwest", "telemetry/"),
    ("indicatif", "telemetry/"),
    ("s3s", "demo/"),
    ("hyper_util", "demo/|web/doors"),
    ("clap", "cmd"),
    ("maud", "report/html|web/pages"),
    ("axum", "web"),
    ("utoipa", "web"),
    ("prometheus_client", "telemetry/openmetrics"),
    ("quick_junit", "report/junit"),
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Path below `src/`, the room, and the code without comments and tests.
fn code() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let rooms: Vec<(String, String, String)> = files
        .into_iter()
        .filter(|f| !f.ends_with("tests.rs") && !f.components().any(|c| c.as_os_str() == "tests"))
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let room = name.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            let lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
            (name, room, lines.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    assert!(rooms.len() > 50, "the sources are not where this test looks");
    rooms
}

/// The rooms that `code` names after `crate::`, also inside `use crate::{a, b::c}`.
fn rooms_named(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + 7..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut fresh = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    _ if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ if depth == 0 && !word.is_empty() => {
                        found.push(std::mem::take(&mut word));
                        fresh = false;
                    }
                    _ => {}
                }
                if c == ',' && depth == 0 && !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            found.extend(Some(word).filter(|w| !w.is_empty()));
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut broken = Vec::new();
    for (name, room, code) in code() {
        let Some(allowed) = edges.get(room.as_str()) else { continue };
        for other in rooms_named(&code) {
            if other != room
                && edges.contains_key(other.as_str())
                && !allowed.contains(&other.as_str())
            {
                broken.push(format!("{name}: {room} → {other}"));
            }
        }
    }
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn vendor_crates_stay_at_home() {
    let mut broken = Vec::new();
    for (name, _, code) in code() {
        for (vendor, home) in HOMES {
            let named = code.match_indices(vendor).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| {
                    c.is_alphanumeric() || c == '_' || c == '"' || c == '`' || c == '-'
                }) && (vendor.ends_with("::") || code[at + vendor.len()..].starts_with([':', '_']))
            });
            if named && !home.split('|').any(|home| name.starts_with(home)) {
                broken.push(format!("{name} names `{vendor}`, whose home is `{home}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_domain_is_pure() {
    let forbidden = [
        "tokio",
        "std::fs",
        "std::net",
        "std::process",
        "Instant::now",
        "Timestamp::now",
        "SystemTime",
    ];
    let mut broken = Vec::new();
    for (name, room, code) in code() {
        let pure = ["pg", "archive", "drill", "calendar"].contains(&room.as_str());
        if pure || name.starts_with("schedule/agenda") {
            broken.extend(
                forbidden.iter().filter(|f| code.contains(**f)).map(|f| format!("{name}: {f}")),
            );
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn files_stay_small() {
    let large: Vec<String> = code()
        .into_iter()
        .map(|(name, _, code)| (code.lines().count(), name))
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    assert!(large.is_empty(), "{large:#?}");
}
