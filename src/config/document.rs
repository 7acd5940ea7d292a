//! The whole document: `apiVersion`, `kind`, `metadata`, `spec`.

use std::collections::BTreeMap;

use super::{
    archive, checks,
    node::Node,
    notify, recovery_point,
    sandbox::{self, default_limits, default_sandbox},
    timing, value,
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
        let timing = timing::read(fields);
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
            timing,
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
