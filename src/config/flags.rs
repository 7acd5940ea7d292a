//! A job from command-line flags, and flags over a job.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;

use super::{
    Problems,
    archive::{location, region, server_name},
    checks::{choice_without_reports, too_shallow},
    recovery_point::check_exclusive,
    sandbox::{default_limits, textfile},
    url, value,
    walker::{Collector, Complaint},
};
use crate::drill::{
    job::{
        ArchiveLocation, Credentials, Depth, EngineKind, Job, MetricsSpec, Objectives,
        RecoveryPoint, S3Spec, Target, TargetChoice,
    },
    timing::Timing,
};

mod past;
mod service;

pub use self::{
    past::{Span, SpanFlags, report_stores},
    service::{BudgetFlags, ServiceFlags, ServiceSpec},
};
pub use super::sandbox::default_sandbox;

/// What problems of flags give as their source.
const SOURCE: &str = "command line";

/// A size such as `512MiB`, as typed.
///
/// # Errors
/// One sentence with the way out.
pub fn size(text: &str) -> Result<u64, String> {
    value::bytes(text).map_err(|Complaint { message, hint }| format!("{message}. {hint}"))
}

/// A time with its UTC offset, as typed at `flag`.
///
/// # Errors
/// It is none.
pub fn instant(flag: &str, text: &str) -> Result<Timestamp, Problems> {
    let reader = Reader::default();
    let read = reader.optional(flag, Some(text), value::time);
    reader.finish()?;
    read.ok_or_else(|| Problems::new(SOURCE, Vec::new()))
}

/// Where an archive is, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveFlags {
    pub url: Option<String>,
    pub server: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub path_style: bool,
    pub ca_bundle: Option<PathBuf>,
    pub profile: Option<String>,
    pub anonymous: bool,
}

/// What flags change in a job, as typed. Paths are absolute already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub name: Option<String>,
    pub backup: Option<String>,
    pub target: TargetFlags,
    pub depth: Option<String>,
    pub rto: Option<String>,
    pub rpo: Option<String>,
    pub work_dir: Option<PathBuf>,
    pub pushgateway: Option<String>,
    pub textfile: Option<PathBuf>,
}

/// The flags of the recovery target, as typed; one kind at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFlags {
    pub time: Option<String>,
    pub lsn: Option<String>,
    pub xid: Option<String>,
    pub name: Option<String>,
    pub immediate: bool,
    pub timeline: Option<String>,
    pub exclusive: bool,
}

/// A job with every default.
#[must_use]
pub fn default_job(name: String, archive: ArchiveLocation) -> Job {
    Job {
        name,
        labels: BTreeMap::new(),
        timing: Timing::default(),
        archive,
        recovery_point: RecoveryPoint::default(),
        engine: EngineKind::Native,
        depth: Depth::Deep,
        sandbox: default_sandbox(),
        objectives: Objectives::default(),
        checks: Vec::new(),
        limits: default_limits(),
        report_store: None,
        sign: None,
        metrics: MetricsSpec::default(),
        notify: Vec::new(),
    }
}

/// A job from flags alone. Its name is `--name`, else the server's in the letters of a name.
///
/// # Errors
/// Every flag that is missing or wrong.
pub fn job(archive: &ArchiveFlags, overrides: &Overrides) -> Result<Job, Problems> {
    let reader = Reader::default();
    let server = reader.required("--server", archive.server.as_deref(), server_name);
    let place = place(archive, &reader);
    let name = name_from(server.as_deref().unwrap_or_default());
    let store = place.unwrap_or_else(|| {
        let url = url::StoreUrl {
            scheme: crate::drill::job::StoreScheme::S3,
            bucket: String::new(),
            prefix: String::new(),
        };
        location(url, S3Spec::default())
    });
    let mut job = default_job(name, ArchiveLocation { store, server: server.unwrap_or_default() });
    overrides.apply_with(&mut job, &reader);
    reader.finish().map(|()| job)
}

/// The place that flags name, for looking around before there is a job.
///
/// # Errors
/// Every flag that is missing or wrong; `--server` is not looked at.
pub fn store(archive: &ArchiveFlags) -> Result<crate::drill::job::StoreLocation, Problems> {
    let reader = Reader::default();
    let place = place(archive, &reader);
    match (reader.finish(), place) {
        (Ok(()), Some(place)) => Ok(place),
        (Err(problems), _) => Err(problems),
        (Ok(()), None) => Err(Problems::new(SOURCE, Vec::new())),
    }
}

/// Letters of a resource's name out of a server's name.
#[must_use]
pub fn name_from(server: &str) -> String {
    let plain: String = server
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .take(63)
        .collect();
    match plain.trim_matches(['-', '.']) {
        "" => "drill".to_owned(),
        name => name.to_owned(),
    }
}

impl Overrides {
    /// Changes `job` as the flags say.
    ///
    /// # Errors
    /// Every flag that is wrong; `job` is then half changed and not to be used.
    pub fn apply(&self, job: &mut Job) -> Result<(), Problems> {
        let reader = Reader::default();
        self.apply_with(job, &reader);
        reader.finish()
    }

