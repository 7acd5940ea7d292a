//! Stores of kept reports, from job files or from flags.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    console::{Console, Failure, usage},
    job_args::{self, S3Args, absolute, base_directory},
};
use crate::{
    config::{self, flags},
    drill::{Code, Error, Job, Verdict, job::StoreLocation},
    report::{
        kept::{self, Wanted},
        past::{PastReader, Told},
    },
};

/// Flags that name stores of reports.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where the reports are")]
pub(super) struct StoreArgs {
    /// Folder with job files
    #[arg(long = "jobs", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Store of reports: `file:///folder` or `s3://bucket/path`; may be given several times
    #[arg(long, value_name = "URL")]
    pub store: Vec<String>,
    /// Folder in which summaries of reports are remembered [default: pgassay in `XDG_CACHE_HOME`, else
    /// ~/.cache/pgassay]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Read every report, remember nothing
    #[arg(long, conflicts_with = "cache")]
    pub no_cache: bool,
    #[command(flatten)]
    pub s3: S3Args,
}

/// A store, and of whom.
#[derive(Debug)]
pub(super) struct Source {
    /// The jobs that were named; none means all.
    pub jobs: Vec<String>,
    pub reader: PastReader,
}

/// All stores that a command line names.
#[derive(Debug)]
pub(super) struct Sources {
    pub stores: Vec<Source>,
    /// The jobs of the files that were named, also those that keep no reports.
    pub jobs: Vec<Job>,
}

impl StoreArgs {
    /// Reads the job files and opens the stores. `files`: the job files of the command line.
    ///
    /// # Errors
    /// Nothing is named, or a file or flag is wrong. A broken file in a folder is told and left out.
    pub(super) async fn open(
        &self,
        files: &[PathBuf],
        console: &Console,
    ) -> Result<Sources, Failure> {
        let mut jobs = files.iter().map(|f| job_args::read(f)).collect::<Result<Vec<_>, _>>()?;
        if let Some(folder) = &self.folder {
            jobs.extend(of_folder(folder, console)?);
        }
        let stores = flags::report_stores(&self.store, &self.s3.flags()?)?;
        let mut wanted: Vec<(StoreLocation, Vec<String>)> =
            stores.into_iter().map(|location| (location, Vec::new())).collect();
        for job in &jobs {
            let Some(location) = &job.report_store else {
                console.talk(&format!(
                    "the job `{}` keeps no reports: it has no `report.store`",
                    job.name
                ));
                continue;
            };
            match wanted.iter_mut().find(|(known, _)| known == location) {
                // All of a store that was named as such.
                Some((_, names)) if names.is_empty() => {}
                Some((_, names)) => names.push(job.name.clone()),
                None => wanted.push((location.clone(), vec![job.name.clone()])),
            }
        }
        if wanted.is_empty() {
            let hint = "Name a job file with `report.store`, a folder of them with `--jobs DIR`, or a \
                        store with `--store file:///folder` or `--store s3://bucket/path`.";
            return Err(usage("no store of reports is named", hint));
        }
        let cache = self.cache_folder()?;
        let mut stores = Vec::with_capacity(wanted.len());
        for (location, jobs) in wanted {
            let store: Arc<dyn kept::ReportStore> = kept::open(&location).await?.into();
            if !store.exists().await? {
                return Err(Error::new(
                    Code::ReportStore,
                    format!("the folder {} of kept reports does not exist", store.describe()),
                )
                .hint("Mount it, or correct `report.store` or `--store`.")
                .into());
            }
            let reader = PastReader::new(store, &location, cache.as_deref());
            stores.push(Source { jobs, reader });
        }
        Ok(Sources { stores, jobs })
    }

    fn cache_folder(&self) -> Result<Option<PathBuf>, Error> {
        if self.no_cache {
            return Ok(None);
        }
        if self.cache.is_some() {
            return absolute(self.cache.as_deref());
        }
        let cache = base_directory("XDG_CACHE_HOME")
            .or_else(|| Some(base_directory("HOME")?.join(".cache")));
        Ok(cache.map(|cache| cache.join("pgassay")))
    }
}

impl Sources {
    /// What is asked for of all stores, newest first. `wanted.jobs` are names to look for in all of them.
    /// Only drills that ended in one of these verdicts; none means any.
    pub(super) async fn read(
        &self,
        wanted: &Wanted,
        verdicts: &[Verdict],
    ) -> Result<Vec<Told>, Error> {
        let mut told = Vec::new();
        for source in &self.stores {
            if let Some(jobs) = source.of(&wanted.jobs) {
                told.extend(
                    source.reader.read_ended(&Wanted { jobs, ..wanted.clone() }, verdicts).await?,
                );
            }
        }
        told.sort_by(|a, b| b.id.cmp(&a.id));
        told.truncate(wanted.limit.unwrap_or(usize::MAX));
        Ok(told)
    }
}

impl Source {
    /// Which jobs to ask for where these are looked for, none meaning all; `None`: there is no need to ask.
    pub(super) fn of(&self, names: &[String]) -> Option<Vec<String>> {
        match (self.jobs.is_empty(), names.is_empty()) {
            (true, _) => Some(names.to_vec()),
            (false, true) => Some(self.jobs.clone()),
            (false, false) => {
                let both: Vec<String> =
                    names.iter().filter(|name| self.jobs.contains(name)).cloned().collect();
                (!both.is_empty()).then_some(both)
            }
        }
    }
}

/// The jobs of a folder, sorted by their files' names. Broken ones are told.
fn of_folder(folder: &Path, console: &Console) -> Result<Vec<Job>, Failure> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read the folder `{}`: {error}", folder.display());
        Failure::Error(Error::new(Code::JobUnreadable, message).hint("Check the path of `--jobs`."))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if config::is_job_file(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let read = |file: &PathBuf| match job_args::read(file) {
        Ok(job) => Some(job),
        Err(failure) => {
            console.error(&failure);
            console.talk(&format!("`{}` is left out", file.display()));
            None
        }
    };
    Ok(files.iter().filter_map(read).collect())
}
