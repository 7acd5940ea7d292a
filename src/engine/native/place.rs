//! Where a sandbox lies, and its folders.
//!
//! The sandbox's own folder, its configuration and the helper program belong to us and cannot be
//! moved by what runs in the cluster; `data` and `run` belong to the unprivileged user.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::fs::StatVfsMountFlags;

use super::{identity::Identity, tree};
use crate::drill::{Code, Error, FailureClass, format::bytes};

/// Name of the folder that holds every sandbox of one user.
const NAME: &str = "pgassay";

/// The folders of one sandbox.
#[derive(Clone, Debug)]
pub struct Place {
    /// The sandbox itself: ours, 0710 for the unprivileged user's group.
    pub root: PathBuf,
    /// `PGDATA`.
    pub data: PathBuf,
    /// `postgresql.conf` and its companions: ours, readable by all.
    pub conf: PathBuf,
    /// Unix sockets.
    pub run: PathBuf,
    /// Decoded WAL segments that replay has yet to ask for: ours alone.
    pub wal: PathBuf,
    /// The helper program as `restore_command` calls it, from `PGDATA`.
    pub helper: String,
    /// What the server said.
    pub log: PathBuf,
}

/// The folder that holds all sandboxes of this user, made if it is missing: `<parent>/pgassay`.
/// Without a `work_dir` the first fit of `$PGASSAY_WORK_DIR`, `/var/tmp`, `$TMPDIR` and `/tmp`.
///
/// # Errors
/// `WorkDirectory` where the named folder is no good, `Sandbox` where none of the defaults is.
pub fn base(work_dir: Option<&Path>, identity: &Identity) -> Result<PathBuf, Error> {
    if let Some(named) = work_dir {
        let checked = only_ours(named).and_then(|()| usable(named, identity));
        return checked.map_err(|why| {
            Error::new(Code::WorkDirectory, format!("cannot work in `{}`: {why}", named.display()))
                .hint("Name an empty folder with `--work-dir` or `sandbox.workDir`.")
        });
    }
    let mut refused = Vec::new();
    let mut parents = defaults();
    // The helper program can be run from these; `sort_by_key` keeps the order otherwise.
    parents.sort_by_key(|parent| is_noexec(parent));
    for parent in parents {
        match usable(&parent, identity) {
            Ok(base) => return Ok(base),
            Err(why) => refused.push(format!("`{}`: {why}", parent.display())),
        }
    }
    Err(Error::new(
        Code::Sandbox,
        format!("no folder can hold the sandbox ({})", refused.join("; ")),
    )
    .class(FailureClass::InfraError)
    .hint("Name a folder that the unprivileged user can reach with `--work-dir`."))
}

/// The parents that are tried without a `work_dir`, in order.
#[must_use]
pub fn defaults() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut parents: Vec<PathBuf> = variable("PGASSAY_WORK_DIR").into_iter().collect();
    parents.push("/var/tmp".into());
    parents.extend(variable("TMPDIR"));
    parents.push("/tmp".into());
    parents
}

/// The folders below which sandboxes may be, each once.
#[must_use]
pub fn parents(work_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut parents: Vec<PathBuf> = Vec::new();
    for parent in work_dir.map_or_else(defaults, |named| vec![named.to_path_buf()]) {
        if let Ok(real) = fs::canonicalize(parent)
            && !parents.contains(&real)
        {
            parents.push(real);
        }
    }
    parents
}

/// `<parent>/pgassay`, or `<parent>/pgassay-<uid>` where we are not root: a folder that root made
/// takes no files of others.
#[must_use]
pub fn base_below(parent: &Path) -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    parent.join(if uid == 0 { NAME.to_owned() } else { format!("{NAME}-{uid}") })
}

/// A folder that somebody names on purpose holds nothing but sandboxes: a data directory or a home named
/// by mistake is refused before anything is written into it.
fn only_ours(named: &Path) -> Result<(), String> {
    let entries = fs::read_dir(named).map_err(|error| error.to_string())?;
    let ours = [base_below(named).file_name().map(ToOwned::to_owned), Some("lost+found".into())];
    let mut names = entries.filter_map(|entry| entry.ok().map(|e| Some(e.file_name())));
    match names.find(|name| !ours.contains(name)).flatten() {
        Some(other) => Err(format!("it is not empty, it holds `{}`", other.to_string_lossy())),
        None => Ok(()),
    }
}

