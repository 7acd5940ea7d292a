//! A resolved job: what `config` makes of a document or of flags. It cannot be wrong any more.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use jiff::Timestamp;

use super::timing::Timing;
use crate::pg::{Lsn, TimelineId};

/// What to drill, how, and against which objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `metadata.name`: label of metrics and name of the lock.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub timing: Timing,
    pub archive: ArchiveLocation,
    pub recovery_point: RecoveryPoint,
    pub engine: EngineKind,
    pub depth: Depth,
    pub sandbox: SandboxSpec,
    pub objectives: Objectives,
    pub checks: Vec<CheckSpec>,
    pub limits: Limits,
    pub report_store: Option<StoreLocation>,
    /// The Ed25519 private key in PEM that kept reports are signed with.
    pub sign: Option<SecretSource>,
    pub metrics: MetricsSpec,
    pub notify: Vec<Notify>,
}

/// The archive of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveLocation {
    pub store: StoreLocation,
    /// The server's name below the URL's path, as Barman calls it.
    pub server: String,
}

/// A place in an object store, or a folder (`file:///…`, kept reports only).
#[derive(Clone, Debug, PartialEq)]
pub struct StoreLocation {
    /// `s3`, or `file` for kept reports.
    pub scheme: StoreScheme,
    pub bucket: String,
    /// Key prefix without a leading or trailing slash; for `file` the absolute path.
    pub prefix: String,
    pub s3: S3Spec,
}

impl StoreLocation {
    /// A folder for kept reports: its absolute path.
    pub fn folder(path: impl Into<String>) -> Self {
        let (bucket, s3) = (String::new(), S3Spec::default());
        Self { scheme: StoreScheme::File, bucket, prefix: path.into(), s3 }
    }

    /// As a person writes it: `s3://bucket/prefix` or `file:///path`.
    #[must_use]
    pub fn url(&self) -> String {
        match (self.scheme, self.prefix.as_str()) {
            (StoreScheme::S3, "") => format!("s3://{}", self.bucket),
            (StoreScheme::S3, prefix) => format!("s3://{}/{prefix}", self.bucket),
            (StoreScheme::File, path) => format!("file://{path}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreScheme {
    S3,
    File,
}

/// The `s3:` block. Secrets are only ever references here: `store` reads them when it connects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct S3Spec {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub path_style: bool,
    /// PEM file with the certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    pub credentials: Credentials,
}

/// Where credentials come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Credentials {
    /// The AWS default chain: environment, profile, web identity, container, instance role.
    #[default]
    DefaultChain,
    /// A named profile of the AWS configuration files.
    Profile(String),
    /// Keys, each from an environment variable or a file.
    Static {
        access_key_id: SecretSource,
        secret_access_key: SecretSource,
        session_token: Option<SecretSource>,
    },
    /// `AssumeRoleWithWebIdentity` with a token file.
    WebIdentity { role_arn: String, token_file: PathBuf },
    /// The instance's or container's role only.
    InstanceRole,
    /// Requests without a signature.
    Anonymous,
}

/// Where a secret's value is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    pub backup: BackupChoice,
    /// Only backups that ended this long ago or less.
    pub within: Option<Duration>,
    pub target: TargetChoice,
    /// Whether the target itself is left out (`recovery_target_inclusive = off`).
    pub exclusive: bool,
    pub timeline: TargetTimeline,
}

impl Default for RecoveryPoint {
    fn default() -> Self {
        Self {
            backup: BackupChoice::Latest,
            within: None,
            target: TargetChoice::Given(Target::Latest),
            exclusive: false,
            timeline: TargetTimeline::Latest,
        }
    }
}

impl RecoveryPoint {
    /// A target of this point in words, such as `time 2026-11-22T04:00:00Z, exclusive`.
    #[must_use]
    pub fn words(&self, target: &impl std::fmt::Display) -> String {
        let exclusive = if self.exclusive { ", exclusive" } else { "" };
        let timeline = match self.timeline {
            TargetTimeline::Latest => String::new(),
            TargetTimeline::Current => " on the backup's timeline".to_owned(),
            TargetTimeline::Id(id) => format!(" on timeline {id}"),
        };
        format!("{target}{exclusive}{timeline}")
    }
}