    fn apply_with(&self, job: &mut Job, reader: &Reader) {
        let point = &mut job.recovery_point;
        set(&mut job.name, reader.optional("--name", self.name.as_deref(), value::resource_name));
        set(&mut point.backup, reader.optional("--backup", self.backup.as_deref(), value::backup));
        let choice = choice_without_reports(point, job.report_store.as_ref());
        if let Some(complaint) = choice.filter(|_| self.backup.is_some()) {
            reader.complain("--backup", complaint);
        }
        let timeline = self.target.timeline.as_deref();
        set(&mut point.timeline, reader.optional("--target-timeline", timeline, value::timeline));
        if let Some(target) = self.target.read(reader) {
            point.target = TargetChoice::Given(target);
            point.exclusive = self.target.exclusive;
        }
        point.exclusive |= self.target.exclusive;
        if self.target.exclusive
            && let Err(complaint) = check_exclusive(&point.target, point.exclusive)
        {
            reader.complain("--exclusive", complaint);
        }
        set(&mut job.depth, reader.optional("--depth", self.depth.as_deref(), value::depth));
        let rto = reader.optional("--rto", self.rto.as_deref(), value::duration);
        let rpo = reader.optional("--rpo", self.rpo.as_deref(), value::duration);
        job.objectives.rto = rto.or(job.objectives.rto);
        job.objectives.rpo = rpo.or(job.objectives.rpo);
        if self.work_dir.is_some() {
            job.sandbox.work_dir.clone_from(&self.work_dir);
        }
        let gateway = reader.optional("--pushgateway", self.pushgateway.as_deref(), url::http);
        if gateway.is_some() {
            job.metrics.pushgateway = gateway;
        }
        if let Some(path) = &self.textfile {
            match textfile(path.clone()) {
                Ok(path) => job.metrics.textfile = Some(path),
                Err(complaint) => reader.complain("--textfile", complaint),
            }
        }
        if self.depth.is_some()
            && let Some(complaint) = too_shallow(job)
        {
            reader.complain("--depth", complaint);
        }
    }
}

impl TargetFlags {
    fn read(&self, reader: &Reader) -> Option<Target> {
        let given: Vec<&str> = [
            ("--target-time", self.time.is_some()),
            ("--target-lsn", self.lsn.is_some()),
            ("--target-xid", self.xid.is_some()),
            ("--target-name", self.name.is_some()),
            ("--target-immediate", self.immediate),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect();
        if given.len() > 1 {
            let message = format!("`{}` exclude each other", given.join("`, `"));
            reader.complain(given[0], Complaint::new(message, "Give one target only."));
            return None;
        }
        let time = reader.optional("--target-time", self.time.as_deref(), value::time);
        let lsn = reader.optional("--target-lsn", self.lsn.as_deref(), value::lsn);
        let xid = reader.optional("--target-xid", self.xid.as_deref(), value::xid);
        let name = reader.optional("--target-name", self.name.as_deref(), value::restore_point);
        (time.map(Target::Time))
            .or(lsn.map(Target::Lsn))
            .or(xid.map(Target::Xid))
            .or(name.map(Target::Name))
            .or(self.immediate.then_some(Target::Immediate))
    }
}

fn place(archive: &ArchiveFlags, reader: &Reader) -> Option<crate::drill::job::StoreLocation> {
    let url = reader.required("--s3-url", archive.url.as_deref(), url::archive);
    let s3 = s3(archive, reader);
    Some(location(url?, s3))
}

fn s3(archive: &ArchiveFlags, reader: &Reader) -> S3Spec {
    let credentials = match (&archive.profile, archive.anonymous) {
        (Some(_), true) => {
            reader.complain(
                "--anonymous",
                Complaint::new("`--anonymous` and `--profile` exclude each other", "Give one."),
            );
            Credentials::Anonymous
        }
        (Some(profile), false) => Credentials::Profile(profile.clone()),
        (None, true) => Credentials::Anonymous,
        (None, false) => Credentials::DefaultChain,
    };
    S3Spec {
        endpoint: reader.optional("--s3-endpoint", archive.endpoint.as_deref(), url::http),
        region: reader.optional("--s3-region", archive.region.as_deref(), region),
        path_style: archive.path_style || archive.endpoint.is_some(),
        ca_bundle: archive.ca_bundle.clone(),
        credentials,
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[derive(Debug, Default)]
struct Reader(Collector);

impl Reader {
    fn optional<T>(
        &self,
        flag: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        parse(text?).map_err(|complaint| self.complain(flag, complaint)).ok()
    }

    fn required<T>(
        &self,
        flag: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        if text.is_none() {
            let hint = "Name a job file, or give `--s3-url s3://bucket/path` and `--server name`.";
            self.complain(flag, Complaint::new("is missing", hint));
        }
        self.optional(flag, text, parse)
    }

    fn complain(&self, flag: &str, complaint: Complaint) {
        self.0.push(flag, None, complaint);
    }

    fn finish(self) -> Result<(), Problems> {
        match self.0.into_sorted() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Problems::new(SOURCE, problems)),
        }
    }
}