fn usable(parent: &Path, identity: &Identity) -> Result<PathBuf, String> {
    let real = fs::canonicalize(parent).map_err(|error| error.to_string())?;
    identity.may_execute(&real).map_err(|stop| {
        format!("user `{}` cannot go through `{}`", identity.name, stop.display())
    })?;
    let text = real.to_str().ok_or("its name is not valid UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("its name holds control characters".to_owned());
    }
    let base = base_below(&real);
    match DirBuilder::new().mode(0o755).create(&base) {
        Ok(()) => set_mode(&base, 0o755).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.to_string()),
    }
    // Somebody else may have been there first, with a link or with a folder of theirs.
    let meta = fs::symlink_metadata(&base).map_err(|error| error.to_string())?;
    let me = rustix::process::geteuid().as_raw();
    if !meta.is_dir() || meta.uid() != me {
        return Err(format!("`{}` belongs to somebody else", base.display()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("others may write to `{}`", base.display()));
    }
    identity.may_execute(&base).map_err(|stop| {
        format!("user `{}` cannot go through `{}`", identity.name, stop.display())
    })?;
    Ok(base)
}

impl Place {
    /// Makes the folders of a new sandbox below `base`, and puts the helper program there.
    ///
    /// # Errors
    /// `WorkDirectory` where the sandbox's folder exists and holds something, `Sandbox` and `Io`
    /// where it cannot be made.
    pub fn create(
        base: &Path,
        name: &str,
        identity: &Identity,
        program: &Path,
    ) -> Result<Self, Error> {
        let root = base.join(name);
        match DirBuilder::new().mode(0o700).create(&root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let empty = fs::read_dir(&root).is_ok_and(|mut entries| entries.next().is_none());
                if !empty {
                    return Err(Error::new(
                        Code::WorkDirectory,
                        format!("`{}` exists and is not empty", root.display()),
                    )
                    .hint("Remove it with `pgassay sweep` or name another `--work-dir`."));
                }
            }
            Err(error) => return Err(sandbox_error(&root, &error)),
        }
        let place = Self::at(root);
        place.fill(identity, program).inspect_err(|_| {
            // Nothing but our own folders is in it yet.
            let _ = fs::remove_dir_all(&place.root);
        })
    }

    /// The folders below `root`, which need not exist.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self {
            data: root.join("data"),
            conf: root.join("conf"),
            run: root.join("run"),
            wal: root.join("wal"),
            log: root.join("postgresql.log"),
            helper: String::new(),
            root,
        }
    }

    /// The folders below `root`, which is ours and exists, with the data and the WAL of an earlier run that
    /// was broken off, and nothing else of it.
    ///
    /// # Errors
    /// `Sandbox` and `Io` where they cannot be made.
    pub fn reopen(root: PathBuf, identity: &Identity, program: &Path) -> Result<Self, Error> {
        let place = Self::at(root);
        for folder in [place.run.clone(), place.conf.clone(), place.root.join("bin")] {
            tree::remove(&folder).map_err(|error| sandbox_error(&folder, &error))?;
        }
        place.fill(identity, program)
    }

    fn fill(&self, identity: &Identity, program: &Path) -> Result<Self, Error> {
        let group = identity.owner().map(|(_, gid)| gid);
        let made = || -> io::Result<()> {
            for (dir, mode, theirs) in [
                (&self.data, 0o700, true),
                (&self.run, 0o700, true),
                (&self.conf, 0o755, false),
                (&self.wal, 0o700, false),
            ] {
                match DirBuilder::new().mode(mode).create(dir) {
                    // Of an earlier run; a link there is no folder of ours.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        if !fs::symlink_metadata(dir)?.is_dir() {
                            return Err(error);
                        }
                    }
                    made => made?,
                }
                set_mode(dir, mode)?;
                if let (true, Some((uid, gid))) = (theirs, identity.owner()) {
                    chown(dir, Some(uid), Some(gid))?;
                }
            }
            chown(&self.root, None, group)?;
            set_mode(&self.root, if group.is_some() { 0o710 } else { 0o700 })
        };
        made().map_err(|error| sandbox_error(&self.root, &error))?;
        let helper = self.install_helper(identity, program)?;
        Ok(Self { helper, ..self.clone() })
    }

    /// Our own program may lie where the unprivileged user cannot go, so a copy lies in the sandbox.
    /// Where programs cannot be run from there (`noexec`), the original must do.
    fn install_helper(&self, identity: &Identity, program: &Path) -> Result<String, Error> {
        if is_noexec(&self.root) {
            let original = fs::canonicalize(program)
                .map_err(|error| Error::io(format!("find `{}`", program.display()), &error))?;
            return match (identity.may_execute(&original), original.to_str()) {
                (Ok(()), Some(path)) => Ok(shell_quoted(path)),
                _ => Err(Error::new(
                    Code::Sandbox,
                    format!("programs cannot be run from `{}` (noexec)", self.root.display()),
                )
                .class(FailureClass::InfraError)
                .hint("Name a folder on another file system with `--work-dir`.")),
            };
        }
        let bin = self.root.join("bin");
        let copy = || -> io::Result<()> {
            DirBuilder::new().mode(0o755).create(&bin)?;
            set_mode(&bin, 0o755)?;
            let mut from = File::open(program)?;
            let mut to = File::options()
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(bin.join("pgassay"))?;
            io::copy(&mut from, &mut to)?;
            to.set_permissions(Permissions::from_mode(0o755))
        };
        copy().map_err(|error| sandbox_error(&bin, &error))?;
        // PostgreSQL runs `restore_command` in its data directory, so no path needs quoting.
        Ok("../bin/pgassay".to_owned())
    }
}