impl std::fmt::Display for RecoveryPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words(&self.target))
    }
}

/// Which base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupChoice {
    /// The newest restorable one that ends before the target.
    Latest,
    Id(String),
    /// Any restorable one, chosen by the drill's seed.
    Random,
    /// The restorable one from which the most WAL has to be replayed.
    WorstCase,
    /// The oldest restorable one.
    RetentionEdge,
    /// The one whose last sound drill is the longest ago; those that never had one come first, the
    /// oldest of them at the head.
    LeastRecentlyVerified,
}

/// Who says how far to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetChoice {
    /// The job.
    Given(Target),
    /// The drill's seed: a position between the end of a backup and the newest segment that can be
    /// reached. A position and no time, since a listing cannot tell whether anything was committed behind
    /// a time, and recovery to a time that nothing follows ends in a FATAL of PostgreSQL.
    Random,
}

impl std::fmt::Display for TargetChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(target) => target.fmt(f),
            Self::Random => f.write_str("random"),
        }
    }
}

/// How far to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the end of the archive.
    Latest,
    /// To the first consistent point.
    Immediate,
    Time(Timestamp),
    Lsn(Lsn),
    Xid(u32),
    /// A named restore point.
    Name(String),
}

impl std::fmt::Display for Target {
    /// The target in words, such as `LSN 16/B374D848`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Immediate => f.write_str("immediate"),
            Self::Time(time) => write!(f, "time {time}"),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Xid(xid) => write!(f, "transaction {xid}"),
            Self::Name(name) => write!(f, "restore point `{name}`"),
        }
    }
}

/// `recovery_target_timeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetTimeline {
    Latest,
    /// The backup's own.
    Current,
    Id(TimelineId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    Native,
}

/// How deep to look; each tier includes the one before.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    Catalog,
    Read,
    Restore,
    Deep,
}

impl Depth {
    /// By the name that reports have.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "catalog" => Some(Self::Catalog),
            "read" => Some(Self::Read),
            "restore" => Some(Self::Restore),
            "deep" => Some(Self::Deep),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Folder below which sandboxes are made; `None`: the first fit of the defaults.
    pub work_dir: Option<PathBuf>,
    /// Most bytes that a sandbox may take; `None`: what is free.
    pub disk_budget: Option<u64>,
    /// Memory for PostgreSQL's shared buffers and our own buffers.
    pub memory: u64,
    pub keep_on_failure: Option<Duration>,
    /// Unprivileged user that PostgreSQL runs as when we are root; `None`: `postgres`, else `nobody`.
    pub user: Option<String>,
    /// Folder with the `postgres` program; `None`: looked for by major.
    pub postgres_bin: Option<PathBuf>,
    /// `fsync` of restored files and of PostgreSQL. Off never counts against the RTO objective.
    pub fsync: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objectives {
    pub rto: Option<Duration>,
    pub rpo: Option<Duration>,
    pub heartbeat: Option<Heartbeat>,
}

/// A query whose one value is the time of the newest heartbeat row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub sql: String,
    pub database: String,
}

/// A check that a job adds to what its depth implies.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckSpec {
    Sql(SqlCheck),
    RowFloor(RowFloor),
    LoginRoles(Vec<LoginRole>),
    /// Extensions that may be missing on the machine of the drill.
    Extensions(Vec<String>),
    /// Patterns of foreign keys whose rows may refer to none: `database.schema.table.constraint`.
    ForeignKeys(Vec<String>),
}

impl Job {
    /// The same, to change it.
    pub fn row_floor_mut(&mut self) -> Option<&mut RowFloor> {
        self.checks.iter_mut().find_map(|check| match check {
            CheckSpec::RowFloor(floor) => Some(floor),
            _ => None,
        })
    }

