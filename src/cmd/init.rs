//! `pgassay init`: writes a job from what a prefix holds.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, usage},
    job_args::S3Args,
};
use crate::{
    config::{self, flags, template},
    drill::{
        Code, Error,
        job::{ArchiveLocation, StoreLocation},
    },
    store::{S3Store, SharedStore},
    survey::{ServerSummary, servers},
};

const HELP: &str = help!(
    "Looks below a URL for archives that Barman Cloud or CloudNativePG wrote, and writes a job for"
    "one of them. Only lists; fetches no backup."
);

const EXAMPLES: &str = "\
Examples:
  pgassay init s3://backups/postgres
  pgassay init s3://backups/postgres --server orders -o jobs/orders.yaml
  pgassay init s3://backups/postgres --all -o jobs
  pgassay init s3://backups --s3-endpoint https://s3.example.net --s3-path-style --profile drill";

/// Write a job from what a bucket holds
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// Where to look: `s3://bucket/path`, CloudNativePG's `destinationPath`
    pub url: String,
    /// The server to write a job for, where there are several
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub server: Option<String>,
    /// Write a job for every server
    #[arg(long)]
    pub all: bool,
    /// File to write, `-` for stdout; a folder with `--all` [default: the server's name with `.yaml`]
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub s3: S3Args,
}

pub(super) async fn run(args: InitArgs, context: &Context) -> Outcome {
    let flags = flags::ArchiveFlags { url: Some(args.url.clone()), ..args.s3.flags()? };
    let location = flags::store(&flags)?;
    let look = async {
        let store: SharedStore = Arc::new(S3Store::connect(&location).await?);
        let found = servers(&store, &location.prefix).await?;
        Ok::<_, Error>((found, store.describe()))
    };
    let Some(looked) = context.cancel.run_until_cancelled(Box::pin(look)).await else {
        return Err(Error::new(Code::Interrupted, "stopped while looking into the bucket").into());
    };
    let (found, place) = looked?;
    let chosen = choose(&args, found, &place)?;
    let jobs = render(&location, chosen)?;
    if args.out.as_deref() == Some(Path::new("-")) {
        for (_, job) in &jobs {
            context.console.data(&job.text)?;
        }
        return Ok(0);
    }
    let files: Vec<PathBuf> = jobs.iter().map(|(name, _)| target(&args, name)).collect();
    if !args.force
        && let Some(taken) = files.iter().find(|file| fs::symlink_metadata(file).is_ok())
    {
        return Err(exists(taken));
    }
    for (file, (_, job)) in files.iter().zip(&jobs) {
        write(file, &job.text, args.force)?;
        context.console.talk(&format!("wrote {}: {}", file.display(), job.holds));
    }
    if let Some(first) = files.first() {
        context.console.talk(&format!("next: pgassay drill {} --plan", first.display()));
    }
    Ok(0)
}

/// The servers to write jobs for.
fn choose(
    args: &InitArgs,
    found: Vec<ServerSummary>,
    place: &str,
) -> Result<Vec<ServerSummary>, Failure> {
    let names: Vec<String> = found.iter().map(ServerSummary::describe).collect();
    if found.is_empty() {
        return Err(Error::new(
            Code::ArchiveEmpty,
            format!("there is no archive below `{}` in {place}", args.url),
        )
        .hint(
            "An archive is a folder with `base/` and `wals/` in it. Name the folder above it, \
                 as `destinationPath` of CloudNativePG's ObjectStore does.",
        )
        .into());
    }
    if args.all {
        return Ok(found);
    }
    let Some(wanted) = &args.server else {
        if found.len() > 1 {
            return Err(usage(
                format!("there are {} servers: {}", found.len(), names.join(", ")),
                "Choose one with `--server NAME`, or write a job for each with `--all`.",
            ));
        }
        return Ok(found);
    };
    let chosen: Vec<ServerSummary> =
        found.into_iter().filter(|server| server.name == *wanted).collect();
    match chosen.len() {
        1 => Ok(chosen),
        0 => Err(usage(
            format!("there is no server `{wanted}` below `{}`", args.url),
            format!("There are: {}.", names.join(", ")),
        )),
        _ => Err(usage(
            format!("there are several servers `{wanted}`: {}", names.join(", ")),
            "Name the folder above the one you mean in the URL.",
        )),
    }
}

struct Written {
    text: String,
    /// What the archive holds, in words.
    holds: String,
}

/// Names and texts, each read back as what was meant before it is written anywhere.
fn render(
    location: &StoreLocation,
    servers: Vec<ServerSummary>,
) -> Result<Vec<(String, Written)>, Failure> {
    let mut jobs: Vec<(String, Written)> = Vec::new();
    for server in servers {
        let mut name = flags::name_from(&server.name);
        let taken = |name: &str| jobs.iter().any(|(other, _)| other == name);
        for number in 2.. {
            if !taken(&name) {
                break;
            }
            name = flags::name_from(&format!("{:.50}-{number}", flags::name_from(&server.name)));
        }
        let archive = ArchiveLocation {
            store: StoreLocation { prefix: server.prefix.clone(), ..location.clone() },
            server: server.name.clone(),
        };
        let text = template::render(&name, &archive);
        let job = config::parse(&text, &format!("{name}.yaml"))?;
        if job.archive != archive {
            let message = format!("the job for `{}` would not mean what it should", server.name);
            return Err(Error::new(Code::Bug, message).into());
        }
        let holds = match (server.has_base, server.has_wals) {
            (true, true) => "base backups and WAL",
            (true, false) => "base backups but NO WAL, so none of them can be restored",
            (false, _) => "WAL but NO base backup yet",
        };
        let holds = format!("server {} has {holds}", server.describe());
        jobs.push((name, Written { text, holds }));
    }
    Ok(jobs)
}

fn target(args: &InitArgs, name: &str) -> PathBuf {
    let file = PathBuf::from(format!("{name}.yaml"));
    match &args.out {
        Some(folder) if args.all => folder.join(file),
        Some(path) => path.clone(),
        None => file,
    }
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::from(
            Error::io(format_args!("cannot write `{}`", file.display()), &error)
                .hint("Name another file with `-o`."),
        )
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        opened => opened.and_then(|mut f| f.write_all(text.as_bytes())).map_err(failed),
    }
}

fn exists(file: &Path) -> Failure {
    usage(
        format!("`{}` exists already", file.display()),
        "Name another file with `-o`, or overwrite it with `--force`.",
    )
}