/// Refuses before anything is fetched where the disk or the job's budget is too small.
///
/// # Errors
/// `DiskFull` with what is needed and what there is.
pub fn check_room(base: &Path, needed: u64, budget: Option<u64>) -> Result<(), Error> {
    if let Some(budget) = budget.filter(|budget| *budget < needed) {
        return Err(Error::new(
            Code::DiskFull,
            format!(
                "the sandbox needs about {} and the job allows {}",
                bytes(needed),
                bytes(budget)
            ),
        )
        .class(FailureClass::InfraError)
        .hint("Raise `sandbox.diskBudget`."));
    }
    let stat = rustix::fs::statvfs(base)
        .map_err(|error| Error::io(format!("look at `{}`", base.display()), &error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(Error::new(
            Code::DiskFull,
            format!(
                "the sandbox needs about {} and `{}` has {} free",
                bytes(needed),
                base.display(),
                bytes(free)
            ),
        )
        .class(FailureClass::InfraError)
        .hint("Free some room there or name another folder with `--work-dir`."));
    }
    Ok(())
}

fn is_noexec(path: &Path) -> bool {
    let flags = rustix::fs::statvfs(path).map(|stat| stat.f_flag);
    flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC))
}

/// A word for `sh`, with the percent signs doubled that PostgreSQL would expand.
fn shell_quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''").replace('%', "%%"))
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    // What a folder is made with still goes through our umask.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn sandbox_error(path: &Path, error: &io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let code = if full { Code::DiskFull } else { Code::Sandbox };
    Error::new(code, format!("cannot make `{}`: {error}", path.display()))
        .class(FailureClass::InfraError)
        .hint("Free some room there or name another folder with `--work-dir`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Identity {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Identity { uid, gid, name: "me".to_owned(), switch: false }
    }

    #[test]
    fn a_folder_that_somebody_planted_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let base = base_below(&fs::canonicalize(top.path()).unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), &base).unwrap();
        assert!(super::base(Some(top.path()), &me()).is_err());
        fs::remove_file(&base).unwrap();
        assert_eq!(super::base(Some(top.path()), &me()).unwrap(), base);
        set_mode(&base, 0o777).unwrap();
        assert!(super::base(Some(top.path()), &me()).is_err());
    }

    #[test]
    fn a_named_folder_with_something_else_in_it_is_refused() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("lost+found")).unwrap();
        assert!(super::base(Some(top.path()), &me()).is_ok());
        assert!(super::base(Some(top.path()), &me()).is_ok(), "what we made is no reason");
        fs::write(top.path().join("PG_VERSION"), "15").unwrap();
        let error = super::base(Some(top.path()), &me()).unwrap_err();
        assert_eq!(error.code, Code::WorkDirectory);
        assert!(error.message.contains("`PG_VERSION`"), "{error}");
    }

    #[test]
    fn a_sandbox_is_new_and_has_its_own_helper() {
        let top = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let program = elsewhere.path().join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let base = base(Some(top.path()), &me()).unwrap();
        let place = Place::create(&base, "job-1", &me(), &program).unwrap();
        assert_eq!(place.helper, "../bin/pgassay");
        let helper = place.data.join(&place.helper);
        assert_eq!(fs::metadata(helper).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(&place.data).unwrap().mode() & 0o777, 0o700);
        let again = Place::create(&base, "job-1", &me(), &program).unwrap_err();
        assert_eq!(again.code, Code::WorkDirectory);
    }

    #[test]
    fn too_little_room_is_refused_with_both_numbers() {
        let top = tempfile::tempdir().unwrap();
        let error = check_room(top.path(), 3 << 30, Some(1 << 30)).unwrap_err();
        assert_eq!(error.code, Code::DiskFull);
        assert_eq!(error.message, "the sandbox needs about 3.0 GiB and the job allows 1.0 GiB");
        assert_eq!(check_room(top.path(), u64::MAX, None).unwrap_err().code, Code::DiskFull);
        check_room(top.path(), 1, None).unwrap();
    }

    #[test]
    fn words_for_the_shell_are_quoted() {
        assert_eq!(shell_quoted("/a b/50%/it's"), r"'/a b/50%%/it'\''s'");
    }
}
