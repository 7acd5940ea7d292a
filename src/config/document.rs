//! The whole document: `apiVersion`, `kind`, `metadata`, `spec`.

use std::collections::BTreeMap;

use super::{
    archive, checks,
    node::Node,
    notify, recovery_point,
    sandbox::{self, default_limits, default_sandbox},
    value,
    walker::{Collector, Complaint, Value},
};
use crate::drill::job::{ArchiveLocation, Depth, EngineKind, Job, StoreLocation, StoreScheme};

pub(super) const API_VERSION: &str = "pgassay.dev/v1alpha1";
pub(super) const KIND: &str = "DrillJob";

/// Reads the root. A job with a problem somewhere may still come out: the caller looks at
/// `problems` before using it.
pub(super) fn read(root: &Node, problems: &Collector) -> Option<Job> {
    let value = Value { node: root, path: "", problems };
    if !value.is_mapping() {
        let hint = "Begin with `apiVersion: pgassay.dev/v1alpha1`; `pgassay init` writes a job.";
        value.wrong_type("a job", hint);
        return None;
    }
    value.fields(|fields| {
        let exactly = |value: Value<'_>, wanted: &str| {
            let found = value.text()?;
            if found != wanted {
                let message = format!("`{}` is not known", value::short(found));
                value.complain(Complaint::new(message, format!("Write `{wanted}`.")));
            }
            Some(())
        };
        let hint = format!("Write `apiVersion: {API_VERSION}`.");
        fields.required("apiVersion", &hint, |value| exactly(value, API_VERSION));
        let hint = format!("Write `kind: {KIND}`.");
        fields.required("kind", &hint, |value| exactly(value, KIND));
        let hint = "Write `metadata: {name: orders-nightly}`.";
        let metadata = fields.required("metadata", hint, metadata);
        let hint = "Write `spec:` with at least `archive.url` and `archive.server`.";
        let job = fields.required("spec", hint, spec);
        let (name, labels) = metadata?;
        Some(Job { name: name?, labels, ..job? })
    })?
}

type Metadata = (Option<String>, BTreeMap<String, String>);

fn metadata(value: Value<'_>) -> Option<Metadata> {
    value.fields(|fields| {
        let hint = "Give the job a name, such as `orders-nightly`.";
        let name = fields.required("name", hint, |value| {
            let name = value.text()?;
            value.accepted(value::resource_name(name))
        });
        let labels = fields.optional("labels", |value| {
            let mut labels = BTreeMap::new();
            value.fields(|fields| {
                fields.each(|name, value| {
                    if let Some(text) = value.text() {
                        labels.insert(name.to_owned(), text.to_owned());
                    }
                });
            })?;
            Some(labels)
        });
        (name, labels.unwrap_or_default())
    })
}

/// A job without metadata.
fn spec(value: Value<'_>) -> Option<Job> {
    value.fields(|fields| {
        let schedule = fields.parsed("schedule", schedule);
        let time_zone = fields.parsed("timeZone", time_zone);
        let hint = "Write `archive: {url: s3://bucket/path, server: name}`.";
        let archive = fields.required("archive", hint, archive::archive);
        let recovery_point =
            fields.optional("recoveryPoint", recovery_point::read).unwrap_or_default();
        let engine = fields.parsed("engine", value::engine).unwrap_or(EngineKind::Native);
        let depth = fields.parsed("depth", value::depth).unwrap_or(Depth::Deep);
        let sandbox = fields.optional("sandbox", sandbox::sandbox);
        let objectives = fields.optional("objectives", checks::objectives);
        let checks = fields.optional("checks", checks::checks).unwrap_or_default();
        let limits = fields.optional("limits", sandbox::limits);
        let report = fields.optional("report", |value| {
            let (report, sign) = archive::report(value, archive.as_ref().map(|a| &a.store.s3))?;
            if let Some(archive) = &archive
                && let Err(complaint) = apart(archive, &report)
            {
                value.complain(complaint);
            }
            Some((report, sign))
        });
        let (report_store, sign) = report.unzip();
        let notify = fields.optional("notify", notify::notify).unwrap_or_default();
        let metrics = fields.optional("metrics", sandbox::metrics).unwrap_or_default();
        let job = Job {
            name: String::new(),
            labels: BTreeMap::new(),
            schedule,
            time_zone,
            archive: archive?,
            recovery_point,
            engine,
            depth,
            sandbox: sandbox.unwrap_or_else(default_sandbox),
            objectives: objectives.unwrap_or_default(),
            checks,
            limits: limits.unwrap_or_else(default_limits),
            report_store,
            sign: sign.flatten(),
            metrics,
            notify,
        };
        let complaints = [
            checks::too_shallow(&job),
            checks::floor_without_reports(&job),
            checks::choice_without_reports(&job.recovery_point, job.report_store.as_ref()),
            notify::change_without_reports(&job),
        ];
        for complaint in complaints.into_iter().flatten() {
            fields.complain(complaint);
        }
        Some(job)
    })?
}

/// Reports must not be written into what is drilled.
fn apart(archive: &ArchiveLocation, report: &StoreLocation) -> Result<(), Complaint> {
    let server = [archive.store.prefix.as_str(), archive.server.as_str()];
    let server = server.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let inside = report.scheme == StoreScheme::S3
        && report.bucket == archive.store.bucket
        && report.s3.endpoint == archive.store.s3.endpoint
        && format!("{}/", report.prefix).starts_with(&format!("{server}/"));
    if inside {
        return Err(Complaint::new(
            "the reports would be written into the archive",
            "Name another bucket or a path beside the server's; the archive is only read.",
        ));
    }
    Ok(())
}

/// crontab(5): five fields, six with seconds first, or a word such as `@daily`. Their meaning is the
/// scheduler's business; here only the shape is looked at.
fn schedule(text: &str) -> Result<String, Complaint> {
    const WORDS: [&str; 7] =
        ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];
    let text = text.trim();
    let count = text.split_whitespace().count();
    let letters = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | ',' | '-' | '?' | '#' | ' '));
    if WORDS.contains(&text) || (letters && matches!(count, 5 | 6)) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        format!("`{}` is not a schedule", value::short(text)),
        "Write five fields as in crontab(5), such as `\"0 4 * * 1-5\"`; with six, seconds come first.",
    ))
}

/// A name of the IANA time zone database, by its shape.
fn time_zone(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    if text.split('/').all(part) {
        return Ok(text.to_owned());
    }
    let message = format!("`{}` is not a time zone", value::short(text));
    Err(Complaint::new(message, "Write a name such as `Europe/Berlin` or `UTC`."))
}
