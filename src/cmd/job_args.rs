//! A job from a file or from flags.

use std::path::{Path, PathBuf};

use clap::Args;

use super::console::Failure;
use crate::{
    config::{
        self, NoJob,
        flags::{ArchiveFlags, Overrides, TargetFlags},
    },
    drill::{Error, Job},
};

/// Flags that name an archive.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Without a job file")]
pub(super) struct ArchiveArgs {
    /// Where the archive is: `s3://bucket/path`, CloudNativePG's `destinationPath`
    #[arg(long, value_name = "URL")]
    pub s3_url: Option<String>,
    /// Name of the server in the archive, CloudNativePG's `serverName`
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    #[command(flatten)]
    pub s3: S3Args,
}

/// Flags that say how to reach a bucket.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct S3Args {
    /// Address of a store that is not AWS, such as `https://s3.example.net`
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// Name the bucket in the path, not in the host: so it is anyway with `--s3-endpoint`
    #[arg(long)]
    pub s3_path_style: bool,
    /// PEM file with the certificates to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub s3_ca_bundle: Option<PathBuf>,
    /// Profile of the AWS configuration files; without it the AWS default chain is asked
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Send requests without a signature, for public buckets
    #[arg(long, conflicts_with = "profile")]
    pub anonymous: bool,
}

/// Flags that name a recovery point.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Instead of what the job says")]
pub(super) struct PointArgs {
    /// `latest`, `random`, `worstCase`, `retentionEdge`, `leastRecentlyVerified` or an id
    #[arg(long, value_name = "CHOICE")]
    pub backup: Option<String>,
    /// Recover to this time, with its UTC offset, such as 2026-11-22T04:00:00Z
    #[arg(long, value_name = "TIME", group = "target")]
    pub target_time: Option<String>,
    /// Recover to this position in the WAL, such as 16/B374D848
    #[arg(long, value_name = "LSN", group = "target")]
    pub target_lsn: Option<String>,
    /// Recover to this transaction
    #[arg(long, value_name = "XID", group = "target")]
    pub target_xid: Option<String>,
    /// Recover to this restore point
    #[arg(long, value_name = "NAME", group = "target")]
    pub target_name: Option<String>,
    /// Recover to the first consistent point only
    #[arg(long, group = "target")]
    pub target_immediate: bool,
    /// `latest`, `current` or a timeline's number
    #[arg(long, value_name = "TIMELINE")]
    pub target_timeline: Option<String>,
    /// Stop just before the target instead of just after it
    #[arg(long)]
    pub exclusive: bool,
}

/// Flags that change what a job says.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Instead of what the job says")]
pub(super) struct OverrideArgs {
    #[command(flatten)]
    pub point: PointArgs,
    /// How deep to look: `catalog` (the listing), `read` (every byte that recovery reads), `restore`
    /// (recover) or `deep` (and examine everything)
    #[arg(long, value_name = "DEPTH")]
    pub depth: Option<String>,
    /// Longest time that a restore may take, such as `4h`
    #[arg(long, value_name = "DURATION")]
    pub rto: Option<String>,
    /// Most that may be lost, such as `15m`
    #[arg(long, value_name = "DURATION")]
    pub rpo: Option<String>,
    /// Folder below which the restored cluster lives while it is needed
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Push the results to this Pushgateway
    #[arg(long, value_name = "URL")]
    pub pushgateway: Option<String>,
    /// Write the results to this `.prom` file for node_exporter
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,
    /// Name of the drill in reports and metrics
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

impl ArchiveArgs {
    /// The first flag that is given, where there is one.
    fn first_given(&self) -> Option<&'static str> {
        let s3 = &self.s3;
        [
            ("--s3-url", self.s3_url.is_some()),
            ("--server", self.server.is_some()),
            ("--s3-endpoint", s3.s3_endpoint.is_some()),
            ("--s3-region", s3.s3_region.is_some()),
            ("--s3-path-style", s3.s3_path_style),
            ("--s3-ca-bundle", s3.s3_ca_bundle.is_some()),
            ("--profile", s3.profile.is_some()),
            ("--anonymous", s3.anonymous),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    /// Whether no archive is named.
    pub(super) fn is_empty(&self) -> bool {
        self.first_given().is_none()
    }

    fn flags(&self) -> Result<ArchiveFlags, Error> {
        Ok(ArchiveFlags {
            url: self.s3_url.clone(),
            server: self.server.clone(),
            ..self.s3.flags()?
        })
    }
}

impl S3Args {
    /// As `config` takes them, with absolute paths.
    pub(super) fn flags(&self) -> Result<ArchiveFlags, Error> {
        Ok(ArchiveFlags {
            url: None,
            server: None,
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            path_style: self.s3_path_style,
            ca_bundle: absolute(self.s3_ca_bundle.as_deref())?,
            profile: self.profile.clone(),
            anonymous: self.anonymous,
        })
    }
}

impl OverrideArgs {
    fn flags(&self) -> Result<Overrides, Error> {
        Ok(Overrides {
            name: self.name.clone(),
            backup: self.point.backup.clone(),
            target: TargetFlags {
                time: self.point.target_time.clone(),
                lsn: self.point.target_lsn.clone(),
                xid: self.point.target_xid.clone(),
                name: self.point.target_name.clone(),
                immediate: self.point.target_immediate,
                timeline: self.point.target_timeline.clone(),
                exclusive: self.point.exclusive,
            },
            depth: self.depth.clone(),
            rto: self.rto.clone(),
            rpo: self.rpo.clone(),
            work_dir: absolute(self.work_dir.as_deref())?,
            pushgateway: self.pushgateway.clone(),
            textfile: absolute(self.textfile.as_deref())?,
        })
    }
}

/// The job that the command line means.
pub(super) fn job(
    file: Option<&Path>,
    archive: &ArchiveArgs,
    overrides: &OverrideArgs,
) -> Result<Job, Failure> {
    let overrides = overrides.flags()?;
    let Some(file) = file else {
        return Ok(config::flags::job(&archive.flags()?, &overrides)?);
    };
    if let Some(flag) = archive.first_given() {
        return Err(super::console::usage(
            format!("`{flag}` and a job file exclude each other"),
            "Change the job's `archive`, or leave the job file out.",
        ));
    }
    let mut job = read(file)?;
    overrides.apply(&mut job)?;
    Ok(job)
}

/// The folder that a variable names. One that is not absolute is to be ignored (XDG Base Directory
/// Specification).
pub(super) fn base_directory(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Reads and parses a job file.
pub(super) fn read(file: &Path) -> Result<Job, Failure> {
    config::read(file, &file.display().to_string()).map_err(|error| match error {
        NoJob::Unreadable(error) => Failure::Error(error),
        NoJob::Invalid(problems) => Failure::Problems(problems),
    })
}

pub(super) fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    path.map(|path| {
        std::path::absolute(path)
            .map_err(|error| Error::io(format_args!("cannot use `{}`", path.display()), &error))
    })
    .transpose()
}
