//! The folder that a rescue makes a cluster in, looked at before anything is done: it must not exist, or
//! be empty, and nobody else's data may be near it.
//!
//! All work happens in another folder beside it, `<folder>.pgassay-rescue`; the cluster gets its name
//! only when it is whole. So nothing half-restored can be started by mistake, and what the rescue
//! removes is its own.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use super::state;
use crate::{
    drill::{Code, Error},
    engine::native::identity::Identity,
};

/// Behind the folder's name: where the work is done.
const WORK: &str = ".pgassay-rescue";
/// Behind the folder's name: where tablespaces go that nobody has named a place for.
const TABLESPACES: &str = ".tablespaces";

/// Where a rescue goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The data directory to be: an absolute path without links.
    pub dir: PathBuf,
    /// Where the work is done, on the same file system.
    pub work: PathBuf,
    /// Places of tablespaces, by OID, as the operator has named them.
    tablespaces: BTreeMap<u32, PathBuf>,
}

impl Ground {
    /// Looks at `dir`, which must be absolute, and changes nothing.
    ///
    /// # Errors
    /// `RescueFolder` with what is in the way.
    pub fn look(
        dir: &Path,
        tablespaces: &BTreeMap<u32, PathBuf>,
        identity: &Identity,
    ) -> Result<Self, Error> {
        let dir = real(dir)?;
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|n| n.to_str()))
        else {
            return Err(refused(&dir, "is no folder that a cluster can be made in").hint(NEW));
        };
        let work = parent.join(format!("{name}{WORK}"));
        within(parent, &dir)?;
        // A run that was broken off while it handed the cluster over has put things there itself.
        let is_ours = state::peek(&work).is_some_and(|state| state.is_handing_over());
        if !is_ours {
            vacant(&dir, parent)?;
        }
        reachable(parent, &dir, identity)?;
        let mut places = BTreeMap::new();
        for (oid, place) in tablespaces {
            let place = real(place)?;
            let Some(above) = place.parent() else {
                return Err(refused(&place, "is no folder for a tablespace").hint(NEW));
            };
            if device(above) != device(parent) {
                return Err(refused(&place, format!("is on another file system than `{}`", dir.display()))
                    .hint(
                        "Leave this `--tablespace` out, and move the tablespace when the rescue is over.",
                    ));
            }
            within(above, &place)?;
            if !is_ours {
                vacant(&place, above)?;
            }
            reachable(above, &place, identity)?;
            if place.starts_with(&dir)
                || place.starts_with(&work)
                || places.values().any(|p| *p == place)
            {
                return Err(refused(&place, "is in use for something else here").hint(NEW));
            }
            places.insert(*oid, place);
        }
        Ok(Self { dir, work, tablespaces: places })
    }

    /// The folder that both lie in.
    #[must_use]
    pub fn parent(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new("/"))
    }

    /// Where a tablespace is to go.
    #[must_use]
    pub fn tablespace(&self, oid: u32) -> PathBuf {
        self.tablespaces.get(&oid).cloned().unwrap_or_else(|| {
            let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
            self.parent().join(format!("{name}{TABLESPACES}")).join(oid.to_string())
        })
    }

    /// Looks at the places of tablespaces that nobody has named one for.
    ///
    /// # Errors
    /// `RescueFolder` where something is there.
    pub fn tablespaces_are_vacant(&self, oids: impl Iterator<Item = u32>) -> Result<(), Error> {
        for place in oids.map(|oid| self.tablespace(oid)) {
            let meta = fs::symlink_metadata(&place);
            if meta.is_ok() && !is_empty_folder(&place) {
                return Err(refused(&place, "is in the way of a tablespace").hint(
                    "Name another folder for it with `--tablespace OID=FOLDER`, or move this one away.",
                ));
            }
        }
        Ok(())
    }

    /// The names of `--tablespace` that the backup does not have.
    ///
    /// # Errors
    /// `RescueFolder` with the first one.
    pub fn tablespaces_exist(&self, oids: &[u32]) -> Result<(), Error> {
        match self.tablespaces.keys().find(|oid| !oids.contains(oid)) {
            None => Ok(()),
            Some(oid) => {
                Err(Error::new(Code::RescueFolder, format!("the backup has no tablespace {oid}"))
                    .hint(match oids {
                        [] => "Leave `--tablespace` out: it has none.".to_owned(),
                        _ => format!("It has: {}.", list(oids)),
                    }))
            }
        }
    }
}

