//! `pgassay evidence verify`: signatures and chains of kept reports, checked offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, Output},
    store_args::StoreArgs,
};
use crate::{
    drill::{Code, Error},
    report::evidence::{key::VerifyingKey, record, view},
};

const HELP: &str = help!(
    "Checks evidence: that kept reports are the ones that were signed, and that none is missing."
);

const VERIFY_HELP: &str = help!(
    "Checks the evidence of kept reports: each signature, that the report beside it is the one that was"
    "signed, and that it follows the evidence before it. Nothing else is asked: a copy of the store's"
    "folder is enough, years later."
    ""
    "A job signs its reports with `report: {store: …, sign: {file: /run/secrets/key.pem}}`. A chain cannot"
    "show that its newest links were cut off: keep the name of the newest one elsewhere."
);

const VERIFY_AFTER: &str = "\
Exit status: 0 where all evidence holds, 1 where some does not or there is none.

Examples:
  openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out public.pem
  pgassay evidence verify --key public.pem orders.yaml
  pgassay evidence verify --key public.pem --store file:///srv/copy-of-reports --output json";

/// Check that kept reports are the ones that were signed
#[derive(Debug, Args)]
#[command(help_template = HELP, arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct EvidenceArgs {
    #[command(subcommand)]
    pub command: EvidenceCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    Verify(VerifyEvidenceArgs),
}

/// Check signatures and chains of kept reports
#[derive(Debug, Args)]
#[command(help_template = VERIFY_HELP, after_help = VERIFY_AFTER)]
pub(super) struct VerifyEvidenceArgs {
    /// Job files whose `report.store` is read, for these jobs
    #[arg(value_name = "JOB")]
    pub files: Vec<PathBuf>,
    /// Ed25519 public keys in PEM that are trusted; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// Only reports of the job of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub job: Vec<String>,
    /// How to print the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    #[command(flatten)]
    pub stores: StoreArgs,
}

impl EvidenceArgs {
    pub(super) fn output(&self) -> Output {
        let EvidenceCommand::Verify(args) = &self.command;
        args.output
    }
}

pub(super) async fn run(args: EvidenceArgs, context: &Context) -> Outcome {
    let EvidenceCommand::Verify(args) = args.command;
    let keys = keys(&args.key)?;
    let sources = args.stores.open(&args.files, &context.console).await?;
    let mut looked = Vec::new();
    for source in &sources.stores {
        let Some(jobs) = source.of(&args.job) else { continue };
        looked.extend(record::verify(&**source.reader.store(), &jobs, &keys).await?);
    }
    let console = &context.console;
    match args.output {
        Output::Human => console.data(&view::render(&looked, console.style()))?,
        Output::Json => console.json(&view::json(&looked, &keys))?,
    }
    Ok(u8::from(!view::holds(&looked)))
}

fn keys(files: &[PathBuf]) -> Result<Vec<VerifyingKey>, Failure> {
    let mut keys = Vec::new();
    for file in files {
        let pem = std::fs::read(file).map_err(|error| {
            let message = format!("cannot read the key `{}`: {error}", file.display());
            Error::new(Code::KeyInvalid, message).hint("Check the path of `--key`.")
        })?;
        let read = VerifyingKey::all_from_pem(&pem);
        keys.extend(read.map_err(|error| error.context(format!("`{}`", file.display())))?);
    }
    Ok(keys)
}
