//! `pgassay serve`: every job of a folder on its schedule.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, usage},
    job_args::{absolute, base_directory},
};
use crate::{
    config::flags::{BudgetFlags, ServiceFlags},
    service::{self, Settings},
    web::{self, Door, Token},
};

const HELP: &str = help!(
    "Drills every job of a folder on its schedule, for as long as it runs."
    ""
    "Jobs say when: `schedule` and `timeZone`, `after: backup`, and `start` for a window, a deadline, what"
    "becomes of missed slots and of slots during a drill, and a priority. The folder is looked at every few"
    "seconds: jobs that are added, changed or removed count from then on, and a broken file stops nobody."
    "Reports go where each job says; `pgassay history` lists them."
    ""
    "When it is stopped, drills that run have the grace period to end, and are torn down then. When it was"
    "killed, the next start reports what was running as inconclusive, and slots that have come since are made"
    "up for as their jobs say."
    ""
    "Pages, an API (described at /api/v1/openapi.json), /metrics, /healthz and /readyz are at `--listen`. Whoever"
    "reaches that address can read them, so that it is this machine's alone by default. There, or where `--host`"
    "is given, they are answered by IP addresses, `localhost` and the names of `--host`, such as the one of a"
    "proxy before them. Drills can be started there only with a token."
);

const AFTER: &str = "\
Examples:
  pgassay serve --jobs /etc/pgassay/jobs
  pgassay serve --jobs jobs/ --max-drills 4 --max-disk 2TiB --max-bandwidth 400MiB/s --grace 10m
  pgassay serve --jobs jobs/ --listen 0.0.0.0:8432 --token-file /etc/pgassay/token
  pgassay serve --jobs jobs/ --host pages.example.com";

/// Drill every job of a folder on its schedule
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct ServeArgs {
    /// Folder with job files, `*.yaml`
    #[arg(long, value_name = "DIR", required_unless_present = "openapi")]
    pub jobs: Option<PathBuf>,
    /// Folder for what must outlive a kill [default: `STATE_DIRECTORY`, else pgassay in `XDG_STATE_HOME`,
    /// else ~/.local/state/pgassay]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Drills that run may take so long to end when the service is stopped
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub grace: String,
    /// Spreads drills over their windows, the same after a restart
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Print the description of the API as OpenAPI
    #[arg(long, conflicts_with = "jobs")]
    pub openapi: bool,
    #[command(flatten)]
    pub pages: PageArgs,
    #[command(flatten)]
    pub budgets: BudgetArgs,
}

/// Flags of the pages.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pages and API")]
pub(super) struct PageArgs {
    /// Address of the pages, or `none`; with port 0 any free one, which is told
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8432")]
    pub listen: Listen,
    /// File with a token: whoever knows it may start drills; without one nobody may
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Name by which the pages are reached, beside IP addresses and `localhost`; repeatable. Without
    /// any, every name is answered, unless the address is this machine's alone
    #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
    pub hosts: Vec<String>,
}

/// A name as a browser sends it.
fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(fits) {
        let what = "write a name without scheme and port, such as `pages.example.com`; other than ASCII as \
                    `xn--...`";
        return Err(what.to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

/// Where the pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listen(Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let what =
            "write an IP address and a port, such as `127.0.0.1:8432` or `[::]:8432`, or `none`";
        text.parse().map(|address| Self(Some(address))).map_err(|_| what.to_owned())
    }
}

/// Flags that bound all drills together.
#[expect(clippy::struct_field_names, reason = "they are the flags' names")]
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "All drills together")]
pub(super) struct BudgetArgs {
    /// Most drills at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_drills: u32,
    /// Most disk, by the `sandbox.diskBudget` of each; a job without one counts for none
    #[arg(long, value_name = "BYTES")]
    pub max_disk: Option<String>,
    /// Most memory, by the `sandbox.memory` of each
    #[arg(long, value_name = "BYTES")]
    pub max_memory: Option<String>,
    /// Most bandwidth, by the `limits.bandwidth` of each; a job without one counts for none
    #[arg(long, value_name = "RATE")]
    pub max_bandwidth: Option<String>,
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Outcome {
    if args.openapi {
        context.console.data(&web::api::description())?;
        return Ok(0);
    }
    let flags = ServiceFlags {
        grace: args.grace.clone(),
        budgets: BudgetFlags {
            disk: args.budgets.max_disk.clone(),
            memory: args.budgets.max_memory.clone(),
            bandwidth: args.budgets.max_bandwidth.clone(),
        },
    };
    let spec = flags.read()?;
    let settings = Settings {
        jobs: absolute(args.jobs.as_deref())?.unwrap_or_default(),
        state: state(args.state.as_deref())?,
        budgets: service::Budgets {
            drills: std::num::NonZeroU32::new(args.budgets.max_drills)
                .unwrap_or(std::num::NonZeroU32::MIN),
            disk: spec.disk,
            memory: spec.memory,
            bandwidth: spec.bandwidth,
        },
        grace: spec.grace,
        seed: args.seed,
        helper: None,
    };
    // Before anything begins: what keeps it from starting is told at once.
    let door = match args.pages.listen.0 {
        Some(address) => Some(Door::open(address).await?),
        None => None,
    };
    let token = match absolute(args.pages.token_file.as_deref())? {
        Some(file) => Some(Token::read(&file).await?),
        None => None,
    };
    let cache = Some(settings.state.join("cache"));
    let (service, desk) = service::start(settings)?;
    let Some(door) = door else {
        service.run(&context.cancel).await;
        return Ok(0);
    };
    tracing::info!("pages at http://{}/", door.address()?);
    let ended = CancellationToken::new();
    let settings = web::Settings { token, cache, hosts: args.pages.hosts };
    let pages = tokio::spawn(door.serve(desk, settings, ended.clone()));
    service.run(&context.cancel).await;
    // The last drills were to be seen until they ended.
    ended.cancel();
    if let Err(error) = pages.await {
        tracing::error!("the pages ended early: {error}");
    }
    Ok(0)
}

fn state(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if given.is_some() {
        return Ok(absolute(given)?.unwrap_or_default());
    }
    base_directory("STATE_DIRECTORY")
        .or_else(|| Some(base_directory("XDG_STATE_HOME")?.join("pgassay")))
        .or_else(|| Some(base_directory("HOME")?.join(".local/state/pgassay")))
        .ok_or_else(|| {
            usage(
                "there is no folder for the state of the service: `HOME` is not set",
                "Name one with `--state DIR`.",
            )
        })
}