fn list(oids: &[u32]) -> String {
    oids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const NEW: &str = "Name a folder that does not exist yet, in one that does.";

fn refused(dir: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Code::RescueFolder, format!("`{}` {what}", dir.display()))
}

/// Without links, also where the last name does not exist yet.
fn real(dir: &Path) -> Result<PathBuf, Error> {
    let text = dir.to_str().ok_or_else(|| refused(dir, "has a name that is not valid UTF-8"));
    if text?.chars().any(char::is_control) {
        return Err(refused(dir, "has a name with control characters").hint(NEW));
    }
    if let Ok(real) = fs::canonicalize(dir) {
        return Ok(real);
    }
    if fs::symlink_metadata(dir).is_ok() {
        return Err(refused(dir, "is a link that leads nowhere").hint(NEW));
    }
    let parent = dir.parent().ok_or_else(|| refused(dir, "is no folder"))?;
    let name = dir.file_name().ok_or_else(|| refused(dir, "has no name of its own").hint(NEW))?;
    let parent = fs::canonicalize(parent).map_err(|error| {
        refused(dir, format!("cannot be made, since `{}`: {error}", parent.display()))
            .hint(format!("Make it first, as `mkdir -p {}` does.", parent.display()))
    })?;
    Ok(parent.join(name))
}

/// Neither inside a data directory, nor inside what another rescue works in.
fn within(parent: &Path, dir: &Path) -> Result<(), Error> {
    for above in parent.ancestors() {
        if above.join("PG_VERSION").exists() {
            let what = format!("lies inside the data directory `{}`", above.display());
            return Err(refused(dir, what).hint("Name a folder outside of it."));
        }
        if above.to_string_lossy().ends_with(WORK) {
            let what = format!("lies inside `{}`, where a rescue works", above.display());
            return Err(refused(dir, what).hint("Name a folder outside of it."));
        }
    }
    Ok(())
}

/// We can make folders in `parent`, and whoever runs the server comes there.
fn reachable(parent: &Path, dir: &Path, identity: &Identity) -> Result<(), Error> {
    if let Err(stop) = identity.may_execute(parent) {
        let what = format!(
            "is out of reach for user `{}`, who cannot go through `{}`",
            identity.name,
            stop.display()
        );
        return Err(refused(dir, what).hint(
            "Open the folders on the way to it, or name another folder, or another user in `sandbox.user`.",
        ));
    }
    rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let what = format!("cannot be made in `{}`: {error}", parent.display());
        let below = dir.join("data");
        refused(dir, what).hint(format!(
            "Run it as a user who may write there, or name a folder below, such as `{}`.",
            below.display()
        ))
    })
}

