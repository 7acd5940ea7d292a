//! `pgassay report`: the review of a span of time, or one drill, from kept reports.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{
    Context, Outcome,
    cli::help,
    console::{Failure, usage},
    format::Format,
    store_args::{Sources, StoreArgs},
};
use crate::{
    config::flags::SpanFlags,
    drill::{Code, Error},
    report::{
        html, json, junit,
        kept::KeptId,
        markdown,
        past::PastReader,
        review::{self as view, gather},
    },
};

const HELP: &str = help!(
    "Reviews a span of time from kept reports: every archive, its last pass, trends and growth,"
    "objectives held or missed, the worst case of the restore time and when it goes over its"
    "objective, and, with `--jobs DIR`, what was never drilled. With `--drill` prints one drill."
    ""
    "Verdicts, objectives and damage that was found are those of the span. Restore times, growth and"
    "the worst case rest on the drills of the span or of the last 90 days before its end, whichever"
    "is longer."
    ""
    "HTML is one file that needs nothing else. JSON of a drill is the report as it was kept;"
    "`--schema` prints the JSON Schema that it follows."
);

const AFTER: &str = "\
Examples:
  pgassay report orders.yaml
  pgassay report --jobs jobs/ --since 30d --output html > review.html
  pgassay report --store s3://drill-reports/all --since 2026-10-01 --until 2026-11-01 --output markdown
  pgassay report orders.yaml --drill 01a206f8-a283-75c6-9866-bf72ab269f10 --output junit";

/// Review a span of time, or print one drill, from kept reports
#[derive(Debug, Args)]
#[command(help_template = HELP, after_help = AFTER)]
pub(super) struct ReportArgs {
    /// Job files whose `report.store` is read, for these jobs
    #[arg(value_name = "JOB")]
    pub files: Vec<PathBuf>,
    /// From this time on: `30d` ago, a date, or a time with its UTC offset
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print this drill instead
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "until"])]
    pub drill: Option<String>,
    /// Print the JSON Schema of a drill's report
    #[arg(long, conflicts_with_all = ["files", "drill", "since", "until", "store", "folder"])]
    pub schema: bool,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub output: Format,
    #[command(flatten)]
    pub stores: StoreArgs,
}

pub(super) async fn run(args: ReportArgs, context: &Context) -> Outcome {
    let console = &context.console;
    if args.schema {
        console.data(crate::report::json::SCHEMA)?;
        return Ok(0);
    }
    let now = Timestamp::now();
    let flags =
        SpanFlags { since: Some(args.since.clone()), until: args.until.clone(), older_than: None };
    let span = flags.read(now)?;
    let sources = args.stores.open(&args.files, console).await?;
    let text = if let Some(id) = &args.drill {
        drill(&sources, id, args.output, context).await?
    } else {
        let since = span.since.unwrap_or(Timestamp::MIN);
        let span = gather::Span { since, until: span.until.unwrap_or(now), now };
        review(&sources, span, args.output, context).await?
    };
    console.data(&text)?;
    Ok(0)
}

async fn review(
    sources: &Sources,
    span: gather::Span,
    format: Format,
    context: &Context,
) -> Result<String, Failure> {
    let stores: Vec<(&PastReader, Vec<String>)> =
        sources.stores.iter().map(|source| (&source.reader, source.jobs.clone())).collect();
    let review = gather::review(&stores, &sources.jobs, span).await?;
    Ok(match format {
        Format::Human => view::render(&review, context.console.style()),
        Format::Json => view::json(&review),
        Format::Html => html::review(&review),
        Format::Markdown => markdown::review(&review),
        Format::Junit => junit::review(&review)?,
    })
}

async fn drill(
    sources: &Sources,
    id: &str,
    format: Format,
    context: &Context,
) -> Result<String, Failure> {
    let (reader, kept) = find(sources, id).await?;
    let bytes = reader.store().get(&kept).await?;
    // As it was kept, whoever wrote it.
    if format == Format::Json {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let report = json::read(&bytes).map_err(|why| {
        Error::new(Code::ReportStore, format!("the report {kept} cannot be read: {why}"))
            .hint("Print it as it is with `--output json`, or use the pgassay that wrote it.")
    })?;
    Ok(format.drill(&report, context.console.style())?)
}

/// The report of a drill, by names alone.
async fn find<'a>(sources: &'a Sources, id: &str) -> Result<(&'a PastReader, KeptId), Failure> {
    for source in &sources.stores {
        if let Some(kept) = source.reader.find(&source.jobs, id).await? {
            return Ok((&source.reader, kept));
        }
    }
    let hint = "List the drills with `pgassay history --output json`, which has their ids.";
    Err(usage(format!("no report of a drill `{id}` is kept there"), hint))
}