    /// The job's row floor, if it has one.
    #[must_use]
    pub fn row_floor(&self) -> Option<&RowFloor> {
        self.checks.iter().find_map(|check| match check {
            CheckSpec::RowFloor(floor) => Some(floor),
            CheckSpec::Sql(_)
            | CheckSpec::LoginRoles(_)
            | CheckSpec::Extensions(_)
            | CheckSpec::ForeignKeys(_) => None,
        })
    }

    /// Extensions that the job lets be missing.
    #[must_use]
    pub fn extensions_that_may_be_missing(&self) -> Vec<String> {
        let lists = self.checks.iter().filter_map(|check| match check {
            CheckSpec::Extensions(names) => Some(names),
            CheckSpec::Sql(_)
            | CheckSpec::RowFloor(_)
            | CheckSpec::LoginRoles(_)
            | CheckSpec::ForeignKeys(_) => None,
        });
        lists.flatten().cloned().collect()
    }

    /// Patterns of foreign keys that production is known to have broken itself.
    #[must_use]
    pub fn excepted_foreign_keys(&self) -> Vec<String> {
        let lists = self.checks.iter().filter_map(|check| match check {
            CheckSpec::ForeignKeys(patterns) => Some(patterns),
            CheckSpec::Sql(_)
            | CheckSpec::RowFloor(_)
            | CheckSpec::LoginRoles(_)
            | CheckSpec::Extensions(_) => None,
        });
        lists.flatten().cloned().collect()
    }

    /// Every role that must be able to log in.
    pub fn login_roles(&self) -> impl Iterator<Item = &LoginRole> {
        self.checks.iter().flat_map(|check| match check {
            CheckSpec::LoginRoles(roles) => roles.as_slice(),
            CheckSpec::Sql(_)
            | CheckSpec::RowFloor(_)
            | CheckSpec::Extensions(_)
            | CheckSpec::ForeignKeys(_) => &[],
        })
    }
}

/// No table may have lost more rows than that since the last passed drill of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFloor {
    /// Hundredths of a percent, 10,000 at most.
    pub tolerance: u32,
    /// Patterns of `database.schema.table`; empty means all.
    pub tables: Vec<String>,
    /// Drills that began before do not count.
    pub since: Option<Timestamp>,
    /// The operator says that this is the first drill: that none is kept is as it should be.
    pub first: bool,
}

/// A role that applications log in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRole {
    pub name: String,
    /// Where it must be able to connect to; `None`: anywhere.
    pub database: Option<String>,
    /// For a real login.
    pub password: Option<SecretSource>,
    /// It proves itself by something else, such as a certificate.
    pub without_password: bool,
}

/// A statement about the data: the one value that a query returns compares to a literal.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlCheck {
    pub name: String,
    pub database: String,
    pub query: String,
    pub expect: Expectation,
    /// Default `pg_catalog, public`.
    pub search_path: Option<String>,
    /// Whether the value may appear in the finding.
    pub show_value: bool,
}

/// `expect: ">= 1000"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub operator: Comparison,
    /// As written; compared as numbers where both sides are.
    pub literal: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub total: Option<Duration>,
    pub no_progress: Duration,
    /// Bytes a second taken from the store.
    pub bandwidth: Option<u64>,
    /// Most connections over which the tars of a base backup are read at the same time.
    pub connections: NonZeroUsize,
}

/// HTTP basic authentication (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    pub username: SecretSource,
    pub password: SecretSource,
}

/// Who is told of a drill. URLs are secrets: whoever has one may speak in our name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Told when a drill has ended.
    Webhook { url: SecretSource, format: WebhookFormat, when: NotifyWhen },
    /// Told when a drill starts, passes or does not, as healthchecks.io expects: silence is the alarm.
    Ping(SecretSource),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    #[default]
    Json,
    Slack,
}

/// Which verdicts a webhook is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotifyWhen {
    Always,
    /// Another one than that of the drill before.
    #[default]
    Change,
    /// All but `pass`.
    Problem,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSpec {
    pub pushgateway: Option<String>,
    /// Who we are to the gateway, or to the proxy before it.
    pub basic_auth: Option<BasicAuth>,
    pub textfile: Option<PathBuf>,
    /// Values of the grouping labels.
    pub cluster: Option<String>,
    pub namespace: Option<String>,
}
