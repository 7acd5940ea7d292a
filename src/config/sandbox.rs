//! `sandbox:`, `limits:` and `metrics:`.

use std::{num::NonZeroUsize, path::PathBuf};

use super::{
    DEFAULT_MEMORY, DEFAULT_NO_PROGRESS,
    archive::{absolute_path, secret},
    url, value,
    walker::{Complaint, Value},
};
use crate::drill::job::{BasicAuth, Limits, MetricsSpec, SandboxSpec};

/// Less than this and PostgreSQL cannot replay what a usual server wrote.
const MIN_MEMORY: u64 = 64 << 20;

/// Fills a link of gigabits with latency; more are used only where they bring more.
const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// No link needs more, and each takes memory.
const MOST_CONNECTIONS: usize = 64;

/// What a job without `sandbox` gets.
#[must_use]
pub const fn default_sandbox() -> SandboxSpec {
    SandboxSpec {
        work_dir: None,
        disk_budget: None,
        memory: DEFAULT_MEMORY,
        keep_on_failure: None,
        user: None,
        postgres_bin: None,
        fsync: true,
    }
}

pub(super) const fn default_limits() -> Limits {
    Limits {
        total: None,
        no_progress: DEFAULT_NO_PROGRESS,
        bandwidth: None,
        connections: DEFAULT_CONNECTIONS,
    }
}

pub(super) fn sandbox(value: Value<'_>) -> Option<SandboxSpec> {
    value.fields(|fields| SandboxSpec {
        work_dir: fields.optional("workDir", absolute_path),
        disk_budget: fields.parsed("diskBudget", value::bytes),
        memory: fields.parsed("memory", memory).unwrap_or(DEFAULT_MEMORY),
        keep_on_failure: fields.parsed("keepOnFailure", value::duration),
        user: fields.optional("user", |value| {
            let name = value.text()?;
            value.accepted(user(name))
        }),
        postgres_bin: fields.optional("postgresBin", absolute_path),
        fsync: fields.boolean("fsync").unwrap_or(true),
    })
}

fn memory(text: &str) -> Result<u64, Complaint> {
    match value::bytes(text)? {
        bytes if bytes >= MIN_MEMORY => Ok(bytes),
        _ => Err(Complaint::new(
            format!("`{}` is too little for PostgreSQL", value::short(text)),
            "Give at least `64MiB`.",
        )),
    }
}

/// The user that PostgreSQL runs as; it refuses to run as root.
fn user(name: &str) -> Result<String, Complaint> {
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !name.starts_with('-');
    if !valid {
        let message = format!("`{}` is not a user's name", value::short(name));
        return Err(Complaint::new(message, "Write the name of an account, such as `postgres`."));
    }
    if name == "root" || name.parse::<u32>() == Ok(0) {
        return Err(Complaint::new(
            "PostgreSQL does not run as `root`",
            "Name an unprivileged account, such as `postgres`.",
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn limits(value: Value<'_>) -> Option<Limits> {
    value.fields(|fields| Limits {
        total: fields.parsed("total", value::duration),
        no_progress: fields.parsed("noProgress", value::duration).unwrap_or(DEFAULT_NO_PROGRESS),
        bandwidth: fields.parsed("bandwidth", value::rate),
        connections: fields.parsed("connections", connections).unwrap_or(DEFAULT_CONNECTIONS),
    })
}

fn connections(text: &str) -> Result<NonZeroUsize, Complaint> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|n: &NonZeroUsize| digits && n.get() <= MOST_CONNECTIONS);
    number.ok_or_else(|| {
        Complaint::new(
            format!("`{}` is not a number of connections", value::short(text)),
            format!("Write a number from 1 to {MOST_CONNECTIONS}."),
        )
    })
}

pub(super) fn metrics(value: Value<'_>) -> Option<MetricsSpec> {
    value.fields(|fields| MetricsSpec {
        pushgateway: fields.parsed("pushgateway", url::http),
        basic_auth: fields.optional("basicAuth", basic_auth),
        textfile: fields.optional("textfile", |value| {
            let path = absolute_path(value)?;
            value.accepted(textfile(path))
        }),
        cluster: fields.optional("cluster", label),
        namespace: fields.optional("namespace", label),
    })
}

fn basic_auth(value: Value<'_>) -> Option<BasicAuth> {
    let hint = "Write `{username: {env: NAME}, password: {file: /path}}`.";
    value.fields(|fields| {
        let username = fields.required("username", hint, secret);
        let password = fields.required("password", hint, secret);
        Some(BasicAuth { username: username?, password: password? })
    })?
}

/// node_exporter's textfile collector reads `*.prom` only.
pub(super) fn textfile(path: PathBuf) -> Result<PathBuf, Complaint> {
    if path.extension().is_some_and(|extension| extension == "prom") {
        return Ok(path);
    }
    Err(Complaint::new(
        "the file's name must end in `.prom`",
        "The textfile collector reads no other file; write `/…/pgassay.prom`.",
    ))
}

fn label(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.len() > 253 || text.chars().any(char::is_control) {
        value.complain(Complaint::new(
            "is not a value for a label",
            "Write at most 253 characters on one line.",
        ));
        return None;
    }
    Some(text.to_owned())
}
