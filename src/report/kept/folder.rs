//! Reports in a folder of this machine, or of a file system that several share.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use super::Shelf;
use crate::drill::{Code, Error, FailureClass};

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder is made when the first report is kept.
    pub(super) fn new(path: &str) -> Result<Self, Error> {
        let root = PathBuf::from(path);
        if !root.is_absolute() {
            return Err(Error::new(
                Code::UrlInvalid,
                format!("the folder `{path}` for reports is not an absolute path"),
            )
            .class(FailureClass::ConfigError)
            .hint("Write `report.store` as `file:///` and the path, such as `file:///var/lib/pgassay`."));
        }
        Ok(Self { root })
    }

    async fn names(&self, path: &str, folders: bool) -> Result<Vec<String>, Error> {
        let path = self.root.join(path);
        blocking(path, move |path| {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() == folders {
                    // A name that is not text is not ours.
                    names.extend(entry.file_name().into_string());
                }
            }
            Ok(names)
        })
        .await
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn folders(&self, path: &str) -> Result<Vec<String>, Error> {
        self.names(path, true).await
    }

    async fn files(&self, path: &str) -> Result<Vec<String>, Error> {
        self.names(path, false).await
    }

    async fn create(&self, folder: &str, file: &str, bytes: Bytes) -> Result<bool, Error> {
        let (root, folder) = (self.root.clone(), folder.to_owned());
        blocking(self.root.join(&folder).join(file), move |path| {
            create_whole(&root, &folder, path, &bytes)
        })
        .await
    }

    async fn read(&self, path: &str, limit: usize) -> Result<Option<Bytes>, Error> {
        blocking(self.root.join(path), move |path| {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut bytes = Vec::new();
            file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() > limit {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a report"));
            }
            Ok(Some(bytes.into()))
        })
        .await
    }

    /// Its folder stays, since a writer may just be about to use it.
    async fn remove(&self, path: &str) -> Result<(), Error> {
        blocking(self.root.join(path), |path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn exists(&self) -> Result<bool, Error> {
        blocking(self.root.clone(), |path| match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    fn describe(&self) -> String {
        format!("`{}`", self.root.display())
    }
}

/// Writes beside the place, makes it last, then gives it the name: whoever looks sees the whole file
/// or none, and after a crash too. False where another file has the name.
fn create_whole(root: &Path, folder: &str, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let dir = root.join(folder);
    // Folders that are new here are to last as well: each is named in the one above.
    let known = dir.ancestors().find(|dir| dir.exists()).unwrap_or(root).to_owned();
    fs::create_dir_all(&dir)?;
    // The leading dot and the end keep it out of every listing.
    let temporary = dir.join(format!(".{}.tmp", Uuid::now_v7()));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let named = written.and_then(|()| rename_new(&temporary, path));
    if !matches!(named, Ok(true)) {
        // What happened before is the news; a leftover is never listed.
        let _ = fs::remove_file(&temporary);
    }
    if named? {
        for dir in dir.ancestors() {
            File::open(dir)?.sync_all()?;
            if dir == known {
                break;
            }
        }
        return Ok(true);
    }
    Ok(fs::read(path)? == bytes)
}

/// Gives a file its name if nothing has it: true if so.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        // Some network file systems cannot do that in one step. The names are unique, so that two
        // writers meet here only if they keep the same report.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if to.try_exists()? {
                return Ok(false);
            }
            fs::rename(from, to).map(|()| true)
        }
        Err(error) => Err(error.into()),
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(move || work(&path).map_err(|error| (path, error)));
    match result.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err((path, error))) => Err(Error::new(
            Code::ReportStore,
            format!("`{}`: {error}", path.display()),
        )
        .class(FailureClass::InfraError)
        .hint(
            "Check that the folder of `report.store` is there, writable by this user and has room.",
        )),
        Err(error) => Err(Error::new(Code::Bug, format!("a file task ended early: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::report::kept::{Kept, KeptId, ReportStore, Wanted};

    fn store(dir: &Path) -> Kept<Folder> {
        Kept(Folder::new(dir.to_str().unwrap()).unwrap())
    }

    fn id(job: &str, second: i64, drill: &str) -> KeptId {
        KeptId::new(job, Timestamp::from_second(second).unwrap(), drill)
    }

    #[tokio::test]
    async fn lists_the_newest_first_over_months_and_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("made/when/needed"));
        assert_eq!(store.list(&Wanted::newest(9)).await.unwrap(), []);
        let month = 31 * 24 * 3600;
        for n in 0..20_i64 {
            store
                .put(&id(if n % 2 == 0 { "a" } else { "b/.." }, n * month, "x"), "{}".into())
                .await
                .unwrap();
        }
        let seconds = |ids: Vec<KeptId>| -> Vec<i64> {
            ids.iter().map(|id| id.at().as_second() / month).collect()
        };
        assert_eq!(seconds(store.list(&Wanted::newest(4)).await.unwrap()), [19, 18, 17, 16]);
        assert_eq!(seconds(store.list(&Wanted::job("b/..").limit(3)).await.unwrap()), [19, 17, 15]);
        assert_eq!(store.list(&Wanted::newest(99)).await.unwrap().len(), 20);
        assert_eq!(store.list(&Wanted::job("none")).await.unwrap(), []);
        assert_eq!(store.list(&Wanted::newest(0)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn never_replaces_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let id = id("a", 1, "x");
        store.put(&id, "one".into()).await.unwrap();
        store.put(&id, "one".into()).await.unwrap();
        let error = store.put(&id, "two".into()).await.unwrap_err();
        assert_eq!(error.code, Code::ReportStore);
        assert!(error.message.contains("another one is kept"), "{error}");
        assert_eq!(store.get(&id).await.unwrap(), "one");
        let left: Vec<_> = fs::read_dir(dir.path().join("reports/v1/a/1970/01")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays behind");
    }

    #[tokio::test]
    async fn removes_one_report_and_leaves_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        for second in [1, 2] {
            store.put(&id("a", second, "x"), "{}".into()).await.unwrap();
        }
        store.remove(&id("a", 1, "x")).await.unwrap();
        assert_eq!(store.list(&Wanted::default()).await.unwrap(), [id("a", 2, "x")]);
        // Somebody else was faster.
        store.remove(&id("a", 1, "x")).await.unwrap();
        store.remove(&id("a", 2, "x")).await.unwrap();
        assert_eq!(store.list(&Wanted::default()).await.unwrap(), []);
        assert_eq!(store.jobs().await.unwrap(), ["a"]);
        assert!(dir.path().join("reports/v1/a/1970/01").is_dir());
    }

    #[tokio::test]
    async fn files_of_others_are_no_reports() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.put(&id("a", 1, "x"), "{}".into()).await.unwrap();
        let month = dir.path().join("reports/v1/a/1970/01");
        for name in [".0199.tmp", "README", "19700101T000002.000Z-y.json.part"] {
            fs::write(month.join(name), "torn").unwrap();
        }
        fs::create_dir(month.join("19700101T000003.000Z-z.json")).unwrap();
        assert_eq!(store.list(&Wanted::newest(9)).await.unwrap(), [id("a", 1, "x")]);
    }

    #[tokio::test]
    async fn errors_name_the_folder() {
        assert_eq!(Folder::new("reports").unwrap_err().code, Code::UrlInvalid);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let store = store(&file);
        let error = store.put(&id("a", 1, "x"), "{}".into()).await.unwrap_err();
        assert_eq!(error.code, Code::ReportStore);
        assert!(error.message.contains(file.to_str().unwrap()), "{error}");
        assert!(store.list(&Wanted::newest(9)).await.is_err(), "a file is no folder");
        let missing = store.get(&id("a", 2, "x")).await.unwrap_err();
        assert_eq!(missing.code, Code::ReportStore);
    }
}
