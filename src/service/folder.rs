//! The folder of jobs, read again while it changes. A broken file never keeps the others from their drills.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config,
    drill::{Code, Error, Job},
};

/// A folder with one job in each `*.yaml` or `*.yml`.
#[derive(Debug)]
pub struct JobFolder {
    path: PathBuf,
    files: BTreeMap<PathBuf, File>,
    /// What was given out: name and the file that it is from.
    given: BTreeMap<String, (PathBuf, Arc<Job>)>,
}

/// A file as it was read last.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// The last good reading: a file that somebody breaks goes on as it was.
    job: Option<Arc<Job>>,
    /// What is wrong with it now.
    problem: Option<String>,
}

/// Tells a file from what it was before. Links are followed: a `ConfigMap` changes by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A file that holds no job, or one that cannot be told from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenFile {
    pub file: PathBuf,
    pub problem: String,
    /// Its job goes on as it was before.
    pub goes_on: bool,
}

/// What is different from the time before.
#[derive(Debug, Default)]
pub struct Changes {
    /// New jobs and changed ones.
    pub put: Vec<Arc<Job>>,
    /// Names of jobs that are not there any more.
    pub removed: Vec<String>,
    /// Files that broke, or broke in another way, since then.
    pub broken: Vec<BrokenFile>,
}

