//! Commands and flags that all commands share.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{
    catalog::CatalogArgs,
    check::CheckArgs,
    console::{Color, Output},
    demo::DemoArgs,
    doctor::DoctorArgs,
    drill::DrillArgs,
    evidence::EvidenceArgs,
    history::HistoryArgs,
    init::InitArgs,
    report::ReportArgs,
    rescue::RescueArgs,
    schedule::ScheduleArgs,
    selftest::SelftestArgs,
    serve::ServeArgs,
    signals::Parting,
    sweep::SweepArgs,
    verify::VerifyArgs,
};

/// Help of one command: what it does at length, then the usual. Short and long help are the same.
macro_rules! help {
    ($($line:literal)+) => {
        concat!(
            $($line, "\n",)+
            "\n{usage-heading} {usage}\n\n{all-args}{after-help}"
        )
    };
}
pub(super) use help;

const ABOUT: &str = "Proves that PostgreSQL backups restore: how fast, and how much would be lost";

const HELP: &str = help!(
    "Proves that PostgreSQL backups restore: how fast, and how much would be lost."
    ""
    "pgassay takes base backups and WAL from an S3 bucket as Barman Cloud and CloudNativePG write"
    "them, restores them into a cluster of its own that is removed afterwards, examines the result"
    "in depth, and says what it found. The archive is only ever read."
);

const AFTER: &str = "\
Start here:
  pgassay demo                              a whole drill on this machine, to see one
  pgassay init s3://bucket/path             write a job for an archive of yours
  pgassay drill orders.yaml                 drill it
  pgassay rescue orders.yaml /srv/pg/main   when production is gone: restore it for good

Exit status:
  0  pass: the backup restores, completely and within the objectives
  1  fail: the backup is not good
  2  the command line, a job or what they name is wrong
  3  breach: the backup is good, but restoring takes too long or loses too much
  4  inconclusive: this machine, the store or a tool failed; nothing is known of the backup
  5  a mistake in pgassay
  130, 143  stopped by a signal, after cleaning up";

#[derive(Debug, Parser)]
#[command(
    name = "pgassay",
    version,
    about = ABOUT,
    help_template = HELP,
    after_help = AFTER,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// Say more on stderr; twice for details
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No progress, only errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colours; `auto` heeds `NO_COLOR`
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
}

impl Global {
    /// Number of `-v`, or -1 for `-q`.
    pub(super) fn verbosity(&self) -> i8 {
        if self.quiet { -1 } else { i8::try_from(self.verbose).unwrap_or(i8::MAX) }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

impl From<When> for Color {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Drill(Box<DrillArgs>),
    Rescue(Box<RescueArgs>),
    Verify(Box<VerifyArgs>),
    Catalog(Box<CatalogArgs>),
    Serve(ServeArgs),
    History(Box<HistoryArgs>),
    Evidence(EvidenceArgs),
    Schedule(ScheduleArgs),
    Report(Box<ReportArgs>),
    Check(CheckArgs),
    Init(InitArgs),
    Doctor(DoctorArgs),
    Demo(DemoArgs),
    Selftest(SelftestArgs),
    Sweep(SweepArgs),
}

impl Command {
    /// How the command was asked to print.
    pub(super) fn output(&self) -> Output {
        match self {
            Self::Drill(args) => args.output.of_errors(),
            Self::Rescue(args) => args.output,
            Self::Verify(args) => args.output,
            Self::Catalog(args) => args.output,
            Self::History(args) => args.output,
            Self::Evidence(args) => args.output(),
            Self::Schedule(args) => args.output,
            Self::Report(args) => args.output.of_errors(),
            Self::Check(args) => args.output,
            Self::Doctor(args) => args.output,
            Self::Demo(args) => args.output,
            Self::Selftest(args) => args.output,
            Self::Sweep(args) => args.output,
            Self::Init(_) | Self::Serve(_) => Output::Human,
        }
    }

    /// Whether it runs for as long as nobody stops it.
    pub(super) const fn is_service(&self) -> bool {
        matches!(self, Self::Serve(_))
    }

    /// What becomes of its work when somebody stops it.
    pub(super) const fn parting(&self) -> Parting {
        match self {
            Self::Rescue(_) => Parting::GoesOn,
            Self::Serve(_) => Parting::Waits,
            Self::Drill(_)
            | Self::Verify(_)
            | Self::Catalog(_)
            | Self::History(_)
            | Self::Evidence(_)
            | Self::Schedule(_)
            | Self::Report(_)
            | Self::Check(_)
            | Self::Init(_)
            | Self::Doctor(_)
            | Self::Demo(_)
            | Self::Selftest(_)
            | Self::Sweep(_) => Parting::CleansUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    /// What a newcomer reads.
    #[test]
    fn help_of_every_command() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        insta::assert_snapshot!("help", cli.render_help());
        for command in cli.get_subcommands_mut() {
            let name = format!("help-{}", command.get_name());
            insta::assert_snapshot!(name, command.render_help());
        }
    }
}