/// Nothing is there but an empty folder.
fn vacant(dir: &Path, parent: &Path) -> Result<(), Error> {
    let Ok(meta) = fs::symlink_metadata(dir) else { return Ok(()) };
    if !meta.is_dir() {
        return Err(refused(dir, "is not a folder").hint(NEW));
    }
    if dir.join("PG_VERSION").exists() {
        return Err(refused(dir, "holds a data directory").hint(
            "A rescue never overwrites one: name another folder, or move this one away first.",
        ));
    }
    let mut entries = fs::read_dir(dir)
        .map_err(|error| refused(dir, format!("cannot be listed: {error}")).hint(NEW))?;
    if let Some(entry) = entries.next() {
        let name = entry.map(|e| e.file_name().to_string_lossy().into_owned()).unwrap_or_default();
        let what = format!("is not empty, it holds `{name}`");
        return Err(refused(dir, what).hint(if name == "lost+found" {
            format!(
                "It is a file system of its own: name a folder in it, `{}/data`.",
                dir.display()
            )
        } else {
            "A rescue never overwrites anything: name another folder.".to_owned()
        }));
    }
    if device(dir) != device(parent) {
        return Err(refused(dir, "is a file system of its own, where a folder must be made")
            .hint(format!("Name a folder in it, such as `{}/data`.", dir.display())));
    }
    Ok(())
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.dev())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn me() -> Identity {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Identity { uid, gid, name: "me".to_owned(), switch: false }
    }

    fn look(dir: &Path) -> Result<Ground, Error> {
        Ground::look(dir, &BTreeMap::new(), &me())
    }

    #[track_caller]
    fn refuses(dir: &Path, why: &str) {
        let error = look(dir).unwrap_err();
        assert_eq!(error.code, Code::RescueFolder);
        assert!(error.message.contains(why), "{error}");
        assert!(error.hint.is_some(), "{error}");
    }

    #[test]
    fn a_folder_that_is_new_or_empty_will_do() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        let ground = look(&top.join("main")).unwrap();
        assert_eq!(ground.dir, top.join("main"));
        assert_eq!(ground.work, top.join("main.pgassay-rescue"));
        assert_eq!(ground.tablespace(16_384), top.join("main.tablespaces/16384"));
        assert_eq!(fs::read_dir(&top).unwrap().count(), 0, "looking changes nothing");
        fs::create_dir(top.join("main")).unwrap();
        look(&top.join("main")).unwrap();
        // What a link means is what counts.
        symlink(top.join("main"), top.join("link")).unwrap();
        assert_eq!(look(&top.join("link")).unwrap().dir, top.join("main"));
    }

    #[test]
    fn what_is_there_stays() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("main");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(".hidden"), "x").unwrap();
        refuses(&dir, "is not empty, it holds `.hidden`");
        fs::rename(dir.join(".hidden"), dir.join("PG_VERSION")).unwrap();
        refuses(&dir, "holds a data directory");
        refuses(&dir.join("below"), "lies inside the data directory");
        fs::create_dir(dir.join("base")).unwrap();
        refuses(&dir.join("base/below"), "lies inside the data directory");
        fs::write(top.path().join("file"), "x").unwrap();
        refuses(&top.path().join("file"), "is not a folder");
        symlink("/nonexistent/x", top.path().join("link")).unwrap();
        refuses(&top.path().join("link"), "is a link that leads nowhere");
        refuses(&top.path().join("no/such/folder"), "cannot be made, since");
        refuses(Path::new("/"), "is no folder that a cluster");
        fs::create_dir(top.path().join("other.pgassay-rescue")).unwrap();
        refuses(&top.path().join("other.pgassay-rescue/x"), "where a rescue works");
    }

    #[test]
    fn a_file_system_of_its_own_is_told_from_a_folder() {
        // Every Linux has one at `/dev/shm` or `/proc`.
        refuses(Path::new("/proc"), "is not empty");
        if fs::read_dir("/dev/mqueue").is_ok_and(|mut entries| entries.next().is_none()) {
            refuses(Path::new("/dev/mqueue"), "is a file system of its own");
        }
    }

    #[test]
    fn the_servers_user_must_come_there() {
        let top = tempfile::Builder::new().prefix("pgassay-test-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Identity { uid: 4711, gid: 4711, name: "s".to_owned(), switch: true };
        let error = Ground::look(&top.path().join("x"), &BTreeMap::new(), &stranger).unwrap_err();
        assert!(error.message.contains("out of reach for user `s`"), "{error}");
    }

    #[test]
    fn places_of_tablespaces() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        let with = |place: &Path| {
            let places = BTreeMap::from([(16_384, place.to_path_buf())]);
            Ground::look(&top.join("main"), &places, &me())
        };
        let ground = with(&top.join("fast")).unwrap();
        assert_eq!(ground.tablespace(16_384), top.join("fast"));
        assert_eq!(ground.tablespace(16_385), top.join("main.tablespaces/16385"));
        ground.tablespaces_exist(&[16_384, 16_385]).unwrap();
        let error = ground.tablespaces_exist(&[16_385]).unwrap_err();
        assert_eq!(error.message, "the backup has no tablespace 16384");
        assert_eq!(error.hint.as_deref(), Some("It has: 16385."));
        ground.tablespaces_are_vacant([16_384, 16_385].into_iter()).unwrap();
        fs::create_dir_all(top.join("main.tablespaces/16385/x")).unwrap();
        let error = ground.tablespaces_are_vacant([16_385].into_iter()).unwrap_err();
        assert!(error.message.contains("is in the way of a tablespace"), "{error}");
        assert!(with(&top.join("main")).is_err(), "the data directory itself");
        assert!(with(Path::new("/proc/x")).is_err(), "another file system");
    }
}