impl JobFolder {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// Looks at the folder. Files that have not changed are not read.
    ///
    /// # Errors
    /// `JobUnreadable` where the folder itself cannot be read: all jobs go on as they were.
    pub fn look(&mut self) -> Result<Changes, Error> {
        let paths = self.paths()?;
        // What was told before is not told again.
        let told: BTreeSet<PathBuf> = self.taken().into_iter().map(|(path, _)| path).collect();
        let mut broken = Vec::new();
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            let before = self.files.get(&path);
            let stamp = match Stamp::of(&path) {
                Ok(stamp) => stamp,
                // It went while we looked.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.files.remove(&path);
                    continue;
                }
                Err(_) => Stamp { device: 0, inode: 0, size: 0, modified: (0, 0) },
            };
            if before.is_some_and(|file| file.stamp == stamp) {
                continue;
            }
            let file = match read(&path) {
                Ok(job) => File { stamp, job: Some(Arc::new(job)), problem: None },
                Err(problem) => {
                    let job = before.and_then(|file| file.job.clone());
                    let goes_on = job.is_some();
                    let told = problem.clone();
                    broken.push(BrokenFile { file: path.clone(), problem, goes_on });
                    File { stamp, job, problem: Some(told) }
                }
            };
            self.files.insert(path, file);
        }
        let mut changes = self.compare();
        let new = self.taken().into_iter().filter(|(path, _)| !told.contains(path));
        broken.extend(new.map(|(file, problem)| BrokenFile { file, problem, goes_on: false }));
        changes.broken = broken;
        Ok(changes)
    }

    /// Every file that is broken as of the last look.
    #[must_use]
    pub fn broken(&self) -> Vec<BrokenFile> {
        let unread = self.files.iter().filter_map(|(path, file)| {
            let problem = file.problem.clone()?;
            Some(BrokenFile { file: path.clone(), problem, goes_on: file.job.is_some() })
        });
        let taken = self.taken().into_iter();
        unread
            .chain(taken.map(|(file, problem)| BrokenFile { file, problem, goes_on: false }))
            .collect()
    }

    /// Files whose job has the name of another file's, which comes first.
    fn taken(&self) -> Vec<(PathBuf, String)> {
        let mut taken = Vec::new();
        for (path, file) in &self.files {
            let Some(job) = &file.job else { continue };
            let Some((owner, _)) = self.given.get(&job.name) else { continue };
            if owner != path {
                let owner = owner.display();
                taken.push((path.clone(), format!("`{owner}` has the job `{}` already", job.name)));
            }
        }
        taken
    }

    fn compare(&mut self) -> Changes {
        let mut now: BTreeMap<String, (PathBuf, Arc<Job>)> = BTreeMap::new();
        for (path, file) in &self.files {
            let Some(job) = &file.job else { continue };
            now.entry(job.name.clone()).or_insert_with(|| (path.clone(), Arc::clone(job)));
        }
        let mut changes = Changes::default();
        for (name, (_, job)) in &now {
            // Another file with the same words is the same job.
            if self.given.get(name).is_none_or(|(_, before)| before != job) {
                changes.put.push(Arc::clone(job));
            }
        }
        let gone = self.given.keys().filter(|name| !now.contains_key(*name));
        changes.removed = gone.cloned().collect();
        self.given = now;
        changes
    }

    fn paths(&self) -> Result<BTreeSet<PathBuf>, Error> {
        let unreadable = |error: std::io::Error| {
            let message = format!("cannot read the folder `{}`: {error}", self.path.display());
            Error::new(Code::JobUnreadable, message).hint("Check the path of `--jobs`.")
        };
        let mut paths = BTreeSet::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if config::is_job_file(&path) {
                paths.insert(path);
            }
        }
        Ok(paths)
    }
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// The job of a file, or all that is wrong with it.
fn read(path: &Path) -> Result<Job, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    config::read(path, &name).map_err(|error| error.to_string().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, file: &str, name: &str, server: &str) {
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: {name}}}\nspec:\n  archive: {{url: \
             s3://bucket/path, server: {server}}}\n"
        );
        replace(dir, file, &text);
    }

    /// As editors and Kubernetes do: another file gets the name.
    fn replace(dir: &Path, file: &str, text: &str) {
        let new = dir.join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, dir.join(file)).unwrap();
    }

    fn names(changes: &Changes) -> (Vec<&str>, Vec<&str>, Vec<String>) {
        let file = |broken: &BrokenFile| {
            let name = broken.file.file_name().unwrap().to_str().unwrap().to_owned();
            if broken.goes_on { format!("{name} goes on") } else { name }
        };
        (
            changes.put.iter().map(|job| job.name.as_str()).collect(),
            changes.removed.iter().map(String::as_str).collect(),
            changes.broken.iter().map(file).collect(),
        )
    }

    #[test]
    fn jobs_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = JobFolder::new(dir.path().to_owned());
        write(dir.path(), "a.yaml", "one", "s");
        write(dir.path(), "b.yml", "two", "s");
        fs::write(dir.path().join("README.md"), "no job").unwrap();
        fs::write(dir.path().join(".c.yaml"), "an editor's").unwrap();
        assert_eq!(names(&folder.look().unwrap()), (vec!["one", "two"], vec![], vec![]));
        assert_eq!(names(&folder.look().unwrap()), (vec![], vec![], vec![]));
        write(dir.path(), "a.yaml", "one", "other");
        // The same words in another file are no change.
        fs::rename(dir.path().join("b.yml"), dir.path().join("d.yml")).unwrap();
        assert_eq!(names(&folder.look().unwrap()), (vec!["one"], vec![], vec![]));
        write(dir.path(), "a.yaml", "renamed", "other");
        assert_eq!(names(&folder.look().unwrap()), (vec!["renamed"], vec!["one"], vec![]));
        fs::remove_file(dir.path().join("a.yaml")).unwrap();
        assert_eq!(names(&folder.look().unwrap()), (vec![], vec!["renamed"], vec![]));
    }

    #[test]
    fn a_broken_file_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = JobFolder::new(dir.path().to_owned());
        write(dir.path(), "good.yaml", "good", "s");
        replace(dir.path(), "bad.yaml", "kind: Pod\n");
        assert_eq!(
            names(&folder.look().unwrap()),
            (vec!["good"], vec![], vec!["bad.yaml".to_owned()])
        );
        // Said once.
        assert_eq!(names(&folder.look().unwrap()), (vec![], vec![], vec![]));
        // One that was good goes on as it was.
        replace(dir.path(), "good.yaml", "{");
        let broken = vec!["good.yaml goes on".to_owned()];
        assert_eq!(names(&folder.look().unwrap()), (vec![], vec![], broken));
        // Mended.
        write(dir.path(), "bad.yaml", "mended", "s");
        write(dir.path(), "good.yaml", "good", "s");
        assert_eq!(names(&folder.look().unwrap()), (vec!["mended"], vec![], vec![]));
    }

    #[test]
    fn one_name_in_two_files_is_the_first_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = JobFolder::new(dir.path().to_owned());
        write(dir.path(), "b.yaml", "same", "b");
        folder.look().unwrap();
        write(dir.path(), "c.yaml", "same", "c");
        let changes = folder.look().unwrap();
        assert_eq!(names(&changes), (vec![], vec![], vec!["c.yaml".to_owned()]));
        assert!(changes.broken[0].problem.contains("b.yaml"), "{:?}", changes.broken);
        fs::remove_file(dir.path().join("b.yaml")).unwrap();
        let changes = folder.look().unwrap();
        assert_eq!((changes.put[0].archive.server.as_str(), changes.removed.len()), ("c", 0));
    }

    #[test]
    fn a_folder_that_is_away_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = dir.path().join("jobs");
        fs::create_dir(&jobs).unwrap();
        write(&jobs, "a.yaml", "one", "s");
        let mut folder = JobFolder::new(jobs.clone());
        folder.look().unwrap();
        fs::rename(&jobs, dir.path().join("away")).unwrap();
        assert_eq!(folder.look().unwrap_err().code, Code::JobUnreadable);
        fs::rename(dir.path().join("away"), &jobs).unwrap();
        assert_eq!(names(&folder.look().unwrap()), (vec![], vec![], vec![]));
    }
}
